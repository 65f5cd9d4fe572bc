"""Print how often `correlate` finds something at p <= 0.05 where there is nothing, and where there is something.

Two values per language, each the sum of a part that its family shares, a part that its branch shares, and a part of
its own; between the values no correlation, or one of 0.6 in every part. Three tests: without `groups`, with families,
and with families and branches. Where the branches share nothing, the last two are the same test.

Then the same for real languages with their places: those of the study of 120 languages, and 40 drawn from them. There
50 or 80 % of the variance is areal, a Gaussian process over great-circle distance with the covariance exp(-d / range), and 20
or 10 % is the family's. Tests: without `groups`, with families and branches, and with `permutation_groups` (areas before these).

    python studies/simulations/correlation_error_rates.py [runs] [seed]        some 10 minutes for 1000 runs
"""

import sys
from collections.abc import Sequence
from itertools import product

import numpy as np

from distxfer.data._cldr import LANGUAGES
from distxfer.languages import coordinates, lineage, permutation_groups
from distxfer.measure import correlate

# Languages by family; the first family of the larger sets has three branches, as Indo-European has in most test sets.
LAYOUTS = {
    "12 in 6 (6 2 1 1 1 1)": (6, 2, 1, 1, 1, 1),
    "12 in 8 (5 and singles)": (5, *[1] * 7),
    "30 in 6 (5 each)": (5,) * 6,
    "34 in 4 (17 8 5 4)": (17, 8, 5, 4),
    "34 in 12 (17 4 3 2 1 ...)": (17, 4, 3, 2, *[1] * 8),
}
SHARES = ((0.0, 0.0), (0.5, 0.0), (0.9, 0.0), (0.3, 0.5))  # of the variance: the family's, the branch's
DRAWS = 499
MIXES = ((0.5, 0.2), (0.8, 0.1))  # of the variance of real languages: areal, the family's
RANGES = (1000.0, 2000.0, 4000.0)

Paths = list[tuple[int, ...]]


def paths(sizes: Sequence[int]) -> Paths:
    """Return (family, branch) per language; only the first family has branches, and only if it is large."""
    members: Paths = []
    for family, size in enumerate(sizes):
        branches = 3 if family == 0 and size > 10 else 1
        members += [(family, member * branches // size) for member in range(size)]
    return members


def values(groups: Paths, family: float, branch: float, rho: float, generator: np.random.Generator) -> np.ndarray:
    """Return x and y per language, (2, n), that correlate by rho in each of their parts."""

    def part(labels: Sequence[object]) -> np.ndarray:
        distinct = sorted(set(labels), key=str)
        x, noise = generator.standard_normal((2, len(distinct)))
        y = rho * x + (1 - rho**2) ** 0.5 * noise
        return np.stack([x, y])[:, [distinct.index(label) for label in labels]]

    alone = 1 - family - branch
    shared = family**0.5 * part([path[0] for path in groups]) + branch**0.5 * part(groups)
    correlated: np.ndarray = shared + alone**0.5 * part(range(len(groups)))
    return correlated


def rates(groups: Paths, family: float, branch: float, rho: float, runs: int, seed: int) -> tuple[float, float, float]:
    """Return the share of runs with p <= 0.05: without groups, with families, with families and branches."""
    generator = np.random.default_rng(seed)
    groupings = (None, [path[0] for path in groups], groups)
    false_positives = np.zeros(3)
    for run in range(runs):
        x, y = values(groups, family, branch, rho, generator)
        answers = [correlate(x, y, groups=some, draws=DRAWS, seed=run) for some in groupings]
        false_positives += [answer.p is not None and answer.p <= 0.05 for answer in answers]
    none, families, branches = (false_positives / runs).tolist()
    return none, families, branches


def distances(keys: Sequence[str]) -> np.ndarray:
    """Return the great-circle distances between languages in kilometres."""
    latitude, longitude = np.radians([coordinates(key) for key in keys]).T
    axes = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)
    return np.asarray(6371 * np.arccos(np.clip(np.transpose(axes) @ np.array(axes), -1, 1)))


def areal_rates(
    keys: Sequence[str], mix: tuple[float, float], reach: float, rho: float, runs: int, seed: int
) -> list[float]:
    """Return the share of runs with p <= 0.05: without groups, with families and branches, and with areas before these."""
    generator = np.random.default_rng(seed)
    root = np.linalg.cholesky(np.exp(-distances(keys) / reach) + 1e-9 * np.eye(len(keys)))
    families = [lineage(key)[:1] or (key,) for key in keys]
    member = np.array([[family == column for column in dict.fromkeys(families)] for family in families], dtype=float)
    groupings = (None, [lineage(key) for key in keys], permutation_groups(keys))
    false_positives = np.zeros(3)
    for run in range(runs):
        x = y = np.zeros(len(keys))
        for share, mixing in ((mix[0], root), (mix[1], member), (1 - sum(mix), np.eye(len(keys)))):
            signal, noise = generator.standard_normal((2, mixing.shape[1]))
            x = x + share**0.5 * mixing @ signal
            y = y + share**0.5 * mixing @ (rho * signal + (1 - rho**2) ** 0.5 * noise)
        answers = [correlate(x, y, groups=some, draws=DRAWS, seed=run) for some in groupings]
        false_positives += [answer.p is not None and answer.p <= 0.05 for answer in answers]
    return [float(rate) for rate in false_positives / runs]


def print_areal(runs: int, seed: int) -> None:
    """Print the rates of real languages, a row per set and range of the areal part."""
    keys = sorted({key.partition("_")[0] for key in LANGUAGES} - {"eng"})
    drawn = sorted(np.random.default_rng(40).choice(keys, 40, replace=False).tolist())
    print(f"\nreal languages, families and places: p <= 0.05 in percent of {runs} runs")
    print(f"{'languages':9}{'areal':>9}{'family':>10}{'range, km':>20}{'no correlation':>26}{'0.6 in every part':>26}")
    print(f"{'':48}{'naive':>10}{'branch':>8}{'areas':>8}{'naive':>10}{'branch':>8}{'areas':>8}")
    for chosen, mix, reach in product((drawn, keys), MIXES, RANGES):
        shown = [rate for rho in (0.0, 0.6) for rate in areal_rates(chosen, mix, reach, rho, runs, seed)]
        cells = "".join(f"{100 * rate:{10 if i % 3 == 0 else 8}.1f}" for i, rate in enumerate(shown))
        print(f"{len(chosen):<9}{mix[0]:9.1f}{mix[1]:10.1f}{reach:20.0f}{cells}", flush=True)


def main() -> None:
    """Print the table, a row per set of families and what they share."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print(f"p <= 0.05 in percent of {runs} runs, Spearman, seed {seed}, {DRAWS} draws")
    print(f"{'languages in families':28}{'shared by':>20}{'no correlation':>26}{'0.6 in every part':>26}")
    heads = f"{'naive':>10}{'family':>8}{'branch':>8}"
    print(f"{'':28}{'family':>10}{'branch':>10}{heads}{heads}")
    for name, sizes in LAYOUTS.items():
        groups = paths(sizes)
        for family, branch in SHARES:
            if branch and sizes[0] <= 10:
                continue
            shown = (*rates(groups, family, branch, 0.0, runs, seed), *rates(groups, family, branch, 0.6, runs, seed))
            cells = "".join(f"{100 * rate:{10 if i % 3 == 0 else 8}.1f}" for i, rate in enumerate(shown))
            print(f"{name:28}{family:10.1f}{branch:10.1f}{cells}", flush=True)
    print_areal(runs, seed)


if __name__ == "__main__":
    main()
