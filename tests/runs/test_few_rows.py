"""CKA of too few rows: what can only count nothing is refused, what counts nothing at times is told, and measuring warns."""

import json
from itertools import product
from pathlib import Path

import pytest

from conftest import WORDS
from distxfer import load_recipe, train
from distxfer.runs.run import validate
from helpers import log, message

SHORT = ["parallel=", "phase.finetune.steps=8", "phase.finetune.learning_rate=1e-3", "task.targets=deu"]


def write(folder: Path, train: list[str], test: list[str]) -> Path:
    """A task with these texts, the same test in both languages."""
    for language, split, texts in (("eng", "train", train), ("eng", "test", test), ("deu", "test", test)):
        rows = [{"id": str(n), "text": text, "label": "ab"[n % 2]} for n, text in enumerate(texts)]
        path = folder / language / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def different(n: int) -> list[str]:
    words = WORDS["eng"]
    return [" ".join(three) for three in product(words[:5], words[5:10], words[10:])][:n]


@pytest.fixture
def recipe(tiny, tmp_path):
    def made(train_texts, *words, test=None, name="drift_reg"):
        folder = write(tmp_path / "task", train_texts, test or different(20))
        return load_recipe(name, [f"model={tiny}", f"task={folder}", *SHORT, *words])

    return made


def test_equal_texts_have_no_drift_to_hold(recipe, tmp_path):
    """Batches of one text, sorted together by their length: no NaN, and no advice to lower the learning rate."""
    texts = [*different(100), *["the big old red tree sees two new birds"] * 80]
    notices = []
    result = train(recipe(texts, "phase.finetune.batch_size=20"), tmp_path / "results", notice=notices.append)
    entries = log(result)
    empty = [entry["empty/drift"] for entry in entries if "empty/drift" in entry]
    assert 0 < len(empty) == sum("term/drift" not in entry for entry in entries) < len(entries) == 8
    assert result.data["empty"] == {"drift": {"micro_batches": len(empty), "steps": len(empty), "of": 8}}
    assert (
        f"The term `drift` counted nothing in {len(empty)} micro-batches, in {len(empty)} of its 8 steps: they were too"
        f" small for it, such as with fewer than 16 different texts for CKA."
    ) in notices


def test_a_run_whose_batches_are_full_says_nothing_of_it(recipe, tmp_path):
    notices = []
    result = train(recipe(different(20), "phase.finetune.batch_size=20"), tmp_path / "results", notice=notices.append)
    assert result.data["empty"] == {}
    assert not [notice for notice in notices if "counted nothing" in notice or "different texts" in notice]


@pytest.mark.parametrize(
    ("texts", "words", "expected"),
    [
        (
            different(25),
            ["phase.finetune.batch_size=15"],
            "The intervention `drift` contributes nothing in a batch with fewer than 16 texts, and `phase.finetune.batch_size` ="
            " `15` gives 15 at most. Set it to at least 16, or choose an `intervention.drift.measure` that needs fewer.",
        ),
        (
            different(25),
            ["phase.finetune.batch_size=8", "phase.finetune.accumulation=4"],
            "The intervention `drift` contributes nothing in a batch with fewer than 16 texts, and `phase.finetune.batch_size` ="
            " `8` gives 8 at most. Set it to at least 16, or choose an `intervention.drift.measure` that needs fewer.",
        ),
        (
            different(15) * 4,
            ["phase.finetune.batch_size=32"],
            "The intervention `drift` contributes nothing in a batch with fewer than 16 different texts, and the training data"
            " has 15 in all. Give more, or choose an `intervention.drift.measure` that needs fewer.",
        ),
    ],
)
def test_what_can_only_count_nothing_is_refused_before_training(recipe, texts, words, expected):
    assert message(validate, recipe(texts, *words)) == expected
    validate(recipe(texts, *words, "intervention.drift.measure=cosine"))


@pytest.mark.parametrize(
    ("kind", "words", "fewest"),
    [
        ("align", ["intervention.align.loss=cka", "intervention.align.layers=3"], 16),
        ("drift", ["intervention.drift.text=pairs"], 8),
        ("drift", ["intervention.drift.text=target"], 16),
    ],
)
def test_text_that_can_only_give_such_batches_is_refused(recipe, tmp_path, kind, words, fewest):
    folder = tmp_path / "pairs"
    folder.mkdir()
    lines = [f"{text}\t{text[::-1]}\n" for text in different(fewest - 1)]
    (folder / "deu.tsv").write_text("".join(lines * 2))
    settings = [*words, f"parallel={folder}", f"intervention.{kind}.weight=1"]
    text = message(validate, recipe(different(20), *settings, name="plain"))
    assert "there is too little: " in text  # a part is held out
    assert f"expected at least {fewest} that differ" in text
    (folder / "deu.tsv").write_text("".join(f"{text}\t{text[::-1]}\n" for text in different(25)))
    validate(recipe(different(20), *settings, name="plain"))


def test_measuring_few_texts_is_done_and_told(recipe, tmp_path):
    notices = []
    settings = recipe(different(20), test=different(15) * 2, name="plain")
    result = train(settings, tmp_path / "results", notice=notices.append)
    assert result.data["empty"] == {}
    assert (
        "The test part has fewer than 16 different texts in `eng` (15), `deu` (15), so drift (1 - CKA) is a poor estimate"
        " there: at 4 texts CKA is biased by half."
    ) in notices
