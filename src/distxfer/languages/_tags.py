"""Checks language tags against the IANA registry, and lists codes of other sources."""

import re
from functools import cache
from typing import Any

from langcodes import Language
from language_data.registry_parser import parse_registry

LONGEST = 35  # characters; BCP-47 (RFC 5646, 4.4.1) recommends room for that many

# Codes that are not BCP-47 tags, or mean something else there; in lower case with hyphens. None: not a single language.
_OTHER_LISTS = {
    # Wikipedia; MediaWiki, includes/language/LanguageCode.php: deprecated and non-standard codes. Not `als` and `nrm`
    # (Alemannic and Norman there), which have their meaning in ISO 639 here (Tosk Albanian, Narom).
    "bat-smg": "sgs", "be-x-old": "bel", "cbk-zam": "cbk", "fiu-vro": "vro", "map-bms": "jav", "roa-rup": "rup",
    "roa-tara": "nap", "simple": "eng", "zh-classical": "lzh",
    # OPUS: bilingual subtitles.
    "ze-en": None, "ze-zh": None,
}  # fmt: skip
_GLOTTOCODE = re.compile(r"[a-z0-9]{4}[0-9]{4}")  # FLORES+ writes it after the script


@cache
def registry() -> tuple[dict[str, Any], ...]:
    """Return the entries of the IANA registry of language subtags."""
    return tuple(parse_registry())


@cache
def whole_tags() -> dict[str, str | None]:
    """Return tag (in lower case) -> equivalent code for tags that are defined as a whole; None without one in ISO 639.

    These are grandfathered and redundant tags of the registry with a preferred value, and codes of other lists.
    """
    registered = {
        entry["Tag"].lower(): entry.get("Preferred-Value")
        for entry in registry()
        if entry["Type"] == "grandfathered" or (entry["Type"] == "redundant" and "Preferred-Value" in entry)
    }
    return registered | _OTHER_LISTS


def wrong_part(tag: Language, language: str) -> str | None:
    """Return the part of a tag that the registry does not allow after this language; None for a valid tag.

    Extended languages and variants require their prefixes, regions must be registered, and private parts are invalid. A
    Glottocode is allowed in place of a variant, as in FLORES+.
    """
    for place, extended in enumerate(tag.extlangs or ()):
        if place or language not in _subtags("extlang").get(extended, {}).get("Prefix", ()):
            return extended
    if tag.territory and tag.territory.lower() not in _subtags("region"):
        return tag.territory
    for variant in tag.variants or ():
        prefixes = _subtags("variant").get(variant.lower(), {}).get("Prefix", [language])
        fits = variant.lower() in _subtags("variant") and any(
            prefix.split("-")[0].lower() == language for prefix in prefixes
        )
        if not fits and not _GLOTTOCODE.fullmatch(variant):
            return variant
    return tag.private


@cache
def _subtags(kind: str) -> dict[str, dict[str, Any]]:
    """Return the subtags of a kind, in lower case, with their entries."""
    return {entry["Subtag"].lower(): entry for entry in registry() if entry["Type"] == kind}
