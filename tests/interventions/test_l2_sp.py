"""Holding the weights near the pretrained ones: L2-SP."""

from functools import partial

import pytest
import torch

import fakes
from conftest import TARGETS
from distxfer import InputError, RunError
from fakes import FakeStep
from helpers import gone, log

bind, term = (partial(function, targets=TARGETS) for function in (fakes.bind, fakes.term))


def test_l2_sp_is_half_the_squared_way_that_the_encoders_weights_have_gone(encoder):
    bound = bind(encoder, "l2_sp")
    step = FakeStep(encoder)
    assert (bound.weight, bound.needs) == (0.1, {"weights", "encoder"})
    at_rest = bound.term(step)
    assert (at_rest.loss_sum.item(), at_rest.num_items, at_rest.per) == (0.0, 1, "batch")
    start = {name: parameter.detach().clone() for name, parameter in encoder.model.named_parameters()}
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    words = "bert.embeddings.word_embeddings.weight"
    gone = {
        name: parameter.detach() - start[name]
        for name, parameter in encoder.model.named_parameters()
        if name.startswith("bert.") and name != words
    }
    moved = bound.term(step).loss_sum
    assert moved.item() == pytest.approx(
        sum(change.double().square().sum().item() for change in gone.values()) / 2, rel=1e-5
    )
    moved.backward()
    for name, parameter in encoder.model.named_parameters():
        if name in gone:
            torch.testing.assert_close(parameter.grad, gone[name])
        else:
            assert parameter.grad is None


def test_l2_sp_of_some_layers_or_with_the_word_embeddings(encoder):
    def pulled(**keys) -> set:
        bound = bind(encoder, "l2_sp", **keys)
        gradients = torch.autograd.grad(
            bound.term(FakeStep(encoder)).loss_sum, [*encoder.model.parameters()], allow_unused=True
        )
        names = [name for name, _ in encoder.model.named_parameters()]
        assert all(
            float(gradient.abs().sum()) == 0 for gradient in gradients if gradient is not None
        )  # exactly, where it starts
        return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}

    places = {encoder.place(name) for name in pulled(layers=[2, 3])}
    assert places == {2, 3}
    without = pulled()
    encoder.train_word_embeddings = True
    assert pulled() - without == {"bert.embeddings.word_embeddings.weight"}
    with pytest.raises(InputError, match="`layers` names layer `9`, but this encoder has layers 1 to 4"):
        bind(encoder, "l2_sp", layers=[9])


# In a run


def test_l2_sp_holds_the_weights_of_a_run(tiny, run):
    pulled, free = (run("l2_sp", f"intervention.l2_sp.weight={weight}") for weight in (10, 0))
    lines = log(pulled)
    assert lines[0]["term/l2_sp"] == 0
    assert all(line["term/l2_sp"] > 0 for line in lines[1:])
    assert sum(gone(pulled, tiny).values()) < 0.5 * sum(gone(free, tiny).values())


def test_l2_sp_of_layers_that_are_all_frozen_does_nothing_and_says_so(run):
    with pytest.raises(RunError, match="The term `l2_sp` has had no gradient on any trainable parameter"):
        run("l2_sp", "intervention.l2_sp.layers=1", "intervention.freeze.layers=1")
