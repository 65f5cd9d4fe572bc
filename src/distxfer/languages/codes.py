"""Converts language codes of several standards to language keys."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import langcodes
from langcodes.data_dicts import (
    ALL_SCRIPTS,
    LANGUAGE_ALPHA3,
    LANGUAGE_ALPHA3_BIBLIOGRAPHIC,
    LIKELY_SUBTAGS,
)
from langcodes.tag_parser import LanguageTagError
from language_data.registry_parser import parse_registry

from distxfer.errors import InputError, did_you_mean
from distxfer.languages import uriel

_LONGEST = 35  # characters; BCP-47 (RFC 5646, 4.4.1) recommends room for that many

# The individual language that datasets (FLORES, CLDR) mean by the macrolanguage. Not listed are pairs that FLORES
# distinguishes (`aka`/`twi`, `srp`/`hbs`) and macrolanguages without a usual member (`que`, `ful`).
_MACROLANGUAGE = {
    "als": "sqi", "arb": "ara", "ayr": "aym", "azj": "aze", "cmn": "zho", "dgo": "doi", "dik": "din", "ekk": "est",
    "gaz": "orm", "gug": "grn", "khk": "mon", "kmr": "kur", "knc": "kau", "lvs": "lav", "mhr": "chm", "nob": "nor",
    "npi": "nep", "ory": "ori", "pbt": "pus", "pes": "fas", "plt": "mlg", "swh": "swa", "uzn": "uzb", "ydd": "yid",
    "zsm": "msa",
}  # fmt: skip
# Codes that are not BCP-47 tags, or mean something else there; in lower case with hyphens. None: not a single language.
_OTHER_LISTS = {
    # Wikipedia; MediaWiki, includes/language/LanguageCode.php: deprecated and non-standard codes. Not `als` and `nrm`
    # (Alemannic and Norman there), which have their meaning in ISO 639 here (Tosk Albanian, Narom).
    "bat-smg": "sgs", "be-x-old": "bel", "cbk-zam": "cbk", "fiu-vro": "vro", "map-bms": "jav", "roa-rup": "rup",
    "roa-tara": "nap", "simple": "eng", "zh-classical": "lzh",
    # OPUS: bilingual subtitles.
    "ze-en": None, "ze-zh": None,
}  # fmt: skip
_ALPHA3 = {short: long for short, long in LANGUAGE_ALPHA3.items() if len(short) == 2}  # not `fil`, `sr-Latn`
_GLOTTOCODE = re.compile(r"[a-z0-9]{4}[0-9]{4}")
_PRIVATE_USE = re.compile(r"q[a-t][a-z]")
_SINGLE = " Give the code of one language, such as `jpn`."
_SAME_SCRIPT = {"Hang": "Kore"}  # FLORES writes Hangul where CLDR writes Korean


def canonical(code: str) -> str:
    """Return the language key of a code: ISO 639-3, with a script if it is not the language's usual one.

    Accepts ISO 639-1 (`ja`), ISO 639-2 and 639-3 (`ger`, `jpn`), BCP-47 (`zh-Hant`; a region counts only where it
    implies a script, as in `zh-TW`), with extended languages only behind their registered prefixes (`zh-yue`), tags that are
    registered as a whole (`zh-min-nan`), Wikipedia's (`bat-smg`), FLORES (`jpn_Jpan`) and the Glottocodes of some 230
    languages (`nucl1643`). A code of ISO 639 has its meaning there: `als` is Tosk Albanian, though Wikipedia's Alemannic. A
    macrolanguage and its usual individual language share the macrolanguage's key (`swh` is `swa`, `cmn` is `zho`).
    The usual script is CLDR's likely one. Idempotent. `no`, `nan` and `yes` are Norwegian, Min Nan and Nyankpa. A
    language without a code may have one of those that ISO 639 leaves to private use, `qaa` to `qtz`.

    Raises InputError if the code is unknown, names no single language (`mul`, `nah`), or two (`deu-eng`).
    """
    if not isinstance(code, str):
        raise InputError(f"Language code `{code!r}` is not text. Put it in quotes, such as `'no'`.")
    if _GLOTTOCODE.fullmatch(code.lower()):
        if (meaning := _glottocodes().get(code.lower())) is None:
            raise InputError(
                f"Glottocode `{code}` is not in the table of this package. Give the ISO 639-3 code instead."
            )
        return canonical(meaning)
    if len(code) > _LONGEST or not code.isascii():
        raise _unknown(code)
    if (plain := code.lower().replace("_", "-")) in whole_tags():
        if (meaning := whole_tags()[plain]) is None:
            raise InputError(f"Language code `{code}` is not a single language of ISO 639-3.{_SINGLE}")
        return canonical(meaning)
    tag, base = _parsed(code)
    script = _script(code, base, tag.script, tag.territory)
    return f"{base}_{script}" if script else base


def language_name(key: str) -> str:
    """Return the English name of a language, such as `Japanese` for `jpn` and `Chinese (Traditional)` for `zho_Hant`.

    A code of private use has the name `private use`. Raises InputError as `canonical` does.
    """
    base, _, script = canonical(key).partition("_")
    short = _short(base)
    if _PRIVATE_USE.fullmatch(base):
        return "private use"
    if short not in _registry():
        return base
    return str(langcodes.Language.make(language=short, script=script or None).display_name())


def short_code(key: str) -> str:
    """Return the ISO 639-1 code of a language, such as `ja` for `jpn`, or the ISO 639-3 code if it has none.

    Without a script. Raises InputError as `canonical` does.
    """
    return _short(canonical(key).partition("_")[0])


def script(key: str) -> str | None:
    """Return the ISO 15924 code of a language's script: the one in its key, or else CLDR's likely one.

    `Jpan` for `jpn`, `Hans` for `zho`, `Hant` for `zho_Hant`. The mixed scripts of Japanese and Korean have codes of their
    own, `Jpan` and `Kore`. None if neither the key nor CLDR names a script.

    Raises InputError as `canonical` does.
    """
    base, _, key_script = canonical(key).partition("_")
    return key_script or _usual(base)


def aliases(key: str) -> tuple[str, ...]:
    """Return the ISO 639-3 codes that datasets use for the language of a canonical key, its own first."""
    base = key.partition("_")[0]
    return (base, *(individual for individual, macro in _MACROLANGUAGE.items() if macro == base))


def macrolanguage(code: str) -> str:
    """Return the key that an ISO 639-3 code shares with its macrolanguage, or the code itself."""
    return _MACROLANGUAGE.get(code, code)


def _parsed(code: str) -> tuple[langcodes.Language, str]:
    """Return the parsed tag and the key of its language; raises InputError for parts that do not fit together."""
    try:
        tag = langcodes.Language.get(code, normalize=False)
    except LanguageTagError:
        raise _unknown(code) from None
    language = tag.language or "und"
    if part := _wrong_part(tag, _short(language)):
        raise _wrong(code, [language, part])
    base = _base(code, tag.extlangs[0] if tag.extlangs else language)
    for variety in (part for part in tag.variants or () if part in _glottocodes()):
        if canonical(_glottocodes()[variety]).partition("_")[0] != base:
            raise _wrong(code, [base, variety])
    return tag, base


@cache
def _registry(subtag_type: str = "language") -> dict[str, dict[str, Any]]:
    """Return the entries of the IANA registry of a type by their subtag in lower case; languages by their shortest code."""
    return {entry["Subtag"].lower(): entry for entry in _entries() if entry["Type"] == subtag_type}


@cache
def _entries() -> list[dict[str, Any]]:
    return list(parse_registry())


@cache
def _glottocodes() -> dict[str, str]:
    """Return the ISO 639-3 codes of Glottocodes."""
    lines = files("distxfer.languages").joinpath("glottocodes.txt").read_text(encoding="utf-8").splitlines()
    return dict(pair.split(":") for line in lines if not line.startswith("#") for pair in line.split())


@cache
def _alpha2() -> dict[str, str]:
    """Return the ISO 639-1 codes in force by their ISO 639-2 and 639-3 codes."""
    tables = (LANGUAGE_ALPHA3_BIBLIOGRAPHIC, _ALPHA3)
    pairs = [pair for table in tables for pair in table.items()]
    return {long: short for short, long in pairs if "Preferred-Value" not in _registry().get(short, {})}


@cache
def whole_tags() -> dict[str, str | None]:
    """Return tag (in lower case) -> equivalent code for tags that are defined as a whole; None without one in ISO 639.

    These are grandfathered and redundant tags of the registry with a preferred value, and codes of other lists.
    """
    registered = {
        entry["Tag"].lower(): entry.get("Preferred-Value")
        for entry in _entries()
        if entry["Type"] == "grandfathered" or (entry["Type"] == "redundant" and "Preferred-Value" in entry)
    }
    return registered | _OTHER_LISTS


def _wrong_part(tag: langcodes.Language, language: str) -> str | None:
    """Return the part of a tag that the registry does not allow after this language; None for a valid tag.

    Extended languages and variants require their prefixes, regions must be registered, and private parts are invalid. A
    Glottocode is allowed in place of a variant, as in FLORES+.
    """
    for place, extended in enumerate(tag.extlangs or ()):
        if place or language not in _registry("extlang").get(extended, {}).get("Prefix", ()):
            return extended
    if tag.territory and tag.territory.lower() not in _registry("region"):
        return tag.territory
    for variant in tag.variants or ():
        prefixes = _registry("variant").get(variant.lower(), {}).get("Prefix", [language])
        fits = variant.lower() in _registry("variant") and any(
            prefix.split("-")[0].lower() == language for prefix in prefixes
        )
        if not fits and not _GLOTTOCODE.fullmatch(variant):
            return variant
    return tag.private


def _short(code: str) -> str:
    return _alpha2().get(code, code)


def _base(code: str, language: str) -> str:
    """Return the key of a language subtag, without a script."""
    short = _short(language)
    entry = _registry().get(short)
    if _PRIVATE_USE.fullmatch(short):
        return short
    if entry is None:
        if short in uriel.rows():
            return short
        raise _unknown(code)
    if entry.get("Scope") in {"collection", "special"}:
        raise InputError(f"Language code `{code}` is not a single language ({entry['Description'][0]}).{_SINGLE}")
    current = str(entry.get("Preferred-Value", short))
    return macrolanguage(_ALPHA3.get(current, current))


def _script(code: str, base: str, explicit: str | None, territory: str | None) -> str:
    """Return the script for a key: the explicit one or that of the territory, or "" if it is the usual one."""
    if explicit is not None and explicit not in ALL_SCRIPTS:
        raise InputError(
            f"Language code `{code}` has an unknown script `{explicit}`.{did_you_mean(explicit, ALL_SCRIPTS)} "
            "Give an ISO 15924 code, such as `Latn`, or omit it."
        )
    short = _short(base)
    usual = _usual(base) or "Latn"
    script = explicit or _likely(f"{short}-{territory}") or usual
    return "" if _SAME_SCRIPT.get(script, script) == usual else script


def _usual(base: str) -> str | None:
    """Return CLDR's likely script of a language, or else of its macrolanguage."""
    short = _short(base)
    return _likely(short) or _likely(_registry().get(short, {}).get("Macrolanguage", ""))


def _likely(tag: str) -> str | None:
    """Return CLDR's likely script for a tag, if there is one."""
    return langcodes.Language.get(LIKELY_SUBTAGS[tag], normalize=False).script if tag in LIKELY_SUBTAGS else None


def _wrong(code: str, parts: Sequence[str]) -> InputError:
    """Return the error for a tag whose second part cannot follow its first; often both are languages."""
    meanings = []
    for part in parts:
        try:
            meanings.append(f"`{part}` is {language_name(part)}")
        except InputError:
            continue
    hint = f" {' and '.join(meanings)}." if meanings else ""
    return InputError(
        f"Language code `{code}` is not a registered tag: `{parts[1]}` cannot follow `{parts[0]}`.{hint} Give the ISO 639-3"
        " code of one language, such as `jpn`."
    )


def _unknown(code: str) -> InputError:
    try:
        if not code.isprintable() or len(code) > _LONGEST:  # langcodes 3.5 fails on NUL and undecodable bytes
            raise LookupError
        hint = f" Did you mean `{canonical(langcodes.find(code).to_tag())}`?"
    except LookupError:
        hint = did_you_mean(code, dict.fromkeys([*_ALPHA3, *_ALPHA3.values(), *_glottocodes().values()]))
    shown = code if code.isprintable() else repr(code)[1:-1]
    return InputError(
        f"Language code `{shown}` is not known.{hint} Give an ISO 639 code, a BCP-47 tag, a FLORES code or a "
        "Glottocode, such as `ja`, `jpn`, `zh-Hant`, `zho_Hant` or `nucl1643`; a language without a code may use `qaa` to"
        " `qtz`."
    )
