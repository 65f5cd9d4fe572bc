"""The scores of methods by seed and language, and what of them is complete: tests need tables without gaps."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distxfer.analysis.classes import Classes
from distxfer.analysis.items import Items

Array = npt.NDArray[np.float64]
Cells = Mapping[str, Mapping[str, float]]  # the scores of one method by seed and language, only what is there
_NAMED = 3  # methods without a seed that a line names


@dataclass(frozen=True)
class Group:
    """All methods of one model and task, and how far their languages are from the source; `collapsed` counts by method.

    Languages are near up to the distance `middle`: the median of the baseline's, whatever else is compared. `items` has
    what each run predicted, where that is known, `macro` the macro-averaged scores of the same runs, and `classes` their
    counts by class, or why there are none.
    """

    model: str
    task: str
    baseline: str
    runs: Mapping[str, Cells]
    far_from: Mapping[str, float]
    middle: float
    paired: bool
    collapsed: Mapping[str, int] | None = None
    items: Items | None = None
    macro: Mapping[str, Cells] | None = None
    classes: Classes | str = "a table of scores has no predictions"

    def belongs(self, language: str, subset: str) -> bool:
        """Return whether a language is in `all`, `near` (at most at the distance `middle`) or `far`."""
        if subset == "all":
            return True
        return language in self.far_from and (self.far_from[language] > self.middle) == (subset == "far")


def middle_of(baseline: Cells, far_from: Mapping[str, float]) -> float:
    """Return the median distance of the languages that a baseline was tested in, 0 where none has a distance."""
    tested = {code for row in baseline.values() for code in row if code in far_from}
    return float(np.median([far_from[code] for code in tested])) if tested else 0.0


@dataclass(frozen=True)
class Full:
    """Scores without gaps: (seeds, languages) for each method, all of the same languages; and what was left out for it.

    `seeds` are the rows of each method, by its name.
    """

    languages: tuple[str, ...]
    seeds: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, Array]
    dropped: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether a method has no score left."""
        return not all(one.size for one in self.scores.values())

    def of(self, belongs: Callable[[str], bool]) -> "Full":
        """Return the part of some of the languages."""
        places = [place for place, code in enumerate(self.languages) if belongs(code)]
        scores = {name: table[:, places] if table.size else table for name, table in self.scores.items()}
        return Full(tuple(self.languages[place] for place in places), self.seeds, scores, self.dropped)


def pair(group: Group, method: str, belongs: Callable[[str], bool] = lambda code: True) -> Full:
    """Return the scores of some languages that a method and the baseline both have in full."""
    return full({name: group.runs[name] for name in (method, group.baseline)}, belongs, paired=group.paired)


def full(methods: Mapping[str, Cells], belongs: Callable[[str], bool], *, paired: bool) -> Full:
    """Return the scores that all methods have in full: first of the languages that each has in some run, then `complete`."""
    tested = {
        name: {code for row in cells.values() for code in row if belongs(code)} for name, cells in methods.items()
    }
    shared, every = set.intersection(*tested.values()), set.union(*tested.values())
    languages, seeds, dropped = complete(methods, shared.__contains__, paired=paired)
    scores = {
        name: np.array([[cells[seed][language] for language in languages] for seed in seeds[name]])
        for name, cells in methods.items()
    }
    never = [f"`{code}` (not tested by `{name}`)" for name in methods for code in sorted(every - tested[name])]
    used = {name: tuple(own) for name, own in seeds.items()}
    return Full(tuple(languages), used, scores, (*never, *dropped))


def complete(
    methods: Mapping[str, Cells], belongs: Callable[[str], bool], *, paired: bool
) -> tuple[list[str], dict[str, list[str]], tuple[str, ...]]:
    """Return languages, the seeds of each method, and what was left out, such that no score is missing among them.

    Starts from all languages that occur. As long as there are gaps, the run that lacks more than half of the languages
    goes, or else the language that most runs lack. Paired methods keep only the seeds that all have.
    """
    languages = sorted({code for cells in methods.values() for row in cells.values() for code in row if belongs(code)})
    seeds = {name: sorted(cells) for name, cells in methods.items()}
    dropped: list[str] = []

    def leave_out(name: str, seed: str, why: str) -> None:
        seeds[name].remove(seed)
        dropped.append(f"seed {seed} of `{name}` ({why})")

    while True:
        if paired:
            shared = set.intersection(*map(set, seeds.values()))
            alone = dict.fromkeys(seed for own in seeds.values() for seed in own if seed not in shared)
            dropped += [_without_pair(seed, seeds) for seed in alone]
            seeds = {name: [seed for seed in own if seed in shared] for name, own in seeds.items()}
        gaps = {
            (name, seed): [code for code in languages if code not in methods[name][seed]]
            for name, own in seeds.items()
            for seed in own
        }
        if not any(gaps.values()):
            return languages, seeds, tuple(dropped)
        worst = max(gaps, key=lambda run: len(gaps[run]))
        if len(gaps[worst]) > len(languages) / 2:
            one = f"`{languages[0]}`" if len(languages) == 1 else f"{len(gaps[worst])} of {len(languages)} languages"
            leave_out(*worst, f"without {one}")
        else:
            times = Counter(code for codes in gaps.values() for code in codes)
            code = max(sorted(times), key=lambda one: times[one])
            languages.remove(code)
            dropped.append(f"`{code}` (missing in {times[code]} of {len(gaps)} runs)")


def _without_pair(seed: str, seeds: Mapping[str, list[str]]) -> str:
    """Return a seed that not all methods have, with the one that has it, of two, or else those that have it not."""
    having = [name for name, own in seeds.items() if seed in own]
    if len(seeds) == 2:
        return f"seed {seed} of `{having[0]}` (no pair)"
    lacking = [f"`{name}`" for name in seeds if name not in having]
    more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    return f"seed {seed} (not in {', '.join(lacking[:_NAMED])}{more})"
