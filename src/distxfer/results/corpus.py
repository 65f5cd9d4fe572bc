"""Descriptions of a run's parallel text: its name, its size by language, and whether it is in the task's domain."""

from collections.abc import Iterable, Mapping
from typing import Any

from distxfer.errors import counted


def corpus_of(data: Mapping[str, Any]) -> str:
    """Return a description of a result's parallel text; older results have only its name."""
    record = data.get("parallel")
    if record is None and "parallel" in data:
        return corpus_text(None)
    if isinstance(record, dict) and {"name", "domain"} <= record.keys() and _are_sizes(record.get("pairs")):
        return corpus_text(record)
    settings = data["recipe"].get("parallel")
    name = settings.get("name") if isinstance(settings, dict) else None
    return f"`{name}`, of unknown size" if name else "none"


def _are_sizes(pairs: object) -> bool:
    return isinstance(pairs, dict) and all(isinstance(size, int) for size in pairs.values())


def corpora(methods: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[str]:
    """Return a line for each parallel text used by some methods, from the data of their results."""
    return corpus_lines({name: map(corpus_of, results) for name, results in methods.items()})


def corpus_lines(methods: Mapping[str, Iterable[str]]) -> list[str]:
    """Return a line for each described parallel text; methods with the same text share a line."""
    by_text: dict[str, list[str]] = {}
    for name, texts in methods.items():
        for text in dict.fromkeys(texts):
            by_text.setdefault(text, []).append(f"`{name}`")
    if len(by_text) == 1:
        return [f"parallel text: {text}." for text in by_text]
    return [f"parallel text of {', '.join(names)}: {text}." for text, names in by_text.items()]


def corpus_text(record: Mapping[str, Any] | None) -> str:
    """Return a description of a parallel text: name, domain, and size by language."""
    if record is None:
        return "none"
    sizes = record["pairs"]
    if not sizes:
        return f"`{record['name']}` ({record['domain']}), no pairs in these languages"
    smallest, largest = min(sizes.values()), max(sizes.values())
    pairs = counted(largest, "pairs") if smallest == largest else f"{smallest:,} to {largest:,} pairs"
    few = "" if len(sizes) > 1 else f" ({next(iter(sizes))})"
    return f"`{record['name']}` ({record['domain']}), {pairs} in {counted(len(sizes), 'languages')}{few}"
