"""Every similarity measure: what its docstring declares."""

from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from distxfer import InputError, measure
from distxfer.measure import MEASURES, SimilarityName
from helpers import given, message, normal, orthogonal, related

every = pytest.mark.parametrize("name", MEASURES)
SCALES = {"isotropic_scale", "common_scale"}
TRANSLATIONS = {"translation", "common_translation"}
ROTATIONS = {"orthogonal", "common_orthogonal"}
ALL = SCALES | TRANSLATIONS | ROTATIONS | {"row_permutation"}
INVARIANCES = (*sorted(ALL), "column_scale", "linear_of_y", "row_scale", "unpaired_rows")


@dataclass(frozen=True)
class Declared:
    """All invariances that a measure has, the lower bound of its range, and the rest of its docstring."""

    invariances: set[str]
    low: float = 0.0
    symmetric: bool = True
    differentiable: bool = False


DECLARED = {
    "cka": Declared(ALL, low=-1.0, differentiable=True),
    "cka_biased": Declared(ALL, differentiable=True),
    "cka_standardised": Declared(ALL - ROTATIONS | {"column_scale"}, low=-1.0, differentiable=True),
    "rbf_cka": Declared(ALL, low=-1.0, differentiable=True),
    "procrustes": Declared(ALL, differentiable=True),
    "rsa": Declared(ALL, low=-1.0),
    "svcca": Declared(ALL),
    "pwcca": Declared(ALL - ROTATIONS | {"linear_of_y"}, symmetric=False),
    "neighbour_overlap": Declared(ALL - TRANSLATIONS | {"row_scale"}),
}
NO_STRUCTURE = "so there is no structure to compare"


def positive(seed, *shape):
    return torch.exp(1.5 * normal(seed, *shape))


def shuffled(seed, n):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def transformed(invariance, x, y, seed=7):
    n, d = x.shape
    order, q, t = shuffled(seed, n), orthogonal(seed, d), 3 * normal(seed, d)
    return {
        "orthogonal": lambda: (x @ q, y @ orthogonal(seed + 1, d)),
        "common_orthogonal": lambda: (x @ q, y @ q),
        "isotropic_scale": lambda: (4.7 * x, 0.03 * y),
        "common_scale": lambda: (4.7 * x, 4.7 * y),
        "translation": lambda: (x + t, y - 2 * t),
        "common_translation": lambda: (x + t, y + t),
        "column_scale": lambda: (x * positive(seed, d), y * positive(seed + 1, d)),
        "linear_of_y": lambda: (x, y @ (normal(seed, d, d) * positive(seed, d))),
        "row_scale": lambda: (x * positive(seed, n, 1), y * positive(seed + 1, n, 1)),
        "row_permutation": lambda: (x[order], y[order]),
        "unpaired_rows": lambda: (x, y[order]),
    }[invariance]()


# --- what is declared ---------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("invariance", INVARIANCES)
def test_declared_invariances_hold_and_the_others_do_not(name, invariance):
    x, y = related(n=64)
    change = abs(MEASURES[name].function(*transformed(invariance, x, y)) - MEASURES[name].function(x, y)).item()
    if invariance in DECLARED[name].invariances:
        assert change < 1e-9  # 64 rows of order 1 in float64; a translation by 10 spreads costs some digits
    else:
        assert change > 1e-3


def test_the_names_are_those_that_recipes_take():
    assert tuple(MEASURES) == get_args(SimilarityName) == tuple(DECLARED)


@every
@given(seed=st.integers(0, 10**6), extra=st.integers(0, 30), d=st.integers(1, 8), mix=st.floats(-1, 1))
def test_values_are_in_the_declared_range_or_nan_for_a_reason(name, seed, extra, d, mix):
    measured = MEASURES[name]
    x = normal(seed, measured.least_rows + extra, d)
    y = mix * x + (1 - abs(mix)) * normal(seed + 1, *x.shape)
    value = measured.function(x, y).item()
    reason = measured.reason(x, y)
    if np.isnan(value):
        assert reason
    else:
        assert DECLARED[name].low - 1e-12 <= value <= 1 + 1e-12
        assert reason is None


@every
def test_itself(name):
    x, _ = related(3, n=80)
    assert MEASURES[name].function(x, x.clone()).item() == pytest.approx(1, abs=1e-12)


@every
def test_independent(name):
    value = MEASURES[name].function(normal(0, 1500, 4), normal(1, 1500, 4)).item()
    assert value == pytest.approx(0, abs=0.06)  # about sqrt(d/n) for the CCAs


@every
def test_more_noise_is_less_similar(name):
    x, noise = related(5, n=120)[0], normal(9, 120, 6)
    values = torch.stack([MEASURES[name].function(x, x + level * noise) for level in (0.0, 0.1, 0.5, 1.0, 3.0)])
    assert (values.diff() < -1e-4).all()


@every
def test_fewest_rows(name):
    measured, (x, y) = MEASURES[name], related(n=40, d=1)
    least = measured.least_rows
    value = measured.function(x[:least], y[:least])
    assert value.isfinite() or measured.reason(x[:least], y[:least])
    assert message(measured.function, x[: least - 1], y[: least - 1]).startswith(f"`x` has {least - 1} rows; ")
    assert f" needs at least {least}: give more sentences." in message(
        measured.function, x[: least - 1], y[: least - 1]
    )


@every
def test_symmetry(name):
    x, y = related(n=64)
    difference = abs(MEASURES[name].function(x, y) - MEASURES[name].function(y, x)).item()
    assert difference < 1e-12 if DECLARED[name].symmetric else difference > 1e-3


@every
def test_refuses_what_is_not_finite(name):
    x, y = related()
    y[3, 2] = torch.nan if name == "cka" else torch.inf
    assert message(MEASURES[name].function, x, y) == (
        "`y` holds 1 values that are NaN or infinite; expected finite representations: "
        "look for a run that diverged, or for a sentence without tokens in the pooling."
    )


@every
def test_refuses_rows_that_do_not_pair(name):
    x, y = related()
    assert message(MEASURES[name].function, x, y[:-1]) == (
        "`x` has the shape (60, 6) and `y` (59, 6); expected the same number of rows in both: "
        "row i of one belongs to row i of the other."
    )
    assert message(MEASURES[name].function, x[0], y[0]) == (
        "`x` has the shape (6,); expected (..., rows, dimensions), none of them 0: give one row per sentence."
    )


@every
def test_a_batch_of_layers_is_each_layer(name):
    layers = [related(seed, n=40) for seed in (0, 10, 20, 30, 40, 50)]
    x, y = (torch.stack(side).reshape(2, 3, 40, 6) for side in zip(*layers, strict=True))
    values = MEASURES[name].function(x, y)
    assert values.shape == (2, 3)
    expected = torch.stack([MEASURES[name].function(a, b) for a, b in layers])
    assert torch.allclose(values.flatten(), expected, rtol=0, atol=1e-12)


@every
def test_gradient(name):
    measured, (x, y) = MEASURES[name], related(n=40, d=3)
    for target in (y, x.clone()):
        leaf = x.clone().requires_grad_()
        value = measured.function(leaf, target)
        assert value.requires_grad == DECLARED[name].differentiable
        if DECLARED[name].differentiable:
            value.backward()
            assert leaf.grad.isfinite().all()
    if DECLARED[name].differentiable:
        # Finite differences in a random direction.
        direction, step = normal(3, *x.shape), 1e-5
        slope = (measured.function(x + step * direction, y) - measured.function(x - step * direction, y)) / (2 * step)
        leaf = x.clone().requires_grad_()
        measured.function(leaf, y).backward()
        assert (leaf.grad * direction).sum().item() == pytest.approx(slope.item(), rel=1e-6)


@every
def test_without_structure_is_nan_with_a_reason(name):
    measured, (x, y) = MEASURES[name], related()
    still = torch.full_like(x, 0.1)
    if name == "neighbour_overlap":  # all rows tie as neighbours of all
        assert measured.function(still, y).item() == pytest.approx(10 / 59)
        assert measured.reason(still, y) is None
        return
    for a, b in ((still, y), (y, still), (still, still)):
        assert measured.function(a, b).isnan()
        assert measured.reason(a, b)
    assert measured.function(torch.stack([still, x]), torch.stack([still, y])).isnan().tolist() == [True, False]
    assert measured.reason(torch.stack([x, still]), torch.stack([y, still]))


def test_reasons():
    x, y = related()
    still, grid = torch.full_like(x, 0.1), torch.eye(60)
    twice = torch.cat([still[:50], x[:10]])
    reason = {name: measured.reason for name, measured in MEASURES.items()}
    assert reason["procrustes"](x, still) == f"the rows of `y` are all the same, {NO_STRUCTURE}"
    assert reason["svcca"](still, y) == reason["pwcca"](still, y) == f"the rows of `x` are all the same, {NO_STRUCTURE}"
    assert (
        reason["svcca"](x[:12], y[:12])
        == reason["pwcca"](x[:12], y[:12])
        == (
            "`x` and `y` have 6 and 6 directions for 12 rows, which forces canonical correlations of 1 even on noise: "
            "more rows than directions in all are needed"
        )
    )
    assert reason["rsa"](grid, y) == (
        "the distances between the rows of `x` are all equal, so they have no order to compare"
    )
    assert reason["rbf_cka"](x, twice) == (
        "the median distance of the rows of `y` is 0: at least half of the pairs of rows are the same"
    )
    for name in ("cka", "cka_biased", "cka_standardised"):
        assert reason[name](y, still) == (
            "the self-similarity of `y` is 0: its rows are all the same, or all equally similar to each other, "
            f"{NO_STRUCTURE}"
        )
    for name in ("cka", "rbf_cka"):
        assert reason[name](grid, y).startswith("the self-similarity of `x` is 0: ")
    assert all(why(x, y) is None for why in reason.values())


def test_settings_that_are_refused():
    x, y = related()
    assert message(measure.rbf_cka, x, y, bandwidth=0) == (
        "`bandwidth` is 0; expected more than 0: give it as a multiple of the median distance."
    )
    for variance in (0, 1.5):
        assert message(measure.svcca, x, y, variance=variance) == (
            f"`variance` is {variance:g}; expected above 0 and at most 1: give the share to keep."
        )
    assert message(measure.neighbour_overlap, x, y, k=0) == (
        "`k` is 0; expected at least 1: give the number of neighbours to look at."
    )
    assert message(measure.neighbour_overlap, x, 0 * y) == (
        "`y` has 60 rows that are all zeros; expected rows with a direction: "
        "look for a sentence without tokens in the pooling."
    )


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("n", [4, 9, 40, 700])
def test_raw_and_standardised_cka_together_are_each_alone(n, unbiased):
    draw = torch.Generator().manual_seed(n)
    x, y = (torch.randn(2, 3, n, 8, generator=draw) * torch.arange(8.0) + 100 for _ in range(2))
    x[1, 1], y[0, 2] = 0.1, x[0, 2]
    raw, standardised = measure.cka_with_standardised(x, y, unbiased=unbiased)
    assert raw.numpy() == pytest.approx(measure.cka(x, y, unbiased=unbiased).numpy(), abs=1e-12, nan_ok=True)
    alone = measure.cka(measure.standardise(x), measure.standardise(y), unbiased=unbiased)
    assert standardised.numpy() == pytest.approx(alone.numpy(), abs=1e-12, nan_ok=True)
    assert (raw[0, 2], standardised[0, 2], raw[1, 1].isnan(), standardised[1, 1].isnan()) == (1, 1, True, True)


class HostReads(TorchDispatchMode):
    """Counts the numbers that the CPU reads from tensors, for which it would wait on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("name", ["cka", "relational_drift", "cosine_drift", "normalised_mse"])
@pytest.mark.parametrize("rows", [8, 40])
def test_unchecked_measures_read_no_number_and_spread_nan(name, rows):
    x = torch.randn(2, rows, 6, generator=torch.Generator().manual_seed(0))
    y = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    function = getattr(measure, name)
    with HostReads() as checked:
        expected = function(x, y)
    with HostReads() as unchecked, measure.unchecked_values():
        function(x, y).sum().backward()
    assert (checked.count > 0, unchecked.count) == (True, 0)
    with measure.unchecked_values():
        assert torch.equal(function(x, y), expected)
        x[0, 0, 0] = torch.nan
        assert function(x, y)[0].isnan().any()
        assert torch.equal(function(x, y)[1], expected[1])
    with pytest.raises(InputError):
        function(x, y)
