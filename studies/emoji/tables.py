"""The tables of the reference study, written from its result files into the pages that show them."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
import pandas as pd

from distxfer.analysis.compare import compare
from distxfer.analysis.comparison import Comparison
from distxfer.analysis.scores import Items, read_items
from distxfer.measure import interval
from distxfer.reports.tables import Table, p_phrase
from distxfer.results.result import Result
from studies.emoji import methods as study_runs
from studies.emoji.methods import (
    BASELINE,
    EVIDENCE,
    ROOT,
    TABLES,
    WITHOUT,
    Method,
    Outcome,
    results,
)
from studies.pages import put

NOTE = f"runs trained with the class `{WITHOUT}`, scored without it; to be run anew"
WEIGHTINGS = ("dist_align", "align_uniform", "align_shuffled")
Array = npt.NDArray[np.float64]
HEADED_BY = (
    "drift_reg",
    "freeze_lower",
    "mined_align",
    "dist_align",
    "align_consistency",
    "oracle",
)


def write_tables(methods: list[Method]) -> None:
    """Write the effects of some headline methods into docs/evidence.md, of every intervention into its docs, what `new-language`
    proposes by into the package, and the page of all methods beside the runs.
    """
    put(ROOT / "docs" / "evidence.md", short_table(methods))
    put(ROOT / "docs" / "interventions.md", intervention_table(methods))
    EVIDENCE.write_text(evidence(methods), encoding="utf-8")
    (TABLES / "study.md").write_text(study_page(methods), encoding="utf-8")


def study_page(methods: Sequence[Method]) -> str:
    """Return all that the study found, in Markdown."""
    headline, minor = groups(methods)
    parts = [
        "# The reference study, with the class `Flags`: withdrawn\n",
        "**These numbers are no findings.** The class `Flags` decides many of them: [README.md](README.md) says why, and"
        " [without-flags.md](without-flags.md) has the effects without it.\n",
        "Written by `make study` from the files in `results/emoji-with-flags/reference`; docs/statistics.md says how to"
        " read it.\n",
        f"## The headline methods, with {len(headline[0].seeds)} seeds\n",
        table(headline),
        "\n## Does the distance help?\n",
        weighting_table([*methods]),
        f"\n## The rest, with {len(minor[0].seeds)} seeds\n",
        table(minor),
    ]
    return "\n".join(parts)


def groups(methods: Sequence[Method]) -> tuple[list[Method], list[Method]]:
    """Return the headline methods, and the rest with the baseline, which has their seeds there.

    Each is a family of its own: Holm corrects over the methods of one group (docs/statistics.md says since when).
    """
    headline, minor = ([method for method in methods if method.headline == flag] for flag in (True, False))
    baselines = [method for method in headline if minor and method.name == BASELINE]
    return headline, [*(replace(baseline, seeds=minor[0].seeds) for baseline in baselines), *minor]


def judged(methods: Sequence[Method], without: str = "") -> dict[tuple[str, str], Comparison]:
    """Return (method, subset) -> the comparison with the baseline, Holm over the methods of its group."""
    tests: dict[tuple[str, str], Comparison] = {}
    for group in groups(methods):
        tests |= comparisons([method for method in group if method.outcomes()], BASELINE, without)
    return tests


def short_table(methods: list[Method]) -> str:
    """Return the effects of some headline methods with the class `WITHOUT` and without it, in Markdown."""
    tests = [judged(methods, without) for without in ("", WITHOUT)]
    rows = [
        (
            f"`{method.name}`",
            method.text,
            method.chosen,
            *(_effect(by_method.get((method.name, "all"))) for by_method in tests),
        )
        for method in methods
        if method.name in HEADED_BY
    ]
    return Table(
        columns=("recipe", "text used", "chosen on", f"with `{WITHOUT}`", f"without `{WITHOUT}`"), rows=rows
    ).markdown()


def intervention_table(methods: list[Method]) -> str:
    """Return what the study found of every intervention: one row per recipe, with the interventions that it uses.

    Without the examples of the class `WITHOUT`.
    """
    finished = [method for method in methods if method.outcomes()]
    tests = judged(methods, WITHOUT)
    rows = []
    for method in finished:
        runs = [run for recipe in method.recipes for run in results(recipe).values()]
        used = sorted({name for run in runs for name in _kinds(run)})
        source = source_effects(method, methods, WITHOUT)
        effects = *(_effect(tests.get((method.name, subset))) for subset in ("all", "far")), _interval(source, "+.1f")
        kinds = ", ".join(f"`{name}`" for name in used) or "–"
        rows.append((kinds, f"`{method.name}`", len(source), method.chosen, *effects))
    columns = ("interventions", "recipe", "seeds", "chosen on", "effect on all targets", "on far", "on English")
    return Table(columns=columns, rows=[row for row in rows if row[1] != f"`{BASELINE}`"]).markdown()


def evidence(methods: list[Method]) -> str:
    """Return the effects of the study as TOML, for `distxfer new-language`: in points, with intervals and Holm's p.

    Without the examples of the class `WITHOUT`, which `note` says.
    """
    finished = [method for method in methods if method.outcomes()]
    tests = judged(methods, WITHOUT)
    first = next(iter(results(BASELINE).values()))
    lines = [
        "# What the reference study found of each recipe, in points of accuracy against `plain`. `distxfer new-language`",
        "# reads it.",
        "",
        f'note = "{NOTE}"',
        f'model = "{first.recipe["model"]["name"]}"',
        f'task = "{first.recipe["task"]["name"]}"',
        f"targets = {json.dumps([*first.summary['near'], *first.summary['far']])}",
        f"far = {json.dumps(first.summary['far'])}",
        *provenance(
            "make study", [run for method in finished for recipe in method.recipes for run in results(recipe).values()]
        ),
    ]
    for method in finished:
        effects = {subset: tests[method.name, subset] for subset in ("all", "far") if (method.name, subset) in tests}
        if not effects or any(effect.p_holm is None for effect in effects.values()):
            continue
        lines += [
            "",
            f"[recipe.{method.name}]",
            f"seeds = {effects['all'].test.n_seeds}",
            f"chosen = {json.dumps(method.chosen)}",
        ]
        lines += [f"source = {source_effects(method, methods, WITHOUT).mean():.4g}"]
        for subset, effect in effects.items():
            test = effect.test
            numbers = {"effect": test.effect, "low": test.low, "high": test.high, "p": effect.p_holm}
            inside = ", ".join(f"{key} = {value:.4g}" for key, value in numbers.items())
            lines.append(f"{subset} = {{ {inside} }}")
    return "\n".join([*lines, ""])


def provenance(command: str, runs: Sequence[Result]) -> list[str]:
    """Return the lines of TOML that say what wrote the evidence, from which runs."""
    folder = os.path.relpath(runs[0].folder.parents[1], ROOT)
    commits = sorted({str(run.provenance.get("git_commit", "unknown")) for run in runs})
    return [
        "",
        "[provenance]",
        f"command = {json.dumps(command)}",
        f"results = {json.dumps(folder)}",
        f"runs = {len(runs)}",
        f"commits = {json.dumps(commits, indent=4)} # of the code that trained them",
    ]


def source_effects(method: Method, methods: Sequence[Method], without: str = "") -> Array:
    """Return the difference from the baseline in the source language, of the seeds that both have: seeds x 1."""
    source = next(iter(results(BASELINE).values())).data["source"]
    baseline = next(each for each in methods if each.name == BASELINE).outcomes(without)
    pairs = [
        (outcome, baseline[seed])
        for seed, outcome in method.outcomes(without).items()
        if seed in baseline and not outcome.collapsed
    ]
    return np.array([[outcome.accuracy[source] - base.accuracy[source]] for outcome, base in pairs])


def _kinds(run: Result) -> list[str]:
    """Return the interventions of a run by their kind, which is the name where no kind is given."""
    return [keys.get("kind") or name for name, keys in run.recipe["intervention"].items()]


def comparisons(methods: Sequence[Method], baseline: str, without: str = "") -> dict[tuple[str, str], Comparison]:
    """Return (method, subset) -> the comparison with the baseline, paired by seed, Holm over the methods."""
    return _comparisons(study_runs.RESULTS, tuple(methods), baseline, without)


@cache
def _comparisons(
    folder: Path, methods: Sequence[Method], baseline: str, without: str
) -> dict[tuple[str, str], Comparison]:
    """Return `comparisons` of the runs below a folder, which must not change meanwhile."""
    scores = [
        ("", "emoji", method.name, str(seed), language, "accuracy", value)
        for method in methods
        for seed, outcome in method.outcomes(without).items()
        if not outcome.collapsed
        for language, value in outcome.accuracy.items()
    ]
    table = pd.DataFrame(scores, columns=["model", "task", "method", "seed", "language", "metric", "value"])
    if table["method"].nunique() < 2:
        return {}
    report = compare(table, baseline, paired=True, items=_items(methods, without))
    return {(row.method, row.subset): row for row in report.comparisons}


def _items(methods: Sequence[Method], without: str) -> Items | None:
    """Return which test items every sound run got right, in percent."""
    scores = [
        {
            "method": method.name,
            "seed": str(seed),
            "task": "emoji",
            "language": language,
            "value": outcome.accuracy[language],
            "run": str(run),
        }
        for method in methods
        for seed, outcome in method.outcomes(without).items()
        if not outcome.collapsed
        for language, run in outcome.folders.items()
    ]
    return read_items(pd.DataFrame(scores), unit=100, without=without)


def table(methods: list[Method]) -> str:
    """Return one row per method that has results, in Markdown, with the note that says what the numbers are."""
    finished = [method for method in methods if method.outcomes()]
    if not results(BASELINE):
        return f"`{BASELINE}` has not been run yet, so there is nothing to compare with.\n"
    first = next(iter(results(BASELINE).values()))
    far, near, source = first.summary["far"], first.summary["near"], first.source
    tests = comparisons(finished, BASELINE)
    rows = []
    for method in finished:
        sound = [outcome for outcome in method.outcomes().values() if not outcome.collapsed]
        collapsed = len(method.outcomes()) - len(sound)
        rows.append(
            (
                f"`{method.name}`",
                f"{len(sound)} of {len(method.seeds)}{f', {collapsed} collapsed' if collapsed else ''}",
                method.text,
                method.chosen,
                *(_mean(sound, languages) for languages in ([source], near, far)),
                *(_effect(tests.get((method.name, subset))) for subset in ("far", "all")),
                f"{fmean(outcome.forwards for outcome in sound):.0f}" if sound else "–",
            )
        )
    columns = ("recipe", "seeds", "text used", "chosen on", "English", "near", "far", "effect on far",
               "effect on all targets", "forwards")  # fmt: skip
    note = (
        f"\nTest accuracy in percent on `emoji`, {len(near) + len(far)} targets ({len(far)} far: {', '.join(far)}), last"
        " checkpoint; brackets are 95 % intervals (means: over seeds, languages fixed; effects: against `plain` with the"
        " same seed; seeds, languages in families and test items random; p: Holm over the methods of the table)."
        " `text used`: besides the labelled source. `chosen on`: what the settings were chosen on, `design` where they were"
        " fixed beforehand."
        " `forwards`: forward passes in all. The runs are of several commits and machines (`provenance` in each `result.json`).\n"
    )
    if any(len(method.recipes) > 1 for method in finished):
        note += (
            "\n`left_out`: two models, each with the parallel text of half of the languages; a language is scored by the one that"
            " had none in it, and `forwards` is of both.\n"
        )
    return Table(columns=columns, rows=rows).markdown() + note


def weighting_table(methods: list[Method], without: str = "") -> str:
    """Return the comparison of distance-weighted alignment with the two controls, without the examples of a class."""
    kinds = [method for method in methods if method.name in WEIGHTINGS and method.outcomes()]
    if len(kinds) < len(WEIGHTINGS):
        return f"Not all of {', '.join(WEIGHTINGS)} have been run yet.\n"
    tests = comparisons(kinds, WEIGHTINGS[0], without)
    rows = [
        (f"`{name}` less `{WEIGHTINGS[0]}`", *(_effect(tests.get((name, subset))) for subset in ("far", "near", "all")))
        for name in WEIGHTINGS[1:]
    ]
    return Table(columns=("control", "far", "near", "all targets"), rows=rows).markdown()


def _mean(outcomes: list[Outcome], languages: list[str]) -> str:
    return _interval(np.array([[outcome.accuracy[language] for language in languages] for outcome in outcomes]), ".1f")


def _interval(values: Array, form: str) -> str:
    """Return the mean of seeds x languages with its interval over the seeds, or what there is of it."""
    if len(values) < 2:
        return f"{values.mean():{form}}" if len(values) else "–"
    return "{0:{3}} [{1:{3}}, {2:{3}}]".format(*interval(values), form)


def _effect(comparison: Comparison | None) -> str:
    if comparison is None:
        return "–"
    test = comparison.test
    if test.p is None or comparison.p_holm is None:
        return f"{test.effect:+.1f} ({test.reason})"
    return f"{test.effect:+.1f} [{test.low:+.1f}, {test.high:+.1f}], {p_phrase(comparison.p_holm)}"
