"""The task `emoji`: which of eight categories does the emoji with this name belong to?"""

from distxfer.data._emoji import LANGUAGES, load_emoji
from distxfer.data._examples import SPLITS, About, Data, Example, Task

ABOUT = About(
    "the category (of 8) of an emoji's name, in 14 languages; from packages, offline",
    needs="distxfer[offline]",
    size="651 to train, 162 dev, 327 to test",
    licence="BSD-3-Clause, MIT; names: Unicode-3.0",
    citation="Unicode CLDR, emoji short names",
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task."""
    return tuple(LANGUAGES)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task: training labels in the source only (or in all languages), the same test emoji in every language."""
    emoji = load_emoji()
    labels = tuple(sorted({entry.category for entry in emoji}))

    def part(name: str, language: str, *, labelled: bool = True) -> tuple[Example, ...]:
        return tuple(
            Example(entry.id, language, entry.names[language], label=labels.index(entry.category) if labelled else None)
            for entry in emoji
            if entry.part == name
        )

    return Task(
        name=data.name,
        labels=labels,
        splits={
            split: {language: part(split, language) for language in (source, *targets)}
            if split != "train" or target_labels
            else {source: part(split, source)}
            for split in SPLITS
        },
        unlabelled={language: part("parallel", language, labelled=False) for language in (source, *targets)},
    )
