"""The task `slots`: which words of a request to a smart home are a room, a number of minutes, a colour ...?"""

import re

from distxfer.data._examples import About, Data, Tags, Task
from distxfer.data._intents import LANGUAGES, Request, requests_task

ABOUT = About(
    "which words of a request to a smart home fill which of 8 slots, in 44 languages; from a package, offline",
    task_type="named_entities",
    needs="distxfer[offline]",
    size="1,778 to train, 109 dev, 228 to test in English; 102 to 394 to test in the others",
    licence="Apache-2.0",
    citation="Home Assistant intents (OHF-Voice), release 2026.11.25",
)
SLOTS = {
    "area": "PLACE",
    "default_areas": "PLACE",
    "brightness": "BRIGHTNESS",
    "brightness_level": "BRIGHTNESS",
    "color": "COLOR",
    "color_temperature": "COLOR",
    "color_temperature_names": "COLOR",
    "cover_classes": "COVER",
    "floor": "PLACE",
    "name": "NAME",
    "timer_hours": "HOURS",
    "timer_minutes": "MINUTES",
    "timer_seconds": "SECONDS",
}  # list of the package -> slot; words of other lists are `O`
LABELS = ("O", *(f"{begin}-{slot}" for slot in sorted(set(SLOTS.values())) for begin in "BI"))
_WORD = re.compile(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+")  # a Chinese character is a word


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task: those of `intents` without Thai, which has no blanks between words."""
    return tuple(language for language in LANGUAGES if language != "tha")


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the requests of the task `intents`, in the same parts, with IOB2 tags."""
    return requests_task(
        data.name, LABELS, _tags, source, targets, target_labels=target_labels, task_type=ABOUT.task_type
    )


def _tags(request: Request) -> Tags:
    """Return the tags of a request: a word that has any character of a slot fills the first such slot."""
    spans, tags = [], []
    last = None
    for word in _WORD.finditer(request.text):
        slot = next((slot for slot in request.slots if slot[0] < word.end() and word.start() < slot[1]), None)
        name = SLOTS.get(slot[2]) if slot else None
        spans.append(word.span())
        tags.append(LABELS.index(f"{'I' if slot == last else 'B'}-{name}") if name else 0)
        last = slot
    return Tags(tuple(spans), tuple(tags))
