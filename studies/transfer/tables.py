"""The tables of the registered study: `python -m studies.transfer.study --tables` writes `table.md` and docs/evidence.md."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from distxfer.config.files import recipe_files
from distxfer.config.recipe import load_recipe
from distxfer.measure import Crossed
from distxfer.reports.tables import Table
from studies.transfer.outcome import corrected, scores
from studies.transfer.protocol import ROOT, Contrast, Method, Protocol, Registration
from studies.transfer.records import KEYS, RESULTS, read_runs
from studies.transfer.relations import relations_table
from studies.transfer.runs import Runs, finished_runs, read_task

PAGE, EVIDENCE = (Path(__file__).with_name(name) for name in ("table.md", "evidence.toml"))
SUMMARY = ROOT / "docs" / "evidence.md"
Judged = Sequence[tuple[Contrast, Crossed | None, float]]  # contrasts with test and p of Holm: see `judged`
ENGLISH_MAY_LOSE, LANGUAGE_MAY_LOSE = -2.0, -3.0  # points
NOTE = """\
- Accuracy is averaged over classes (`macro_accuracy`), then over languages and seeds; *far* are the test languages above the
  median distance.
- *gain*: over the method's baseline on the far languages, in points, with the 95 % interval of the family-aware crossed test on
  common seeds, once all registered ones are there; *gap*: the share of the distance from `plain` to `ceiling` that this is.
- *English ≥*, *lowest ≥*: one-sided 95 % lower bound of the gain in English, and the least of the simultaneous ones of all
  test languages: of other seeds on these test items, and of other items too. *safe for English*: that of other seeds is above -2
  points; *safe*: the lowest is above -3.
- *refuted*: the interval ends below the registered value.
- *lowest without a class*, *a language*, *a family*: the lowest gain that is left without any one of them.
- *without twins*: without test items that share half of their words with a text that training may read. Fewer classes count then;
  *same classes with twins* is the gain over these classes with all of their items.
- *rho*: Spearman's correlation over the test languages, of means over seeds, with p by permutations that keep families and areas
  together; *detectable*: the smallest that as many unrelated languages show with 80 % power. *lost*: accuracy in English less
  that of the language; *drift*: that of `plain`, mean over blocks; *script*: whether it is another; *tokens*: per test text."""


def pages(protocol: Protocol, registered: Registration, results: Path = RESULTS) -> tuple[str, str, str]:
    """Return the page of all tables, their summary and the TOML for `new-language`, of the runs with the registered settings."""
    every, recorded = read_runs(results), finished_runs(protocol, results)
    tasks = {
        task: read_task(protocol, task, recorded, results) for task in protocol.task if task in set(recorded["task"])
    }
    without = {task: replace(runs, twins=False) for task, runs in tasks.items()}
    contrasts = judged(protocol, tasks)
    verdicts, stability = contrast_table(protocol, tasks, contrasts), stability_table(tasks, without, contrasts)
    tables = [verdicts, stability]
    tables += [task_table(runs) for task in tasks for runs in (tasks[task], without[task])]
    tables.append(relations_table(protocol, tasks, results))
    earlier = recorded[recorded["protocol"] != registered.hash]
    mixed = recorded.groupby(KEYS[:2])[["recipe", "arithmetic"]].transform("nunique").max(axis=1) > 1
    foreign = every.merge(recorded, how="left", indicator=True).query("_merge == 'left_only'")
    head = (
        f"Protocol `{registered.hash}`, registered by the commit `{registered.commit}` of {registered.date}."
        f" Finished: {len(recorded)} of {len(protocol.runs())} runs."
    )
    text = (
        "\n\n".join(
            [
                "# Results of the study `transfer`",
                head,
                *(
                    f"{len(runs)} of them under the earlier version `{version}`, which asks for the same of them."
                    for version, runs in earlier.groupby("protocol")
                ),
                *_named("Collapsed, and counted as they are", recorded[recorded["status"] == "collapsed"]),
                *_named("With other arithmetic, data or code than runs of other seeds", recorded[mixed]),
                *_named("With other settings than the protocol, and left out", foreign),
                NOTE,
                *(f"## {table.title[0].upper()}{table.title[1:]}\n\n{table.markdown().rstrip()}" for table in tables),
                *(f"Far languages of {task}: {', '.join(runs.far)}." for task, runs in tasks.items()),
            ]
        )
        + "\n"
    )
    return text, f"{head}\n\n{summary(verdicts, stability)}", evidence(protocol, registered, tasks, contrasts)


def task_table(runs: Runs) -> Table:
    """Return the means and gains of all methods on a task."""
    columns = (
        "method",
        "given",
        "seeds",
        "English",
        "all",
        "far",
        "gap",
        "gain (far)",
        "p",
        "English ≥",
        "lowest ≥",
    )
    rows: list[tuple[Any, ...]] = []
    for method, right in runs.right.items():
        of, means = runs.protocol.method[method], 100 * runs.scores(method).mean()
        shown = [f"{means[[*part]].mean():.1f}" for part in ([runs.protocol.source], runs.targets, runs.far)]
        closed = runs.closed(method)
        test = None if method == of.baseline else runs.test(method, of.baseline)
        bounds = [_points(bound) for bound in ([None] * 4 if test is None else runs.bounds(method, of.baseline))]
        english, lowest = f"{bounds[0]} / {bounds[1]}", f"{bounds[2]} / {bounds[3]}"
        gap = None if closed is None else f"{closed:.0%}"
        rows.append((method, of.given, len(right), *shown, gap, _effect(test), _p(test and test.p), english, lowest))
    left_out = len(runs.all_items if runs.twins else runs.all_items[~runs.all_items["twin"]]) - len(runs.items)
    title = f"{runs.task}{'' if runs.twins else ' without twins'}: {len(runs.items):,} test items"
    title += f", and {left_out:,} of classes with fewer than {runs.protocol.task[runs.task].fewest_items} in a language"
    title += f"; {len(runs.targets)} languages, {len(runs.far)} far"
    return Table(columns, rows, title)


def judged(protocol: Protocol, tasks: Mapping[str, Runs]) -> list[tuple[Contrast, Crossed | None, float]]:
    """Return each registered contrast with its test and the p of Holm; one without a test has p = 1 in the correction."""
    tests = [tasks[row.task].test(row.method, row.baseline) if row.task in tasks else None for row in protocol.contrast]
    p_holm = corrected([row.claims for row in protocol.contrast], tests)
    return [*zip(protocol.contrast, tests, p_holm, strict=True)]


def is_shown(protocol: Protocol, test: Crossed, p_holm: float) -> bool:
    """Return whether a contrast shows a gain."""
    return p_holm <= protocol.alpha and test.effect > 0


def contrast_table(protocol: Protocol, tasks: Mapping[str, Runs], contrasts: Judged) -> Table:
    """Return the registered contrasts with their verdicts."""
    rows = []
    for row, test, p_holm in contrasts:
        methods = f"{row.method} - {row.baseline}"
        if test is None:
            rows.append((row.name, row.claims, row.task, methods, *[None] * 5, *[""] * 4))
            continue
        english, _, lowest, _ = tasks[row.task].bounds(row.method, row.baseline)
        verdicts = [
            _verdict(is_shown(protocol, test, p_holm)),
            _verdict(test.high is not None and 100 * test.high < row.refuted_below),
            _verdict(english > ENGLISH_MAY_LOSE),
            _verdict(lowest > LANGUAGE_MAY_LOSE),
        ]
        tested = (test.n_seeds, test.n_families, _effect(test), _p(test.p), _p(p_holm))
        rows.append((row.name, row.claims, row.task, methods, *tested, *verdicts))
    columns = ("contrast", "claims", "task", "methods", "seeds", "families", "gain (far)", "p", "p (Holm)")
    return Table((*columns, "shown", "refuted", "safe for English", "safe"), rows, "registered contrasts")


def stability_table(tasks: Mapping[str, Runs], without: Mapping[str, Runs], contrasts: Judged) -> Table:
    """Return what is left of each contrast without any one class, language or family, without twins, and by seed."""
    rows = []
    for row, test, _ in contrasts:
        if test is None:
            continue
        runs, lowest = tasks[row.task], tasks[row.task].lowest_without(row.method, row.baseline)
        by_seed = scores(runs.items, runs.differences(row.method, row.baseline))[[*runs.far]].mean(axis=1)
        left = [_points(100 * lowest[kind]) for kind in ("class", "language", "family")]
        other = without[row.task].test(row.method, row.baseline)
        same = other and runs.gain_in_classes_of(without[row.task], row.method, row.baseline)
        seeds = f"{_points(100 * by_seed.min())} to {_points(100 * by_seed.max())}"
        methods, same_classes = f"{row.method} - {row.baseline}", _points(same and 100 * same)
        rows.append(
            (
                row.task,
                methods,
                _points(100 * test.effect),
                *left,
                seeds,
                _effect(other),
                _p(other and other.p),
                same_classes,
            )
        )
    columns = (
        *(
            "task",
            "methods",
            "gain (far)",
            "lowest without a class",
            "without a language",
            "without a family",
            "by seed",
        ),
        *("without twins", "p without twins", "same classes with twins"),
    )
    return Table(columns, rows, "robustness of the contrasts")


def summary(contrasts: Table, stability: Table) -> str:
    """Return the registered contrasts with what they survive, for docs/evidence.md, in Markdown."""
    survives = {(row["task"], row["methods"]): row for row in stability.records()}
    columns = (
        "contrast",
        "task",
        "methods",
        "seeds",
        "gain (far)",
        "p (Holm)",
        "shown",
        "refuted",
        "safe for English",
        "safe",
    )
    survived = ("lowest without a class", "without a family", "without twins", "same classes with twins")
    rows = [
        (
            *(row[column] for column in columns),
            *(survives.get((row["task"], row["methods"]), {}).get(column) for column in survived),
        )
        for row in contrasts.records()
    ]
    return Table((*columns, *survived), rows).markdown()


def evidence(protocol: Protocol, registered: Registration, tasks: Mapping[str, Runs], contrasts: Judged) -> str:
    """Return the contrasts with `plain` that `distxfer new-language` reads, as TOML."""
    lines = [
        "# Registered contrasts of recipes with `plain` on far languages, in points; `distxfer new-language` reads it.",
        f'protocol = "{registered.hash}"',
        "" if any(test for _, test, _ in contrasts) else "effect = []\n",
    ]
    for row, test, p_holm in contrasts:
        method = protocol.method[row.method]
        if test is None or row.baseline != "plain":
            continue
        lines += [
            "[[effect]]",
            f'recipe = "{_shipped_recipe(row.method, method)}"',
            f'task = "{row.task}"',
            f'given = "{method.given}"',
            f"seeds = {test.n_seeds}",
            f"languages = {test.n_languages}",
            *(f"{key} = {100 * getattr(test, key):.4g}" for key in ("effect", "low", "high")),
            f"lowest = {tasks[row.task].bounds(row.method, row.baseline)[2]:.4g}",
            f"p = {p_holm:.4g}",
            f"shown = {str(is_shown(protocol, test, p_holm)).lower()}",
            "",
        ]
    return "\n".join(lines)


def _shipped_recipe(name: str, method: Method) -> str:
    """Return the recipe with the settings of a method: the one of its name, if there is one, or the one it overrides."""
    path = recipe_files().get(name)
    own = load_recipe(str(ROOT / method.recipe), [*method.settings]).resolved() | {"name": name}
    return name if path and load_recipe(str(path)).resolved() == own else Path(method.recipe).stem


def _verdict(holds: bool) -> str:
    return "yes" if holds else "no"


def _named(heading: str, runs: pd.DataFrame) -> list[str]:
    names = ["`{}`, `{}`, seed {}".format(*run) for run in runs[KEYS].itertuples(index=False)]
    return [f"{heading}: {'; '.join(names)}."] if names else []


def _effect(test: Crossed | None) -> str | None:
    if test is None:
        return None
    interval = (
        "" if test.low is None or test.high is None else f" [{_points(100 * test.low)}, {_points(100 * test.high)}]"
    )
    return f"{_points(100 * test.effect)}{interval}"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"


def _p(p: float | None) -> str | None:
    return None if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
