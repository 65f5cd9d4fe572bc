"""Published results: what is stored of them, and what a run far below says."""

import pytest

from distxfer import load_recipe, train
from distxfer.languages import canonical
from distxfer.results.result import Result
from distxfer.runs import published as _references
from distxfer.runs.published import Reference, far_below, references
from fake_runs import result

XNLI = {"eng": 0.858, "deu": 0.787, "ara": 0.738, "tha": 0.746, "hin": 0.724, "urd": 0.683, "swa": 0.665}


def run(tmp_path, scores, settings=(), **changes):
    """A finished run of XLM-R base on XNLI."""
    chosen = {"model.name": "FacebookAI/xlm-roberta-base", "task.name": "xnli", **dict(settings)}
    return Result.of(tmp_path, result("plain", "a" * 8, 0, scores, chosen, **changes))


def test_every_published_score_is_a_fraction_of_a_language_with_a_source():
    assert len(references()) == 5
    for reference in references():
        assert reference.source
        assert 0 < reference.margin < 0.1
        assert "eng" in reference.scores
        assert all(canonical(language) == language and 0.2 < score < 1 for language, score in reference.scores.items())


def test_the_baseline_of_the_issue_is_stored():
    (reference,) = (
        reference for reference in references() if (reference.models, reference.task) == (("xlm-roberta-base",), "xnli")
    )
    assert {language: reference.scores[language] for language in XNLI} == XNLI
    assert sum(reference.scores.values()) / len(reference.scores) == pytest.approx(0.762, abs=5e-4)


def test_a_run_in_range_says_nothing(tmp_path):
    assert far_below(run(tmp_path, {**XNLI, "deu": 0.70})) == []
    assert far_below(run(tmp_path, {key: score - 0.029 for key, score in XNLI.items()})) == []


def test_a_run_far_below_says_by_how_much_and_of_what(tmp_path):
    low = {**XNLI, "eng": 0.801, "deu": 0.5, "ara": 0.5}
    source, targets = far_below(run(tmp_path, low))
    assert source == (
        "`eng`: 80.1 is 5.7 points below the published 85.8 (the model card of microsoft/mdeberta-v3-base, for XLM-R base)."
        " Check the learning rate, the epochs and whether the run collapsed."
    )
    mean = sum(value for key, value in low.items() if key != "eng") / 6
    published = sum(value for key, value in XNLI.items() if key != "eng") / 6
    assert targets.startswith(
        f"The mean of 6 targets: {100 * mean:.1f} is {100 * (published - mean):.1f} points below the published"
        f" {100 * published:.1f} ("
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"model.name": "FacebookAI/xlm-roberta-large"},
        {"task.name": "emoji"},
        {"task.shots": 10},
        {"model.name": "bundled/multilingual-e5-small"},
    ],
)
def test_another_model_task_or_setting_is_not_compared(tmp_path, settings):
    assert far_below(run(tmp_path, dict.fromkeys(XNLI, 0.3), settings)) == []


def test_languages_that_nothing_is_published_of_are_left_out(tmp_path):
    low = dict.fromkeys(XNLI, 0.3)
    assert far_below(run(tmp_path, {"eng": 0.86, "kor": 0.3})) == []
    assert len(far_below(run(tmp_path, {**low, "kor": 1.0}))) == 2
    assert far_below(run(tmp_path, low, source="kor")) != []  # its source is not English: the targets alone
    assert len(far_below(run(tmp_path, {**low, "kor": 0.3}, source="kor"))) == 1


def test_train_says_so(tiny, task_folder, tiny_settings, tmp_path, monkeypatch):
    published = Reference((tiny.name.lower(),), str(task_folder), "accuracy", 0.03, "a paper", {"eng": 1.5, "deu": 1.5})
    monkeypatch.setattr(_references, "references", lambda: (published,))
    expected = []
    train(load_recipe("plain", [*tiny_settings, "phase.finetune.epochs=1"]), tmp_path, notice=expected.append)
    below = [line for line in expected if "published 150.0 (a paper)" in line]
    assert [line.split(":")[0] for line in below] == ["`eng`", "The mean of 1 targets"]
