"""Print how often the comparison of methods errs, from simulation: false positives, coverage and power.

    python studies/simulations/error_rates.py [--draws 10000] [--power]

Truth: d_sl = effect + seed_s + language_l + noise_sl, normal, with the standard deviations of the rows in units of that
of the noise. A false positive is p <= 0.05 at an effect of 0; coverage is how often the 95 % interval holds the effect
(here it is one less the false positives, since the interval is the test's inverse, and it is counted all the same).
Power is at an effect of 3 true standard errors of the mean, where a test that knew all variances has 85 %.

`paired` is `crossed` on tables of differences; `unpaired` is `crossed_unpaired` on two tables with half the variance of
seeds and noise each; `satterthwaite` is the usual t test with Satterthwaite's degrees of freedom, `pooled` the t test
that takes all cells for independent: both for comparison only.
"""

import argparse
import itertools
from collections.abc import Callable

import numpy as np
from scipy.special import stdtr

from distxfer.measure import crossed, crossed_unpaired
from distxfer.reports.tables import Table

SEEDS, LANGUAGES = (3, 5, 10), (8, 13, 34)
SPREADS = ((0.0, 0.0), (0.0, 0.3), (0.0, 1.0), (0.0, 3.0), (0.3, 0.0), (1.0, 0.0), (3.0, 0.0),
           (0.3, 0.3), (0.3, 1.0), (1.0, 0.3), (1.0, 1.0), (1.0, 1.6), (1.0, 3.0), (3.0, 1.0), (3.0, 3.0))  # fmt: skip
Draw = Callable[[np.random.Generator, int, int, float, float, float], np.ndarray]


def draw(
    generator: np.random.Generator, seeds: int, languages: int, seed_sd: float, language_sd: float, effect: float
) -> np.ndarray:
    """Return one table of differences (seeds, languages)."""
    return (
        effect
        + seed_sd * generator.standard_normal((seeds, 1))
        + language_sd * generator.standard_normal((1, languages))
        + generator.standard_normal((seeds, languages))
    )


def two_tables(
    generator: np.random.Generator, seeds: int, languages: int, seed_sd: float, language_sd: float, effect: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return a method's table and a baseline's, whose difference has the variances of `draw`."""
    half = np.sqrt(0.5)
    method, baseline = (
        half * (seed_sd * generator.standard_normal((seeds, 1)) + generator.standard_normal((seeds, languages)))
        for _ in range(2)
    )
    hard = 3 * generator.standard_normal((1, languages))  # how hard a language is, for both
    return method + hard + effect + language_sd * generator.standard_normal((1, languages)), baseline + hard


def satterthwaite(table: np.ndarray) -> float:
    """Return the p value of the usual test: MS_S + MS_L - MS_E over its approximate degrees of freedom."""
    seeds, languages = table.shape
    by_seed, by_language = table.mean(1), table.mean(0)
    residual = table - by_seed[:, None] - by_language + table.mean()
    df = np.array([seeds - 1, languages - 1, (seeds - 1) * (languages - 1)])
    squares = np.array([languages * by_seed.var(ddof=1), seeds * by_language.var(ddof=1), (residual**2).sum() / df[2]])
    total = max(squares[0] + squares[1] - squares[2], squares[2])
    return float(2 * stdtr(total**2 / (squares**2 / df).sum(), -abs(table.mean()) / np.sqrt(total / table.size)))


def pooled(table: np.ndarray) -> float:
    """Return the p value of the t test that takes all cells for independent."""
    error = table.std(ddof=1) / np.sqrt(table.size)
    return float(2 * stdtr(table.size - 1, -abs(table.mean()) / error))


def rates(
    seeds: int, languages: int, spread: tuple[float, float], draws: int, *, power: bool, start: int = 0
) -> dict[str, float]:
    """Return the rates of one setting, as fractions of `draws`."""
    generator = np.random.default_rng([start, seeds, languages, *(round(100 * sd) for sd in spread)])
    true_error = np.sqrt(spread[0] ** 2 / seeds + spread[1] ** 2 / languages + 1 / (seeds * languages))
    effect = 3 * true_error
    counts = dict.fromkeys(("paired", "coverage", "unpaired", "coverage unpaired", "satterthwaite", "pooled"), 0)
    if power:
        counts |= {"power": 0, "power unpaired": 0}
    for _ in range(draws):
        table = draw(generator, seeds, languages, *spread, 0.0)
        test = crossed(table + effect)
        counts["coverage"] += test.low <= effect <= test.high
        counts["paired"] += crossed(table).p <= 0.05
        counts["satterthwaite"] += satterthwaite(table) <= 0.05
        counts["pooled"] += pooled(table) <= 0.05
        method, baseline = two_tables(generator, seeds, languages, *spread, 0.0)
        unpaired = crossed_unpaired(method, baseline)
        counts["unpaired"] += unpaired.p <= 0.05
        counts["coverage unpaired"] += unpaired.low <= 0 <= unpaired.high
        if power:
            counts["power"] += test.p <= 0.05
            counts["power unpaired"] += crossed_unpaired(method + effect, baseline).p <= 0.05
    return {name: count / draws for name, count in counts.items()}


def main() -> None:
    """Print one row per setting, in percent, and the extremes below."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--power", action="store_true")
    arguments = parser.parse_args()
    rows, both_vary = [], []
    for seeds, languages, spread in itertools.product(SEEDS, LANGUAGES, SPREADS):
        by_test = rates(seeds, languages, spread, arguments.draws, power=arguments.power)
        rows.append((seeds, languages, *map(str, spread), *(f"{100 * rate:.1f}" for rate in by_test.values())))
        both_vary += [by_test] if min(spread) > 0 else []
        if max(spread) > 0:
            rows[-1] += ("",)
        else:
            rows[-1] += ("noise alone",)
    columns = ("seeds", "languages", "sd seed", "sd language", *by_test, "note")
    lines = [row for row in rows if row[-1] != "noise alone"]
    extremes = [
        f"{name}: {min(float(row[columns.index(name)]) for row in lines):.1f} to "
        f"{max(float(row[columns.index(name)]) for row in lines):.1f} with either variance present"
        + (f", {100 * min(cell[name] for cell in both_vary):.1f} at least with both" if "coverage" not in name else "")
        for name in by_test
    ]
    print(Table(columns=columns, rows=rows, title=f"percent of {arguments.draws} draws", notes=tuple(extremes)).text())


if __name__ == "__main__":
    main()
