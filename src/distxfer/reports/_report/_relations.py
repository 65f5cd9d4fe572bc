"""Relations of transfer and drift with distance over languages: fitted lines, and correlations with family-aware tests."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from scipy.special import stdtrit

from distxfer.errors import InputError
from distxfer.languages import permutation_groups, permuted_within
from distxfer.measure import Correlation, correlate, holm
from distxfer.reports._report._facts import Facts, Language, Studied, known

_DRAWS = 1999  # permutations per correlation: the standard error of p is about 0.005 near p = 0.05

Name = TypeVar("Name", bound=Hashable)
_Pairs = tuple[list[float], list[float], list[tuple[str, ...]]]  # x, y and groups, one each per language


@dataclass(frozen=True)
class Fit:
    """A least-squares line over `n` languages, height + slope (x - middle), with a 95 % interval of its mean.

    Its half-width is margin sqrt(1 / n + (x - middle)^2 / spread). `low` and `high` are the range of x.
    """

    n: int
    low: float
    high: float
    middle: float
    spread: float
    height: float
    slope: float
    margin: float

    def at(self, x: float) -> tuple[float, float, float]:
        """Return the line and its interval at x: (y, lower, upper)."""
        y = self.height + self.slope * (x - self.middle)
        half = self.margin * (1 / self.n + (x - self.middle) ** 2 / self.spread) ** 0.5
        return y, y - half, y + half


@dataclass(frozen=True)
class Related:
    """A correlation over languages; `p_holm` is corrected over the tests of its group."""

    correlation: Correlation
    p_holm: float | None
    fit: Fit | None

    @property
    def is_sure(self) -> bool:
        """Whether p <= 0.05 after Holm."""
        return self.p_holm is not None and self.p_holm <= 0.05


def fit_line(x: Sequence[float], y: Sequence[float]) -> Fit | None:
    """Return the least-squares line of y on x; the margin is t s, with s^2 the mean square and t on n - 2 degrees of freedom.

    None for fewer than 4 points, or where x is the same for all.
    """
    across, up = np.array(x, dtype=float), np.array(y, dtype=float)
    n = len(across)
    if n < 4 or np.ptp(across) <= 1e-12:
        return None
    middle, height = float(across.mean()), float(up.mean())
    spread = float(((across - middle) ** 2).sum())
    slope = float(((across - middle) * up).sum() / spread)
    residual = up - height - slope * (across - middle)
    margin = float(stdtrit(n - 2, 0.975)) * float((residual**2).sum() / (n - 2)) ** 0.5
    return Fit(n, float(across.min()), float(across.max()), middle, spread, height, slope, margin)


def without_gaps(facts: Facts) -> tuple[tuple[Studied, ...], tuple[str, ...]]:
    """Return the methods restricted to targets that every run has, and the names of what was left out.

    As in `compare`, a run that lacks more than half of the targets is left out itself.
    """
    targets = [language.key for language in facts.languages]
    seeds = {
        method.name: sorted({seed for by_seed in method.scores.values() for seed in by_seed})
        for method in facts.methods
    }
    lacking = {
        (method.name, seed): [code for code in targets if seed not in method.scores.get(code, {})]
        for method in facts.methods
        for seed in seeds[method.name]
    }
    sparse = {run for run, codes in lacking.items() if len(codes) > len(targets) / 2}
    gaps = {code for run, codes in lacking.items() if run not in sparse for code in codes}
    methods = []
    for method in facts.methods:
        full_seeds = {seed for seed in seeds[method.name] if (method.name, seed) not in sparse}
        scores = {
            code: {seed: value for seed, value in by_seed.items() if seed in full_seeds}
            for code, by_seed in method.scores.items()
            if code not in gaps
        }
        effects = {code: effect for code, effect in method.effects.items() if full_seeds and code not in gaps}
        methods.append(replace(method, scores=scores, effects=effects))
    runs = [f"seed {seed} of {name}" for name, seed in sorted(sparse)]
    return tuple(methods), (*(language.name for language in facts.languages if language.key in gaps), *runs)


def by_distance(facts: Facts, values: Mapping[str, float | None]) -> dict[str, Related]:
    """Return the correlation of a value per target with each distance; Holm is over distances."""
    defined = known(values)
    pairs = {}
    for name in facts.distances:
        languages = [language for language in facts.languages if language.key in defined and name in language.far]
        pairs[name] = (
            [language.far[name] for language in languages],
            [defined[language.key] for language in languages],
            _groups(languages),
        )
    return _related(pairs, fit=True)


def drift_relations(facts: Facts, method: Studied) -> dict[tuple[str, int | None], Related]:
    """Return the correlation of drift at each layer (None: mean over blocks) with each distance and with `transfer`.

    Holm is over all layers and distances; for transfer, over layers (Philippy et al. 2023).
    """
    drift = {language.key: layers for language in facts.languages if (layers := method.drift(language.key)) is not None}
    transfer = known({language.key: method.transfer(language.key) for language in facts.languages})
    columns: dict[int | None, dict[str, float]] = {
        layer: known({key: float(values[layer]) for key, values in drift.items() if layer < len(values)})
        for layer in range(1, method.depth + 1)
    }
    columns[None] = known({key: float(values[1:].mean()) for key, values in drift.items() if len(values) > 1})
    far = {
        name: {language.key: language.far[name] for language in facts.languages if name in language.far}
        for name in facts.distances
    }

    def pairs(quantities: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, int | None], _Pairs]:
        by_name = {}
        for name, quantity in quantities.items():
            for layer, column in columns.items():
                languages = [
                    language for language in facts.languages if language.key in column and language.key in quantity
                ]
                by_name[name, layer] = (
                    [quantity[language.key] for language in languages],
                    [column[language.key] for language in languages],
                    _groups(languages),
                )
        return by_name

    return _related(pairs(far), fit=False) | _related(pairs({"transfer": transfer}), fit=False)


def _groups(languages: Sequence[Language]) -> list[tuple[str, ...]]:
    """Return the permutation groups of the languages; lineages if a code is unknown."""
    try:
        return permutation_groups([language.key for language in languages])
    except InputError:
        return [language.lineage for language in languages]


def _related(pairs: Mapping[Name, _Pairs], fit: bool) -> dict[Name, Related]:
    correlations = {name: correlate(x, y, groups=groups, draws=_DRAWS) for name, (x, y, groups) in pairs.items()}
    adjusted = iter(holm([correlation.p for correlation in correlations.values() if correlation.p is not None]))
    return {
        name: Related(
            correlation,
            None if correlation.p is None else next(adjusted),
            fit_line(pairs[name][0], pairs[name][1]) if fit else None,
        )
        for name, correlation in correlations.items()
    }


def permutations(related: Iterable[Mapping[Any, Related]]) -> str:
    """Return the permutation scheme of the correlations in words."""
    sizes = sorted({row.correlation.n for by in related for row in by.values() if row.correlation.p is not None})
    return " or ".join(dict.fromkeys(map(permuted_within, sizes))) or permuted_within(0)
