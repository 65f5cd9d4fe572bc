"""Requests to a smart home in 45 languages, expanded from the sentence templates of `home-assistant-intents`.

Speakers wrote the templates of each language; they are no translations of each other. The split of templates is defined
here, because the tasks `intents` and `slots` share it.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from math import ceil
from random import Random
from typing import Any

from distxfer._installed import offline_package
from distxfer.data._examples import Example, Issue, Label, Task
from distxfer.data._templates import Grammar, Node, Piece, expand, lists_of, parse
from distxfer.errors import InputError, counted, listed

PACKAGE = "home_assistant_intents"
LANGUAGES = {
    "afr": "af", "ara": "ar", "ben": "bn", "bul": "bg", "cat": "ca", "ces": "cs", "cym": "cy", "dan": "da", "deu": "de",
    "ell": "el", "eng": "en", "eus": "eu", "fin": "fi", "fra": "fr", "gle": "ga", "glg": "gl", "hin": "hi",
    "hrv": "hr", "hun": "hu", "hye": "hy", "isl": "is", "ita": "it", "kor": "ko", "lav": "lv", "lit": "lt", "ltz": "lb",
    "mal": "ml", "msa": "ms", "nep": "ne", "nld": "nl", "nor": "nb", "pol": "pl", "por": "pt-BR", "ron": "ro", "rus": "ru",
    "slk": "sk", "slv": "sl", "spa": "es", "srp": "sr", "swe": "sv", "tha": "th", "ukr": "uk", "vie": "vi", "zho": "zh-CN",
    "zho_Hant": "zh-TW",
}  # fmt: skip
INTENTS = (
    "CancelAllTimers", "CancelTimer", "ClimateGetTemperature", "GetWeather", "LightSet", "MediaNext", "MediaPause",
    "MediaUnpause", "PauseTimer", "StartTimer", "TimerStatus", "TurnOff", "TurnOn", "UnpauseTimer", "VacuumCleanArea",
)  # fmt: skip
AMBIGUOUS, SHARED, REPEATED = "texts of two intents", "texts of an earlier part", "repeated texts"
FEWEST = 30  # test templates that a language needs
# The parts of a language's templates of one intent, in the order of their hashes, over and over: few are tested first.
_DEAL = ("test", "train", "dev", "train", "test", "unlabelled", "test", "train", "test", "unlabelled")


@dataclass(frozen=True)
class _Part:
    """At most `texts` of one intent, evenly from its templates, `per_template` at most, with `names` (of stars) filled in."""

    texts: int
    per_template: int
    names: str


# A text that several parts have stays in the first.
PARTS = {
    "test": _Part(30, 3, "Adhara Bellatrix Capella Deneb Elnath Fomalhaut Mizar Procyon Rigel Spica Thuban Vega"),
    "dev": _Part(20, 3, "Achernar Castor Izar Pollux"),
    "train": _Part(
        250,
        60,
        "Alcor Aldebaran Algol Alhena Alioth Alkaid Altair Antares Arcturus Atria Avior Canopus Dubhe Electra Hadar Hamal"
        " Maia Merak Mimosa Mira Mirach Polaris Regulus Sirius",
    ),
    "unlabelled": _Part(60, 10, "Gacrux Kochab Markab Menkar Phecda Sabik Scheat Shaula"),
}
_NAME = "\ue000"  # of Unicode's private use
_FILLED = ("name", "area", "floor")  # lists that a home fills; all from the same names, so only the context tells which


@dataclass(frozen=True)
class Template:
    """One template of one intent in one language."""

    id: str
    intent: str
    part: str
    node: Node


@dataclass(frozen=True)
class Request:
    """One expansion of a template; `slots` are [start, end) in `text`, with the list that these characters are from."""

    id: str
    intent: str
    part: str
    text: str
    slots: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Requests:
    """The requests of one language, the number of templates by part, and that of texts left out by part and reason."""

    requests: tuple[Request, ...]
    templates: Counter[str]
    left_out: Counter[tuple[str, str]]


def read_language(language: str) -> Requests:
    """Return the requests of a language, in the order of PARTS, INTENTS and hashes.

    Templates are dealt to parts by SHA-256 within each intent, and expanded at random, seeded by the hash. Texts count as
    equal if they differ in case, punctuation, blanks, names or numbers only: those of two intents are left out, and so
    are repetitions, in the same part or a later one.

    Raises InputError, with the command to install it, if the package is missing, and for a language with too few templates.
    """
    grammar, nodes = read_templates(LANGUAGES[language])
    templates = [
        Template(digest, intent, _DEAL[place % len(_DEAL)], node)
        for intent in INTENTS
        for place, (digest, node) in enumerate(
            sorted((_digest(language, intent, text), node) for text, node in nodes.get(intent, {}).items())
        )
    ]
    drawn = list(_drawn(templates, grammar))
    intents: dict[str, set[str]] = defaultdict(set)
    for key, request in drawn:
        intents[key].add(request.intent)
    requests: dict[str, Request] = {}
    left_out = Counter[tuple[str, str]]()
    for key, request in drawn:
        if len(intents[key]) > 1:
            left_out[request.part, AMBIGUOUS] += 1
        elif requests.setdefault(key, request) is not request:
            left_out[request.part, REPEATED if requests[key].part == request.part else SHARED] += 1
    counts = Counter(template.part for template in templates)
    tested = {request.intent for request in requests.values() if request.part == "test"}
    if len(tested) < len(INTENTS) or counts["test"] < FEWEST:
        raise InputError(
            f"`{PACKAGE}` has {counts['test']} test templates of {len(tested)} intents in `{language}`, but at least {FEWEST} of"
            f" all {len(INTENTS)} are needed. Remove `{language}` from the task's languages."
        )
    return Requests(tuple(requests.values()), counts, left_out)


def requests_task(
    name: str,
    labels: tuple[str, ...],
    label: Callable[[Request], Label | None],
    source: str,
    targets: Iterable[str],
    *,
    target_labels: bool,
    task_type: str = "classification",
) -> Task:
    """Return the requests as a task; `label` returns that of a request, or None to leave the request out."""
    read = {language: read_language(language) for language in (source, *targets)}

    def part(split: str, languages: Iterable[str]) -> dict[str, tuple[Example, ...]]:
        return {
            language: tuple(
                Example(request.id, language, request.text, label=None if split == "unlabelled" else gold)
                for request in read[language].requests
                if request.part == split and (gold := label(request)) is not None
            )
            for language in languages
        }

    splits = {
        "train": part("train", read if target_labels else [source]),
        "dev": part("dev", read),
        "test": part("test", read),
    }
    issues = tuple(issue for language, requests in read.items() for issue in _issues(language, requests))
    totals = Counter[str]()
    for issue in issues:
        totals[issue.what] += issue.n
    notes = (f"`{name}`: left out {listed(counted(n, what) for what, n in totals.items())}.",) if totals else ()
    return Task(name, labels, splits, part("unlabelled", read), task_type, notes, issues)


def _issues(language: str, requests: Requests) -> Iterator[Issue]:
    drawn = Counter(request.part for request in requests.requests)
    for (part, _), count in requests.left_out.items():
        drawn[part] += count
    for (part, what), count in requests.left_out.items():
        yield Issue(language, part, what, count, drawn[part])


def read_templates(code: str) -> tuple[Grammar, Mapping[str, Mapping[str, Node]]]:
    """Return the grammar of a file of the package, and intent -> template -> its tree.

    Templates with a wildcard (free text) and those that two intents have are left out.
    """
    offline_package(PACKAGE)
    data = json.loads(resources.files(PACKAGE).joinpath(f"data/{code}.json").read_text(encoding="utf-8"))
    lists = {name: _values(entry) for name, entry in data["lists"].items() if "wildcard" not in entry}
    grammar = Grammar({name: parse(text) for name, text in data["expansion_rules"].items()}, lists)
    texts = {
        intent.removeprefix("Hass"): {text for block in entry["data"] for text in block["sentences"]}
        for intent, entry in data["intents"].items()
    }
    intents = Counter(text for templates in texts.values() for text in templates)
    list_names = {*lists, *_FILLED}
    return grammar, {
        intent: {
            text: node
            for text in templates
            if intents[text] == 1 and list_names.issuperset(lists_of(node := parse(text), grammar.rules))
        }
        for intent, templates in texts.items()
    }


def _values(entry: Mapping[str, Any]) -> tuple[Node, ...]:
    """Return the values of a list, or the numbers of a range."""
    if "values" in entry:
        return tuple(parse(value["in"]) for value in entry["values"])
    bounds = entry["range"]
    return tuple(str(number) for number in range(bounds["from"], bounds["to"] + 1, bounds.get("step", 1)))


def _drawn(templates: Iterable[Template], grammar: Grammar) -> Iterator[tuple[str, Request]]:
    """Yield the requests of each part, with the key of their text."""
    groups: dict[tuple[str, str], list[Template]] = defaultdict(list)
    for template in templates:
        groups[template.part, template.intent].append(template)
    for name, part in PARTS.items():
        filled = replace(grammar, lists={**grammar.lists, **dict.fromkeys(_FILLED, part.names.split())})
        for intent in INTENTS:
            group = groups[name, intent][: part.texts]
            for template in group:
                limit = min(part.per_template, ceil(part.texts / len(group)))
                for number, (key, pieces) in enumerate(_expansions(template, filled, limit).items()):
                    yield key, Request(f"{template.id}-{number}", intent, name, *_joined(pieces))


def _expansions(template: Template, grammar: Grammar, limit: int) -> dict[str, list[Piece]]:
    """Return up to `limit` random expansions of a template, by the key of their text."""
    random = Random(template.id)
    expansions: dict[str, list[Piece]] = {}
    for _ in range(2 * limit):  # a template may have fewer than `limit`
        pieces = list(expand(template.node, grammar, lambda n: int(random.random() * n)))
        expansions.setdefault(_key(pieces), pieces)
        if len(expansions) == limit:
            break
    return expansions


def _key(pieces: Iterable[Piece]) -> str:
    """Return the text without case, punctuation and blanks, and with one sign for every name and every number."""
    text = "".join(_NAME if source in _FILLED else "0" if text.isdecimal() else text for text, source in pieces)
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if unicodedata.category(character)[0] not in "PZ")


def _joined(pieces: Iterable[Piece]) -> tuple[str, tuple[tuple[int, int, str], ...]]:
    """Return the text of pieces without superfluous blanks, and where the values of lists stand in it."""
    text = ""
    slots: list[tuple[int, int, str]] = []
    for piece, source in pieces:
        piece_text = re.sub(r"\s+", " ", piece)
        start = len(text)
        text += piece_text.lstrip() if text[-1:] in ("", " ") else piece_text
        if source and piece_text.strip():
            if slots and slots[-1][2] == source and not text[slots[-1][1] : start].strip():
                start = slots.pop()[0]
            slots.append((start + text[start:].startswith(" "), len(text.rstrip()), source))
    return text.rstrip(), tuple(slots)


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:16]
