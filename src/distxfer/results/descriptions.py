"""What finished runs used, in words: parallel text, distances, selection of checkpoints, and warnings on these."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distxfer.errors import consecutive, counted, listed
from distxfer.languages import Distance, distance_warnings
from distxfer.results.result import Result
from distxfer.results.settings import settings_of


def corpus_of(result: Result) -> str:
    """Return a description of a result's parallel text; older results have only its name."""
    name = result.recipe.get("parallel", {}).get("name")
    if result.parallel is None and "parallel" not in result.data and name:
        return f"`{name}`, of unknown size"
    return corpus_text(result.parallel)


def corpus_text(record: Mapping[str, Any] | None) -> str:
    """Return a description of a parallel text: name, domain, and size by language."""
    if record is None:
        return "none"
    name, sizes = f"`{record['name']}` ({record['domain']})", record["pairs"]
    if not sizes:
        return f"{name}, no pairs in these languages"
    smallest, largest = min(sizes.values()), max(sizes.values())
    pairs = counted(largest, "pairs") if smallest == largest else f"{smallest:,} to {largest:,} pairs"
    few = "" if len(sizes) > 1 else f" ({next(iter(sizes))})"
    return f"{name}, {pairs} in {counted(len(sizes), 'languages')}{few}"


def corpora(methods: Mapping[str, Iterable[Result]]) -> list[str]:
    """Return a line for each parallel text that runs of some methods used."""
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


def arithmetic_notes(methods: Mapping[str, Iterable[Result]]) -> list[str]:
    """Return a note that names methods and seeds by their arithmetic, where not all runs have one; else none.

    Runs have another arithmetic if its version, the dtype of their forward passes or, on a CPU, their threads differ, as far as
    their results name these.
    """
    parts = [
        (name, run.seed, (f"version {run.arithmetic}", run.provenance.get("dtype"), _threads(run)))
        for name, runs in methods.items()
        for run in runs
    ]
    differ = [place for place in range(3) if len({part[place] for _, _, part in parts if part[place] is not None}) > 1]
    if not differ:
        return []
    seeds: dict[str, dict[str, list[int]]] = {}
    for name, seed, part in parts:
        text = ", ".join(part[place] or "not named" for place in differ)
        seeds.setdefault(text, {}).setdefault(name, []).append(seed)
    groups = [
        f"{text}: {', '.join(f'`{name}` seed {_spans(numbers)}' for name, numbers in by_name.items())}"
        for text, by_name in seeds.items()
    ]
    rounding = "sums are rounded differently" if differ == [2] else "the same seed gives other trajectories"
    return [
        f"these runs, and means and pairs of them, mix {counted(len(groups), 'arithmetics')}, between which {rounding}:"
        f" {listed(groups, '; ')}. `--again` repeats a run."
    ]


def caching_notes(methods: Mapping[str, Iterable[Result]]) -> list[str]:
    """Return a note that names the methods that cache frozen layers, where others do not; else none."""
    caching = {
        name: any(
            key.endswith(".cache_frozen") and value is True
            for run in runs
            for key, value in settings_of(run.recipe).items()
        )
        for name, runs in methods.items()
    }
    if len({*caching.values()}) < 2:
        return []
    names = listed([f"`{name}`" for name, caches in caching.items() if caches])
    return [
        f"`cache_frozen` = true in {names}: frozen layers have no dropout, so pairs with the other methods share the order of"
        " examples and the head alone."
    ]


def _threads(run: Result) -> str | None:
    threads = run.provenance.get("threads")
    if threads is None or run.provenance.get("device", "cpu") != "cpu":
        return None
    return f"{' and '.join(map(str, threads))} threads" if isinstance(threads, list) else counted(threads, "threads")


def _spans(numbers: Iterable[int]) -> str:
    """Return ascending numbers with `to` for three or more in a row: `0 to 4, 7`."""
    return ", ".join(
        f"{row[0]} to {row[-1]}" if len(row) > 2 else ", ".join(map(str, row)) for row in consecutive(numbers)
    )


def stored_distances(result: Result) -> list[Distance]:
    """Return the distances from the source in a result; fields missing from old results are taken as reliable."""
    return [
        Distance(
            source=result.source,
            target=row["language"],
            name=row.get("name", ""),
            value=row["value"],
            n_shared=row.get("n_shared", 1),
            imputed=row.get("imputed", False),
            provenance=row.get("provenance", ""),
        )
        for row in result.distances
    ]


def stored_warnings(results: Iterable[Result], languages: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the warnings on the distances of these results, once per language; optionally for some `languages` only."""
    chosen = None if languages is None else set(languages)
    distances = {(entry.name, entry.target): entry for result in results for entry in stored_distances(result)}
    return distance_warnings(entry for entry in distances.values() if chosen is None or entry.target in chosen)


def selection_of(runs: Sequence[Result]) -> str:
    """Return how the checkpoints of these runs were selected: `last` (the default), `source_dev` or `target_dev`."""
    return " and ".join(dict.fromkeys(run.selection for run in runs))


def selection_warnings(selection: Mapping[str, str]) -> tuple[str, ...]:
    """Return a line for each method selected on a target's dev set, and one if methods were selected differently."""
    lines = [
        f"WARNING: the checkpoint of `{name}` was selected on a target's dev set (`target_dev`), with labels of that target:"
        " its transfer is not zero-shot."
        for name, choice in selection.items()
        if "target_dev" in choice
    ]
    if len(set(selection.values())) > 1:
        how = "; ".join(f"`{name}` by {choice}" for name, choice in selection.items())
        lines.append(f"WARNING: checkpoints were selected differently ({how}): part of an effect may be due to this.")
    return tuple(lines)
