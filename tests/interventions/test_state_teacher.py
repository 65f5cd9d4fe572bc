"""A teacher of states: the loss against its formula, which sentences the teacher reads, and what a run makes of it."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distxfer import load_recipe
from distxfer.data import Example, Pair
from distxfer.runs.prepare import assemble, prepare
from distxfer.training import Processes
from fakes import FakeStep, bind, complaints_about
from helpers import log, message, normal

SHORT = ["phase.finetune.epochs=2", "phase.state_teacher.epochs=2"]


@dataclass
class TaughtStep(FakeStep):
    """A step that draws six pairs, and these states for them."""

    taught: torch.Tensor = field(default_factory=lambda: normal(0, 6, 16).float())

    def sample_labelled_pairs(self, language, n):
        return *self.sample_pairs(language, n)[:2], self.taught


def pooled(encoder, language: str) -> np.ndarray:
    """The mean of the last layer's states over the tokens of each of six texts, one text at a time."""
    rows = []
    for example in FakeStep(encoder).of(language, 6).examples:
        inputs = encoder.tokenizer(example.text, return_tensors="pt")
        with torch.no_grad():
            rows.append(encoder.base(**inputs).last_hidden_state[0].numpy().astype(float).mean(axis=0))
    return np.array(rows)


def test_the_loss_is_the_mean_squared_difference_of_both_sides_summed_over_pairs(encoder):
    step = TaughtStep(encoder)
    result = bind(encoder, "state_teacher", languages="jpn", batch_size=6).term(step)
    parts = {
        side: sum(
            sum((a - b) ** 2 for a, b in zip(taught, states, strict=True)) / 16
            for taught, states in zip(step.taught.tolist(), pooled(encoder, language), strict=True)
        )
        for side, language in (("source", "eng"), ("target", "jpn"))
    }
    assert result.loss_sum.item() == pytest.approx(parts["source"] + parts["target"], rel=1e-5)
    assert (result.num_items, result.per, step.drawn) == (6, "pair", [("jpn", 6)])
    assert {key: value.item() for key, value in result.logs.items()} == pytest.approx(
        {key: part / 6 for key, part in parts.items()}, rel=1e-5
    )


def test_it_is_0_where_sentences_keep_their_states_and_translations_have_them(encoder):
    """The source's part alone where the states are those of now, both where the translation is the sentence itself."""
    step = TaughtStep(encoder, taught=torch.from_numpy(pooled(encoder, "eng")).float())
    logs = bind(encoder, "state_teacher", languages="jpn", batch_size=6).term(step).logs
    assert logs["source"].item() < 1e-12 < logs["target"].item()
    step.sample_pairs = lambda language, n: (step.of("eng", 6), step.of("eng", 6))
    assert bind(encoder, "state_teacher", batch_size=6).term(step).loss_sum.item() < 1e-12


def test_the_gradient_pulls_both_sides_to_the_teacher(encoder):
    """It is 2 (h - T) / d on the states of either side."""
    states = {language: normal(n, 6, 16).requires_grad_() for n, language in enumerate(("eng", "jpn"), start=1)}
    step = TaughtStep(encoder, taught=normal(0, 6, 16))
    step.encode = lambda batch: SimpleNamespace(pooled=lambda layer: states[batch.examples[0].language])
    loss = bind(encoder, "state_teacher", languages="jpn", batch_size=6).term(step).loss_sum
    for rows, gradient in zip(states.values(), torch.autograd.grad(loss, [*states.values()]), strict=True):
        torch.testing.assert_close(gradient, 2 * (rows - step.taught) / 16)


def test_a_sentence_that_several_languages_translate_is_read_once(encoder):
    @dataclass
    class FakeTeacher:
        pairs: dict[str, list[Pair]]
        asked: int = 0

        def states(self, examples) -> torch.Tensor:
            self.asked += len(examples)
            return torch.tensor([[float(example.text), 1.0] for example in examples])

    def pairs(language, *numbers):
        return [Pair(Example("", "eng", str(n)), Example("", language, f"{language} {n}")) for n in numbers]

    teacher = FakeTeacher({"deu": pairs("deu", 3, 1, 2), "jpn": pairs("jpn", 2, 3, 3, 0)})
    states = bind(encoder, "state_teacher").labels(teacher)
    assert {language: rows[:, 0].tolist() for language, rows in states.items()} == {
        "deu": [3, 1, 2],
        "jpn": [2, 3, 3, 0],
    }
    assert teacher.asked == 4


def test_a_run_pulls_translations_to_the_states_of_their_sentences(run, tiny_without_dropout):
    """Without dropout the sentences begin where the teacher has them. The phase is this term alone."""
    settings = [f"model={tiny_without_dropout}", "model.precision=float32", "phase.state_teacher.task=false"]
    settings += ["phase.state_teacher.learning_rate=1e-2", "phase.state_teacher.epochs=6"]
    lines = [line for line in log(run("state_teacher", *SHORT, *settings)) if line["phase"] == "state_teacher"]
    source, target = ([line[f"term/state_teacher/{side}"] for line in lines] for side in ("source", "target"))
    assert source[0] < 1e-9
    assert np.mean(target[-4:]) < np.mean(target[:4]) / 2
    for line in lines:
        parts = line["term/state_teacher/source"] + line["term/state_teacher/target"]
        assert line["term/state_teacher"] == pytest.approx(parts, rel=1e-4)


def test_states_need_no_trained_head_and_take_their_place_in_checkpoints(tiny_settings):
    """64 pairs of two languages, of width 16, 4 bytes each. The teacher may be the pretrained encoder."""
    training = assemble(prepare(load_recipe("state_teacher", tiny_settings)), Processes()).training
    sizes = {plan.phase: plan.checkpoint_bytes for plan in training.plan()}
    assert sizes["state_teacher"] - sizes["finetune"] == 2 * 64 * 16 * 4
    first = [
        *tiny_settings,
        "model.head_start=random",
        "phases=state_teacher,finetune",
        "phase.state_teacher.task=false",
    ]
    assemble(prepare(load_recipe("state_teacher", first)), Processes())
    merged = message(
        lambda: assemble(prepare(load_recipe("state_teacher", [*first, "phase.finetune.merge=0.5"])), Processes())
    )
    assert "merges the trained head with its start, which is random" in merged


def test_keys_that_make_no_sense_are_refused(encoder):
    assert complaints_about("state_teacher", {"weight": -1})[0][0] == "weight"
    assert "`kor`, which is no target of this run" in message(bind, encoder, "state_teacher", languages="kor")
