"""Which words an alignment aligns: by a dictionary, by an aligner, or by the pretrained encoder."""

import numpy as np
import pytest
import torch

from aligned import MANY, SAID, FakeStep, bind, naive_info_nce, states, term, translations, word, write_dictionary
from conftest import WORDS
from distxfer.data import read_aligned_folder, word_spans
from distxfer.encoders import Encoder, load_encoder
from distxfer.measure import cka
from helpers import message


@pytest.fixture
def pretrained(tiny_without_dropout) -> Encoder:
    """Another encoder than the one that trains, so that a test can tell them apart."""
    other = load_encoder("tiny", tiny_without_dropout, ("a", "b"), seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in other.model.parameters():
            weights.add_(0.3 * torch.randn(weights.shape, generator=draw))
    return other


@pytest.fixture
def dictionary(tmp_path):
    """Every word of the tiny languages but the first, cat."""
    entries = list(zip(WORDS["eng"], WORDS["deu"], strict=True))[1:]
    return write_dictionary(tmp_path / "words", deu=entries)


def word_sides(encoder, layer, pairs):
    """Return both sides of (sentence pair, source word, target word)."""
    return (
        torch.stack([word(encoder, pair.source.text, first, layer) for pair, first, _ in pairs]),
        torch.stack([word(encoder, pair.target.text, second, layer) for pair, _, second in pairs]),
    )


@pytest.mark.parametrize("keys", [{"loss": "l2"}, {"negatives": "strong"}, {"loss": "cka"}])
def test_words_of_a_dictionary(encoder, dictionary, keys):
    """A word pair is an item, wherever its sentence stands in the batch; words that are no entry are left out."""
    said = MANY if keys == {"loss": "cka"} else SAID
    step = FakeStep(encoder, given=translations(said=said))
    result = term(step, layers=[3], unit="word", dictionary=dictionary, **keys)
    pairs = [
        (pair, WORDS["eng"][number], WORDS["deu"][number])
        for pair, words in zip(step.given, said, strict=True)
        for number in words
        if number != 0
    ]
    source, target = word_sides(encoder, 3, pairs)
    if keys == {"loss": "cka"}:
        assert (result.num_items, result.per) == (1, "batch")
        assert result.loss_sum.item() == pytest.approx(1 - cka(source, target).item(), rel=1e-4)
        few = FakeStep(encoder)
        assert term(few, layers=[3], unit="word", dictionary=dictionary, **keys).num_items == 0  # 15 words
        return
    expected = (
        (source - target).square().mean(dim=1).sum().item()
        if keys == {"loss": "l2"}
        else naive_info_nce(source, target, 0.1, True)
    )
    assert (result.num_items, result.per) == (len(pairs), "pair")
    assert result.loss_sum.item() == pytest.approx(expected, rel=1e-4)
    assert result.logs["cosine"] == pytest.approx(torch.cosine_similarity(source, target).mean().item(), rel=1e-5)


def test_words_that_the_batch_has_cut_are_left_out(encoder, dictionary):
    """With 4 tokens there is room for two words: of `red tree`, `baum rot alt`, alt is cut and the others stay."""
    step = FakeStep(encoder, given=translations(said=[[8, 6, 3]]), max_length=4)
    result = term(step, layers=[3], unit="word", loss="l2", dictionary=dictionary)
    # The source keeps old, red; the target, in the other order, tree, red.
    assert result.num_items == 1
    text = [" ".join(example.text.split()[:2]) for example in (step.given[0].source, step.given[0].target)]
    expected = (word(encoder, text[0], "red", 3) - word(encoder, text[1], "rot", 3)).square().mean()
    assert result.loss_sum.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_batch_without_word_pairs_counts_nothing(encoder, tmp_path):
    nothing = write_dictionary(tmp_path / "other", deu=[("house", "haus")])
    for keys in ({}, {"loss": "l2"}, {"loss": "cka"}, {"projection": 3}):
        result = term(FakeStep(encoder), layers=3, unit="word", dictionary=nothing, **keys)
        assert (result.num_items, result.loss_sum.item(), dict(result.logs)) == (0, 0.0, {})


def test_words_that_are_each_others_nearest(encoder, pretrained):
    """By the pretrained encoder, not by the one that trains; and each sentence pair is looked at once."""
    step = FakeStep(encoder, before=pretrained)
    bound = bind(encoder, layers=[1, 2], unit="word", loss="l2")
    assert bound.needs == {"pairs", "pretrained"}
    pairs = []
    for pair in step.given:
        words = [example.text.split() for example in (pair.source, pair.target)]
        cosine = np.zeros([len(side) for side in words])
        for layer in (1, 2):
            source, target = (states(pretrained, example.text, layer)[1:-1] for example in (pair.source, pair.target))
            cosine += torch.cosine_similarity(source[:, None], target[None], dim=-1).detach().numpy() / 2
        pairs += [
            (pair, words[0][i], words[1][j])
            for i in range(len(words[0]))
            for j in range(len(words[1]))
            if cosine[i, j] == cosine[i].max() == cosine[:, j].max()
        ]
    assert len(step.given) <= len(pairs) < sum(map(len, SAID))
    result = bound.term(step)
    sides = [word_sides(encoder, layer, pairs) for layer in (1, 2)]
    expected = sum((s - t).square().mean(dim=1).sum().item() for s, t in sides) / 2
    assert result.num_items == len(pairs)
    assert result.loss_sum.item() == pytest.approx(expected, rel=1e-4)
    texts = [text for pair in step.given for text in (pair.source.text, pair.target.text)]
    assert sorted(step.asked) == sorted(texts)
    step.given = [*step.given[3:], *translations(said=[[1, 2]]), *step.given[:3]]
    bound.term(step)
    assert sorted(step.asked) == sorted([*texts, "dog bird", "vogel hund"])


def test_words_by_unicode_and_by_character_where_there_are_no_spaces():
    def words(text):
        return [text[slice(*span)] for span in word_spans(text)]

    assert words("Don’t run, 2 New-York (e.g.)!") == ["Don’t", "run", "2", "New", "York", "e.g"]
    assert words("猫が 好き。か\u3099Python") == ["猫", "が", "好", "き", "か\u3099", "Python"]
    assert words(" … ") == []


@pytest.fixture
def aligned(tmp_path):
    """Parallel text with an aligner's output beside it: lines 2 and 4 blank in both, or in one of them."""
    folder = tmp_path / "parallel"
    folder.mkdir()
    (folder / "de.tsv").write_text("the cat\tdas katze\n\nold red dog\trot alt hund\nbird\tvogel\nrose\tblume\n")
    (folder / "de.pharaoh").write_text("0-0 1-1\n\n0-1 1-0 2-2 2-1\n\n0-0\n\n")
    return folder


def test_words_that_an_aligner_linked(encoder, aligned):
    """Line n belongs to line n, whatever is blank; old has no other link than alt, which has two."""
    step = FakeStep(encoder, given=list(read_aligned_folder(aligned, "eng", ["deu"])))
    assert sorted(pair.source.id for pair in step.given) == ["1", "3", "4", "5"]
    result = term(step, layers=[2], unit="word", loss="l2", alignments=aligned)
    by_id = {pair.source.id: pair for pair in step.given}
    links = [("1", "the", "das"), ("1", "cat", "katze"), ("3", "red", "rot"), ("5", "rose", "blume")]
    source, target = word_sides(encoder, 2, [(by_id[n], first, second) for n, first, second in links])
    assert result.num_items == 4
    assert result.loss_sum.item() == pytest.approx((source - target).square().mean(dim=1).sum().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "0-0\n\n0-0\n",
            "`{0}/de.tsv:4` has no alignment, since `{0}/de.pharaoh` has 3 lines: give one line per sentence",
        ),
        ("0-0\n0-0\n0-0\n0-0\n0-0\n", "`{0}/de.pharaoh:2` aligns a sentence pair that `{0}/de.tsv` does not have"),
        ("0-0\n\n0-0\n0-0\n0-0\n0-0\n", "`{0}/de.pharaoh:6` aligns a sentence pair that `{0}/de.tsv` does not have"),
        ("0-0\n\n0-3\n\n\n", "`{0}/de.pharaoh:3` links the token 3 of the target, which has 3, counted from 0"),
        ("2-0\n\n\n\n\n", "`{0}/de.pharaoh:1` links the token 2 of the source, which has 2, counted from 0"),
        ("0-0\n\n0_3\n\n\n", "`{0}/de.pharaoh:3` has '0_3'; expected links such as 0-0 1-2"),
    ],
)
def test_a_wrong_alignment_is_named_by_file_and_line_before_anything_runs(encoder, aligned, lines, expected):
    (aligned / "de.pharaoh").write_text(lines)
    result = message(lambda: bind(encoder, layers=2, unit="word", alignments=aligned))
    assert result.startswith(expected.format(aligned))


def test_files_that_are_not_there_or_belong_to_other_text(encoder, aligned, dictionary):
    assert message(lambda: bind(encoder, layers=2, unit="word", alignments=aligned, languages="all")) == (
        f"`{aligned}` has no `jpn.tsv`. Add it, or restrict `languages` to those with a file: deu."
    )
    assert message(lambda: bind(encoder, layers=2, unit="word", alignments=dictionary)).startswith(
        f"`{dictionary}` has no `deu.tsv`. Add it, or restrict `languages` to those with a file: none."
    )
    assert message(lambda: bind(encoder, layers=2, unit="word", dictionary=dictionary, languages="jpn")) == (
        f"`{dictionary}` has no `jpn.txt`. Add it, or restrict `languages` to those with a file: deu."
    )
    (dictionary / "deu.txt").write_text("cat katze\ndog\n")
    assert message(lambda: bind(encoder, layers=2, unit="word", dictionary=dictionary)).startswith(
        f"`{dictionary}/deu.txt:2` is 'dog'; expected a source word"
    )


def test_the_pairs_of_a_run_are_those_of_the_alignments(encoder, aligned):
    bound = bind(encoder, layers=2, unit="word", alignments=aligned)
    bound.checks({"deu": list(read_aligned_folder(aligned, "eng", ["deu"])), "jpn": translations("jpn")})
    assert message(bound.checks, {"deu": translations()}) == (
        f"`alignments` = `{aligned}` has no alignment of the sentence pair `cat runs`. It must be the folder of the run's"
        f" parallel text, and the pairs must not be mined. Set `parallel={aligned} parallel.mined=false`."
    )
    assert bind(encoder, layers=2).checks is None
