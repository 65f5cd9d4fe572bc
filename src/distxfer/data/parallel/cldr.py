"""In-domain parallel text: the names of the emoji in the `parallel` part of the task `cldr`, without their labels."""

from distxfer.data._cldr import languages_of, locales_of, notes
from distxfer.data._emoji import emoji_pairs
from distxfer.data._examples import About, Data, ParallelText

ABOUT = About(
    "the emoji names of the task `cldr` that it neither trains on nor tests on, in 119 languages",
    task_type="",
    needs="distxfer[offline], and CLDR's annotations: npm pack cldr-annotations-full@48.2.0",
    size="470 pairs a language",
    licence="Unicode-3.0",
    citation="Unicode CLDR 48.2, annotations",
    keys=("folder", "pattern"),
)
languages = languages_of


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the names in the `parallel` part for training, and those in the `test` part for measuring alignment.

    Raises InputError without a file.
    """
    available = languages(data)
    locales = locales_of(data, "parallel", (source, *(target for target in targets if target in available)))
    texts = {language: locale.texts for language, locale in locales.items()}
    return emoji_pairs(data.name, texts, source, notes(data, locales))
