"""The task `cldr`: the task `emoji` in all languages of Unicode CLDR, from a file that the user has."""

from distxfer.data._cldr import languages_of, locales_of, notes
from distxfer.data._emoji import load_emoji
from distxfer.data._examples import SPLITS, About, Data, Example, Task
from distxfer.errors import InputError

ABOUT = About(
    "the category (of 8) of an emoji's name or keywords, in 119 languages; from a file of Unicode CLDR",
    needs="distxfer[offline], and CLDR's annotations: npm pack cldr-annotations-full@48.2.0",
    size="626 to train, 315 to test",
    licence="Unicode-3.0",
    citation="Unicode CLDR 48.2, annotations",
    keys=("folder", "pattern", "columns"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages that have at least 1,000 names, and those of the locales that `pattern` names."""
    return languages_of(data)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task, of the emoji of the task `emoji` in the same parts; each language has those that it has a text for.

    Raises InputError without a file, and for a language that has no text for any emoji to be tested.
    """
    emoji, locales = load_emoji(), locales_of(data, "task", (source, *targets))
    labels = tuple(sorted({one.category for one in emoji}))

    def part(name: str, language: str, *, labelled: bool = True) -> tuple[Example, ...]:
        texts = locales[language].texts
        return tuple(
            Example(one.id, language, texts[one.id], label=labels.index(one.category) if labelled else None)
            for one in emoji
            if one.part == name and one.id in texts
        )

    test = {language: part("test", language) for language in locales}
    for language, examples in test.items():
        if not examples:
            raise InputError(
                f"The locale `{locales[language].name}` of `{data.folder}` has no text for any emoji to be tested, so"
                f" `{language}` cannot be scored. Leave it out of `pattern`."
            )
    return Task(
        name=data.name,
        labels=labels,
        splits={
            split: {language: part(split, language) for language in locales}
            if split != "train" or target_labels
            else {source: part(split, source)}
            for split in SPLITS
        },
        unlabelled={language: part("parallel", language, labelled=False) for language in locales},
        notes=notes(data, locales),
    )
