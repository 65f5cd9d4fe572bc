"""The task `cldr`: the task `emoji` in all languages of Unicode CLDR, from the user's copy of CLDR."""

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
    """Return the languages with at least 1,000 names, and those of the locales that `pattern` names."""
    return languages_of(data)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task: the emoji of the task `emoji` in the same parts, as far as a language has texts for them.

    Raises InputError without a file, and for a language without a text for any test emoji.
    """
    emoji, locales = load_emoji(), locales_of(data, "task", (source, *targets))
    labels = tuple(sorted({entry.category for entry in emoji}))

    def part(name: str, language: str, *, labelled: bool = True) -> tuple[Example, ...]:
        texts = locales[language].texts
        return tuple(
            Example(entry.id, language, texts[entry.id], label=labels.index(entry.category) if labelled else None)
            for entry in emoji
            if entry.part == name and entry.id in texts
        )

    test = {language: part("test", language) for language in locales}
    for language, examples in test.items():
        if not examples:
            raise InputError(
                f"The locale `{locales[language].name}` of `{data.folder}` has no text for any test emoji, so `{language}`"
                " cannot be scored. Remove it from `pattern`."
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
