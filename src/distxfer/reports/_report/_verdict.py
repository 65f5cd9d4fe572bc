"""The verdict of a report: what the methods do, in words, and the title of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distxfer.analysis.comparison import Comparison, Part
from distxfer.languages import language_name
from distxfer.reports._report._facts import Facts

_NAMED = 4  # a title names at most so many methods
_SHOWN = 8  # the finding on methods that are not shown to differ names at most so many


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict; `kind`, `better`, `worse`, `open` or `caution`, says how the page marks it."""

    kind: str
    text: str


def title_of(facts: Facts) -> str:
    """Return what was compared: the methods, the baseline and the task."""
    *names, last = [method.name for method in facts.methods[1:]] or [""]
    if not last:
        return f"{facts.baseline.name} on {facts.task}"
    methods = f"{', '.join(names)} and {last}" if names else last
    if len(names) >= _NAMED:
        methods = f"{len(names) + 1} methods"
    return f"{methods} against {facts.baseline.name} on {facts.task}"


def verdict_of(facts: Facts) -> list[Finding]:
    """Return which methods are better or worse than the baseline, which are not shown to differ, and cautions.

    A difference counts if p <= 0.05 after Holm. With fewer than 4 targets, each language is judged separately.
    """
    analysis, baseline = facts.comparisons, f"`{facts.baseline.name}`"
    if analysis is None:
        return [Finding("open", f"{baseline} is the only method, so there is nothing to compare it with.")]
    overall = [row for row in analysis.comparisons if row.subset == "all"]
    each = [part for row in overall for part in row.each]
    tests: list[Comparison | Part] = sorted(each or overall, key=lambda row: -row.test.effect)
    sure = [row for row in tests if row.p_holm is not None and row.p_holm <= 0.05]
    firm = [row for row in sure if not row.test.note]
    condition = ", if languages of one family are independent"
    groups = (
        ("better", f"Better than {baseline}", [row for row in firm if row.test.effect > 0]),
        (
            "better",
            f"Better than {baseline}{condition}",
            [row for row in sure if row.test.note and row.test.effect > 0],
        ),
        ("worse", f"Worse than {baseline}", [row for row in firm if row.test.effect <= 0]),
        ("worse", f"Worse than {baseline}{condition}", [row for row in sure if row.test.note and row.test.effect <= 0]),
        ("open", f"Not shown to differ from {baseline}", [row for row in tests if row not in sure]),
    )
    of = f"of {len(tests)} {'effects on single languages' if each else 'methods'}"
    before = sum(row not in sure and max(row.test.low or 0, -(row.test.high or 0)) > 0 for row in tests)
    names = {method.full_name: method.name for method in facts.methods}
    findings = [
        Finding(kind, f"{text} ({len(rows)} {of}): {_effects(rows, names, kind)}.")
        for kind, text, rows in groups
        if rows
    ]
    if before:
        text = f"Before correction for {len(tests)} tests, {before} of these intervals exclude 0."
        findings[-1] = Finding("open", f"{findings[-1].text} {text}")
    driven = [f"`{names[row.method]}`" for row in overall if row in sure and row.carried]
    if driven:
        text = "Without one class, language or family these effects change sign or lose more than half of their size"
        findings.append(Finding("caution", f"{text}: {', '.join(driven)}."))
    collapsed = [f"`{method.name}` ({len(method.collapsed)})" for method in facts.methods if method.collapsed]
    if collapsed:
        findings.append(Finding("caution", f"Collapsed runs, excluded from means and tests: {', '.join(collapsed)}."))
    return findings


def _effects(rows: Sequence[Comparison | Part], names: dict[str, str], kind: str) -> str:
    """Return the methods with their effects in points, and the language of a test on a single one."""
    shown = rows[:_SHOWN] if kind == "open" else rows[:: -1 if kind == "worse" else 1]
    texts = [
        f"`{names[row.method]}`{f' in {language_name(row.part)}' if isinstance(row, Part) else ''} {100 * row.test.effect:+.1f}"
        for row in shown
    ]
    return ", ".join([*texts, *([f"and {len(rows) - len(shown)} more"] if len(shown) < len(rows) else [])])
