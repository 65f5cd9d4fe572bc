"""The task `cldr`: the task `emoji` in all languages of Unicode CLDR, from the user's copy of CLDR."""

from distxfer.data._cldr import languages_of, locales_of, notes
from distxfer.data._emoji import emoji_task
from distxfer.data._examples import About, Data, Task
from distxfer.errors import InputError

ABOUT = About(
    "the category (of 8) of an emoji's name or keywords, in 119 languages; from a file of Unicode CLDR",
    needs="distxfer[offline], and CLDR's annotations: npm pack cldr-annotations-full@48.2.0",
    size="626 to train, 315 to test",
    licence="Unicode-3.0",
    citation="Unicode CLDR 48.2, annotations",
    keys=("folder", "pattern", "columns"),
)
languages = languages_of


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task: the emoji of the task `emoji` in the same parts, as far as a language has texts for them.

    Raises InputError without a file, and for a language without a text for any test emoji.
    """
    locales = locales_of(data, "task", (source, *targets))
    texts = {language: locale.texts for language, locale in locales.items()}
    task = emoji_task(data.name, texts, source, notes(data, locales), target_labels=target_labels)
    if untested := next((language for language, examples in task.splits["test"].items() if not examples), None):
        raise InputError(
            f"The locale `{locales[untested].name}` of `{data.folder}` has no text for any test emoji, so `{untested}` cannot be"
            " scored. Remove it from `pattern`."
        )
    return task
