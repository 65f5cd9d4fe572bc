"""Whether a method helps in a new language: few sentences and few seeds, both random."""

from pathlib import Path

import numpy as np
import pytest
from pyarrow import Table, parquet

from distxfer.data import Answer, Example
from distxfer.experiments._new_language._evaluate import evaluate
from distxfer.experiments._results._result import Result
from distxfer.measure import crossed, smallest_gain, wilson


def fake_run(folder: Path, name: str, seed: int, right, status="done") -> Result:
    """A run that was right on some of the sentences of a language, and nothing else of it."""
    path = folder / name / f"00000000-s{seed}"
    path.mkdir(parents=True)
    rows = [
        {"language": "cym", "example_id": str(n), "label": "a", "prediction": "a" if one else "b"}
        for n, one in enumerate(right)
    ]
    parquet.write_table(Table.from_pylist(rows), path / "predictions.parquet")
    data = {"recipe": {"name": name}, "status": status, "summary": {"source": 0.9}, "cost": {"seconds": 10.0}}
    return Result(path, data)


def judged(folder, before, after, questions=None, collapsed=()):
    plain = {seed: fake_run(folder, "plain", seed, row) for seed, row in enumerate(before)}
    method = {
        seed: fake_run(folder, "own", seed, row, "collapsed" if seed in collapsed else "done")
        for seed, row in enumerate(after)
    }
    return evaluate("cym", plain, method, questions)


def draws(seed, share, seeds=3, n=100, noise=0.1):
    """What each of some seeds gets right: mostly the same sentences."""
    hard = np.random.default_rng(0).random(n)
    return (hard + noise * np.random.default_rng(seed).standard_normal((seeds, n)) < share).astype(int)


def test_a_clear_gain_is_better_and_a_clear_loss_worse(tmp_path):
    low, high = draws(1, 0.4), draws(2, 0.8)
    better, worse = judged(tmp_path / "a", low, high), judged(tmp_path / "b", high, low)
    assert (better.verdict, worse.verdict) == ("better", "worse")
    assert better.test == crossed(high.astype(float) - low)
    assert better.method.accuracy == pytest.approx(high.mean())
    assert (better.method.source, better.method.seconds) == (0.9, 10.0)


def test_a_small_gain_is_open_and_says_what_would_show_it(tmp_path):
    before, after = draws(1, 0.5, n=60, noise=0.6), draws(2, 0.54, n=60, noise=0.6)
    found = judged(tmp_path, before, after)
    assert found.verdict == "open"
    assert found.test.effect > 0
    assert found.smallest > found.test.effect
    assert found.needed > 60
    difference = after.astype(float) - before
    residual = difference - difference.mean(1)[:, None] - difference.mean(0) + difference.mean()
    noise = (residual**2).sum() / (2 * 59) / 60
    design = {
        "accuracy": before.mean(), "discordant": np.abs(difference).mean(),
        "seed_sd": (max(0.0, difference.mean(1).var(ddof=1) - noise) / 2) ** 0.5,
    }  # fmt: skip
    assert found.smallest == pytest.approx(smallest_gain(60, 3, **design))
    assert smallest_gain(found.needed, 3, **design) <= found.test.effect < smallest_gain(found.needed - 1, 3, **design)


def test_no_difference_at_all(tmp_path):
    same = draws(1, 0.5)
    found = judged(tmp_path, same, same)
    assert (found.test.effect, found.test.p, found.verdict, found.needed) == (0, 1, "open", None)


def test_two_seeds_are_no_claim(tmp_path):
    found = judged(tmp_path, draws(1, 0.4)[:2], draws(2, 0.8)[:2])
    assert (found.verdict, found.test.low) == ("open", None)
    assert "2 seeds, and at least 3 are needed" in found.test.reason


def test_a_run_that_learnt_nothing_is_named_and_in_no_number(tmp_path):
    before, after = draws(1, 0.4, seeds=4), draws(2, 0.8, seeds=4)
    found = judged(tmp_path, before, after, collapsed=[1])
    assert found.seeds == (0, 2, 3)
    assert found.test == crossed((after.astype(float) - before)[[0, 2, 3]])
    assert len(found.collapsed) == 1
    assert found.collapsed[0].endswith("own/00000000-s1")
    none = judged(tmp_path / "none", before, after, collapsed=range(4))
    assert (none.test, none.verdict, none.seeds) == (None, "open", ())


# Questions on texts


def on_texts(texts, answers=("a",)):
    """The questions of the fake runs, each on a text."""
    right = tuple(Answer(one, 0) for one in answers)
    return {str(n): Example(str(n), "cym", "?", str(text), right) for n, text in enumerate(texts)}


def test_asking_the_same_again_on_a_text_shows_no_more(tmp_path):
    before, after = draws(1, 0.5, n=60, noise=0.6), draws(2, 0.54, n=60, noise=0.6)
    once = judged(tmp_path / "once", before, after)
    again = judged(tmp_path / "again", before.repeat(3, 1), after.repeat(3, 1), on_texts(np.arange(180) // 3))
    assert (again.sentences, again.texts, once.texts) == (180, 60, None)
    for name in ("effect", "low", "high", "p", "seed_share"):
        assert getattr(again.test, name) == pytest.approx(getattr(once.test, name))
    assert (again.method.low, again.method.high) == (once.method.low, once.method.high)
    assert again.smallest == pytest.approx(once.smallest)
    assert again.needed == pytest.approx(3 * once.needed, abs=3)
    alone = judged(tmp_path / "alone", before.repeat(3, 1), after.repeat(3, 1))
    assert alone.method.high - alone.method.low < 0.7 * (again.method.high - again.method.low)
    assert alone.smallest < again.smallest


def test_texts_with_more_questions_count_for_more(tmp_path):
    before, after = draws(1, 0.4, n=40, noise=0.5), draws(2, 0.6, n=40, noise=0.5)
    texts = np.sqrt(np.arange(40)).astype(int)  # 1, 3, 5 ... questions
    found = judged(tmp_path, before, after, on_texts(texts))
    difference = after.astype(float) - before
    assert found.test.effect == pytest.approx(difference.mean())
    # The variance of a ratio over texts, from its definition: residuals of the sums around a seed's effect times the sizes.
    sizes = np.bincount(texts)
    sums = np.array([np.bincount(texts, weights=row) for row in difference])
    effects = difference.mean(1)[:, None]
    by_text = (sums - effects * sizes) / sizes.mean() + effects
    assert found.test.standard_error == pytest.approx(crossed(by_text).standard_error)


def test_what_a_seed_adds_to_all_texts_alike_is_of_seeds_alone(tmp_path):
    """Of every 20 questions seed k gains 4 + k and loses 4: texts say the same, whatever their size, and seeds do not."""
    place = np.arange(160) % 20
    before = np.tile(place < 10, (3, 1)).astype(int)
    after = np.array([(place >= 4) & (place < 14 + seed) for seed in range(3)]).astype(int)
    found = judged(tmp_path, before, after, on_texts(np.repeat(range(4), [20, 20, 40, 80])))
    assert found.test.seed_share == pytest.approx(1)
    design = {"accuracy": 0.5, "discordant": 0.45, "seed_sd": 0.05 / 2**0.5}
    assert found.smallest == pytest.approx(smallest_gain(160, 3, **design))


def test_where_all_are_right_the_largest_text_says_for_how_many_questions(tmp_path):
    rows = np.ones((3, 20), dtype=int)
    alike = judged(tmp_path / "alike", rows, rows, on_texts(np.arange(20) // 5))
    most = judged(tmp_path / "most", rows, rows, on_texts([0] * 14 + [1, 2, 2, 3, 3, 3]))
    # 20^2 / (4 * 5^2) = 4, and 20^2 / (14^2 + 1 + 4 + 9) = 1.9
    assert (alike.method.low, most.method.low) == (wilson(1.0, 4)[0], wilson(1.0, 2)[0])


def test_an_answer_is_right_by_exact_match_with_any(tmp_path):
    rows = draws(1, 0.5, n=8)
    found = judged(tmp_path, rows, rows, on_texts(range(8), answers=("x", "The B!")))
    assert found.baseline.accuracy == pytest.approx(1 - rows.mean())  # `b` was predicted where the label `a` was not
