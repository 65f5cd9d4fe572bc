"""The names and keywords of emoji in the languages of Unicode CLDR, from a file or folder that the user has.

The emoji are those of the task `emoji`, in the same categories and parts (`_emoji.py`): each is in one part only, whatever
the language and the source of its name.
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
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.languages import canonical

FEWEST = 1000  # names of a language that is listed without being asked for
RELEASE = "48.2.0"  # of the package that LANGUAGES is of
_KEYS = """
    afr aka amh ara asm aze bak bel ben bos bul cat ces chr chv cym dan deu dsb ell eng est eus fao fas fil fin fra
    gla gle glg guj hau heb hin hrv hsb hun hye ibo ind isl ita jav jpn kal kan kat kaz kaz_Arab khm kin kir kok kor
    lao lav lit ltz mal mar mkd mlt mon mri msa mya nep nld nor nso ori orm pan pan_Arab pcm pol por pus quc que roh
    ron rus shn sin slk slv snd som spa sqi srd srp srp_Latn swa swe tam tel tgk tha tir ton tsn tuk tur uig ukr urd
    uzb vie wol xho yor yue yue_Hans zho zho_Hant zul
"""
LANGUAGES = tuple(_KEYS.split())  # of that release, for who asks before there is a file
_MARKER = "↑↑↑"  # CLDR's word for a name that is another locale's
_SOURCE = "eng"  # what an untranslated name is equal to
Text = Literal["name", "keywords"]


@dataclass(frozen=True)
class Locale:
    """What one locale of CLDR says: `texts` of emoji by their code points; how many were dropped as untranslated."""

    name: str
    texts: Mapping[str, str]
    untranslated: int = 0


def languages_of(data: Data) -> tuple[str, ...]:
    """Return the languages that the file has at least 1,000 names of, and those of the locales that `pattern` names.

    Without a file, what there is in release 48.2.0.
    """
    return tuple(sorted(_chosen(data))) if data.folder else LANGUAGES


def locales_of(data: Data, section: str, languages: Iterable[str]) -> dict[str, Locale]:
    """Return language -> what CLDR says in it.

    Raises InputError where there is no file (`section` is that of the recipe which should name it), or what is in it does
    not do.
    """
    if not data.folder:
        raise InputError(
            f"`{data.name}` needs Unicode CLDR's annotations of emoji, and `{section}.folder` names no file that has them. Run:"
            f" npm pack cldr-annotations-full@{RELEASE}; then set `{section}.folder=cldr-annotations-full-{RELEASE}.tgz`. A"
            " release of CLDR does, too, as a folder or a .zip file."
        )
    chosen = _chosen(data)
    return {language: chosen[language] for language in languages}


def notes(data: Data, locales: Mapping[str, Locale]) -> tuple[str, ...]:
    """Return what is missing in these languages and what was left out, with counts."""
    every = load_emoji()
    named = {key for one in locales.values() for key in one.texts}
    kinds = Counter(one.category for one in every if one.id not in named)
    missing = {
        language: len(named) - len(one.texts) - one.untranslated
        for language, one in locales.items()
        if len(named) > len(one.texts) + one.untranslated
    }
    untranslated = {language: one.untranslated for language, one in locales.items() if one.untranslated}
    what = _what(data)
    said = []
    if kinds:
        said.append(
            f"{kinds.total()} of the {len(every)} emoji have no {what} in `{data.folder}` in any of these languages: left out"
            f" ({listed(f'{name} {count}' for name, count in kinds.most_common())})."
        )
    if missing:
        said.append(f"Emoji without {what}, left out: {_counts(missing)}.")
    if untranslated:
        said.append(f"Emoji with the same {what} as in English, untranslated, left out: {_counts(untranslated)}.")
    return tuple(said)


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{language} {count}" for language, count in numbers.items())


def _what(data: Data) -> Text:
    """Return which text of an emoji is read; raises InputError for columns that there are not."""
    for key, value in data.columns.items():
        if key != "text" or value not in ("name", "keywords"):
            raise InputError(
                f"`columns.{key}` is `{value}`, which CLDR's annotations do not have. Expected `columns.text` to be `name` or"
                " `keywords`."
            )
    return "keywords" if data.columns.get("text") == "keywords" else "name"


def _chosen(data: Data) -> Mapping[str, Locale]:
    """Return language -> its locale: the ones that `pattern` names, else those of no region with enough names.

    Raises InputError for a locale that is not there, or two that mean one language.
    """
    path = Path(data.folder).expanduser()
    if not path.exists():
        raise InputError(f"`{data.folder}` does not exist. Give the path of CLDR's annotations of emoji.")
    every = _locales(str(path), path.stat().st_mtime_ns, _what(data))
    found: dict[str, Locale] = {}
    for one in sorted(
        every.values(), key=lambda one: (-len(one.texts), one.name)
    ):  # the fullest, if two mean one language
        if len(one.texts) >= FEWEST and not _is_regional(one.name) and (key := _key(one.name)):
            found.setdefault(key, one)
    named: dict[str, Locale] = {}
    for name in (part.strip().replace("_", "-") for part in data.pattern.split(",") if part.strip()):
        if name not in every or not (key := _key(name)) or not every[name].texts:
            having = [one.name for one in every.values() if one.texts]
            raise InputError(
                f"`pattern` names the locale `{name}`, of which `{data.folder}` has no {_what(data)}."
                f"{did_you_mean(name, having)} It has: {listed(sorted(having))}."
            )
        if key in named:
            raise InputError(
                f"`pattern` names `{named[key].name}` and `{name}`, which are both the language `{key}`. Keep one."
            )
        named[key] = every[name]
    return found | named


@lru_cache(maxsize=4)
def _locales(path: str, changed: int, text: Text) -> Mapping[str, Locale]:
    """Return what every locale in a file says, by name; `changed` is when the file was written, so that it is read anew."""
    known = {_bare("".join(chr(int(code, 16)) for code in one.id.split("-"))): one.id for one in load_emoji()}
    texts = {name: _texts(known, annotations, text) for name, annotations in read_annotations(Path(path)).items()}
    english = texts.get("en", {})
    locales = {}
    for name, found in texts.items():
        own = found if _key(name) == _SOURCE else {key: one for key, one in found.items() if one != english.get(key)}
        order = {one.id: own[one.id] for one in load_emoji() if one.id in own}
        locales[name] = Locale(name, order, len(found) - len(own))
    return locales


def _texts(known: Mapping[str, str], annotations: Sequence[Annotation], text: Text) -> dict[str, str]:
    """Return code points -> name, or keywords separated by commas, of the emoji that are known and have one."""
    found = {}
    for one in annotations:
        joined = ", ".join(one.name if text == "name" else one.keywords)
        if (code_points := known.get(_bare(one.characters))) and joined and _MARKER not in joined:
            found[code_points] = joined
    return found


def _bare(characters: str) -> str:
    """Return an emoji without the variation selectors, which CLDR leaves out."""
    return characters.replace("\ufe0f", "")


def _is_regional(locale: str) -> bool:
    """Return whether a locale is of a region (`en-AU`, `es-419`) or a variant; a script has four letters (`sr-Latn`)."""
    return any(not re.fullmatch("[A-Za-z]{4}", part) for part in locale.split("-")[1:])


def _key(locale: str) -> str | None:
    """Return the language of a locale; None for CLDR's `root`, which is in no language."""
    try:
        return canonical(locale)
    except InputError:
        return None
