"""Every similarity measure: all that it declares about itself, and its definition by another way."""

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from distxfer import measure
from distxfer.measure import MEASURES
from helpers import message, normal, orthogonal, related

every = pytest.mark.parametrize("name", MEASURES)
INVARIANCES = (
    "orthogonal", "common_orthogonal", "isotropic_scale", "common_scale", "translation", "common_translation",
    "column_scale", "linear_of_y", "row_scale", "row_permutation", "unpaired_rows",
)  # fmt: skip
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
    if invariance in MEASURES[name].invariances:
        assert change < 1e-9  # 64 rows of order 1 in float64; a translation by 10 spreads costs some digits
    else:
        assert change > 1e-3


def test_declarations_use_the_known_invariances_only():
    assert {invariance for one in MEASURES.values() for invariance in one.invariances} == set(INVARIANCES)
    assert all(one.name == name for name, one in MEASURES.items())


@every
@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(seed=st.integers(0, 10**6), extra=st.integers(0, 30), d=st.integers(1, 8), mix=st.floats(-1, 1))
def test_values_are_in_the_declared_range_or_nan_for_a_reason(name, seed, extra, d, mix):
    one = MEASURES[name]
    x = normal(seed, one.least_rows + extra, d)
    y = mix * x + (1 - abs(mix)) * normal(seed + 1, *x.shape)
    value = one.function(x, y).item()
    reason = one.reason(x, y)
    if np.isnan(value):
        assert reason
    else:
        assert one.low - 1e-12 <= value <= one.high + 1e-12
        assert reason is None


@every
def test_itself(name):
    x, _ = related(3, n=80)
    assert MEASURES[name].function(x, x.clone()).item() == pytest.approx(MEASURES[name].itself, abs=1e-12)


@every
def test_independent(name):
    one, (x, y) = MEASURES[name], (normal(0, 1500, 4), normal(1, 1500, 4))
    if one.independent is None:
        assert one.function(x[:300], y[:300]) > 0.02  # two samples of one distribution are not at distance 0
    else:
        assert one.function(x, y).item() == pytest.approx(one.independent, abs=0.06)  # about sqrt(d/n) for the CCAs


@every
def test_more_noise_is_less_similar(name):
    x, noise = related(5, n=120)[0], normal(9, 120, 6)
    values = torch.stack([MEASURES[name].function(x, x + level * noise) for level in (0.0, 0.1, 0.5, 1.0, 3.0)])
    falling = values if MEASURES[name].larger_is_more_similar else -values
    assert (falling.diff() < -1e-4).all()


@every
def test_fewest_rows(name):
    one, (x, y) = MEASURES[name], related(n=40, d=1)
    least = one.least_rows
    value = one.function(x[:least], y[:least])
    assert value.isfinite() or one.reason(x[:least], y[:least])
    assert message(one.function, x[: least - 1], y[: least - 1]).startswith(f"`x` has {least - 1} rows; ")
    assert f" needs at least {least}: give more sentences." in message(one.function, x[: least - 1], y[: least - 1])


@every
def test_symmetry(name):
    x, y = related(n=64)
    difference = abs(MEASURES[name].function(x, y) - MEASURES[name].function(y, x)).item()
    assert difference < 1e-12 if MEASURES[name].symmetric else difference > 1e-3


@every
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_refuses_what_is_not_finite(name, bad):
    x, y = related()
    y[3, 2] = bad
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
    one, (x, y) = MEASURES[name], related(n=40, d=3)
    for target in (y, x.clone()):
        leaf = x.clone().requires_grad_()
        value = one.function(leaf, target)
        assert value.requires_grad == one.differentiable
        if one.differentiable:
            value.backward()
            assert leaf.grad.isfinite().all()
    if one.differentiable:
        # Finite differences in a random direction. Of the transport distance the gradient is that of the converged
        # divergence, which the iteration approaches to some 4 %.
        direction, step = normal(3, *x.shape), 1e-5
        slope = (one.function(x + step * direction, y) - one.function(x - step * direction, y)) / (2 * step)
        leaf = x.clone().requires_grad_()
        one.function(leaf, y).backward()
        tolerance = 0.05 if name == "transport_distance" else 1e-6
        assert (leaf.grad * direction).sum().item() == pytest.approx(slope.item(), rel=tolerance)


@every
def test_shards_are_the_whole_where_it_streams(name):
    one, (x, y) = MEASURES[name], related(n=100)
    assert one.streams == (name in {"cka", "cka_biased", "procrustes"})
    if one.streams:
        moments = measure.Moments()
        for start, stop in ((0, 7), (7, 8), (8, 70), (70, 100)):
            moments.update(x[start:stop], y[start:stop])
        assert one.streamed(moments).item() == pytest.approx(one.function(x, y).item(), abs=1e-12)


@every
def test_without_structure_is_nan_with_a_reason(name):
    one, (x, y) = MEASURES[name], related()
    still = torch.full_like(x, 0.1)
    if name == "neighbour_overlap":  # all rows tie as neighbours of all
        assert one.function(still, y).item() == pytest.approx(10 / 59)
        assert one.reason(still, y) is None
        return
    pairs = [(still, still)] if name == "transport_distance" else [(still, y), (y, still), (still, still)]
    for a, b in pairs:
        assert one.function(a, b).isnan()
        assert one.reason(a, b)
    assert one.function(torch.stack([still, x]), torch.stack([still, y])).isnan().tolist() == [True, False]
    assert one.reason(torch.stack([x, still]), torch.stack([y, still]))


def test_reasons():
    x, y = related()
    still, grid = torch.full_like(x, 0.1), torch.eye(60)
    twice = torch.cat([still[:50], x[:10]])
    reason = {name: one.reason for name, one in MEASURES.items()}
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
    for name in ("cka", "cka_biased", "cka_standardised", "minibatch_cka"):
        assert reason[name](y, still) == (
            "the self-similarity of `y` is 0: its rows are all the same, or all equally similar to each other, "
            f"{NO_STRUCTURE}"
        )
    for name in ("cka", "rbf_cka", "minibatch_cka"):
        assert reason[name](grid, y).startswith("the self-similarity of `x` is 0: ")
    assert reason["transport_distance"](still, still + 1) == (
        "neither the rows of `x` nor those of `y` vary, so there is no spread to measure distances in"
    )
    assert all(why(x, y) is None for why in reason.values())


def test_settings_that_are_refused():
    x, y = related()
    assert message(measure.rbf_cka, x, y, bandwidth=0) == (
        "`bandwidth` is 0; expected more than 0: give it as a multiple of the median distance."
    )
    assert message(measure.minibatch_cka, x, y, 3) == (
        "`batch_size` is 3; unbiased CKA needs at least 4 rows: give larger batches."
    )
    assert message(measure.minibatch_cka, x, y, 61, unbiased=False) == (
        "`x` has 60 rows; minibatch CKA in batches of 61 needs at least 61: give more sentences."
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
    assert message(measure.transport_distance, x, y, blur=0) == (
        "`blur` is 0; expected more than 0: give it in units of the spread of the clouds."
    )
    assert message(measure.transport_distance, x, y[:, :5]) == (
        "`x` has 6 dimensions per row and `y` has 5; expected the same: compare layers of one width, or use cka."
    )
