"""The report: one self-contained page and its figures for a paper, made from result files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distxfer._durable import atomic_file
from distxfer.errors import InputError
from distxfer.reports.vega import check_packages

if TYPE_CHECKING:  # it brings scipy
    from distxfer.reports.page.facts import Facts
    from distxfer.reports.page.figures import Section


@dataclass(frozen=True)
class Report:
    """What was written: the page and its size in bytes, the figures, and what the report leaves out."""

    page: Path
    size: int
    figures: tuple[Path, ...]
    methods: int
    runs: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def record(self) -> dict[str, object]:
        """Return the report as JSON data."""
        files = {"page": str(self.page), "figures": [str(path) for path in self.figures]}
        return {**vars(self), **files, "left_out": list(self.left_out), "notes": list(self.notes)}


def report(
    names: Sequence[str] = (),
    out: Path = Path("report.html"),
    *,
    results: Path = Path("results"),
    baseline: str = "",
    distances: Sequence[str] = (),
    figures: Path | None = None,
) -> Report:
    """Write the report of finished runs as one HTML file, and its figures as PNG, SVG and PDF into a folder.

    `names` are recipes, folders of runs, or runs; by default everything below `results`. The baseline defaults to the first
    name, or to `plain` if no names are given. The page offers `distances`, the first as the main one. Unreadable results are
    left out and named. The page is written atomically.

    Raises InputError for names without results, an unknown baseline or distance, paths that cannot be written, or missing
    packages.
    """
    check_report(out, figures)
    from distxfer.reports.page.facts import facts_of
    from distxfer.reports.page.figures import write_figures
    from distxfer.reports.page.html import page_text
    from distxfer.results.collect import collect_against
    from distxfer.results.result import unverified

    collection, baseline = collect_against(names, baseline, results)
    words = [*names, *(["--results", str(results)] if results != Path("results") else [])]
    facts = facts_of(collection, baseline, distances, words)
    sections = sections_of(facts)
    try:
        drawn = [figure for section in sections for figure in section.figures]
        written = write_figures(drawn, facts.baseline.name, figures) if figures else []
        with atomic_file(out) as aside:
            aside.write_text(
                page_text(facts, sections), encoding="utf-8", errors="replace"
            )  # names may contain lone surrogates
    except OSError as error:
        raise InputError(f"`{error.filename or out}` cannot be written: {error.strerror}. Choose another.") from error
    runs = [run for method in facts.methods for run in method.method.runs]
    notes = (*facts.notes, *unverified(runs))
    return Report(out, out.stat().st_size, tuple(written), len(facts.methods), len(runs), facts.left_out, notes)


def check_report(out: Path, figures: Path | None) -> None:
    """Raise InputError for paths that cannot be written or missing packages, before anything is computed."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"`{out}` is not the name of a page; expected one that ends in `.html`.")
    for path in (out, *([figures] if figures else [])):
        if not path.absolute().parent.is_dir():
            raise InputError(f"The folder of `{path}` does not exist. Create it first, or choose another.")
    if figures and figures.exists() and not figures.is_dir():
        raise InputError(f"`{figures}` is not a folder; expected one for the figures. Choose another.")
    check_packages("A report")


def sections_of(facts: Facts) -> list[Section]:
    """Return the sections of the report that have content, in order."""
    from distxfer.reports.page.distance import drift_against, transfer
    from distxfer.reports.page.effects import by_language, comparison
    from distxfer.reports.page.layers import alignment, drift
    from distxfer.reports.page.provenance import configuration, provenance
    from distxfer.reports.page.training import cost, curves

    makers: list[Callable[[Facts], Section | None]] = [
        comparison, transfer, by_language, drift, drift_against, alignment, curves, cost, configuration, provenance,
    ]  # fmt: skip
    return [section for section in (make(facts) for make in makers) if section is not None]
