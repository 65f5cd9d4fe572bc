"""Language modelling: which tokens are predicted and from what, the loss by its formula, and what training does."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import save_tiny
from distxfer.encoders import load_encoder
from distxfer.interventions.language_modelling import corrupted
from fakes import FakeStep, bind
from helpers import log, message

MASK, VOCABULARY = 4, 50


class Step(FakeStep):
    """A step that keeps what the encoder read."""

    def encode(self, batch):
        self.read = batch
        return super().encode(batch)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_only_predicted_tokens_change(rows, columns, seed):
    random = np.random.default_rng(seed)
    tokens = random.integers(5, VOCABULARY, size=(rows, columns))
    predicted = random.random(tokens.shape) < 0.5
    changed = corrupted(tokens, predicted, MASK, VOCABULARY, random)
    assert (changed[~predicted] == tokens[~predicted]).all()
    assert ((changed >= 0) & (changed < VOCABULARY)).all()


def test_eight_in_ten_are_masked_and_one_replaced():
    tokens = np.full((300, 100), VOCABULARY - 1)
    changed = corrupted(tokens, np.ones_like(tokens, dtype=bool), MASK, 10_000, np.random.default_rng(0))
    shares = (changed == MASK).mean(), (changed == VOCABULARY - 1).mean()
    assert shares == pytest.approx((0.8, 0.1), abs=0.01)  # 30,000 draws: five standard errors


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_loss_is_that_of_the_formula(encoder, share):
    step, bound = Step(encoder), bind(encoder, "language_modelling", share=share)
    result = bound.term(step)
    ((language, n),) = step.drawn
    original = step.of(language, n).inputs["input_ids"]
    replaced = (step.read.inputs["input_ids"] != original).sum().item()
    special = set(encoder.tokenizer.all_special_ids)
    words = sum(token not in special for row in original.tolist() for token in row)
    assert result.per == "token"
    assert replaced <= result.num_items <= words
    if share == 1:
        assert result.num_items == words
        states = encoder.encode(step.read.inputs).hidden[-1]
        total = 0.0
        for text, row in zip(states, original, strict=True):
            for state, token in zip(text, row.tolist(), strict=True):
                if token not in special:
                    logits = encoder.base.get_input_embeddings().weight @ bound.module(state)
                    total += (logits.exp().sum().log() - logits[token]).item()
        assert result.loss_sum.item() == pytest.approx(total, rel=1e-5)
        assert result.logs["loss"].item() == pytest.approx(total / words, rel=1e-5)


def test_nothing_special_is_masked_and_the_same_draws_give_the_same_text(encoder):
    reads = []
    for _ in range(2):
        step = Step(encoder)
        bind(encoder, "language_modelling", share=1.0).term(step)
        reads.append(step.read.inputs["input_ids"])
        original = step.of(*step.drawn[0]).inputs["input_ids"]
        for token in (encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id, encoder.tokenizer.pad_token_id):
            places = original == token
            assert (reads[-1][places] == token).all()
    assert torch.equal(*reads)


def test_text_without_a_predicted_token_counts_0(encoder):
    result = bind(encoder, "language_modelling", share=1e-12).term(Step(encoder))
    assert (result.loss_sum.item(), result.num_items) == (0.0, 0)


def test_a_decoder_predicts_the_next_token(tmp_path):
    decoder = load_encoder("tiny", save_tiny(tmp_path, "llama"), ("a", "b"), seed=0, pooling="last")
    step, bound = Step(decoder), bind(decoder, "language_modelling")
    result = bound.term(step)
    original = step.of(*step.drawn[0])
    tokens, mask = original.inputs["input_ids"], original.inputs["attention_mask"]
    assert torch.equal(step.read.inputs["input_ids"], tokens)
    assert result.num_items == mask[:, 1:].sum().item()
    states, embeddings = decoder.encode(original.inputs).hidden[-1], decoder.base.get_input_embeddings().weight
    total = 0.0
    for text, row, kept in zip(states, tokens, mask, strict=True):
        for place in range(int(kept.sum()) - 1):
            logits = embeddings @ bound.module(text[place])
            total += (logits.logsumexp(0) - logits[row[place + 1]]).item()
    assert result.loss_sum.item() == pytest.approx(total, rel=1e-5)


def test_a_tokenizer_without_a_mask_is_refused(encoder):
    tokenizer = deepcopy(encoder.tokenizer)
    tokenizer.mask_token = None
    without = replace(encoder, tokenizer=tokenizer)
    assert message(bind, without, "language_modelling").startswith("The tokenizer of `tiny` has no mask token")


def test_a_run_learns_the_text_before_the_task(run):
    settings = ("phase.adapt.learning_rate=1e-2", "phase.adapt.epochs=12", "model.train_word_embeddings=true")
    result = run("language_modelling", "task.targets=deu", *settings)
    losses = [line["term/language_modelling/loss"] for line in log(result) if line["phase"] == "adapt"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    assert not any("term/language_modelling/loss" in line for line in log(result) if line["phase"] == "finetune")


def test_in_an_adapter_below_that_of_the_task(run, tmp_path):
    """The order of MAD-X: the second phase leaves the language's adapter as the first has trained it."""
    recipe = tmp_path / "mad_x.toml"
    recipe.write_text(
        """
        phases = ["adapt", "finetune"]
        [phase.adapt]
        task = false
        interventions = ["language_modelling", "language"]
        epochs = 12
        learning_rate = 1e-2
        [phase.finetune]
        interventions = ["classifier"]
        [intervention.language_modelling]
        [intervention.language]
        kind = "lora"
        [intervention.classifier]
        kind = "lora"
        """
    )
    result = run(str(recipe), "task.targets=deu")
    lines = log(result)
    assert {line["phase"] for line in lines if "term/language_modelling/loss" in line} == {"adapt"}
    losses = [line["term/language_modelling"] for line in lines if line["phase"] == "adapt"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.02
    assert result.status in ("done", "collapsed")
