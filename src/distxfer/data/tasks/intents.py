"""The task `intents`: which of 15 things is asked of a smart home?"""

from distxfer.data._examples import About, Data, Task
from distxfer.data._intents import INTENTS, LANGUAGES, requests_task

ABOUT = About(
    "what (of 15 things) is asked of a smart home, in 45 languages; from a package, offline",
    needs="distxfer[offline]",
    size="1,778 to train, 109 dev, 228 to test in English; 102 to 394 to test in the others",
    licence="Apache-2.0",
    citation="Home Assistant intents (OHF-Voice), release 2026.11.25",
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task."""
    return tuple(LANGUAGES)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task: requests that speakers of each language wrote, so that ids are of one language only."""
    return requests_task(
        data.name,
        INTENTS,
        lambda request: INTENTS.index(request.intent),
        source,
        targets,
        target_labels=target_labels,
    )
