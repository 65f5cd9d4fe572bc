"""Published results that a run is compared with: a baseline far below its range says so itself."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from statistics import fmean

from distxfer.config.files import references_file
from distxfer.results.result import Result


@dataclass(frozen=True)
class Reference:
    """Published zero-shot scores, as fractions by language, of the models whose names fit; `margin` is still in range."""

    models: tuple[str, ...]
    task: str
    metric: str
    margin: float
    source: str
    scores: Mapping[str, float]

    def is_of(self, result: Result) -> bool:
        """Return whether a result is of such a model, on this task, zero-shot."""
        recipe = result.data["recipe"]
        name = str(recipe["model"]["name"]).rsplit("/", 1)[-1].lower()
        right = recipe["task"]["name"] == self.task and recipe["task"]["shots"] == 0 and result.metric == self.metric
        return right and any(fnmatch(name, pattern) for pattern in self.models)


@cache
def references() -> tuple[Reference, ...]:
    """Return all published results."""
    tables = tomllib.loads(references_file().read_text(encoding="utf-8"))["reference"]
    return tuple(Reference(**{**one, "models": tuple(one["models"])}) for one in tables)


def far_below(result: Result) -> list[str]:
    """Return what there is to say of a run that lies more than the margin below what is published for its model and task.

    The source's score is compared with the source's, and the mean of the targets that both have with theirs.
    """
    said = []
    for one in references():
        if not one.is_of(result):
            continue
        source = str(result.data["source"])
        targets = [score["language"] for score in result.scores if score["language"] != source]
        shared = [language for language in dict.fromkeys(targets) if language in one.scores]
        for what, languages in ((f"`{source}`", [source]), (f"The mean of {len(shared)} targets", shared)):
            if not languages or any(language not in one.scores for language in languages):
                continue
            ours = fmean(result.score(language) for language in languages)
            published = fmean(one.scores[language] for language in languages)
            if ours < published - one.margin:
                said.append(
                    f"{what}: {100 * ours:.1f} is {100 * (published - ours):.1f} points below the published"
                    f" {100 * published:.1f} ({one.source}). Check the learning rate, the epochs and whether the run collapsed."
                )
    return said
