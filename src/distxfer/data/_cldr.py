"""The names and keywords of emoji in the languages of Unicode CLDR, from the user's copy of CLDR.

The emoji are those of the task `emoji`, in the same categories and parts (`_emoji.py`): each emoji is in one part only,
whatever the language and the source of its name.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from distxfer.data._cldr_files import Annotation, read_annotations
from distxfer.data._emoji import load_emoji
from distxfer.data._examples import Data
from distxfer.data._files import language_or_none
from distxfer.errors import InputError, did_you_mean, listed

FEWEST = 1000  # names that a locale needs to be listed by default
RELEASE = "48.2.0"  # of CLDR, from which LANGUAGES was taken
_KEYS = """
    afr aka amh ara asm aze bak bel ben bos bul cat ces chr chv cym dan deu dsb ell eng est eus fao fas fil fin fra
    gla gle glg guj hau heb hin hrv hsb hun hye ibo ind isl ita jav jpn kal kan kat kaz kaz_Arab khm kin kir kok kor
    lao lav lit ltz mal mar mkd mlt mon mri msa mya nep nld nor nso ori orm pan pan_Arab pcm pol por pus quc que roh
    ron rus shn sin slk slv snd som spa sqi srd srp srp_Latn swa swe tam tel tgk tha tir ton tsn tuk tur uig ukr urd
    uzb vie wol xho yor yue yue_Hans zho zho_Hant zul
"""
LANGUAGES = tuple(_KEYS.split())  # of that release, listed while no file is given
_MARKER = "↑↑↑"  # CLDR's mark for a name inherited from another locale
_SOURCE = "eng"  # untranslated names are equal to those in this language
Text = Literal["name", "keywords"]


@dataclass(frozen=True)
class Locale:
    """The `texts` of one CLDR locale by the emoji's code points, and how many were dropped as untranslated."""

    name: str
    texts: Mapping[str, str]
    untranslated: int = 0


def languages_of(data: Data) -> tuple[str, ...]:
    """Return the languages with at least 1,000 names in the file, and those of the locales that `pattern` names.

    Without a file, the languages of release 48.2.0.
    """
    return tuple(sorted(_chosen(data))) if data.folder else LANGUAGES


def locales_of(data: Data, section: str, languages: Iterable[str]) -> dict[str, Locale]:
    """Return language -> its locale.

    Raises InputError if no file is given (`section` is the section of the recipe that should name it), or if it cannot
    be used.
    """
    if not data.folder:
        raise InputError(
            f"`{data.name}` needs Unicode CLDR's annotations of emoji, but `{section}.folder` is not set. Run:"
            f" npm pack cldr-annotations-full@{RELEASE}; then set `{section}.folder=cldr-annotations-full-{RELEASE}.tgz`. A"
            " release of CLDR as a folder or a .zip file works, too."
        )
    chosen = _chosen(data)
    return {language: chosen[language] for language in languages}


def notes(data: Data, locales: Mapping[str, Locale]) -> tuple[str, ...]:
    """Return notes on missing and untranslated texts in these languages, with counts."""
    text_type, messages = _text_type(data), []
    named = {key for locale in locales.values() for key in locale.texts}
    categories = Counter(emoji.category for emoji in load_emoji() if emoji.id not in named)
    if categories:
        messages.append(
            f"{categories.total()} of the {len(load_emoji())} emoji have no {text_type} in `{data.folder}` in any of these"
            f" languages: left out ({listed(f'{name} {count}' for name, count in categories.most_common())})."
        )
    untranslated = {language: locale.untranslated for language, locale in locales.items()}
    missing = {key: len(named) - len(locale.texts) - locale.untranslated for key, locale in locales.items()}
    for fault, counts in (("without {}", missing), ("with the same {} as in English, untranslated", untranslated)):
        if by_language := ", ".join(f"{language} {count}" for language, count in counts.items() if count > 0):
            messages.append(f"Emoji {fault.format(text_type)}, left out: {by_language}.")
    return tuple(messages)


def _text_type(data: Data) -> Text:
    """Return which text of an emoji is read; raises InputError for unknown columns."""
    for key, value in data.columns.items():
        if key != "text" or value not in ("name", "keywords"):
            raise InputError(
                f"`columns.{key}` is `{value}`, which CLDR's annotations do not have. Expected `columns.text` to be `name` or"
                " `keywords`."
            )
    return "keywords" if data.columns.get("text") == "keywords" else "name"


def _chosen(data: Data) -> Mapping[str, Locale]:
    """Return language -> its locale: those that `pattern` names, and the non-regional locales with enough names.

    Raises InputError for an unknown locale, or for two locales of one language.
    """
    path = Path(data.folder).expanduser()
    if not path.exists():
        raise InputError(f"`{data.folder}` does not exist. Give the path of CLDR's annotations of emoji.")
    locales = _locales(str(path), path.stat().st_mtime_ns, _text_type(data))
    chosen: dict[str, Locale] = {}
    fullest_first = sorted(locales.values(), key=lambda locale: (-len(locale.texts), locale.name))
    for locale in fullest_first:  # of two that mean one language, the fuller one
        if len(locale.texts) >= FEWEST and not _is_regional(locale.name) and (key := language_or_none(locale.name)):
            chosen.setdefault(key, locale)
    named: dict[str, Locale] = {}
    for name in (part.strip().replace("_", "-") for part in data.pattern.split(",") if part.strip()):
        if name not in locales or not (key := language_or_none(name)) or not locales[name].texts:
            names = [locale.name for locale in locales.values() if locale.texts]
            raise InputError(
                f"`pattern` names the locale `{name}`, of which `{data.folder}` has no {_text_type(data)}."
                f"{did_you_mean(name, names)} It has: {listed(sorted(names))}."
            )
        if key in named:
            raise InputError(
                f"`pattern` names `{named[key].name}` and `{name}`, which are both the language `{key}`. Keep one."
            )
        named[key] = locales[name]
    return chosen | named


@lru_cache(maxsize=4)
def _locales(path: str, changed: int, text: Text) -> Mapping[str, Locale]:
    """Return the locales in a file by name. `changed` is the file's modification time: a changed file is read again."""
    ids = {_bare("".join(chr(int(code, 16)) for code in emoji.id.split("-"))): emoji.id for emoji in load_emoji()}
    texts = {name: _texts(ids, annotations, text) for name, annotations in read_annotations(Path(path)).items()}
    english = texts.get("en", {})
    locales = {}
    for name, of_locale in texts.items():
        is_source = language_or_none(name) == _SOURCE
        translated = {key: text for key, text in of_locale.items() if is_source or text != english.get(key)}
        in_order = {emoji.id: translated[emoji.id] for emoji in load_emoji() if emoji.id in translated}
        locales[name] = Locale(name, in_order, len(of_locale) - len(translated))
    return locales


def _texts(code_points_of: Mapping[str, str], annotations: Sequence[Annotation], text: Text) -> dict[str, str]:
    """Return code points -> name, or keywords separated by commas, of the emoji in `code_points_of`."""
    names = {}
    for annotation in annotations:
        joined = ", ".join(annotation.name if text == "name" else annotation.keywords)
        if (code_points := code_points_of.get(_bare(annotation.characters))) and joined and _MARKER not in joined:
            names[code_points] = joined
    return names


def _bare(characters: str) -> str:
    """Return an emoji without variation selectors, which CLDR omits."""
    return characters.replace("\ufe0f", "")


def _is_regional(locale: str) -> bool:
    """Return whether a locale has a region (`en-AU`, `es-419`) or a variant; scripts have four letters (`sr-Latn`)."""
    return any(not re.fullmatch("[A-Za-z]{4}", part) for part in locale.split("-")[1:])
