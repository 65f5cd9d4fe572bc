"""Chooses the messages of the task `messages` from those of a wheel: their roles, and the part that each belongs to.

The role is what a message's key says, by these patterns (`FLOW` is `config`, `options` or `config_subentries::*`):

    action    services::*::{name,description}: what an automation can do
    field     services::*::fields::*::{name,description}, FLOW::step::*::{data,data_description}::*: what is filled in
    name      entity::*::*::name: what a sensor, switch or button is called
    problem   FLOW::{error,abort}::*, except keys with `success` or `updated`; exceptions::*::message: what has gone wrong
    prompt    FLOW::step::*::{title,description}: what a dialogue asks for

Other keys have no role: states and units, and those that are mostly filled templates (`issues`, `triggers`, `conditions`,
`device_automation`). So has a text that occurs under keys of two roles.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from distxfer.data._message_files import Texts
from distxfer.data._near_duplicates import NearDuplicates

ROLES = ("action", "field", "name", "problem", "prompt")
SOURCE = "eng"  # the language in which the messages are written; they are chosen by their text in it
FEWEST, FEWEST_OF_ROLE = 200, 20  # test messages that a language needs, in all and of each role
_FLOW = "(?:config|options|config_subentries::[^:]+)"
_PATTERNS = {
    "action": r"services::[^:]+::(?:name|description)",
    "field": rf"services::[^:]+::fields::[^:]+::(?:name|description)|{_FLOW}::step::[^:]+::data(?:_description)?::[^:]+",
    "name": r"entity::[^:]+::[^:]+::name",
    "problem": rf"{_FLOW}::(?:error|abort)::(?![^:]*(?:success|updated))[^:]+|exceptions::[^:]+::message",
    "prompt": rf"{_FLOW}::step::[^:]+::(?:title|description)",
}
_ROLE = re.compile("|".join(f"(?P<{role}>{pattern})" for role, pattern in _PATTERNS.items()))
_NOT_PLAIN = re.compile(r"[{\n]|://")  # placeholders (whose English names every translation has), lists, addresses
_SHORTEST, _LONGEST = 3, 160  # characters of the English text


@dataclass(frozen=True)
class Part:
    """A part: its share of the components, and how many messages it takes at most, of each role or in all."""

    share: float
    most: int
    labelled: bool = False


# In this order, so that a text which two parts have in some language stays in the first.
PARTS: Mapping[str, Part] = {
    "test": Part(0.33, 250, labelled=True),
    "dev": Part(0.09, 80, labelled=True),
    "train": Part(0.35, 450, labelled=True),
    "parallel": Part(0.12, 2000),
    "source_text": Part(0.03, 1000),
    "target_text": Part(0.08, 1500),
}


@dataclass(frozen=True)
class Message:
    """One message: `component:key`, the part it belongs to, its role ("" in parts without labels), text by language."""

    id: str
    part: str
    role: str
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Messages:
    """The chosen messages, and what was left out: near-duplicates in English, and translations by reason and language."""

    messages: tuple[Message, ...]
    languages: tuple[str, ...]
    near_duplicates: Mapping[str, int] = field(default_factory=dict)  # by part
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Candidate:
    id: str
    key: str
    part: str
    role: str
    text: str


def choose(texts: Texts) -> Messages:
    """Return the messages of the task, in the order of PARTS, and the languages that have enough of them.

    A component is in one part, by SHA-256 of its name. Messages are taken in the order of how many languages have them
    (ties by SHA-256 of their id). One is left out if another part already has its key (whatever the component), or if any
    message taken before is a near-duplicate in English, whatever the part. Of these, the labelled parts keep the first of
    each role and the others a sample by SHA-256.

    A translation is left out if it equals the English text, or a text that another part has in any language.
    """
    candidates = _candidates(texts)
    similar = NearDuplicates(candidate.text for candidate in candidates)
    part_of_key: dict[str, str] = {}
    near_duplicates: Counter[str] = Counter()
    distinct: list[_Candidate] = []
    for candidate in candidates:
        if part_of_key.get(candidate.key, candidate.part) != candidate.part:
            continue
        if candidate.text in similar:
            near_duplicates[candidate.part] += 1
            continue
        part_of_key[candidate.key] = candidate.part
        similar.add(candidate.text)
        distinct.append(candidate)
    chosen = [candidate for part in PARTS for candidate in _taken(distinct, part)]
    translations, left_out = _translations(chosen, texts)
    messages = tuple(
        Message(candidate.id, candidate.part, candidate.role, translations[candidate.id]) for candidate in chosen
    )
    languages = tuple(language for language in sorted(texts) if _is_enough(messages, language))
    counts = {reason: {key: count[key] for key in languages if count[key]} for reason, count in left_out.items()}
    return Messages(messages, languages, near_duplicates, counts)


def role_of(key: str) -> str:
    """Return the role that a key says, or ""."""
    match = _ROLE.fullmatch(key)
    return (match.lastgroup or "") if match else ""


def part_of(component: str) -> str:
    """Return the part of a component: where its hash, as a fraction of the largest, falls among the shares."""
    place = int.from_bytes(_hash(component)[:8], "big") / 2**64
    bounds = accumulate(part.share for part in PARTS.values())
    return next((name for name, bound in zip(PARTS, bounds, strict=True) if place < bound), [*PARTS][-1])


def _candidates(texts: Texts) -> list[_Candidate]:
    """Return the messages that a part could take, those of the most languages first."""
    plain = {key: text for key, text in texts[SOURCE].items() if _is_plain(text)}
    roles: defaultdict[str, set[str]] = defaultdict(set)
    for name, text in plain.items():
        roles[text.lower()].add(role_of(name.partition(":")[2]))
    candidates = []
    for name, text in plain.items():
        component, _, key = name.partition(":")
        part, role = part_of(component), role_of(key)
        labelled = PARTS[part].labelled
        if not labelled or (role and len(roles[text.lower()] - {""}) == 1):
            candidates.append(_Candidate(name, key, part, role if labelled else "", text))
    languages = Counter(name for language in texts for name in plain if _is_translated(texts, language, name))
    return sorted(candidates, key=lambda candidate: (-languages[candidate.id], _hash(candidate.id)))


def _taken(distinct: list[_Candidate], part: str) -> Iterator[_Candidate]:
    """Yield the messages that a part takes."""
    members = [candidate for candidate in distinct if candidate.part == part]
    if not PARTS[part].labelled:
        members.sort(key=lambda candidate: _hash(candidate.id))
    for role in ROLES if PARTS[part].labelled else [""]:
        yield from [candidate for candidate in members if candidate.role == role][: PARTS[part].most]


def _translations(chosen: list[_Candidate], texts: Texts) -> tuple[dict[str, dict[str, str]], dict[str, Counter[str]]]:
    """Return the texts of each message by language, and how many were left out by reason and language."""
    part_of_text = {candidate.text.lower(): candidate.part for candidate in chosen}
    translations: dict[str, dict[str, str]] = {}
    left_out: dict[str, Counter[str]] = {"missing": Counter(), "untranslated": Counter(), "shared": Counter()}
    for candidate in chosen:
        translations[candidate.id] = {SOURCE: candidate.text}
        for language in sorted(texts.keys() - {SOURCE}):
            text = texts[language].get(candidate.id, "")
            if not text:
                left_out["missing"][language] += 1
            elif not _is_translated(texts, language, candidate.id):
                left_out["untranslated"][language] += 1
            elif part_of_text.setdefault(text.lower(), candidate.part) != candidate.part:
                left_out["shared"][language] += 1
            else:
                translations[candidate.id][language] = text
    return translations, left_out


def _is_translated(texts: Texts, language: str, name: str) -> bool:
    text = texts[language].get(name, "")
    return bool(text) and text.lower() != texts[SOURCE][name].lower()


def _is_plain(text: str) -> bool:
    return _SHORTEST <= len(text) <= _LONGEST and not _NOT_PLAIN.search(text)


def _is_enough(messages: tuple[Message, ...], language: str) -> bool:
    """Return whether a language has enough test messages in all and of each role."""
    counts = Counter(message.role for message in messages if message.part == "test" and language in message.texts)
    return counts.total() >= FEWEST and min(counts[role] for role in ROLES) >= FEWEST_OF_ROLE


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
