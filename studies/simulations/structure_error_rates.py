"""Print and write how often the crossed test errs where languages are related, items shared, effects skewed, or seeds added.

    python studies/simulations/structure_error_rates.py [--draws 10000] [--items 4000]        about 10 minutes on one core

Languages are real ones with their families: the 13 targets of `emoji`, the 7 of them that are near (in 2 families, so that
the default test takes languages as independent), the 118 of the study of 120 languages, and 40 drawn from these.
Truth: d_sl = effect + seed_s + language_l + noise_sl, with standard deviations in units of that of the noise.
A share of the language variance is common to the languages of a family. Structures, all at an effect of 0:

- `independent`, and `family .3`, `family .6`, `family .9`: normal, with that share;
- `skewed`: one language in ten gains (language_l is (b - .1) / .3 with P(b = 1) = .1), no families;
- `peeking`: independent, p <= 0.05 with the first 3 seeds or with all 5;
- `items`: 100 test items shared by all languages, right or wrong at random with P = 1 / (1 + exp(-logit)), where each item
  has its own effect on the difference between the methods (standard deviation .3 in the logit), and families share .3. The
  effects of seeds, languages and items vary by as much as those of the committed runs on `emoji` do, whose 381 items add to
  the variance of the mean what these 100 add;
- `items fixed`: the same, with a test that does not know the items.

A cell has the smallest and the largest rate over the spreads of seeds and languages, in percent, and the Monte Carlo
standard error of the largest. `families` is the default test, `crossed(d, families=..., items=...)`; `languages` takes
languages as independent and items as fixed; `bootstrap` is how often 0 is outside the interval of `two_way_bootstrap`.
Power is at effects of 2, 3 and 4 true standard errors.
The table goes to `studies/simulations/structure_error_rates.txt`, the rates that `compare` prints beside p to the package.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from distxfer.data._cldr import LANGUAGES
from distxfer.languages import lineage
from distxfer.measure import two_way_bootstrap
from distxfer.measure.variance_parts import MIN_FAMILIES, family_labels

ROOT = Path(__file__).parents[2]
TEXT = Path(__file__).with_suffix(".txt")
RATES = ROOT / "src" / "distxfer" / "analysis" / "error_rates.json"
EMOJI = ("deu", "fra", "ind", "ita", "por", "rus", "spa", "ara", "fas", "jpn", "kor", "tur", "zho")
NEAR = ("deu", "ita", "por", "spa", "fra", "rus", "ind")  # by syntactic distance from English
TARGETS = tuple(key for key in LANGUAGES if key != "eng")
SAMPLE = tuple(sorted(np.random.default_rng(40).choice(TARGETS, 40, replace=False)))
SIZES = {len(keys): keys for keys in (NEAR, EMOJI, SAMPLE, TARGETS)}
SEEDS = (3, 5)
SPREADS = ((0.0, 1.0), (0.0, 3.0), (0.3, 1.0), (1.0, 1.0), (1.0, 3.0))
LOGITS = ((0.03, 0.15), (0.06, 0.2), (0.03, 0.3))  # seeds and languages, on the logit scale
ITEM_SD = 0.3
SHARES = {"independent": 0.0, "family .3": 0.3, "family .6": 0.6, "family .9": 0.9}
STRUCTURES = (*SHARES, "skewed", "items", "items fixed", "peeking")
ITEMS = ("items", "items fixed")
N_ITEMS, CELLS = 100, 4_000_000  # items of a test set; cells of a chunk of tables
Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]


def labels_of(size: int) -> Labels:
    """Return the family number of each of the languages of a size."""
    return family_labels([lineage(key)[:1] for key in SIZES[size]], size)


def p_values(tables: Array, labels: Labels, item_variance: Array | float = 0.0, items: int = 2) -> Array:
    """Return the p of `crossed` for many tables at once, (draws, seeds, languages): the formula written out again."""
    _, seeds, languages = tables.shape
    if labels.max() + 1 < MIN_FAMILIES:
        labels = np.arange(languages)
    by_seed, by_language, effect = tables.mean(axis=2), tables.mean(axis=1), tables.mean(axis=(1, 2))
    residual = tables - by_seed[:, :, None] - by_language[:, None, :] + effect[:, None, None]
    noise = (residual**2).sum(axis=(1, 2)) / ((seeds - 1) * (languages - 1) * seeds * languages)
    of_seeds = by_seed.var(axis=1, ddof=1) / seeds
    share = np.bincount(labels) / languages
    means = by_language @ (labels[:, None] == np.arange(len(share))) / (share * languages)
    leverage = share**2 / (1 - share)
    of_languages = (means - effect[:, None]) ** 2 @ leverage
    df = 1 / ((share**2).sum() + leverage.sum() ** 2 - (leverage**2).sum())
    if seeds - 1 <= df + 1e-9:
        of_languages = np.maximum(of_languages - noise, 0)
    else:
        of_seeds = np.maximum(of_seeds - noise, 0)
    parts = ((of_seeds, seeds - 1), (of_languages, df), (np.broadcast_to(item_variance, effect.shape), items - 1))
    total = sum(variance for variance, _ in parts)
    t = -np.abs(effect) / np.sqrt(total)
    return np.asarray(sum(2 * variance / total * stdtr(degrees, t) for variance, degrees in parts))


def item_variances(cubes: Array) -> Array:
    """Return the variance of `item_part` for many cubes without gaps, (draws, seeds, languages, items)."""
    _, seeds, languages, items = cubes.shape
    residual = (cubes - cubes.mean(axis=3, keepdims=True)) / (languages * items)
    over_seeds = residual.sum(axis=1)
    products = (
        (over_seeds.sum(axis=1) ** 2).sum(axis=1)
        - (residual.sum(axis=2) ** 2).sum(axis=(1, 2))
        - (over_seeds**2).sum(axis=(1, 2))
        + (residual**2).sum(axis=(1, 2, 3))
    )
    scale = languages / (languages - 1) * items / (items - 1) / (seeds * (seeds - 1))
    return np.maximum(products * scale, 0)


def language_values(generator: np.random.Generator, draws: int, labels: Labels, structure: str) -> Array:
    """Return what the languages differ by, (draws, languages), with mean 0 and variance 1."""
    shape = (draws, len(labels))
    if structure == "skewed":
        return np.asarray(((generator.random(shape) < 0.1) - 0.1) / 0.3)
    share = SHARES.get(structure, 0.3 if structure in ITEMS else 0.0)
    common = generator.standard_normal((draws, labels.max() + 1))[:, labels]
    return np.asarray(share**0.5 * common + (1 - share) ** 0.5 * generator.standard_normal(shape))


def tables(
    generator: np.random.Generator, draws: int, seeds: int, labels: Labels, spread: tuple[float, float], structure: str
) -> Iterator[Array]:
    """Yield chunks of tables (draws, seeds, languages) with an effect of 0."""
    step = max(1, CELLS // (seeds * len(labels)))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        seed = spread[0] * generator.standard_normal((count, seeds, 1))
        language = spread[1] * language_values(generator, count, labels, structure)[:, None, :]
        yield seed + language + generator.standard_normal((count, seeds, len(labels)))


def item_cubes(
    generator: np.random.Generator, draws: int, seeds: int, labels: Labels, spread: tuple[float, float]
) -> Iterator[Array]:
    """Yield chunks of differences between two methods that are right or wrong, (draws, seeds, languages, items)."""
    languages = len(labels)
    step = max(1, CELLS // (seeds * languages * N_ITEMS))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        easy = 0.4 + 1.5 * generator.standard_normal((count, 1, 1, N_ITEMS), dtype=np.float32)
        easy = easy + 0.7 * generator.standard_normal((count, 1, languages, 1), dtype=np.float32)
        effect = (
            spread[0] * generator.standard_normal((count, seeds, 1, 1))
            + spread[1] * language_values(generator, count, labels, "items")[:, None, :, None]
            + ITEM_SD * generator.standard_normal((count, 1, 1, N_ITEMS))
        ).astype(np.float32)
        shape = (count, seeds, languages, N_ITEMS)
        right = [
            generator.random(shape, dtype=np.float32) < 1 / (1 + np.exp(-(easy + sign * effect / 2)))
            for sign in (1, -1)
        ]
        yield right[0].astype(np.float64) - right[1]


def rates(size: int, seeds: int, structure: str, spread: tuple[float, float], draws: int) -> dict[str, float]:
    """Return the share of p <= 0.05 at an effect of 0: of the test with families, and of that without."""
    labels, alone = labels_of(size), np.arange(size)
    generator = np.random.default_rng([size, seeds, STRUCTURES.index(structure), *(round(100 * sd) for sd in spread)])
    rejected: dict[str, list[Array]] = {"families": [], "languages": []}
    if structure in ITEMS:
        for cubes in item_cubes(generator, draws, seeds, labels, spread):
            means = cubes.mean(axis=3)
            of_items = item_variances(cubes) if structure == "items" else 0.0
            rejected["families"].append(p_values(means, labels, of_items, N_ITEMS) <= 0.05)
            rejected["languages"].append(p_values(means, alone) <= 0.05)
    else:
        for drawn in tables(generator, draws, seeds, labels, spread, structure):
            for name, groups in (("families", labels), ("languages", alone)):
                hit = p_values(drawn, groups) <= 0.05
                rejected[name].append(hit | (p_values(drawn[:, :3], groups) <= 0.05) if structure == "peeking" else hit)
    return {name: float(np.concatenate(hits).mean()) for name, hits in rejected.items()}


def power(size: int, seeds: int, share: float, spread: tuple[float, float], errors: float, draws: int) -> list[float]:
    """Return the share of p <= 0.05, with families and without, at an effect of so many true standard errors."""
    labels = labels_of(size)
    weight = share * (np.bincount(labels) ** 2).sum() / size**2 + (1 - share) / size
    effect = errors * np.sqrt(spread[0] ** 2 / seeds + spread[1] ** 2 * weight + 1 / (seeds * size))
    generator = np.random.default_rng([size, seeds, round(10 * share), round(errors)])
    structure = next(name for name, value in SHARES.items() if value == share)
    drawn = np.concatenate(list(tables(generator, draws, seeds, labels, spread, structure))) + effect
    return [float((p_values(drawn, groups) <= 0.05).mean()) for groups in (labels, np.arange(size))]


def bootstrap_errors(size: int, seeds: int, draws: int) -> float:
    """Return how often the interval of `two_way_bootstrap` leaves out an effect of 0, at the spread (1, 1)."""
    generator = np.random.default_rng([size, seeds, 9])
    drawn = np.concatenate(list(tables(generator, draws, seeds, labels_of(size), (1.0, 1.0), "independent")))
    ends = [two_way_bootstrap(table, draws=1000) for table in drawn]
    return float(np.mean([not (low <= 0 <= high) for low, high in ends if low is not None and high is not None]))


def shown_range(rates: list[float], draws: int) -> str:
    """Return the smallest and the largest rate in percent, with the standard error of the largest."""
    low, high = min(rates), max(rates)
    return f"{100 * low:5.1f} to {100 * high:4.1f} ±{100 * (high * (1 - high) / draws) ** 0.5:4.2f}"


def main() -> None:
    """Print and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=4_000)
    options = parser.parse_args()
    lines: list[str] = []
    written: dict[str, dict[str, dict[str, dict[str, float]]]] = {}

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    for size in SIZES:
        sizes = " ".join(map(str, sorted(np.bincount(labels_of(size)))[::-1]))
        say(f"{size} languages in {labels_of(size).max() + 1} families: {sizes}")
    say(f"\nfalse positives in percent, nominal 5; {options.draws} tables a cell ({options.items} for items)")
    say(f"{'languages':>9} {'seeds':>5}  {'structure':12} {'families':>19} {'languages':>20}")
    for size in SIZES:
        for seeds in SEEDS:
            cell = written.setdefault(str(size), {}).setdefault(str(seeds), {})
            for structure in STRUCTURES:
                if structure == "peeking" and seeds < 5:
                    continue
                draws = options.items if structure in ITEMS else options.draws
                spreads = LOGITS if structure in ITEMS else SPREADS
                each = [rates(size, seeds, structure, spread, draws) for spread in spreads]
                cell[structure] = {
                    name: round(100 * max(cell_rates[name] for cell_rates in each), 1) for name in each[0]
                }
                shown = [shown_range([cell_rates[name] for cell_rates in each], draws) for name in each[0]]
                say(f"{size:9} {seeds:5}  {structure:12} {'  '.join(shown)}")
            draws = options.items // 2
            rate = bootstrap_errors(size, seeds, draws)
            say(f"{size:9} {seeds:5}  {'bootstrap':12} {shown_range([rate], draws)}")
    say("\npower in percent at 2, 3 and 4 true standard errors, seeds and languages with the spread 1 and 1")
    say(f"{'languages':>9} {'seeds':>5}  {'structure':12} {'families':>14} {'languages':>14}")
    for size in SIZES:
        for seeds in SEEDS:
            for name in ("independent", "family .3"):
                powers = [power(size, seeds, SHARES[name], (1.0, 1.0), errors, options.items) for errors in (2, 3, 4)]
                shown = [" ".join(f"{100 * cell_rates[place]:4.0f}" for cell_rates in powers) for place in (0, 1)]
                say(f"{size:9} {seeds:5}  {name:12} {shown[0]:>14} {shown[1]:>14}")
    TEXT.write_text("\n".join([*lines, ""]), encoding="utf-8")
    record = {"families": {str(size): int(labels_of(size).max()) + 1 for size in SIZES}, "rates": written}
    RATES.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
