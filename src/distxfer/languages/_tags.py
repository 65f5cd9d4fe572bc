"""The parts of a language tag beside language and script, checked against the IANA registry, and codes of other lists."""

import re
from functools import cache
from typing import Any

from langcodes import Language
from language_data.registry_parser import parse_registry

LONGEST = 35  # characters: BCP-47 (RFC 5646, 4.4.1) asks for room for as many

# Codes that are no BCP-47 tags, or would mean something else as one, in lower case with hyphens. None: no single language.
_OTHER_LISTS = {
    # Wikipedia; MediaWiki, includes/language/LanguageCode.php: deprecated and non-standard codes. `als` and `nrm`, which
    # are Alemannic and Norman there, have a meaning of their own in ISO 639 (Tosk Albanian, Narom), which counts here.
    "bat-smg": "sgs", "be-x-old": "bel", "cbk-zam": "cbk", "fiu-vro": "vro", "map-bms": "jav", "roa-rup": "rup",
    "roa-tara": "nap", "simple": "eng", "zh-classical": "lzh",
    # OPUS: subtitles that have two languages at once.
    "ze-en": None, "ze-zh": None,
}  # fmt: skip
_GLOTTOCODE = re.compile(r"[a-z0-9]{4}[0-9]{4}")  # what FLORES+ writes behind the script


@cache
def registry() -> tuple[dict[str, Any], ...]:
    """Return the entries of the IANA registry of language subtags."""
    return tuple(parse_registry())


@cache
def whole_tags() -> dict[str, str | None]:
    """Return tags that mean something as a whole, in lower case, and the code that they mean; None where ISO 639 has none.

    Those of the registry that are grandfathered or redundant and have a preferred value, and codes of other lists.
    """
    registered = {
        entry["Tag"].lower(): entry.get("Preferred-Value")
        for entry in registry()
        if entry["Type"] == "grandfathered" or (entry["Type"] == "redundant" and "Preferred-Value" in entry)
    }
    return registered | _OTHER_LISTS


def wrong_part(tag: Language, language: str) -> str | None:
    """Return the part of a tag that the registry does not allow behind this language; None for a tag that is right.

    Extended languages and variants stand only behind their prefixes, regions are registered, and what is private has no
    meaning. A Glottocode may stand where a variant does, as in FLORES+.
    """
    for place, extended in enumerate(tag.extlangs or ()):
        if place or language not in _subtags("extlang").get(extended, {}).get("Prefix", ()):
            return extended
    if tag.territory and tag.territory.lower() not in _subtags("region"):
        return tag.territory
    for variant in tag.variants or ():
        prefixes = _subtags("variant").get(variant.lower(), {}).get("Prefix", [language])
        known = variant.lower() in _subtags("variant") and any(
            one.split("-")[0].lower() == language for one in prefixes
        )
        if not known and not _GLOTTOCODE.fullmatch(variant):
            return variant
    return tag.private


@cache
def _subtags(kind: str) -> dict[str, dict[str, Any]]:
    """Return the subtags of a kind, in lower case, with their entries."""
    return {entry["Subtag"].lower(): entry for entry in registry() if entry["Type"] == kind}
