"""The alignment losses and what they align, against formulas written out again; and what they refuse."""

import json
import math
import re
import shutil
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from conftest import WORDS, say, sentences
from distxfer import InputError, RunError, load_recipe, train
from distxfer.data import Batch, Collator, Example, Pair, read_aligned_folder, word_spans
from distxfer.encoders import Encoded, Encoder, load_encoder
from distxfer.interventions import Bound, Languages, Term, make_intervention
from distxfer.interventions.align import sinkhorn_divergence
from distxfer.languages import distances
from distxfer.measure import cka
from helpers import message

LANGUAGES = Languages("eng", ("deu", "jpn"))
DISTANCES = distances("eng", LANGUAGES.targets, imputed=True)
SAID = [[0, 10], [3, 6, 11], [1, 12, 14], [4, 2], [5, 7, 8, 13], [9, 0, 6]]  # words by their number, 2 to 4 of them


@pytest.fixture
def encoder(tiny_without_dropout) -> Encoder:
    return load_encoder("tiny", tiny_without_dropout, ("a", "b"), seed=0)


@pytest.fixture
def pretrained(tiny_without_dropout) -> Encoder:
    """Another encoder than the one that trains, so that a test can tell them apart."""
    other = load_encoder("tiny", tiny_without_dropout, ("a", "b"), seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in other.model.parameters():
            weights.add_(0.3 * torch.randn(weights.shape, generator=draw))
    return other


def translations(language="deu", said=SAID) -> list[Pair]:
    return [
        Pair(Example(str(n), "eng", say(words, "eng")), Example(str(n), language, say(words[::-1], language)))
        for n, words in enumerate(said, 1)
    ]


@dataclass
class FakeStep:
    """A step with known pairs: the public `Step` without a loop; it remembers what the pretrained encoder was asked."""

    encoder: Encoder
    given: list[Pair] = field(default_factory=translations)
    before: Encoder | None = None
    max_length: int = 32
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    asked: list[str] = field(default_factory=list)

    def collate(self, examples: list[Example]) -> Batch:
        return Collator(self.encoder.tokenizer, self.max_length)(examples)

    def pairs(self, language: str, n: int) -> tuple[Batch, Batch]:
        return self.collate([pair.source for pair in self.given]), self.collate([pair.target for pair in self.given])

    def encode(self, batch: Batch) -> Encoded:
        return self.encoder.encode(batch.inputs)

    def pretrained(self, batch: Batch) -> Encoded:
        self.asked += [example.text for example in batch.examples]
        with torch.no_grad():
            return self.before.encode(batch.inputs)


def bind(encoder: Encoder, **keys) -> Bound:
    made, complaints = make_intervention("align", {"languages": "deu", **keys})
    assert made is not None, complaints
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return made.bind(encoder, LANGUAGES, DISTANCES)


def term(step: FakeStep, **keys) -> Term:
    return bind(step.encoder, **keys).term(step)


def pooled(encoder: Encoder, layer: int, given: list[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both sides' sentences, each encoded alone: the mean over its tokens."""
    return tuple(
        torch.stack([states(encoder, one.text, layer).mean(dim=0) for one in side])
        for side in zip(*((pair.source, pair.target) for pair in given), strict=True)
    )


def states(encoder: Encoder, text: str, layer: int) -> torch.Tensor:
    """Return the states of a text's tokens, special ones first and last, without padding."""
    return encoder.encode(dict(encoder.tokenizer([text], return_tensors="pt"))).hidden[layer][0]


def word(encoder: Encoder, text: str, spelled: str, layer: int) -> torch.Tensor:
    return states(encoder, text, layer)[1 + text.split().index(spelled)]


# The losses


def naive_info_nce(source, target, temperature, strong):
    """Return the loss in scalars, as it is written down."""

    def one_way(a, b):
        total = 0.0
        for i in range(len(a)):
            rivals = [(b[j]) for j in range(len(b))] + [a[j] for j in range(len(a)) if strong and j != i]
            scores = [math.exp(torch.cosine_similarity(a[i], rival, dim=0).item() / temperature) for rival in rivals]
            total -= math.log(scores[i] / sum(scores))
        return total

    return (one_way(source, target) + one_way(target, source)) / 2


@pytest.mark.parametrize("negatives", ["weak", "strong"])
def test_info_nce_by_its_formula_is_the_mean_over_the_layers(encoder, negatives):
    step = FakeStep(encoder)
    found = term(step, layers=[1, 3], temperature=0.3, negatives=negatives)
    sides = [pooled(encoder, layer, step.given) for layer in (1, 3)]
    expected = sum(naive_info_nce(*both, 0.3, negatives == "strong") for both in sides) / 2
    assert (found.count, found.per) == (6, "pair")
    assert found.total.item() == pytest.approx(expected, rel=1e-4)
    cosine = sum(torch.cosine_similarity(*both).mean().item() for both in sides) / 2
    assert found.logs["cosine"] == pytest.approx(cosine, rel=1e-5)


def test_l2_is_the_mean_over_a_band_of_layers(encoder):
    step = FakeStep(encoder)
    found = term(step, layers="upper", loss="l2")
    each = [(s - t).square().mean(dim=1).sum() for s, t in (pooled(encoder, layer, step.given) for layer in (4,))]
    assert found.total.item() == pytest.approx(each[0].item(), rel=1e-5)
    all_layers = [term(step, layers=layer, loss="l2").total.item() for layer in (1, 2, 3, 4)]
    assert term(step, layers="all", loss="l2").total.item() == pytest.approx(sum(all_layers) / 4, rel=1e-6)


def test_cka_is_one_minus_the_reported_number(encoder):
    step = FakeStep(encoder)
    found = term(step, layers=2, loss="cka")
    assert (found.count, found.per) == (1, "batch")
    assert found.total.item() == pytest.approx(1 - cka(*pooled(encoder, 2, step.given)).item(), rel=1e-4)
    few = term(FakeStep(encoder, step.given[:3]), layers=2, loss="cka")
    assert (few.count, few.total.item()) == (0, 0.0)


def test_tokens_are_clouds_without_padding_and_special_tokens(encoder):
    """Each pair by itself, unpadded, sums to the batch; which token translates which does not matter."""
    step = FakeStep(encoder)
    found = term(step, layers=[2, 3], loss="sinkhorn", unit="token")
    expected = 0.0
    for layer in (2, 3):
        for pair in step.given:
            clouds = (states(encoder, one.text, layer)[1:-1] for one in (pair.source, pair.target))
            expected += sinkhorn_divergence(*(nn.functional.normalize(one, dim=-1) for one in clouds)).item() / 2
    assert (found.count, found.per) == (6, "pair")
    assert found.total.item() == pytest.approx(expected, rel=1e-4)
    sides = [pooled(encoder, layer, step.given) for layer in (2, 3)]
    cosine = sum(torch.cosine_similarity(*both).mean().item() for both in sides) / 2
    assert found.logs["cosine"] == pytest.approx(cosine, rel=1e-5)


def test_points_without_weight_are_not_there_and_weights_count_points():
    points = nn.functional.normalize(torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    x, y = points[0], points[1, :3]
    weights = torch.tensor([[0.5, 0.25, 0.25, 0, 0]]), torch.full((1, 3), 1 / 3)
    doubled = torch.stack([x[0], x[0], x[1], x[2]])
    found = sinkhorn_divergence(x[None], y[None], weights)
    assert found.shape == (1,)
    assert found.item() == pytest.approx(float(sinkhorn_divergence(doubled, y)), rel=1e-4)


def test_a_text_of_special_tokens_only_is_a_cloud_of_them(encoder):
    empty = Pair(Example("1", "eng", " "), Example("1", "deu", "katze"))
    found = term(FakeStep(encoder, [empty]), layers=2, loss="sinkhorn", unit="token")
    assert math.isfinite(found.total.item())


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"negatives": "strong"},
        {"loss": "cka"},
        {"loss": "sinkhorn", "unit": "token"},
        {"loss": "l2"},
        {"projection": 4},
    ],
)
def test_stop_gradient_moves_the_target_only(encoder, keys):
    """The two languages share no word, so the gradient on a word's embedding says which side it came from."""

    def moved(**more):
        encoder.model.zero_grad()
        term(FakeStep(encoder), layers=2, **keys, **more).total.backward()
        gradient = encoder.base.get_input_embeddings().weight.grad
        ids = {
            key: encoder.tokenizer(WORDS[key], add_special_tokens=False)["input_ids"] for key in ("eng", "deu", "jpn")
        }
        return {key: float(gradient[torch.tensor(rows).flatten()].abs().sum()) for key, rows in ids.items()}

    both, one = moved(), moved(stop_gradient=True)
    assert both["eng"] > 0 < both["deu"]
    assert one["eng"] == 0 < one["deu"]
    assert both["jpn"] == one["jpn"] == 0


def test_the_head_stands_between_the_states_and_the_loss(encoder):
    step = FakeStep(encoder)
    bound = bind(encoder, layers=[1, 2], projection=5)
    found = bound.term(step)
    assert [tuple(one.shape) for one in bound.module.parameters()] == [(16, 16), (16,), (5, 16), (5,)]
    first, _, second = bound.module

    def project(x):
        return (x @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias

    sides = [pooled(encoder, layer, step.given) for layer in (1, 2)]
    expected = sum(naive_info_nce(project(s), project(t), 0.1, False) for s, t in sides) / 2
    assert found.total.item() == pytest.approx(expected, rel=1e-4)
    cosine = sum(torch.cosine_similarity(*both).mean().item() for both in sides) / 2
    assert found.logs["cosine"] == pytest.approx(cosine, rel=1e-5)
    assert bind(encoder, layers=1).module is None


# Words


def write_dictionary(folder, **languages):
    folder.mkdir()
    for language, entries in languages.items():
        (folder / f"{language}.txt").write_text("".join(f"{one} {other}\n" for one, other in entries))
    return folder


@pytest.fixture
def dictionary(tmp_path):
    """Every word of the tiny languages but the first, cat."""
    entries = list(zip(WORDS["eng"], WORDS["deu"], strict=True))[1:]
    return write_dictionary(tmp_path / "words", deu=entries)


def word_sides(encoder, layer, pairs):
    """Return both sides of (sentence pair, source word, target word)."""
    return (
        torch.stack([word(encoder, pair.source.text, one, layer) for pair, one, _ in pairs]),
        torch.stack([word(encoder, pair.target.text, other, layer) for pair, _, other in pairs]),
    )


@pytest.mark.parametrize("keys", [{"loss": "l2"}, {"negatives": "strong"}, {"loss": "cka"}])
def test_words_of_a_dictionary(encoder, dictionary, keys):
    """A word pair is an item, wherever its sentence stands in the batch; words that are no entry are left out."""
    step = FakeStep(encoder)
    found = term(step, layers=[3], unit="word", dictionary=dictionary, **keys)
    pairs = [
        (pair, WORDS["eng"][number], WORDS["deu"][number])
        for pair, words in zip(step.given, SAID, strict=True)
        for number in words
        if number != 0
    ]
    source, target = word_sides(encoder, 3, pairs)
    if keys == {"loss": "cka"}:
        assert (found.count, found.per) == (1, "batch")
        assert found.total.item() == pytest.approx(1 - cka(source, target).item(), rel=1e-4)
        return
    expected = (
        (source - target).square().mean(dim=1).sum().item()
        if keys == {"loss": "l2"}
        else naive_info_nce(source, target, 0.1, True)
    )
    assert (found.count, found.per) == (len(pairs), "pair")
    assert found.total.item() == pytest.approx(expected, rel=1e-4)
    assert found.logs["cosine"] == pytest.approx(torch.cosine_similarity(source, target).mean().item(), rel=1e-5)


def test_words_that_the_batch_has_cut_are_left_out(encoder, dictionary):
    """With 4 tokens there is room for two words: of `red tree`, `baum rot alt`, alt is cut and the others stay."""
    step = FakeStep(encoder, translations(said=[[8, 6, 3]]), max_length=4)
    found = term(step, layers=[3], unit="word", loss="l2", dictionary=dictionary)
    # The source keeps old, red; the target, in the other order, tree, red.
    assert found.count == 1
    text = [" ".join(one.text.split()[:2]) for one in (step.given[0].source, step.given[0].target)]
    expected = (word(encoder, text[0], "red", 3) - word(encoder, text[1], "rot", 3)).square().mean()
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_batch_without_word_pairs_counts_nothing(encoder, tmp_path):
    nothing = write_dictionary(tmp_path / "other", deu=[("house", "haus")])
    for keys in ({}, {"loss": "l2"}, {"loss": "cka"}, {"projection": 3}):
        found = term(FakeStep(encoder), layers=3, unit="word", dictionary=nothing, **keys)
        assert (found.count, found.total.item(), dict(found.logs)) == (0, 0.0, {})


def test_words_that_are_each_others_nearest(encoder, pretrained):
    """By the pretrained encoder, not by the one that trains; and each sentence pair is looked at once."""
    step = FakeStep(encoder, before=pretrained)
    bound = bind(encoder, layers=[1, 2], unit="word", loss="l2")
    assert bound.needs == {"pairs", "reference"}
    pairs = []
    for pair in step.given:
        words = [one.text.split() for one in (pair.source, pair.target)]
        cosine = np.zeros([len(one) for one in words])
        for layer in (1, 2):
            source, target = (states(pretrained, one.text, layer)[1:-1] for one in (pair.source, pair.target))
            cosine += torch.cosine_similarity(source[:, None], target[None], dim=-1).detach().numpy() / 2
        pairs += [
            (pair, words[0][i], words[1][j])
            for i in range(len(words[0]))
            for j in range(len(words[1]))
            if cosine[i, j] == cosine[i].max() == cosine[:, j].max()
        ]
    assert len(step.given) <= len(pairs) < sum(map(len, SAID))
    found = bound.term(step)
    sides = [word_sides(encoder, layer, pairs) for layer in (1, 2)]
    expected = sum((s - t).square().mean(dim=1).sum().item() for s, t in sides) / 2
    assert found.count == len(pairs)
    assert found.total.item() == pytest.approx(expected, rel=1e-4)
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
    step = FakeStep(encoder, list(read_aligned_folder(aligned, "eng", ["deu"])))
    assert sorted(pair.source.id for pair in step.given) == ["1", "3", "4", "5"]
    found = term(step, layers=[2], unit="word", loss="l2", alignments=aligned)
    by_id = {pair.source.id: pair for pair in step.given}
    links = [("1", "the", "das"), ("1", "cat", "katze"), ("3", "red", "rot"), ("5", "rose", "blume")]
    source, target = word_sides(encoder, 2, [(by_id[n], one, other) for n, one, other in links])
    assert found.count == 4
    assert found.total.item() == pytest.approx((source - target).square().mean(dim=1).sum().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "0-0\n\n0-0\n",
            "`{0}/de.tsv:4` has no alignment, since `{0}/de.pharaoh` has 3 lines: give one line per sentence",
        ),
        ("0-0\n0-0\n0-0\n0-0\n0-0\n", "`{0}/de.pharaoh:2` aligns a sentence pair that `{0}/de.tsv` does not have"),
        ("0-0\n\n0-0\n0-0\n0-0\n0-0\n", "`{0}/de.pharaoh:6` aligns a sentence pair that `{0}/de.tsv` does not have"),
        ("0-0\n\n0-3\n\n\n", "`{0}/de.pharaoh:3` links the token 3 of the target, which has 3 from 0"),
        ("2-0\n\n\n\n\n", "`{0}/de.pharaoh:1` links the token 2 of the source, which has 2 from 0"),
        ("0-0\n\n0_3\n\n\n", "`{0}/de.pharaoh:3` holds '0_3', but expected links such as 0-0 1-2"),
    ],
)
def test_a_wrong_alignment_is_named_by_file_and_line_before_anything_runs(encoder, aligned, lines, expected):
    (aligned / "de.pharaoh").write_text(lines)
    found = message(lambda: bind(encoder, layers=2, unit="word", alignments=aligned))
    assert found.startswith(expected.format(aligned))


def test_files_that_are_not_there_or_belong_to_other_text(encoder, aligned, dictionary):
    assert message(lambda: bind(encoder, layers=2, unit="word", alignments=aligned, languages="all")) == (
        f"`{aligned}` has no `jpn.tsv`. Put it there, or keep to `languages` that have one: deu."
    )
    assert message(lambda: bind(encoder, layers=2, unit="word", alignments=dictionary)).startswith(
        f"`{dictionary}` has no `deu.tsv`. Put it there, or keep to `languages` that have one: none."
    )
    assert message(lambda: bind(encoder, layers=2, unit="word", dictionary=dictionary, languages="jpn")) == (
        f"`{dictionary}` has no `jpn.txt`. Put it there, or keep to `languages` that have one: deu."
    )
    (dictionary / "deu.txt").write_text("cat katze\ndog\n")
    assert message(lambda: bind(encoder, layers=2, unit="word", dictionary=dictionary)).startswith(
        f"`{dictionary}/deu.txt:2` has 1 columns ('dog'), but expected a source word"
    )
    other = FakeStep(encoder, translations())
    with pytest.raises(
        RunError, match=re.escape("no alignment of the sentence pair `cat runs`: it must be the folder")
    ):
        term(other, layers=2, unit="word", alignments=aligned)


# Settings that make no sense


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"loss": "l2", "temperature": 0.2}, "`temperature` has no effect on the loss `l2`. Set `loss = infonce`, or"),
        ({"loss": "cka", "temperature": 0.2}, "`temperature` has no effect on the loss `cka`."),
        ({"loss": "sinkhorn", "negatives": "strong"}, "`negatives` has no effect on the loss `sinkhorn`. Set `loss ="),
        ({"loss": "l2", "projection": 8}, "`projection` = `8` would let a head lower the loss `l2` alone"),
        ({"loss": "cka", "projection": 8}, "`projection` = `8` would let a head lower the loss `cka` alone"),
        ({"unit": "token"}, "`unit` = `token` does not say which token translates which, as the loss `infonce` must know."),
        ({"unit": "word", "loss": "sinkhorn"}, "`unit` = `word` finds out which word translates which, and the loss"),
        ({"dictionary": "x"}, "`dictionary` has no effect where `unit` is `sentence`. Set `unit = word`, or leave it out."),
        ({"unit": "token", "loss": "sinkhorn", "alignments": "x"}, "`alignments` has no effect where `unit` is `token`."),
        ({"unit": "word", "dictionary": "x", "alignments": "x"}, "`dictionary` and `alignments` both say which words"),
        ({"loss": "cka", "batch_size": 3}, "`batch_size` = `3` is too small for the loss `cka`. Give at least 4 pairs."),
        ({"negatives": "hard"}, "is `hard`, but it should be 'weak' or 'strong'."),
        ({"projection": -1}, "is `-1`, but it should be greater than or equal to 0."),
        ({"layer": 3}, "is no key of the intervention `align`. Did you mean `layers`?"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(keys, complaint):
    made, complaints = make_intervention("align", keys)
    assert made is None
    assert len(complaints) == 1
    assert complaint in complaints[0][1]


def test_layers_that_this_encoder_does_not_have(encoder):
    for layers, expected in (([8], "`layers` names layer `8`"), ([1, 1], "`layers` names layer `1` twice")):
        with pytest.raises(InputError, match=expected):
            bind(encoder, layers=layers)


# In a run


@pytest.fixture
def run(tmp_path, tiny_settings):
    def runner(recipe: str, *overrides: str, folder: str = "results", **options):
        settings = [*tiny_settings, "intervention.align.layers=3", *overrides]
        return train(load_recipe(recipe, settings), tmp_path / folder, **options)

    return runner


def log(result) -> list[float]:
    lines = [json.loads(line) for line in (result.folder / "log.jsonl").read_text().splitlines()]
    return [line["term/align"] for line in lines if "term/align" in line]


def test_the_head_trains_and_is_saved_and_resumed(run):
    """In a run of weight 0 it stays where its seed has put it; every part of it moves in the others."""

    def stop(phase, step, steps, loss):
        if step == 13:
            raise KeyboardInterrupt

    settings = ["intervention.align.projection=8"]
    whole = load_file(run("word_align", *settings).folder / "interventions.safetensors")
    start = load_file(run("word_align", *settings, "intervention.align.weight=0").folder / "interventions.safetensors")
    assert set(whole) == {f"align.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")}
    for key, value in whole.items():
        assert float((value - start[key]).abs().max()) > 1e-3
    with pytest.raises(KeyboardInterrupt):
        run("word_align", *settings, folder="stopped", report=stop)
    resumed = load_file(run("word_align", *settings, folder="stopped").folder / "interventions.safetensors")
    assert all(torch.equal(resumed[key], value) for key, value in whole.items())


@pytest.mark.parametrize("recipe", ["word_align", "sinkhorn_align"])
def test_the_shipped_recipes_bring_their_loss_down(run, recipe):
    losses = log(
        run(recipe, "phase.finetune.task=false", "phase.finetune.epochs=6", "phase.finetune.learning_rate=3e-3")
    )
    assert len(losses) == 36
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


def test_given_words_in_a_run_and_words_that_never_occur(run, parallel_folder, tmp_path):
    folder = shutil.copytree(parallel_folder, tmp_path / "aligned")
    links = "".join(
        " ".join(f"{place}-{place}" for place in range(len(words))) + "\n" for words, _ in sentences(80, seed=9)
    )
    for language in ("deu", "jpn"):
        (folder / f"{language}.pharaoh").write_text(links)
    aligned = run("word_align", f"intervention.align.alignments={folder}", "phase.finetune.steps=3")
    assert len(log(aligned)) == 3
    nothing = write_dictionary(tmp_path / "other", deu=[("house", "haus")], jpn=[("house", "ie")])
    with pytest.raises(RunError, match="The term `align` has had no gradient on any trainable parameter by step 4"):
        run("word_align", f"intervention.align.dictionary={nothing}", "phase.finetune.steps=4")


def test_a_loss_that_would_train_its_own_head_alone_is_noticed(run):
    settings = ["intervention.freeze.layers=1,2,3", "intervention.align.projection=8"]
    with pytest.raises(RunError, match="Nothing at or below the `layers` of the alignment trains, so its loss would"):
        run("dist_align", *settings)


def test_near_clouds_are_apart_in_mixed_precision_too():
    """Where a GPU computes in 16 bits, the rounding of |x - y|^2 would be all that there is."""
    draw = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(32, 384, generator=draw), dim=-1)
    y = torch.nn.functional.normalize(x + 0.005 * torch.randn(32, 384, generator=draw), dim=-1)
    plain = sinkhorn_divergence(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        assert sinkhorn_divergence(x, y).item() == pytest.approx(plain.item(), rel=1e-4)
