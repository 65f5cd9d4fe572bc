"""Recompute the committed studies without the class `Flags`, from their stored predictions.

`python -m studies.emoji.without_flags` writes `results/emoji-with-flags/without-flags.md`: the accuracy of the baseline by
class and language, the effect of every method with and without the class, the correlation of the baseline's drift with its
transfer, and the gains of the study of 120 languages.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from distxfer.analysis.comparison import Comparison
from distxfer.languages import language_name, lineage
from distxfer.measure import Crossed, correlate, crossed
from distxfer.reports.tables import Table, p_phrase
from distxfer.results.tables import read_measurements, read_predictions
from studies.emoji.methods import BASELINE, TABLES, WITHOUT, Method, read_study, results, results_in
from studies.emoji.tables import judged, weighting_table
from studies.emoji_120 import study as study_120

PAGE = TABLES / "without-flags.md"
BOTH = ("", WITHOUT)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page in Markdown."""
    methods = [method for method in read_study() if method.outcomes()]
    return "\n".join(
        (
            f"# The study without the class `{WITHOUT}`\n",
            "Written by `python -m studies.emoji.without_flags` from the predictions stored in this folder. The models were"
            " trained with the class; here its test examples are left out of the scores."
            f" {_share(results(BASELINE)[0].folder)}\n",
            f"## What `{BASELINE}` gets right of the class\n",
            _class_table(),
            "\n## Effects with and without it\n",
            _effects_table(methods),
            "\n## The same with languages as independent\n",
            _independent_table(methods),
            f"\n## Does the distance help, without `{WITHOUT}`?\n",
            weighting_table(methods, WITHOUT),
            f"\n## Drift of `{BASELINE}` and transfer\n",
            _drift_table(),
            "\n## The study of 120 languages\n",
            _wide_table(),
        )
    )


def _share(folder: Path) -> str:
    """Return how many of the test examples of a run's source are of the class."""
    rows = read_predictions(folder)
    labels = rows.loc[rows["language"] == rows["language"].iloc[0], "label"]
    return f"They are {(labels == WITHOUT).sum()} of {len(labels)} in the source language."


def _class_table() -> str:
    """Return the baseline's accuracy on the examples of the class and on the others, by language: mean and range over seeds."""
    runs = [read_predictions(run.folder) for run in results(BASELINE).values()]
    shares = [
        100 * (run["label"] == run["prediction"]).groupby([run["language"], run["label"] == WITHOUT]).mean()
        for run in runs
    ]
    rows = []
    for language in runs[0]["language"].unique():
        of_class, of_others = ([share[language, is_class] for share in shares] for is_class in (True, False))
        rows.append((f"`{language}`", language_name(language), _range(of_class), _range(of_others)))
    return Table(("key", "language", f"`{WITHOUT}`", "the other classes"), rows).markdown() + (
        "\nAccuracy in percent: the mean over the seeds, and the range.\n"
    )


def _range(values: Sequence[float]) -> str:
    return f"{fmean(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def _effects_table(methods: list[Method]) -> str:
    """Return the effects of every method on all targets and on the far ones, with the class and without it."""
    tests = [judged(methods, without) for without in BOTH]
    rows = [
        (
            f"`{method.name}`",
            tests[0][method.name, "all"].test.n_seeds,
            method.text,
            method.chosen,
            *(_effect(by_method.get((method.name, subset))) for subset in ("all", "far") for by_method in tests),
        )
        for method in methods
        if (method.name, "all") in tests[0]
    ]
    columns = ("recipe", "seeds", "text used", "chosen on")
    columns += tuple(
        f"{subset}, {wording} `{WITHOUT}`" for subset in ("all targets", "far") for wording in ("with", "without")
    )
    return Table(columns, rows).markdown() + (
        f"\nPoints of accuracy against `{BASELINE}` with the same seed, 95 % intervals with seeds, languages in families and"
        " test items random, p after Holm over the methods of the group (headline or rest). German, Japanese and Turkish, on"
        " whose dev texts some settings were chosen, are among the targets.\n"
    )


def _independent_table(methods: list[Method]) -> str:
    """Return the effects of the headline methods on all targets, by the test with which they were published at first."""
    rows = [
        (f"`{method.name}`", *(study_120.plain_gain(independent(method, without)) for without in BOTH))
        for method in methods
        if method.headline and method.name != BASELINE
    ]
    return Table(("recipe", f"all targets, with `{WITHOUT}`", f"all targets, without `{WITHOUT}`"), rows).markdown() + (
        "\nAs the effects were first given: seeds and languages random, languages as independent of their families, test items"
        " fixed, each interval by itself. It finds too much where relatives are alike (docs/statistics.md).\n"
    )


def independent(method: Method, without: str) -> Crossed:
    """Return the crossed test of a method on all targets, with neither families nor items."""
    outcomes, baseline = method.outcomes(without), _baseline().outcomes(without)
    first = next(iter(results(BASELINE).values()))
    targets = [*first.summary["near"], *first.summary["far"]]
    seeds = [seed for seed in outcomes if seed in baseline and not outcomes[seed].collapsed]
    return crossed([[outcomes[seed].accuracy[key] - baseline[seed].accuracy[key] for key in targets] for seed in seeds])


def _effect(comparison: Comparison | None) -> str:
    if comparison is None or comparison.test.low is None or comparison.p_holm is None:
        return "–"
    return f"{study_120.plain_gain(comparison.test)}, {p_phrase(comparison.p_holm)}"


def _drift_table() -> str:
    """Return the correlation of the baseline's drift with its accuracy over the targets, by layer, with the class and without."""
    runs = results(BASELINE)
    first = next(iter(runs.values()))
    targets = [*first.summary["near"], *first.summary["far"]]
    drifts: dict[tuple[int, str], list[float]] = {}
    for run in runs.values():
        for row in read_measurements(run.folder / "measurements.parquet").itertuples():
            if (row.measure, row.moment) == ("drift_cka", "after"):
                drifts.setdefault((row.layer, row.language), []).append(row.value)
    outcomes = {without: _baseline().outcomes(without).values() for without in BOTH}
    groups = [lineage(key) for key in targets]
    rows = []
    for layer in sorted({layer for layer, _ in drifts if layer}):
        moved = [fmean(drifts[layer, key]) for key in targets]
        cells = []
        for without in BOTH:
            transfer = [fmean(outcome.accuracy[key] for outcome in outcomes[without]) for key in targets]
            test = correlate(moved, transfer, groups=groups)
            cells.append("–" if test.r is None or test.p is None else f"{test.r:+.2f}, {p_phrase(test.p)}")
        rows.append((layer, *cells))
    return Table(("layer", f"accuracy with `{WITHOUT}`", "without"), rows).markdown() + (
        f"\nSpearman's ρ of drift (1 - CKA) and accuracy, over {len(targets)} targets, means of {len(runs)} seeds; p by"
        " permutations that keep families together, of each layer by itself. Drift is that of all test texts, with the class: the"
        " models that it would be measured anew with are not kept.\n"
    )


def _baseline() -> Method:
    return next(method for method in read_study() if method.name == BASELINE)


def _wide_table() -> str:
    """Return the gains of the study of 120 languages, with the class and without it."""
    studies = [study for without in BOTH if (study := study_120.outcome(without)) is not None]
    parts: dict[str, Callable[[study_120.Target], bool]] = {
        "all": lambda _: True, "seen": lambda target: target.seen, "unseen": lambda target: not target.seen
    }  # fmt: skip
    rows = []
    for name in studies[0].methods():
        cells = []
        for belongs in parts.values():
            keys = [target.key for target in studies[0].targets if belongs(target)]
            cells += [study_120.plain_gain(study_120.tested(study, name, keys)) for study in studies]
        rows.append((f"`{name}`", *cells))
    columns = ("recipe", *(f"{part}, {wording}" for part in parts for wording in ("with", "without")))
    folder = next(iter(results_in(study_120.RESULTS / BASELINE).values())).folder
    return Table(columns, rows).markdown() + (
        f"\nAs in [study-120.md](study-120.md), each interval by itself. {_share(folder)}\n"
    )


if __name__ == "__main__":
    main()
