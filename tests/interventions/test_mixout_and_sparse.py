"""Two interventions on the weights themselves: mixed with the pretrained ones while training, or few of them trained."""

import re

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.func import functional_call

from distxfer import load_recipe
from distxfer.data import Collator, Example
from distxfer.encoders import load_encoder
from distxfer.interventions import Change
from distxfer.runs.prepare import assemble, prepare
from distxfer.training import Processes
from fakes import bind, complaints_about
from helpers import log, message, same, stop_at, weights

QUERY = "bert.encoder.layer.0.attention.self.query.weight"  # (16, 16)
OUTER = "bert.encoder.layer.3.output.dense.weight"  # (16, 32): out, in
DENSE = ["parallel=", "phase.dense.steps=5", "phase.dense.learning_rate=1e-3", "phase.dense.batch_size=8"]


# mixout


@pytest.mark.parametrize("p", [0.3, 0.9])
def test_each_column_is_the_pretrained_one_with_this_probability(encoder, p):
    """The paper's formula, from the mask that the mixture lets one see; a mask has one entry an input unit."""
    mixed = bind(encoder, "mixout", p=p).replace_weight
    pretrained = dict(encoder.model.named_parameters())[OUTER].detach()
    weight = pretrained + torch.randn(pretrained.shape, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    back = torch.zeros(32)
    for _ in range(200):
        mixed_now = mixed(OUTER, weight)
        mask = torch.isclose(mixed_now, pretrained).all(dim=0)  # True: the column is the pretrained one
        mixture = torch.where(mask, pretrained, weight)
        assert torch.allclose(mixed_now, (mixture - p * pretrained) / (1 - p), rtol=1e-4, atol=1e-5)
        back += mask
    assert back.mean().item() / 200 == pytest.approx(p, abs=0.02)
    assert (back / 200).max() < 1
    assert (back / 200).min() > 0


def test_the_mixture_is_the_weight_in_expectation_and_so_is_its_gradient(encoder):
    mixed = bind(encoder, "mixout", p=0.5).replace_weight
    pretrained = dict(encoder.model.named_parameters())[QUERY].detach()
    change = torch.randn(pretrained.shape, generator=torch.Generator().manual_seed(1))
    weight = (pretrained + change).requires_grad_()
    torch.manual_seed(0)
    draws = 4000
    mean = sum(mixed(QUERY, weight) for _ in range(draws)) / draws
    # Each entry is w0 or w0 + 2 change: its mean over the draws has the standard deviation |change| / sqrt(draws).
    assert ((mean - weight).abs() <= 5 * change.abs() / draws**0.5 + 1e-5).all()
    (gradient,) = torch.autograd.grad(mean.sum(), weight)
    assert torch.allclose(gradient, torch.ones(16, 16), atol=5 / draws**0.5)


def test_where_nothing_has_moved_nothing_is_mixed(encoder):
    """The forward pass at the pretrained weights is that of the pretrained weights, bit for bit."""
    mixed = bind(encoder, "mixout").replace_weight
    parameters = dict(encoder.model.named_parameters())
    inputs = Collator(encoder.tokenizer, 32)(
        [Example("0", "eng", "the cat runs"), Example("1", "eng", "old tree")]
    ).inputs
    plain = encoder.model(**inputs).logits
    replaced = {name: mixed(name, parameter) for name, parameter in parameters.items()}
    assert torch.equal(functional_call(encoder.model, replaced, (), dict(inputs)).logits, plain)


def test_it_is_the_linear_maps_of_the_blocks_that_are_mixed(encoder):
    mixed = bind(encoder, "mixout").replace_weight
    parameters = dict(encoder.model.named_parameters())
    with torch.no_grad():
        for parameter in parameters.values():
            parameter += 1
    changed = {name for name, parameter in parameters.items() if mixed(name, parameter) is not parameter}
    assert changed == {
        name
        for name, parameter in parameters.items()
        if ".encoder.layer." in name and parameter.dim() == 2 and name.endswith(".weight")
    }
    assert len(changed) == 4 * 6


def test_training_with_mixout_differs_and_goes_on_after_a_stop(run, tmp_path):
    """Its first step is plain, since nothing has moved; the next ones are not."""
    plain, whole = (run(recipe, "parallel=") for recipe in ("plain", "mixout"))
    losses = [[line["loss"] for line in log(result)] for result in (plain, whole)]
    assert losses[0][0] == losses[1][0]
    assert all(plain_loss != mixed_loss for plain_loss, mixed_loss in zip(losses[0][1:], losses[1][1:], strict=True))
    with pytest.raises(KeyboardInterrupt):
        run("mixout", "parallel=", folder=tmp_path, report=stop_at(9))
    assert same(weights(whole), weights(run("mixout", "parallel=", folder=tmp_path)))


def test_every_step_and_micro_batch_has_a_mixture_of_its_own(tiny_settings):
    """And the same one again if it is computed again."""
    training = assemble(prepare(load_recipe("mixout", [*tiny_settings, "parallel="])), Processes()).training
    loop = training._loop(0, "finetune")
    with torch.no_grad():
        for parameter in loop.parameters:
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    (micro,) = loop._micros(0)
    totals = [
        float(loop.module(type(micro)("finetune", number, index, micro.batch))["task"].loss_sum.detach())
        for number, index in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert totals[0] == totals[1]
    assert len(set(totals)) == 3


def test_measuring_uses_the_weights_themselves(run, tiny_settings):
    """What is saved predicts what the run predicted."""
    result, labels = run("mixout", "parallel="), ("animal", "plant")
    encoder = load_encoder("again", result.folder / "model", labels, seed=0)
    task = prepare(load_recipe("mixout", [*tiny_settings, "parallel="])).task
    rows = pd.read_parquet(result.folder / "predictions.parquet").set_index(["language", "example_id"])["prediction"]
    for language in ("eng", "jpn"):
        examples = task.examples("test", language)
        _, logits = encoder.states([Collator(encoder.tokenizer, 32)(examples).inputs])
        for example, row in zip(examples, logits, strict=True):
            assert rows.loc[language, example.id] == labels[row.argmax()]


@pytest.mark.parametrize("p", [0, 1, -0.5])
def test_a_probability_that_mixes_nothing_or_trains_nothing_is_refused(p):
    ((key, complaint),) = complaints_about("mixout", {"p": p})
    assert key == "p"
    assert complaint.startswith(f"is `{p}`, but it should be ")


@pytest.mark.parametrize("kind", ["mixout", "sparse"])
def test_with_adapters_it_has_no_weights_to_act_on(run, kind):
    phases = ["phases=dense,finetune", "phase.finetune.rewind=dense", "phase.dense.interventions=lora"]
    keys = ["intervention.sparse.share=0.1", *phases] if kind == "sparse" else ["intervention.mixout.p=0.5"]
    refusal = message(run, "lora", *keys)
    assert f"The intervention `{kind}` acts on the encoder's own weights, which are frozen under adapters" in refusal


# sparse


def test_the_entries_that_changed_most_are_chosen_over_all_parameters_together(encoder):
    """Two parameters of the encoder and the head: 3 of 10 entries, wherever they are, by size and not by sign."""
    entries = bind(encoder, "sparse", share=0.3).entries
    start = {QUERY: torch.ones(2, 3), OUTER: torch.zeros(4), "classifier.weight": torch.zeros(5)}
    moved = {QUERY: [[0, -0.9, 0.1], [0.2, 0, 0.3]], OUTER: [0.5, 0.4, 0, -0.6], "classifier.weight": [9, 9, 9, 9, 9]}
    masks = entries({name: Change(value, value + torch.tensor(moved[name])) for name, value in start.items()})
    assert set(masks) == {QUERY, OUTER}
    assert masks[QUERY].tolist() == [[False, True, False], [False, False, False]]
    assert masks[OUTER].tolist() == [True, False, False, True]


def test_of_entries_that_changed_alike_there_are_still_no_more_than_asked(encoder):
    entries = bind(encoder, "sparse", share=0.25).entries
    start = torch.zeros(6, 10)
    assert int(entries({QUERY: Change(start, start + 1)})[QUERY].sum()) == 15


def test_after_training_these_entries_differ_and_all_others_are_where_they_began(run, tiny):
    """The head, which no checkpoint brought, trains whole."""
    result = run("sparse", *DENSE, "intervention.sparse.share=0.1")
    after, before = weights(result), load_file(tiny / "model.safetensors")
    changed, entries = 0, 0
    assert after.keys() - {"classifier.weight", "classifier.bias"} == {
        f"bert.{name}" for name in before if "pooler" not in name
    }
    for name in (name for name in before if f"bert.{name}" in after):
        moved = int((after[f"bert.{name}"] != before[name]).sum())
        if name == "embeddings.word_embeddings.weight":
            assert moved == 0
        else:
            changed, entries = changed + moved, entries + before[name].numel()
    assert changed == round(0.1 * entries)
    start = weights(run("plain", "parallel=", "phase.finetune.steps=1", "phase.finetune.learning_rate=1e-60"))
    assert (after["classifier.weight"] != start["classifier.weight"]).all()
    assert "sparse" in result.data["recipe"]["intervention"]


def test_they_are_those_that_the_dense_phase_changed_most(run):
    """The same phase alone says what it changed; of the entries that trained, none changed less than one that did not."""
    settings = [*DENSE, "intervention.sparse.share=0.1"]
    start = weights(run("plain", "parallel=", "phase.finetune.steps=1", "phase.finetune.learning_rate=1e-60"))
    still = ["phase.finetune.steps=1", "phase.finetune.learning_rate=1e-60"]
    dense = weights(run("plain", *DENSE, *still, "phases=dense,finetune"))
    sparse = weights(run("sparse", *settings))
    ours = [name for name in sparse if not name.startswith(("classifier", "bert.pooler", "bert.embeddings.word"))]
    change = torch.cat([(dense[name] - start[name]).abs().flatten() for name in ours])
    trained = torch.cat([(sparse[name] != start[name]).flatten() for name in ours])
    assert change[trained].min() >= change.topk(round(0.1 * len(change))).values.min()


def test_the_norm_that_is_clipped_is_that_of_the_entries_that_train(run, tiny_settings):
    """At the first step, from the same weights and examples as in a run without the dense phase."""
    result = run("sparse", *DENSE, "model.head_start=random", "intervention.sparse.share=0.1")
    training = assemble(prepare(load_recipe("plain", [*tiny_settings, "parallel="])), Processes()).training
    loop = training._loop(0, "finetune")
    loop.gradients(0, None)
    start = {name: parameter for name, parameter in loop.module.model.named_parameters() if parameter.grad is not None}
    after = weights(result)
    trains = {
        name: torch.ones_like(parameter) if name.startswith("classifier") else after[name] != parameter
        for name, parameter in start.items()
    }
    squares = sum((parameter.grad * trains[name]).square().sum() for name, parameter in start.items())
    whole = sum(parameter.grad.square().sum() for parameter in start.values())
    first = next(line for line in log(result) if line["phase"] == "finetune")
    assert first["gradient_norm"] == pytest.approx(float(squares.detach().sqrt()), rel=1e-4)
    assert first["gradient_norm"] < 0.99 * float(whole.sqrt())


def test_a_phase_to_go_back_to_must_be_named(run):
    assert message(run, "sparse", "parallel=", "phase.finetune.rewind=") == (
        "The intervention `sparse` selects entries by what an earlier phase has changed. Name that phase in"
        " `phase.finetune.rewind`."
    )


def test_a_share_of_nothing_is_refused(run, encoder):
    for share in (0, 1, 1.5):
        assert complaints_about("sparse", {"share": share})[0][1].startswith(f"is `{share}`, but it should be ")
    entries = bind(encoder, "sparse", share=0.1).entries
    inside, head = torch.zeros(2), torch.zeros(99)
    changes = {QUERY: Change(inside, inside + 1), "classifier.weight": Change(head, head + 1)}
    assert message(entries, changes) == (
        "`share` = `0.1` selects none of the 2 trainable entries of the encoder. Raise it, or train more of the encoder."
    )


@pytest.mark.parametrize(
    ("share", "more"),
    [("1e-06", []), ("0.0001", ["phase.finetune.interventions=sparse,freeze", "intervention.freeze.layers=1,2,3"])],
)
def test_a_share_of_nothing_is_refused_before_the_dense_phase(run, share, more):
    """Also where it is others that leave little to have a share of: here, one layer."""
    refusal = message(
        run, "sparse", *DENSE, f"intervention.sparse.share={share}", *more, report=lambda *_: pytest.fail("it trained")
    )
    assert re.match(
        rf"`intervention\.sparse`: `share` = `{share}` selects none of the \d+ trainable entries of the encoder",
        refusal,
    )
