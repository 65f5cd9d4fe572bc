"""Converts language codes of several standards to language keys."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import langcodes
from langcodes.data_dicts import (
    ALL_SCRIPTS,
    LANGUAGE_ALPHA3,
    LANGUAGE_ALPHA3_BIBLIOGRAPHIC,
    LIKELY_SUBTAGS,
)
from langcodes.tag_parser import LanguageTagError

from distxfer.errors import InputError, did_you_mean
from distxfer.languages import _uriel
from distxfer.languages._glottocodes import GLOTTOCODES
from distxfer.languages._tags import LONGEST, registry, whole_tags, wrong_part

# The individual language that datasets (FLORES, CLDR) mean by the macrolanguage. Not listed are pairs that FLORES
# distinguishes (`aka`/`twi`, `srp`/`hbs`) and macrolanguages without a usual member (`que`, `ful`).
_MACROLANGUAGE = {
    "als": "sqi", "arb": "ara", "ayr": "aym", "azj": "aze", "cmn": "zho", "dgo": "doi", "dik": "din", "ekk": "est",
    "gaz": "orm", "gug": "grn", "khk": "mon", "kmr": "kur", "knc": "kau", "lvs": "lav", "mhr": "chm", "nob": "nor",
    "npi": "nep", "ory": "ori", "pbt": "pus", "pes": "fas", "plt": "mlg", "swh": "swa", "uzn": "uzb", "ydd": "yid",
    "zsm": "msa",
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
        if code.lower() not in GLOTTOCODES:
            raise InputError(
                f"Glottocode `{code}` is not in the table of this package. Give the ISO 639-3 code instead."
            )
        return canonical(GLOTTOCODES[code.lower()])
    if len(code) > LONGEST or not code.isascii():
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
    if part := wrong_part(tag, _short(language)):
        raise _wrong(code, [language, part])
    base = _base(code, tag.extlangs[0] if tag.extlangs else language)
    for variety in (part for part in tag.variants or () if part in GLOTTOCODES):
        if canonical(GLOTTOCODES[variety]).partition("_")[0] != base:
            raise _wrong(code, [base, variety])
    return tag, base


@cache
def _registry() -> dict[str, dict[str, Any]]:
    """Return the languages of the IANA registry by their shortest code, with scopes and retirements of ISO 639-3."""
    return {entry["Subtag"]: entry for entry in registry() if entry["Type"] == "language"}


@cache
def _alpha2() -> dict[str, str]:
    """Return the ISO 639-1 codes in force by their ISO 639-2 and 639-3 codes."""
    tables = (LANGUAGE_ALPHA3_BIBLIOGRAPHIC, _ALPHA3)
    pairs = [pair for table in tables for pair in table.items()]
    return {long: short for short, long in pairs if "Preferred-Value" not in _registry().get(short, {})}


def _short(code: str) -> str:
    return _alpha2().get(code, code)


def _base(code: str, language: str) -> str:
    """Return the key of a language subtag, without a script."""
    short = _short(language)
    entry = _registry().get(short)
    if _PRIVATE_USE.fullmatch(short):
        return short
    if entry is None:
        if short in _uriel.rows():
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
        if not code.isprintable() or len(code) > LONGEST:  # langcodes 3.5 fails on NUL and undecodable bytes
            raise LookupError
        hint = f" Did you mean `{canonical(langcodes.find(code).to_tag())}`?"
    except LookupError:
        hint = did_you_mean(code, {*_ALPHA3, *_ALPHA3.values(), *GLOTTOCODES.values()})
    shown = code if code.isprintable() else repr(code)[1:-1]
    return InputError(
        f"Language code `{shown}` is not known.{hint} Give an ISO 639 code, a BCP-47 tag, a FLORES code or a "
        "Glottocode, such as `ja`, `jpn`, `zh-Hant`, `zho_Hant` or `nucl1643`; a language without a code may use `qaa` to"
        " `qtz`."
    )
