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
    """Return the languages the task has."""
    return tuple(LANGUAGES)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task: labels for training in the source alone (or in all), the same emoji for testing in every language."""
    emoji = load_emoji()
    labels = tuple(sorted({one.category for one in emoji}))

    def part(name: str, language: str, *, labelled: bool = True) -> tuple[Example, ...]:
        return tuple(
            Example(one.id, language, one.names[language], label=labels.index(one.category) if labelled else None)
            for one in emoji
            if one.part == name
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
