"""Holding the weights near the pretrained ones: L2-SP."""

import json
from functools import partial

import pytest
import torch

import fakes
from conftest import TARGETS
from distxfer import InputError, RunError, load_recipe, train
from distxfer.interventions import intervention_class
from fakes import FakeStep, between
from helpers import gone

DISTANCES = between(TARGETS)
bind, term = (partial(one, targets=TARGETS) for one in (fakes.bind, fakes.term))


def test_l2_sp_is_half_the_squared_way_that_the_encoders_weights_have_gone(encoder):
    bound = bind(encoder, "l2_sp")
    step = FakeStep(encoder)
    assert (bound.weight, bound.needs) == (0.1, {"weights", "encoder"})
    at_rest = bound.term(step)
    assert (at_rest.loss_sum.item(), at_rest.num_items, at_rest.per) == (0.0, 1, "batch")
    start = {name: one.detach().clone() for name, one in encoder.model.named_parameters()}
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for one in encoder.model.parameters():
            one.add_(0.1 * torch.randn(one.shape, generator=draw))
    words = "bert.embeddings.word_embeddings.weight"
    gone = {
        name: one.detach() - start[name]
        for name, one in encoder.model.named_parameters()
        if name.startswith("bert.") and name != words
    }
    moved = bound.term(step).loss_sum
    assert moved.item() == pytest.approx(sum(one.double().square().sum().item() for one in gone.values()) / 2, rel=1e-5)
    moved.backward()
    for name, one in encoder.model.named_parameters():
        if name in gone:
            torch.testing.assert_close(one.grad, gone[name])
        else:
            assert one.grad is None


def test_l2_sp_of_some_layers_or_with_the_word_embeddings(encoder):
    def pulled(**keys) -> set:
        bound = bind(encoder, "l2_sp", **keys)
        gradients = torch.autograd.grad(
            bound.term(FakeStep(encoder)).loss_sum, [*encoder.model.parameters()], allow_unused=True
        )
        names = [name for name, _ in encoder.model.named_parameters()]
        assert all(float(one.abs().sum()) == 0 for one in gradients if one is not None)  # exactly, where it starts
        return {name for name, one in zip(names, gradients, strict=True) if one is not None}

    places = {encoder.place(name) for name in pulled(layers=[2, 3])}
    assert places == {2, 3}
    without = pulled()
    encoder.train_word_embeddings = True
    assert pulled() - without == {"bert.embeddings.word_embeddings.weight"}
    with pytest.raises(InputError, match="`layers` names layer `9`, but this encoder has layers 1 to 4"):
        bind(encoder, "l2_sp", layers=[9])


def test_they_document_themselves():
    for kind in ("drift", "freeze", "l2_sp"):
        assert "eference" in intervention_class(kind).__doc__


# In a run


def test_l2_sp_holds_the_weights_of_a_run(tiny, tiny_settings, tmp_path):
    pulled, free = (
        train(load_recipe("l2_sp", [*tiny_settings, f"intervention.l2_sp.weight={weight}"]), tmp_path)
        for weight in (10, 0)
    )
    lines = [json.loads(line) for line in (pulled.folder / "log.jsonl").read_text().splitlines()]
    assert lines[0]["term/l2_sp"] == 0
    assert all(line["term/l2_sp"] > 0 for line in lines[1:])
    assert sum(gone(pulled, tiny).values()) < 0.5 * sum(gone(free, tiny).values())
    with pytest.raises(
        InputError, match="The intervention `l2_sp` acts on the encoder's own weights, which are frozen under adapters"
    ):
        train(load_recipe("l2_sp", [*tiny_settings, "intervention.lora.r=2"]), tmp_path)


def test_l2_sp_of_layers_that_are_all_frozen_does_nothing_and_says_so(tiny_settings, tmp_path):
    settings = [*tiny_settings, "intervention.l2_sp.layers=1", "intervention.freeze.layers=1"]
    with pytest.raises(RunError, match="The term `l2_sp` has had no gradient on any trainable parameter"):
        train(load_recipe("l2_sp", settings), tmp_path)
