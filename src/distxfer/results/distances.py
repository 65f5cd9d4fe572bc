"""The distances stored in a result."""

from collections.abc import Iterable, Mapping
from typing import Any

from distxfer.languages import Distance, distance_warnings


def stored_distances(data: Mapping[str, Any]) -> list[Distance]:
    """Return the distances from the source in a result; fields missing from old results are taken as reliable."""
    return [
        Distance(
            source=str(data["source"]),
            target=str(row["language"]),
            name=str(row.get("name", "")),
            value=float(row["value"]),
            n_shared=shared if isinstance(shared := row.get("n_shared"), int) else 1,
            imputed=row.get("imputed") is True,
            provenance=str(row.get("provenance", "")),
        )
        for row in data["distances"]
    ]


def stored_warnings(results: Iterable[Mapping[str, Any]], languages: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the warnings on the distances of these results, once per language; optionally for some `languages` only."""
    chosen = None if languages is None else set(languages)
    distances = {(entry.name, entry.target): entry for data in results for entry in stored_distances(data)}
    return distance_warnings(entry for entry in distances.values() if chosen is None or entry.target in chosen)
