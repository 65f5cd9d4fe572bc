"""The same text in other sub-words: that it is the same, how much of it is cut, the term's formula, and what is refused."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from conftest import NO_DROPOUT, SPECIAL, TINY, WORDS, number, save_tiny
from distxfer.data import Batch, Example
from distxfer.encoders import Encoder, load_encoder
from fakes import bind
from helpers import log, message
from two_forms import FakeStep, decided, kl, probabilities


def subwords(folder, kind: str, **settings):
    """Save a tiny encoder whose tokenizer is of sub-words: of each kind, with all parts of the task's English words."""
    words = [*WORDS["eng"], "▁"]
    parts = {word[i:j] for word in words for i in range(len(word)) for j in range(i + 1, len(word) + 1)}
    if kind == "wordpiece":
        vocabulary = [*SPECIAL, *sorted(parts), *sorted(f"##{part}" for part in parts)]
        model = models.WordPiece(number(vocabulary), unk_token="[UNK]")
        before, decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    elif kind == "unigram":
        scored = [(f"{mark}{part}", -20.0 + len(part)) for part in sorted(parts - {"▁"}) for mark in ("", "▁")]
        model = models.Unigram([*((token, 0.0) for token in SPECIAL), ("▁", -30.0), *scored], unk_id=1)
        before, decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    else:
        merges = [("t", "h"), ("th", "e"), ("c", "a"), ("ca", "t"), ("Ġ", "t"), ("Ġ", "c"), ("o", "l"), ("ol", "d")]
        merges += [("Ġt", "he"), ("Ġc", "at"), ("a", "t"), ("h", "e")]
        alphabet = [*SPECIAL, "<0x41>", "<0x", "41>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
        vocabulary = list(dict.fromkeys([*alphabet, *map("".join, merges)]))
        model = models.BPE(number(vocabulary), merges)
        before, decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer, tokenizer.decoder = before, decoder
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = AutoConfig.for_model("bert", vocab_size=tokenizer.get_vocab_size(), pad_token_id=0, **{**TINY, **settings})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module", params=["wordpiece", "unigram", "bpe"])
def cut(request, tmp_path_factory) -> Encoder:
    folder = subwords(tmp_path_factory.mktemp(request.param), request.param, **NO_DROPOUT)
    return decided(load_encoder(request.param, folder, ("a", "b", "c"), seed=0))


def rows_of(batch: Batch) -> list[list[int]]:
    return [
        ids[mask].tolist()
        for ids, mask in zip(batch.inputs["input_ids"], batch.inputs["attention_mask"].bool(), strict=True)
    ]


def test_other_subwords_spell_the_same_text(cut):
    """By the tokenizer's own decoder, which knows nothing of how they were found."""
    step = FakeStep(cut, texts=["the old cat", "cat", "old the the"])
    bound = bind(cut, "subword_sampling", share=0.5)
    originals = {example.id: ids for example, ids in zip(step.batch.examples, rows_of(step.batch), strict=True)}
    seen = set()
    for _ in range(30):
        bound.term(step)
    for altered in step.classified:
        for example, ids in zip(altered.examples, rows_of(altered), strict=True):
            assert len(ids) > len(originals[example.id])
            assert (ids[0], ids[-1]) == (2, 3)
            assert cut.tokenizer.decode(ids) == cut.tokenizer.decode(originals[example.id])
            seen.add(tuple(ids))
    assert len(seen) > 10


def test_subwords_are_the_divergence_summed_over_altered_texts(cut):
    step = FakeStep(cut, texts=["the old cat", "? ?", "cat", "old the the"])
    result = bind(cut, "subword_sampling", share=1.0).term(step)
    (altered,) = step.classified
    p, q = probabilities(cut, step.batch), probabilities(cut, altered)
    assert [example.id for example in altered.examples] == ["0", "2", "3"]
    assert (result.num_items, result.per) == (4, "example")
    assert result.loss_sum.item() == pytest.approx(
        sum(kl(p[row], distribution) for row, distribution in zip((0, 2, 3), q, strict=True)), rel=1e-6
    )
    assert result.logs["altered"] == 0.75


def test_wordpieces_at_a_share_of_1_are_single_letters(tmp_path):
    """Every part of every word is in this vocabulary, so splitting ends at letters; both texts of a pair keep their type."""
    encoder = load_encoder("tiny", subwords(tmp_path, "wordpiece"), ("a", "b"), seed=0)

    class Pairs(FakeStep):
        batch = property(
            lambda self: self.collate([Example("1", "eng", "cat", "old"), Example("2", "eng", "the cat", "red")])
        )

    step = Pairs(encoder)
    bind(encoder, "subword_sampling", share=1.0).term(step)
    inputs = step.classified[0].inputs
    names = encoder.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    assert names == ["[CLS]", "c", "##a", "##t", "[SEP]", "o", "##l", "##d", "[SEP]", "[PAD]", "[PAD]", "[PAD]"]
    assert inputs["token_type_ids"].tolist() == [[0] * 5 + [1] * 4 + [0] * 3, [0] * 8 + [1] * 4]
    assert inputs["attention_mask"].tolist() == [[1] * 9 + [0] * 3, [1] * 12]


def test_a_share_of_the_subwords_is_split(tmp_path):
    encoder = load_encoder("tiny", subwords(tmp_path, "wordpiece"), ("a", "b"), seed=0)
    step = FakeStep(encoder, texts=["cat"] * 400)
    result = bind(encoder, "subword_sampling", share=0.3).term(step)
    assert result.logs["altered"] == pytest.approx(0.3, abs=0.08)
    lengths = [len(ids) - 2 for ids in rows_of(step.classified[0])]
    assert np.mean([length == 3 for length in lengths]) == pytest.approx(
        0.3, abs=0.12
    )  # the half of two letters, again


def test_no_text_grows_beyond_what_the_encoder_reads(tmp_path):
    folder = subwords(tmp_path, "wordpiece", max_position_embeddings=10)
    encoder = load_encoder("tiny", folder, ("a", "b"), seed=0)
    step = FakeStep(encoder, texts=["the old cat two the", "cat"])
    bind(encoder, "subword_sampling", share=1.0).term(step)
    assert [len(ids) for ids in rows_of(step.classified[0])] == [9, 5]  # two more would be eleven


def test_bytes_by_their_names_are_not_cut(tmp_path):
    """`<0x` and `41>` are in the vocabulary, but `<0x41>` spells an A."""
    encoder = load_encoder("tiny", subwords(tmp_path, "bpe"), ("a", "b"), seed=0)
    step = FakeStep(encoder)
    batch = step.batch
    batch.inputs["input_ids"][:] = encoder.tokenizer.get_vocab()["<0x41>"]

    class Bytes(FakeStep):
        pass

    Bytes.batch = property(lambda self: batch)
    result = bind(encoder, "subword_sampling", share=1.0).term(Bytes(encoder))
    assert result.logs == {"altered": 0.0}


def test_a_tokenizer_of_whole_words_or_bare_letters_is_refused(tiny, tmp_path):
    letters = load_encoder("letters", save_tiny(tmp_path, "qwen2"), ("a", "b"), seed=0)
    words = load_encoder("tiny", tiny, ("a", "b"), seed=0)
    for encoder, name in ((words, "tiny"), (letters, "letters")):
        assert message(bind, encoder, "subword_sampling") == (
            f"The tokenizer of `{name}` has no sub-words (WordPiece, BPE or Unigram) that can be split, so no text has"
            " another segmentation. Choose an encoder whose tokenizer has."
        )


def test_other_subwords_train(tmp_path, run):
    lines = log(run("subword_sampling", f"model={subwords(tmp_path, 'unigram')}", "phase.finetune.epochs=1"))
    assert len(lines) == 6
    assert all(line["term/subword_sampling"] > 0 and line["term/subword_sampling/altered"] > 0 for line in lines)
