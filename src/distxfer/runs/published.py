"""Compares runs with published results, so that a baseline far below them is noticed."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from statistics import fmean

from distxfer.config.files import REFERENCES
from distxfer.results.result import Result


@dataclass(frozen=True)
class Reference:
    """Published zero-shot scores (fractions) by language, for models whose names match `models`, with a tolerance `margin`."""

    models: tuple[str, ...]
    task: str
    metric: str
    margin: float
    source: str
    scores: Mapping[str, float]

    def is_of(self, result: Result) -> bool:
        """Return whether a result is a zero-shot result of such a model on this task."""
        recipe = result.recipe
        name = str(recipe["model"]["name"]).rsplit("/", 1)[-1].lower()
        comparable = (
            recipe["task"]["name"] == self.task and recipe["task"]["shots"] == 0 and result.metric == self.metric
        )
        return comparable and any(fnmatch(name, pattern) for pattern in self.models)


@cache
def references() -> tuple[Reference, ...]:
    """Return all published results."""
    tables = tomllib.loads(REFERENCES.read_text(encoding="utf-8"))["reference"]
    return tuple(Reference(**{**table, "models": tuple(table["models"])}) for table in tables)


def far_below(result: Result) -> list[str]:
    """Return notes if a run is more than the margin below the published scores for its model and task.

    Compared are the source scores, and the means over the targets that both have.
    """
    notes = []
    scores, source = result.by_language(), result.source
    for reference in (reference for reference in references() if reference.is_of(result)):
        shared = [language for language in scores if language in reference.scores]
        targets = [language for language in shared if language not in result.sources]
        subjects = {f"`{source}`": [source] * (source in shared), f"The mean of {len(targets)} targets": targets}
        for subject, languages in subjects.items():
            if not languages:
                continue
            measured = fmean(scores[language] for language in languages)
            published = fmean(reference.scores[language] for language in languages)
            if measured < published - reference.margin:
                notes.append(
                    f"{subject}: {100 * measured:.1f} is {100 * (published - measured):.1f} points below the"
                    f" published {100 * published:.1f} ({reference.source}). Check the learning rate, the epochs and"
                    " whether the run collapsed."
                )
    return notes
