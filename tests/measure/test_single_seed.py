"""Single runs and what a design can show: oracles, definitions, simulations."""

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from distxfer import measure
from helpers import given, message

seeds = st.integers(0, 2**32 - 1)
runs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60)


# --- McNemar -------------------------------------------------------------------------------------------------------


@given(runs)
def test_mcnemar_is_statsmodels(rows):
    a, b = (np.array(column) for column in zip(*rows, strict=True))
    computed = measure.mcnemar(a, b)
    counts = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert (computed.only_a, computed.only_b, computed.n) == (counts[0][1], counts[1][0], len(rows))
    expected = statsmodels_mcnemar(counts, exact=True).pvalue if computed.only_a + computed.only_b else 1.0
    assert computed.p == pytest.approx(expected)
    assert measure.mcnemar(b, a).p == computed.p


def test_mcnemar_by_hand():
    assert measure.mcnemar([1] * 6 + [0], [0] * 6 + [0]).p == pytest.approx(2 / 2**6)
    assert measure.mcnemar([1, 0], [1, 0]).p == 1


def test_single_runs_refuse():
    assert message(measure.mcnemar, [1, 0], [1]) == (
        "`correct_a` has the shape (2,) and `correct_b` (1,); expected one value of each per example, "
        "and at least one example: give both runs' answers to the same examples."
    )
    assert message(measure.paired_bootstrap, [1, 0], [1, 3]) == (
        "`correct_b` holds `3`; expected 1 or true where the prediction is right, else 0: "
        "compare predictions with labels first."
    )
    assert message(measure.mcnemar, [], []).startswith("`correct_a` has the shape (0,)")
    assert message(measure.paired_bootstrap, [1, 0], [1, 0], draws=5) == (
        "`draws` is 5; expected at least 100: the ends of the interval need that many."
    )
    assert message(measure.paired_bootstrap, [1, 0], [1, 0], blocks=["a"]) == (
        "`blocks` has 1 entries for 2 examples; expected one each: name every block."
    )
    assert message(measure.paired_bootstrap, [1, 0], [1, 0], blocks=["a", "a"]) == (
        "There is 1 block; expected at least 2 to draw from: give more examples."
    )


# --- paired bootstrap ----------------------------------------------------------------------------------------------


def answers(seed, n, a=0.7, b=0.6):
    generator = np.random.default_rng(seed)
    return generator.random(n) < a, generator.random(n) < b


@pytest.mark.parametrize("seed", range(3))
def test_paired_bootstrap_is_scipys(seed):
    a, b = answers(seed, 400)
    computed = measure.paired_bootstrap(a, b)
    expected = stats.bootstrap(
        (a.astype(float) - b,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert computed.difference == pytest.approx(a.mean() - b.mean())
    assert (computed.low, computed.high) == pytest.approx(tuple(expected), abs=0.004)
    error = (a.astype(float) - b).std() / 20
    assert computed.p == pytest.approx(2 * stats.norm.sf(abs(computed.difference) / error), abs=0.02)
    assert measure.paired_bootstrap(a, b) == computed


def test_blocks_are_drawn_whole():
    """The same 50 items in 8 languages, answered alike: 50 observations, and not 400."""
    a, b = answers(1, 50)
    alone = measure.paired_bootstrap(a, b)
    items = [i for i in range(50) for _ in range(8)]
    blocks = measure.paired_bootstrap(np.repeat(a, 8), np.repeat(b, 8), blocks=items)
    assert (blocks.difference, blocks.low, blocks.high, blocks.p) == pytest.approx(
        (alone.difference, alone.low, alone.high, alone.p)
    )
    assert (blocks.n, blocks.n_blocks) == (400, 50)
    pooled = measure.paired_bootstrap(np.repeat(a, 8), np.repeat(b, 8))
    assert pooled.high - pooled.low < 0.5 * (blocks.high - blocks.low)


def test_blocks_of_unequal_size_weigh_by_their_examples():
    """Against the ratio of sums written out, with the blocks drawn one by one."""
    a, b = answers(2, 300)
    items = np.repeat(np.arange(60), 5)
    items[items % 3 == 0] //= 2  # some blocks merge
    computed = measure.paired_bootstrap(a, b, blocks=items.tolist())
    difference, names = a.astype(float) - b, np.unique(items)
    generator, means = np.random.default_rng(5), []
    for _ in range(2000):
        chosen = np.concatenate([difference[items == name] for name in generator.choice(names, len(names))])
        means.append(chosen.mean())
    assert (computed.low, computed.high) == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))), abs=0.015)
    assert computed.n_blocks == len(names)


def test_paired_bootstrap_without_variance():
    same = measure.paired_bootstrap([1, 0, 1], [1, 0, 1])
    assert (same.difference, same.low, same.high, same.p, same.reason) == (0, 0, 0, 1, None)
    all_a = measure.paired_bootstrap([1, 1, 1], [0, 0, 0])
    assert (all_a.difference, all_a.low, all_a.high, all_a.p) == (1, None, None, None)
    assert all_a.reason == "no interval: the runs differ alike everywhere, so nothing varies"


def test_error_rates_of_single_runs():
    p = [
        (measure.mcnemar(a, b).p, measure.paired_bootstrap(a, b, draws=199).p)
        for a, b in (answers(seed, 200, 0.7, 0.7) for seed in range(600))
    ]
    mcnemar, bootstrap = np.mean(np.array(p) <= 0.05, axis=0)
    assert 0.01 < mcnemar < 0.06
    assert 0.02 < bootstrap < 0.08


# --- what a design can show ----------------------------------------------------------------------------------------


def shown(gain, n, k, share, seed_sd, tests, seed):
    """Simulate the two-sided test at 0.05 of `smallest_gain`: the share of experiments in which it finds the gain.

    One draw of sentences for all seeds, on `share` of which just one method is right; each seed shifts both methods.
    """
    generator = np.random.default_rng(seed)
    better = generator.binomial(n, (share + gain) / 2, size=tests)
    worse = generator.binomial(n - better, (share - gain) / 2 / (1 - (share + gain) / 2))
    of_seeds = generator.normal(0, seed_sd, (tests, k, 2)) @ [1, -1]
    mean = (better - worse) / n + of_seeds.mean(axis=1)
    sentences = ((better + worse) / n - ((better - worse) / n) ** 2) / (n - 1)
    runs = of_seeds.var(axis=1, ddof=1) / k if k > 1 else np.zeros(tests)
    df = (sentences + runs) ** 2 / (sentences**2 / (n - 1) + runs**2 / max(k - 1, 1))
    return np.mean(2 * stats.t.sf(np.abs(mean) / np.sqrt(sentences + runs), df) <= 0.05)


@pytest.mark.parametrize(
    ("n", "k", "seed_sd"), [(400, 1, 0.0), (400, 5, 0.0), (400, 5, 0.02), (2000, 3, 0.02), (5000, 10, 0.01)]
)
def test_power_at_the_smallest_gain(n, k, seed_sd):
    gain = measure.smallest_gain(n, k, accuracy=0.65, discordant=0.3, seed_sd=seed_sd)
    assert shown(gain, n, k, 0.3, seed_sd, 8000, seed=n + k) == pytest.approx(0.8, abs=0.035)


def test_more_seeds_do_not_replace_sentences():
    gain = {k: measure.smallest_gain(381, k, accuracy=0.65, seed_sd=0.02) for k in (2, 3, 5, 10, 1000)}
    assert sorted(gain.values(), reverse=True) == list(gain.values())
    sentences = measure.smallest_gain(381, 1, accuracy=0.65)
    assert gain[1000] == pytest.approx(sentences, rel=0.01)
    assert measure.smallest_gain(381, 1, accuracy=0.65, discordant=2 * 0.65 * 0.35) == sentences
    assert measure.smallest_gain(4 * 381, 1, accuracy=0.65) == pytest.approx(sentences / 2, rel=0.02)
    assert measure.smallest_gain(381, 1, accuracy=0.65, seed_sd=0.5) == sentences
    assert measure.smallest_gain(10, 2, accuracy=0.65, seed_sd=0.1) is None


def test_smallest_gain_refuses():
    assert message(measure.smallest_gain, 1, 0, accuracy=0.5) == (
        "`n_sentences` is 1 and `n_seeds` 0; expected at least 2 sentences and 1 seed: say how many you can have."
    )
    assert message(measure.smallest_gain, 100, 3, accuracy=65) == (
        "`accuracy` is 65; expected a fraction between 0 and 1: give percent / 100."
    )
    assert message(measure.smallest_gain, 100, 3, accuracy=0.5, discordant=20).startswith("`discordant` is 20;")
    assert message(measure.smallest_gain, 100, 3, accuracy=0.5, seed_sd=-0.1) == (
        "`seed_sd` is -0.1; expected a fraction from 0 to below 1: give percent / 100."
    )
