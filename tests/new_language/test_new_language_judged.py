"""Whether a method helps in a new language: few sentences and few seeds, both random."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pyarrow import Table, parquet

from distxfer.data import Answer, Example
from distxfer.language_facts import Fact
from distxfer.measure import crossed, smallest_gain, wilson
from distxfer.new_language import plan as _plan
from distxfer.new_language.evaluate import evaluate
from distxfer.new_language.language_data import LanguageData
from distxfer.reports.new_language import outcome_tables, recommendation
from distxfer.results.result import Result
from fake_runs import result

HAS = LanguageData(tests=100, shots=0, texts=0, pairs=0, words=0, task_type="classification", notes=())


def fake_run(folder: Path, name: str, seed: int, right, status="done", *, labels="a", source=0.9) -> Result:
    """A run that was right on some of the sentences of a language, whose labels go round, and nothing else of it."""
    path = folder / name / f"00000000-s{seed}"
    path.mkdir(parents=True)
    gold = [labels[n % len(labels)] for n in range(len(right))]
    rows = [
        {
            "language": "cym",
            "example_id": str(n),
            "label": label,
            "prediction": label if correct else ("b" if label != "b" else "c"),
        }
        for n, (correct, label) in enumerate(zip(right, gold, strict=True))
    ]
    parquet.write_table(Table.from_pylist(rows), path / "predictions.parquet")
    summary = {"source": source, "metric": "accuracy"}
    return Result.of(path, result(name, "aaaa0000", seed, {}, status=status, cost={"seconds": 10.0}, summary=summary))


def judged(folder, before, after, questions=None, collapsed=()):
    plain = {seed: fake_run(folder, "plain", seed, row) for seed, row in enumerate(before)}
    method = {
        seed: fake_run(folder, "own", seed, row, "collapsed" if seed in collapsed else "done")
        for seed, row in enumerate(after)
    }
    return evaluate("cym", plain, method, questions)


def advised(folder, before, after, *, labels="abcd", source=(0.9, 0.9), collapsed=((), ()), data=HAS, facts=()):
    """What is recommended of two recipes, of what each gets right by seed; `collapsed` has the seeds that learnt nothing."""
    runs = [
        {
            seed: fake_run(
                folder, name, seed, row, "collapsed" if seed in without else "done", labels=labels, source=score
            )
            for seed, row in enumerate(table)
        }
        for name, table, without, score in zip(("plain", "own"), (before, after), collapsed, source, strict=True)
    ]
    plan = SimpleNamespace(
        key="cym",
        name="Welsh",
        source="eng",
        seeds=len(before),
        data=data,
        facts=facts,
        proposal=SimpleNamespace(recipe="own"),
    )
    evaluation = evaluate("cym", *runs, classes=4)
    return SimpleNamespace(plan=plan, baseline=runs[0], method=runs[1], evaluation=evaluation)


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
    result = judged(tmp_path, before, after)
    assert result.verdict == "open"
    assert result.test.effect > 0
    assert result.smallest > result.test.effect
    assert result.needed > 60
    difference = after.astype(float) - before
    residual = difference - difference.mean(1)[:, None] - difference.mean(0) + difference.mean()
    noise = (residual**2).sum() / (2 * 59) / 60
    design = {
        "accuracy": before.mean(), "discordant": np.abs(difference).mean(),
        "seed_sd": (max(0.0, difference.mean(1).var(ddof=1) - noise) / 2) ** 0.5,
    }  # fmt: skip
    assert result.smallest == pytest.approx(smallest_gain(60, 3, **design))
    assert (
        smallest_gain(result.needed, 3, **design) <= result.test.effect < smallest_gain(result.needed - 1, 3, **design)
    )


def test_no_difference_at_all(tmp_path):
    tied = draws(1, 0.5)
    result = judged(tmp_path, tied, tied)
    assert (result.test.effect, result.test.p, result.verdict, result.needed) == (0, 1, "open", None)


def test_a_run_that_learnt_nothing_is_named_and_in_no_number(tmp_path):
    before, after = draws(1, 0.4, seeds=4), draws(2, 0.8, seeds=4)
    result = judged(tmp_path, before, after, collapsed=[1])
    assert result.seeds == (0, 2, 3)
    assert result.test == crossed((after.astype(float) - before)[[0, 2, 3]])
    assert len(result.collapsed) == 1
    assert result.collapsed[0].endswith("own/00000000-s1")
    none = judged(tmp_path / "none", before, after, collapsed=range(4))
    assert (none.test, none.verdict, none.seeds) == (None, "open", ())
    assert (none.baseline.seeds, none.method) == ((0, 1, 2, 3), None)  # the baseline's own score is there


# Questions on texts


def on_texts(texts, answers=("a",)):
    """The questions of the fake runs, each on a text."""
    right = tuple(Answer(answer, 0) for answer in answers)
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
    result = judged(tmp_path, before, after, on_texts(texts))
    difference = after.astype(float) - before
    assert result.test.effect == pytest.approx(difference.mean())
    # The variance of a ratio over texts, from its definition: residuals of the sums around a seed's effect times the sizes.
    sizes = np.bincount(texts)
    sums = np.array([np.bincount(texts, weights=row) for row in difference])
    effects = difference.mean(1)[:, None]
    by_text = (sums - effects * sizes) / sizes.mean() + effects
    assert result.test.standard_error == pytest.approx(crossed(by_text).standard_error)


def test_what_a_seed_adds_to_all_texts_alike_is_of_seeds_alone(tmp_path):
    """Of every 20 questions seed k gains 4 + k and loses 4: texts say the same, whatever their size, and seeds do not."""
    place = np.arange(160) % 20
    before = np.tile(place < 10, (3, 1)).astype(int)
    after = np.array([(place >= 4) & (place < 14 + seed) for seed in range(3)]).astype(int)
    result = judged(tmp_path, before, after, on_texts(np.repeat(range(4), [20, 20, 40, 80])))
    assert result.test.seed_share == pytest.approx(1)
    design = {"accuracy": 0.5, "discordant": 0.45, "seed_sd": 0.05 / 2**0.5}
    assert result.smallest == pytest.approx(smallest_gain(160, 3, **design))


def test_where_all_are_right_the_largest_text_says_for_how_many_questions(tmp_path):
    rows = np.ones((3, 20), dtype=int)
    alike = judged(tmp_path / "alike", rows, rows, on_texts(np.arange(20) // 5))
    uneven = judged(tmp_path / "most", rows, rows, on_texts([0] * 14 + [1, 2, 2, 3, 3, 3]))
    # 20^2 / (4 * 5^2) = 4, and 20^2 / (14^2 + 1 + 4 + 9) = 1.9
    assert (alike.method.low, uneven.method.low) == (wilson(1.0, 4)[0], wilson(1.0, 2)[0])


def test_an_answer_is_right_by_exact_match_with_any(tmp_path):
    rows = draws(1, 0.5, n=8)
    result = judged(tmp_path, rows, rows, on_texts(range(8), answers=("x", "The B!")))
    assert result.baseline.accuracy == pytest.approx(1 - rows.mean())  # `b` was predicted where the label `a` was not


# What is recommended


def test_a_gain_over_a_model_that_works_is_used(tmp_path):
    result = advised(tmp_path, draws(1, 0.55), draws(2, 0.9))
    test, method = result.evaluation.test, result.evaluation.method
    assert result.evaluation.advice == "method"
    assert recommendation(result) == (
        f"Use `own`: {100 * test.effect:+.1f} points (95 % interval {100 * test.low:+.1f} to {100 * test.high:+.1f}) against"
        f" `plain`, right in {100 * method.accuracy:.1f} % of 100 sentences with 3 seeds, where always answering `a` gives"
        " 25.0 %."
    )
    (table,) = outcome_tables(result)
    assert [row[0] for row in table.rows] == ["always `a`", "plain", "own"]
    assert table.notes[0].endswith("Chance is 25.0 %.")
    assert "`plain` and `own`: shown to be right more often than the most frequent answer." in table.notes


def test_below_the_commonest_label_nothing_is_used(tmp_path):
    """12.9 % where always answering the commonest label gives 22 %, though the gain over `plain` is clear."""
    labels = "a" * 22 + "bcdefghijklm" * 6 + "nopqrs"
    right = np.zeros((3, 100), dtype=int)
    right[:, 30:43] = 1
    worse = np.zeros((3, 100), dtype=int)
    worse[:, 30:32] = 1
    worse[0, 33] = 1
    result = advised(tmp_path, worse, right, labels=labels)
    assert result.evaluation.verdict == "better"
    assert result.evaluation.commonest.share == 0.22
    assert result.evaluation.advice == "nothing"
    assert recommendation(result) == (
        "Nothing works yet: `plain` is right in 2.3 % of 100 sentences with 3 seeds and `own` is right in 13.0 %, where always"
        " answering `a` gives 22.0 %; what may help: labelled sentences in Welsh to train on (`--few-shot`) or sentence pairs"
        " (`--parallel`) or an encoder that was pretrained on Welsh (`model=`)."
    )
    torn = Fact("language", "answer", "cym", "No", note="the tokenizer does not know 26 % of the text")
    assert (
        "; what may help: an encoder that was pretrained on Welsh (`model=`), for the tokenizer does not know 26 % of the text or"
        in (recommendation(advised(tmp_path / "torn", worse, right, labels=labels, facts=[torn])))
    )
    having = LanguageData(**{**vars(HAS), "shots": 9, "pairs": 99})
    assert recommendation(advised(tmp_path / "has", worse, right, labels=labels, data=having)).endswith(
        "what may help: an encoder that was pretrained on Welsh (`model=`)."
    )


def test_an_interval_with_0_in_it_is_the_baseline(tmp_path):
    result = advised(tmp_path, draws(1, 0.6, n=60, noise=0.6), draws(2, 0.64, n=60, noise=0.6))
    assert result.evaluation.advice == "baseline"
    expected = recommendation(result)
    assert expected.startswith(
        "Not shown to differ: use `plain`. It is right in 53.9 % of 60 sentences with 3 seeds, where always"
    )
    assert "; the gain of `own` is +" in expected
    assert expected.endswith(").")
    assert any(note.startswith("More sentences alone would not show") for note in outcome_tables(result)[0].notes)
    assert any(note.startswith("parallel text: ") for note in outcome_tables(result)[0].notes)


def test_a_method_that_is_worse(tmp_path):
    expected = recommendation(advised(tmp_path, draws(1, 0.8), draws(2, 0.5)))
    assert expected.startswith("Use `plain`: it is right in 72.7 % of")
    assert ", and `own` is worse, -" in expected


def test_what_the_source_loses_is_in_the_sentence(tmp_path):
    result = advised(tmp_path, draws(1, 0.55), draws(2, 0.9), source=(0.9, 0.75))
    assert result.evaluation.source_change == pytest.approx(-0.15)
    assert recommendation(result).startswith(
        "Use `own` for Welsh alone, not for English, where it loses 15.0 points: +"
    )
    assert outcome_tables(result)[0].rows[2][4] == "75.0 (-15.0)"
    little = advised(tmp_path / "little", draws(1, 0.55), draws(2, 0.9), source=(0.9, 0.895))
    assert recommendation(little).startswith("Use `own`: +")


def test_fewer_than_3_seeds_are_the_baseline(tmp_path):
    result = advised(tmp_path, draws(1, 0.6)[:2], draws(2, 0.9)[:2])
    assert result.evaluation.advice == "baseline"
    assert recommendation(result).startswith("Not shown to differ: use `plain`. It is right in 55.5 %")
    assert recommendation(result).endswith(" (2 seeds, and at least 3 are needed).")
    nothing = advised(tmp_path / "low", draws(1, 0.2)[:2], draws(2, 0.9)[:2])
    assert (
        ", and with fewer than 3 seeds nothing can be claimed for `own`; what may help: more seeds (`--seeds 3`) or "
        in recommendation(nothing)
    )


def test_a_method_that_works_beside_a_baseline_that_may_not(tmp_path):
    """It is above the commonest label, but no gain is shown over a baseline that is not: no claim for either."""
    before = np.array([np.arange(60) % 10 < right for right in (1, 4, 8)]).astype(int)  # seeds differ much
    result = advised(tmp_path, before, np.tile(np.arange(60) % 10 < 6, (3, 1)).astype(int))
    assert (result.evaluation.baseline.works, result.evaluation.method.works) == (False, True)
    assert (result.evaluation.verdict, result.evaluation.advice) == ("open", "nothing")
    assert ", and no gain of `own` over `plain` is shown; what may help: " in recommendation(result)


@pytest.mark.parametrize(
    ("collapsed", "advice", "beginning"),
    [
        (
            (range(3), range(3)), "nothing",
            "Nothing works yet: no run learnt anything in English, the source; what may help: more steps"
            " (`phase.finetune.epochs`) or another `phase.finetune.learning_rate`, until the model learns the source.",
        ),
        (
            ((), range(3)), "baseline",
            "Use `plain`: it is right in {share:.1f} % of 100 sentences with 3 seeds, where always answering `a` gives 25.0 %,"
            " and no run of `own` learnt anything; 3 of the 6 runs learnt nothing and are excluded.",
        ),
        (
            (range(3), ()), "method",
            "Use `own`: it is right in {share:.1f} % of 100 sentences with 3 seeds, where always answering `a` gives 25.0 %,"
            " and no run of `plain` learnt anything; 3 of the 6 runs learnt nothing and are excluded.",
        ),
        (
            ((0,), (1, 2)), "baseline",
            "Not shown to differ: use `plain`. It is right in {share:.1f} % of 100 sentences with 2 seeds, where always"
            " answering `a` gives 25.0 %; `own` learnt nothing on the same seeds; 3 of the 6 runs learnt nothing and are"
            " excluded.",
        ),
        (
            ((), (1,)), "baseline", "Not shown to differ: use `plain`. ",
        ),
    ],
)  # fmt: skip
def test_runs_that_learnt_nothing(tmp_path, collapsed, advice, beginning):
    result = advised(tmp_path, draws(1, 0.55), draws(2, 0.9), collapsed=collapsed)
    assert result.evaluation.advice == advice
    score = result.evaluation.method if advice == "method" else result.evaluation.baseline
    assert recommendation(result).startswith(beginning.format(share=100 * score.accuracy if score else 0))
    (table,) = outcome_tables(result)
    assert bool(table.rows) == (advice != "nothing")  # no advice over an empty table
    assert sum(note.startswith("COLLAPSED") for note in table.notes) == sum(map(len, collapsed))


def test_one_model_alone_with_fewer_than_3_seeds_is_no_claim(tmp_path):
    result = advised(tmp_path, draws(1, 0.55)[:2], draws(2, 0.9)[:2], collapsed=(range(2), ()))
    assert result.evaluation.advice == "nothing"
    assert recommendation(result).startswith("Nothing works yet: `own` is right in 83.")
    assert (
        ", no run of `plain` learnt anything, where always answering `a` gives 25.0 %, and with fewer"
        in recommendation(result)
    )


def test_the_commonest_answer_of_words_and_of_questions(tmp_path):
    words = [fake_run(tmp_path / "words", name, 0, [1] * 6, labels=["O O", "O", "B-X O"]) for name in ("plain", "own")]
    tokens = evaluate("cym", {0: words[0]}, {0: words[1]}, output="token")
    assert (tokens.commonest.answer, tokens.commonest.share, tokens.commonest.chance) == (
        "O",
        pytest.approx(4 / 6),
        None,
    )
    rows = draws(1, 0.5, n=8)
    result = judged(tmp_path / "questions", rows, rows, on_texts(range(8), answers=("x", "The B!")))
    assert (result.commonest.answer, result.commonest.share) == ("x", 1.0)  # right of all, so no model can be above it
    assert result.advice == "nothing"


def test_the_model_is_that_of_the_first_sound_seed_of_what_is_used(tmp_path, monkeypatch):
    recipes = (tmp_path / "plain.toml", tmp_path / "own.toml")
    plan = SimpleNamespace(
        key="cym", source="eng", name="Welsh", seeds=4, recipes=recipes, folder=tmp_path,
        contents=_plan.contents(tmp_path, recipes), data=HAS, proposal=SimpleNamespace(recipe="own"),
    )  # fmt: skip
    tables = {"plain": draws(1, 0.55, seeds=4), "own": draws(2, 0.9, seeds=4)}

    def trained(recipe, *_, **__):
        name, seed = recipe
        return fake_run(tmp_path, name, seed, tables[name][seed], "collapsed" if seed == 0 else "done", labels="abcd")

    monkeypatch.setattr(_plan, "train", trained)
    monkeypatch.setattr(
        _plan, "load_recipe", lambda path, words: (Path(path).stem, int(words[0].removeprefix("seed=")))
    )
    monkeypatch.setattr(_plan, "_test", lambda plan: (None, 4))
    outcome = _plan.carry_out(plan)
    assert (outcome.use, outcome.model) == ("own", tmp_path / "own" / "00000000-s1" / "model")
    assert recommendation(outcome).endswith("; 2 of the 8 runs learnt nothing and are excluded.")
