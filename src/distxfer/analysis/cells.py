"""Wide tables of scores (seeds x languages), reduced until they have no gaps, as the tests require."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from distxfer.analysis.classes import Classes
from distxfer.analysis.items import Items

Array = npt.NDArray[np.float64]
Wide = Mapping[str, pd.DataFrame]  # by method: seeds x languages, NaN where there is no score
_NAMED = 3  # methods without a seed that a line names


@dataclass(frozen=True)
class Group:
    """All methods of one model and task, with the distance of each language from the source.

    Languages are near up to the distance `middle`, the median over the baseline's languages. `collapsed` counts collapsed runs by
    method, `items` has the correct items of each run, `macro` the macro-averaged scores, and `classes` the counts by
    class, or the reason why there are none.
    """

    model: str
    task: str
    baseline: str
    scores: Wide
    far_from: Mapping[str, float]
    middle: float
    paired: bool
    collapsed: Mapping[str, int] | None = None
    items: Items | None = None
    macro: Wide | None = None
    classes: Classes | str = "a table of scores has no predictions"

    @property
    def others(self) -> list[str]:
        """All methods except the baseline."""
        return [method for method in self.scores if method != self.baseline]

    def belongs(self, language: str, subset: str) -> bool:
        """Return whether a language is in the subset `all`, `near` (distance at most `middle`) or `far`."""
        if subset == "all":
            return True
        return language in self.far_from and (self.far_from[language] > self.middle) == (subset == "far")


def wide(scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return tidy scores (`method`, `seed`, `language`, `value`) as a table of seeds x languages for each method."""
    return {
        str(method): rows.pivot(index="seed", columns="language", values="value")
        for method, rows in scores.groupby("method", sort=False)
    }


def middle_of(baseline: pd.DataFrame, far_from: Mapping[str, float]) -> float:
    """Return the median distance of the languages that the baseline was tested in; 0 if no distance is known."""
    distances = [far_from[code] for code in baseline.columns if code in far_from]
    return float(np.median(distances)) if distances else 0.0


@dataclass(frozen=True)
class Full:
    """Scores without gaps: (seeds, languages) for each method, with the same languages.

    `seeds` names the rows of each method; `dropped` lists what was left out.
    """

    languages: tuple[str, ...]
    seeds: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, Array]
    dropped: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether some method has no scores."""
        return not all(table.size for table in self.scores.values())

    def of(self, belongs: Callable[[str], bool]) -> "Full":
        """Return the scores of the languages for which `belongs` is true."""
        places = [place for place, code in enumerate(self.languages) if belongs(code)]
        scores = {name: table[:, places] for name, table in self.scores.items()}
        return Full(tuple(self.languages[place] for place in places), self.seeds, scores, self.dropped)


def pair(group: Group, method: str, belongs: Callable[[str], bool] = lambda code: True) -> Full:
    """Return the complete scores of a method and the baseline."""
    return full({name: group.scores[name] for name in (method, group.baseline)}, belongs, paired=group.paired)


def full(tables: Wide, belongs: Callable[[str], bool] = lambda code: True, *, paired: bool) -> Full:
    """Return the complete scores of all methods: languages tested by all of them, then reduced by `complete`."""
    tested = {name: {code for code in table.columns if belongs(code)} for name, table in tables.items()}
    shared, every = sorted(set.intersection(*tested.values())), set.union(*tested.values())
    never = [f"`{code}` (not tested by `{name}`)" for name in tables for code in sorted(every - tested[name])]
    table = complete({name: table[shared] for name, table in tables.items()}, paired=paired)
    return replace(table, dropped=(*never, *table.dropped))


def complete(tables: Wide, *, paired: bool) -> Full:
    """Return the scores without the seeds and languages that cause gaps, which `dropped` lists.

    Starts from all languages. While there are gaps, drops the run that lacks most languages if it lacks more than half, else the
    language that most runs lack. Paired methods keep only common seeds.
    """
    scores = pd.concat(tables, names=["method", "seed"]).sort_index(axis=1)
    dropped: list[str] = []
    while True:
        if paired:
            runs_of_seed = scores.groupby(level="seed").size()
            alone = [seed for seed in scores.index.unique("seed") if runs_of_seed[seed] < len(tables)]
            dropped += [_without_pair(seed, list(tables), scores.index) for seed in alone]
            scores = scores.drop(index=alone, level="seed")
        gaps = scores.isna().to_numpy()
        if not gaps.any():
            break
        languages = list(scores.columns)
        by_run, by_language = gaps.sum(axis=1), gaps.sum(axis=0)
        if by_run.max() > len(languages) / 2:
            method, seed = scores.index[by_run.argmax()]
            lacking = f"`{languages[0]}`" if len(languages) == 1 else f"{by_run.max()} of {len(languages)} languages"
            dropped.append(f"seed {seed} of `{method}` (without {lacking})")
            scores = scores.drop(index=[(method, seed)])
        else:
            code = languages[by_language.argmax()]
            dropped.append(f"`{code}` (missing in {by_language.max()} of {len(scores)} runs)")
            scores = scores.drop(columns=code)
    methods = scores.index.get_level_values("method")
    parts = {name: scores[methods == name] for name in tables}
    return Full(
        languages=tuple(scores.columns),
        seeds={name: tuple(part.index.get_level_values("seed")) for name, part in parts.items()},
        scores={name: np.ascontiguousarray(part.to_numpy()) for name, part in parts.items()},
        dropped=tuple(dropped),
    )


def _without_pair(seed: str, methods: list[str], runs: pd.Index) -> str:
    """Return the note on a seed that some methods lack: who has it, for two methods, else who lacks it."""
    lacking = [f"`{method}`" for method in methods if (method, seed) not in runs]
    if len(methods) == 2:
        (having,) = (method for method in methods if (method, seed) in runs)
        return f"seed {seed} of `{having}` (no pair)"
    remaining = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    return f"seed {seed} (not in {', '.join(lacking[:_NAMED])}{remaining})"
