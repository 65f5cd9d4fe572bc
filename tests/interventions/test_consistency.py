"""Predictions on two forms of a text: each term against its formula, what it makes of the texts, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import WORDS, save_tiny
from distxfer import RunError
from distxfer.data import Example
from distxfer.encoders import Encoder, load_encoder
from distxfer.languages import weights
from fakes import between, bind, complaints_about
from helpers import log, message
from two_forms import FakeStep, decided, kl, probabilities


@pytest.fixture(scope="module")
def loaded(tiny_without_dropout) -> Encoder:
    return decided(load_encoder("tiny", tiny_without_dropout, ("a", "b", "c"), seed=0))


@pytest.fixture
def encoder(loaded) -> Encoder:
    loaded.model.zero_grad()
    return loaded


def gradient(total: torch.Tensor, encoder: Encoder) -> torch.Tensor:
    """Return the gradient on the first block's weights."""
    weights = encoder.model.get_parameter("bert.encoder.layer.0.output.dense.weight")
    return torch.autograd.grad(total, weights, retain_graph=True)[0]


# Translations


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_translation_is_the_divergence_summed_over_pairs(encoder, temperature):
    step = FakeStep(encoder)
    result = bind(encoder, "consistency", languages=["jpn"], temperature=temperature).term(step)
    source, target = step.sample_pairs("jpn", 0)
    teacher, student = probabilities(encoder, source, temperature), probabilities(encoder, target)
    each = [kl(p, q) for p, q in zip(teacher, student, strict=True)]
    assert (result.num_items, result.per) == (4, "pair")
    assert result.loss_sum.item() == pytest.approx(sum(each), rel=1e-6)
    assert result.logs["kl"] == pytest.approx(sum(each) / 4, rel=1e-6)
    agreed = [np.argmax(p) == np.argmax(q) for p, q in zip(teacher, student, strict=True)]
    assert result.logs["agreement"] == pytest.approx(np.mean(agreed))
    assert 0 < np.mean(agreed) < 1
    assert step.drawn[0][0] == "jpn"


def test_the_source_teaches_or_learns_too(encoder):
    """The gradient through both is the one through the target plus that through the source alone."""
    taught = bind(encoder, "consistency", languages=["jpn"]).term(FakeStep(encoder))
    joint = bind(encoder, "consistency", languages=["jpn"], stop_gradient=False).term(FakeStep(encoder))
    assert taught.loss_sum.item() == joint.loss_sum.item()
    step = FakeStep(encoder)
    source, target = (step.encoder.classify(pair.inputs).logits for pair in step.sample_pairs("jpn", 0))
    for term, teacher in ((taught, source.detach()), (joint, source)):
        p, q = teacher.softmax(-1), target.softmax(-1)
        expected_gradient = gradient((p * (p / q).log()).sum(), encoder)
        torch.testing.assert_close(gradient(term.loss_sum, encoder), expected_gradient, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(gradient(taught.loss_sum, encoder), gradient(joint.loss_sum, encoder), rtol=0.1)


# Noise


def test_noise_is_the_sum_of_both_divergences(encoder):
    step = FakeStep(encoder)
    torch.manual_seed(0)
    result = bind(encoder, "r3f", epsilon=0.5).term(step)
    (noised,) = step.classified
    p, q = probabilities(encoder, step.batch), probabilities(encoder, noised)
    expected = sum(kl(a, b) + kl(b, a) for a, b in zip(p, q, strict=True))
    assert (result.num_items, result.per) == (4, "example")
    assert result.loss_sum.item() == pytest.approx(expected, rel=1e-6)
    assert result.logs == {"kl": pytest.approx(expected / 4, rel=1e-6)}
    assert result.loss_sum.item() > 1e-3


def test_noise_is_uniform_within_epsilon_and_new_each_time(encoder):
    step = FakeStep(encoder)
    bound = bind(encoder, "r3f", epsilon=0.25)
    for _ in range(2):
        bound.term(step)
    clean = encoder.base.get_input_embeddings()(step.batch.inputs["input_ids"])
    first, second = (batch.inputs["inputs_embeds"] - clean for batch in step.classified)
    assert "input_ids" not in step.classified[0].inputs
    for noise in (first, second):
        assert 0.24 < noise.abs().max() <= 0.25 + 1e-6
        assert noise.var().item() == pytest.approx(0.25**2 / 3, rel=0.15)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta", "distilbert", "modernbert", "deberta-v2"])
def test_no_noise_is_no_difference(tmp_path, architecture):
    """With texts of several lengths: some encoders find their positions, or the padding, by the tokens."""
    encoder = load_encoder(architecture, save_tiny(tmp_path, architecture), ("a", "b"), seed=0)
    encoder.model.eval()
    step = FakeStep(encoder)
    result = bind(encoder, "r3f", epsilon=1e-30).term(step)
    torch.testing.assert_close(step.encoded().logits, step.classify(step.classified[0]).logits)
    assert result.loss_sum.item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_an_encoder_that_finds_its_padding_by_the_tokens_is_refused(tmp_path, architecture):
    encoder = load_encoder("model", save_tiny(tmp_path, architecture), ("a", "b"), seed=0)
    assert message(bind, encoder, "r3f") == (
        f"The encoder `model` (`{architecture}`) does not give the same outputs for word embeddings as for"
        " their tokens, so noise on them cannot be compared. Choose an encoder that does: BERT, XLM-R, DeBERTa, ModernBERT ..."
    )


def test_a_phase_without_the_task_still_has_predictions(encoder):
    first, second = FakeStep(encoder, with_head=True), FakeStep(encoder, with_head=False)
    for step in (first, second):
        torch.manual_seed(0)
        step.found = bind(encoder, "r3f", epsilon=0.5).term(step).loss_sum.item()
    assert first.found == pytest.approx(second.found)
    assert (len(first.classified), len(second.classified)) == (1, 2)


# Code-switching


@pytest.fixture(scope="module")
def dictionaries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dictionaries")
    for language in ("deu", "jpn"):
        words = zip(WORDS["eng"], WORDS[language], strict=True)
        (folder / f"{language}.tsv").write_text("".join(f"{word}\t{translation}\n" for word, translation in words))
    return folder


def test_every_known_word_is_replaced_at_a_share_of_1(encoder, dictionaries):
    step = FakeStep(encoder)
    result = bind(encoder, "code_switch", dictionary=dictionaries, share=1.0, languages=["jpn"]).term(step)
    (altered,) = step.classified
    assert [example.text for example in altered.examples][:2] == ["sono neko hashi", "sono ooki inu miru sono tori"]
    p, q = probabilities(encoder, step.batch), probabilities(encoder, altered)
    assert result.loss_sum.item() == pytest.approx(sum(map(kl, p, q)), rel=1e-6)
    assert (result.num_items, result.per) == (4, "example")
    assert result.logs == {"kl": pytest.approx(sum(map(kl, p, q)) / 4, rel=1e-6), "altered": 1.0}


def test_words_are_found_in_any_case_and_longest_first_and_in_both_texts(encoder, tmp_path):
    (tmp_path / "jpn.txt").write_text("new york\tnyu yoku\nyork\tyoku\nit's\tsore\nit's\tare\nNew York\tnyuyoku\n")
    examples = [Example("1", "eng", "New York, york: it's", text_pair="A NEW YORK")]

    class Pairs(FakeStep):
        batch = property(lambda self: self.collate(examples))

    seen = set()
    for seed in range(12):
        step = Pairs(encoder, random=np.random.default_rng(seed))
        bind(encoder, "code_switch", dictionary=tmp_path, share=1.0, languages="jpn").term(step)
        (example,) = step.classified[0].examples
        seen.add((example.text, example.text_pair))
        assert example == replace(examples[0], text=example.text, text_pair=example.text_pair)
    cities = ("nyu yoku", "nyuyoku")
    assert seen <= {(f"{a}, yoku: {b}", f"A {c}") for a in cities for b in ("sore", "are") for c in cities}
    assert {text.split(": ")[1] for text, _ in seen} == {"sore", "are"}
    assert {pair for _, pair in seen} == {"A nyu yoku", "A nyuyoku"}


def test_a_share_of_the_words_is_replaced_and_what_is_not_is_0(encoder, dictionaries):
    """The source's gradient is stopped, and unaltered texts take part in the count alone."""
    step = FakeStep(encoder, texts=["the cat", "unknown words", "the"] * 40)
    bound = bind(encoder, "code_switch", dictionary=dictionaries, share=0.25, languages=["deu"])
    replaced = 0
    for _ in range(8):
        step.classified.clear()
        result = bound.term(step)
        (altered,) = step.classified
        rows = [int(example.id) for example in altered.examples]
        assert all(row % 3 != 1 for row in rows)
        assert result.logs["altered"] == len(rows) / 120
        p, q = probabilities(encoder, step.batch), probabilities(encoder, altered)
        assert result.loss_sum.item() == pytest.approx(
            sum(kl(p[row], distribution) for row, distribution in zip(rows, q, strict=True)), abs=1e-5
        )
        replaced += sum(example.text.split().count(word) for example in altered.examples for word in ("das", "katze"))
        assert result.num_items == 120
    assert replaced / (8 * 120) == pytest.approx(0.25, abs=0.06)


def test_text_of_a_target_is_not_read_with_a_dictionary_of_the_source(encoder, dictionaries):
    class Shots(FakeStep):
        batch = property(lambda self: self.collate([Example("1", "deu", "alt red"), Example("2", "eng", "red cat")]))

    step = Shots(encoder)
    bind(encoder, "code_switch", dictionary=dictionaries, share=1.0, languages="jpn").term(step)
    assert [example.text for example in step.classified[0].examples] == ["aka neko"]


def test_text_without_any_known_word_has_no_gradient(encoder, dictionaries):
    step = FakeStep(encoder, texts=["unknown", "words"])
    result = bind(encoder, "code_switch", dictionary=dictionaries, share=1.0).term(step)
    assert (result.loss_sum.item(), result.num_items, result.loss_sum.requires_grad) == (0.0, 2, False)
    assert result.logs == {"altered": 0.0}
    assert not step.classified


def test_where_processes_keep_step_it_makes_its_pass_all_the_same(encoder, dictionaries):
    step = FakeStep(encoder, texts=["unknown", "words"], synchronized=True)
    result = bind(encoder, "code_switch", dictionary=dictionaries, share=1.0).term(step)
    assert (result.loss_sum.item(), result.num_items, result.logs["altered"]) == (0.0, 2, 0.0)
    assert not gradient(result.loss_sum, encoder).any()
    assert len(step.classified) == 1


def test_the_original_is_a_constant(encoder, dictionaries):
    step = FakeStep(encoder)
    result = bind(encoder, "code_switch", dictionary=dictionaries, share=1.0, languages="deu").term(step)
    p, q = (encoder.classify(batch.inputs).logits.softmax(-1) for batch in (step.batch, step.classified[0]))
    expected_gradient = gradient((p.detach() * (p.detach() / q).log()).sum(), encoder)
    torch.testing.assert_close(gradient(result.loss_sum, encoder), expected_gradient, rtol=1e-4, atol=1e-6)


def test_a_far_language_is_switched_to_as_much_as_its_weight(encoder, dictionaries):
    step = FakeStep(encoder)
    bound = bind(encoder, "code_switch", dictionary=dictionaries, share=1.0, weighting_by="scaling")
    factors = {}
    for _ in range(12):
        result = bound.term(step)
        factors[step.classified[-1].examples[0].text] = result.loss_sum.item() / (4 * result.logs["kl"])
    expected = weights(between().values, "linear")
    assert factors == pytest.approx({"das katze rennt": expected["deu"], "sono neko hashi": expected["jpn"]}, rel=1e-6)


def test_a_language_without_a_dictionary_is_refused(encoder, dictionaries, tmp_path):
    (tmp_path / "deu.txt").write_text("cat katze\n")
    assert message(bind, encoder, "code_switch", dictionary=tmp_path) == (
        f"`{tmp_path}` has no `jpn.txt`. Add it, or restrict `languages` to those with a file: deu."
    )
    assert message(bind, encoder, "code_switch", dictionary=tmp_path / "deu.txt") == (
        f"`{tmp_path / 'deu.txt'}` is not a folder. Give a folder with a file per language, named by its code."
    )
    (tmp_path / "jpn.tsv").write_text("cat\n")
    assert "jpn.tsv:1` is 'cat'; expected a source word" in message(bind, encoder, "code_switch", dictionary=tmp_path)
    assert complaints_about("code_switch", {})[0][0] == "dictionary"
    assert complaints_about("code_switch", {"dictionary": ""}) == [
        ("dictionary", "is refused: it is empty. Give the folder that has a file `{language}.txt` for each target.")
    ]


# In training


EPOCH = "phase.finetune.epochs=1"


def test_translations_train(run):
    """Weight 20 brings the divergence below that of weight 0."""
    lines, free = (
        log(run("consistency", "phase.finetune.epochs=4", f"intervention.consistency.weight={weight}"))
        for weight in (20, 0)
    )
    late, late_free = (np.mean([line["term/consistency"] for line in some[-12:]]) for some in (lines, free))
    assert late < late_free
    assert all(0 <= line["term/consistency/agreement"] <= 1 for line in lines)


def test_noise_trains(run):
    lines = log(run("r3f", EPOCH))
    assert len(lines) == 6
    assert all(line["term/r3f"] > 0 for line in lines)
    assert [line["term/r3f/kl"] for line in lines] == pytest.approx([line["term/r3f"] for line in lines], rel=1e-6)


def test_noise_of_weight_0_leaves_the_task_as_it_is(run):
    """Dropout is on, and the noise is from torch's own stream."""
    runs = run("plain", EPOCH), run("r3f", EPOCH, "intervention.r3f.weight=0")
    losses = [[line["term/task"] for line in log(result)] for result in runs]
    assert losses[0] == losses[1]


def test_code_switching_trains_and_a_wrong_dictionary_stops_the_run(run, dictionaries, tmp_path):
    lines = log(run("code_switch", EPOCH, f"intervention.code_switch.dictionary={dictionaries}"))
    assert all(0 < line["term/code_switch/altered"] <= 1 for line in lines)
    for language in ("deu", "jpn"):
        (tmp_path / f"{language}.tsv").write_text("zebra\tzebra\n")
    with pytest.raises(RunError, match="The term `code_switch` has had no gradient on any trainable parameter"):
        run("code_switch", f"intervention.code_switch.dictionary={tmp_path}")
