"""SimCSE: the contrast of two passes under different dropout, against its formula, and what it refuses."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from distxfer import load_recipe
from distxfer.runs.run import validate
from fakes import FakeStep, bind
from helpers import log, message, normal

TEXTS = ("the cat runs", "bird", "the cat runs", "dog bird dog", "the dog")
QUIET = ["parallel=", "phase.finetune.steps=3"]


@dataclass
class States:
    """The pooled states of a pass, in place of those of an encoder."""

    states: torch.Tensor

    def pooled(self, layer: int) -> torch.Tensor:
        return self.states if layer == 2 else self.states.flip(1)


@dataclass
class TwoPasses(FakeStep):
    """A step whose two passes of the task's texts have these states."""

    first: torch.Tensor | None = None
    second: torch.Tensor | None = None

    def encoded(self):
        return States(self.first)

    def encode(self, batch):
        assert [example.text for example in batch.examples] == list(self.texts)
        return States(self.second)


def by_formula(first: np.ndarray, second: np.ndarray, texts, temperature: float) -> float:
    """Return the loss summed over the texts, one exponential after the other."""
    total = 0.0
    for queries, keys in ((first, second), (second, first)):
        for i, text in enumerate(texts):
            cosines = {
                j: queries[i] @ keys[j] / np.linalg.norm(queries[i]) / np.linalg.norm(keys[j])
                for j in range(len(texts))
                if j == i or texts[j] != text
            }
            total -= (
                np.log(np.exp(cosines[i] / temperature) / sum(np.exp(np.array([*cosines.values()]) / temperature))) / 2
            )
    return total


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_loss_is_that_of_the_formula_without_equal_texts_among_the_negatives(encoder, temperature):
    first, second = normal(0, 5, 8), normal(0, 5, 8) + 0.5 * normal(1, 5, 8)
    step = TwoPasses(encoder, texts=TEXTS, first=first, second=second)
    result = bind(encoder, "simcse", temperature=temperature, layer=2).term(step)
    assert (result.num_items, result.per) == (5, "example")
    assert result.loss_sum.item() == pytest.approx(
        by_formula(first.numpy(), second.numpy(), TEXTS, temperature), rel=1e-9
    )
    others = by_formula(first.numpy(), second.numpy(), [*range(5)], temperature)
    assert others > result.loss_sum.item() * (1 + 1e-6)  # with equal texts as negatives
    assert result.logs["cosine"].item() == pytest.approx(torch.cosine_similarity(first, second).mean().item())


def test_the_gradient_goes_through_both_passes_at_the_last_layer(encoder):
    first, second = normal(0, 5, 4).requires_grad_(), normal(1, 5, 4).requires_grad_()
    bound = bind(encoder, "simcse", temperature=0.5)
    assert bound.layers == (encoder.layers,)

    def loss(first, second):
        return bound.term(TwoPasses(encoder, texts=TEXTS, first=first, second=second)).loss_sum

    assert torch.autograd.gradcheck(loss, (first, second))
    assert all(gradient.abs().max() > 1e-3 for gradient in torch.autograd.grad(loss(first, second), (first, second)))


@pytest.mark.parametrize("texts", [("bird",), ("the cat",) * 3])
def test_a_batch_without_two_different_texts_counts_nothing(encoder, texts):
    states = normal(0, len(texts), 4)
    result = bind(encoder, "simcse").term(TwoPasses(encoder, texts=texts, first=states, second=states))
    assert (result.num_items, result.loss_sum.item()) == (0, 0.0)


@pytest.mark.parametrize("settings", [[], ["phases=first,finetune", "phase.first.task=false", "phase.first.steps=3"]])
def test_the_two_passes_of_a_run_drop_different_entries(run, settings):
    """Beside the task, whose pass is the first, or alone."""
    for line in log(run("simcse", *QUIET, *settings)):
        assert line["term/simcse"] > 0
        assert 0 < line["term/simcse/cosine"] < 1 - 1e-4


def test_what_would_contrast_nothing_is_refused(tiny_settings, tiny_without_dropout):
    still = [*tiny_settings, *QUIET, f"model={tiny_without_dropout}"]
    assert message(validate, load_recipe("simcse", still)) == (
        "`intervention.simcse`: two passes of a text differ by dropout alone, and the encoder"
        f" `{tiny_without_dropout}` has none. Choose one that has, or add adapters with dropout, such as"
        " `intervention.lora.dropout=0.1`."
    )
    validate(load_recipe("simcse", [*still, "intervention.lora.dropout=0.1"]))
    assert message(validate, load_recipe("simcse", [*tiny_settings, *QUIET, "phase.finetune.batch_size=1"])) == (
        "The intervention `simcse` contributes nothing in a batch with fewer than 2 texts, and `phase.finetune.batch_size` ="
        " `1` gives 1 at most. Set it to at least 2, or leave it out."
    )
