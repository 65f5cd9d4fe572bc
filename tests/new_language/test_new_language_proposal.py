"""Which recipe `distxfer new-language` proposes, by what there is of a language and what the reference study found."""

import re

import pytest

from distxfer.config.recipe import load_recipe
from distxfer.new_language import proposal
from distxfer.new_language.language_data import LanguageData
from distxfer.new_language.proposal import chosen, proposals, study
from distxfer.new_language.workspace import recipe_text
from helpers import message
from studies.emoji import methods as study_methods
from studies.emoji import tables as study_tables

HAS = LanguageData(tests=100, shots=0, texts=0, pairs=0, words=0, task_type="classification", notes=())
E5 = "bundled/multilingual-e5-small"


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ({"pairs": 500, "texts": 500, "words": 500}, "teacher"),
        ({"pairs": 500, "task_type": "token_classification"}, "dist_align"),
        ({"texts": 500}, "self_training_twice"),
        ({"pairs": 49, "texts": 49}, "drift_reg"),
        ({"words": 500}, "code_switch"),
        ({}, "drift_reg"),
    ],
)
def test_the_first_proposal(there, name):
    data = LanguageData(**{**vars(HAS), **there})
    first, *alternatives = proposals(data, E5)
    assert first.recipe == name
    assert first.evidence == study()["methods"].get(name)
    assert first.shown == (name in ("teacher", "self_training_twice"))
    assert first.recipe not in {alternative.recipe for alternative in alternatives}
    ranked = [
        (candidate.evidence.shown, candidate.evidence.all.low)
        for candidate in (first, *alternatives)
        if candidate.evidence and not any(effect.shown for effect in candidate.registered)
    ]
    assert ranked == sorted(ranked, reverse=True)
    for run in (first, *alternatives):
        assert load_recipe(str(run.file)).name == run.recipe


def test_a_registered_gain_comes_first(tmp_path, monkeypatch):
    rows = """
        [[effect]]
        recipe = "teacher"
        task = "messages"
        given = "in-domain pairs"
        seeds = 5
        languages = 13
        effect = 12.04
        low = 6.0
        high = 18.0
        lowest = -2.5
        p = 0.0004
        shown = true
        [[effect]]
        recipe = "self_training_twice"
        task = "intents"
        given = "unlabelled"
        seeds = 5
        languages = 20
        effect = 1.0
        low = -1.0
        high = 3.0
        lowest = -9.0
        p = 0.2
        shown = false
    """
    (tmp_path / "evidence.toml").write_text(rows)
    read = proposal.study_evidence
    monkeypatch.setattr(
        proposal, "study_evidence", lambda name: tmp_path / "evidence.toml" if name == "transfer" else read(name)
    )
    monkeypatch.setattr(proposal, "registered_effects", proposal.registered_effects.__wrapped__)
    data = LanguageData(**{**vars(HAS), "pairs": 500, "texts": 500})
    first, second, *others = proposals(data, E5)
    assert (first.recipe, first.shown, second.recipe) == ("teacher", True, "align_consistency")
    assert first.caveats == (
        "A registered study (`messages`, in-domain pairs, 5 seeds) shows a gain on 13 far languages: +12.0 points [+6.0, +18.0],"
        " p < 0.001. In every test language at least -2.5 (simultaneous 95 % bounds).",
        "Pairs of another domain than the task's may help less, or harm.",
    )
    (last,) = (candidate for candidate in others if candidate.recipe == "self_training_twice")
    assert not last.shown
    assert last.caveats[0].startswith(
        "A registered study (`intents`, unlabelled, 5 seeds) does not show a gain on 20 far"
    )
    words = proposals(LanguageData(**{**vars(HAS), "pairs": 500, "task_type": "token_classification"}), E5)
    assert words[0].recipe == "dist_align"  # the teacher predicts whole texts


def test_labels_of_the_language_and_text_bring_the_recipe_with_the_registered_gain():
    labelled = LanguageData(**{**vars(HAS), "pairs": 500, "texts": 500, "shots": 10})
    first = proposals(labelled, E5)[0]
    assert (first.recipe, first.shown) == ("few_shot_self", True)
    assert first.why.startswith("there is text (500 lines) and 10 labelled texts;")
    assert "over a baseline without labels" in first.caveats[-1]
    without = LanguageData(**{**vars(labelled), "shots": 0})
    assert "few_shot_self" not in {candidate.recipe for candidate in proposals(without, E5)}
    assert "Add some with `--few-shot`." in message(chosen, "few_shot_self", without, E5)


def test_what_speaks_against_a_proposal():
    data = LanguageData(**{**vars(HAS), "texts": 60, "shots": 5})
    (first,) = (candidate for candidate in proposals(data, "another") if candidate.recipe == "mined_align")
    expected = " ".join(first.caveats)
    for part in (
        "with the model `bundled/multilingual-e5-small`",
        "here there are 60",
        "fewer mined pairs",
        "only on labels of the source",
    ):
        assert part in expected
    drift, *alternatives = proposals(HAS, E5)
    (held,) = (alternative for alternative in alternatives if alternative.recipe == "l2_sp")
    assert any(caveat.startswith("The source language had -") for caveat in held.caveats)
    assert not any(caveat.startswith("The source language had -") for caveat in drift.caveats)
    (wide,) = (caveat for caveat in drift.caveats if "larger study" in caveat)
    numbers = (
        r"-0\.\d points \[-\d\.\d, \+\d\.\d\], and -7\.\d in the source language \(runs trained with the class `Flags`, scored"
        r" without it; to be run anew\)\."
    )
    assert re.fullmatch(
        "A larger study measured the effect of `drift_strong`, which is `drift_reg` at four times its weight on 118"
        " languages of `cldr`: "
        f"{numbers}",
        wide,
    )
    aligned = proposals(LanguageData(**{**vars(HAS), "pairs": 500}), E5)[1]
    assert "`align_consistency` on 60 languages of `cldr` whose text it read: +" in aligned.caveats[-1]


def test_another_recipe_than_the_proposed_one():
    assert chosen("lora", HAS, E5).recipe == "lora"
    assert message(chosen, "plain", HAS, E5).startswith("`--recipe` is `plain`, but `plain` is the baseline")
    assert message(chosen, "code_switch", HAS, E5) == (
        "The recipe `code_switch` needs words, but there are none. Add some with `--dictionary`."
    )
    tokens = LanguageData(**{**vars(HAS), "task_type": "token_classification", "pairs": 9})
    assert message(chosen, "consistency", tokens, E5).startswith(
        "The recipe `consistency` reads predictions for whole texts"
    )
    assert "There is no recipe `lorra`. Did you mean `lora`?" in message(chosen, "lorra", HAS, E5)


@pytest.mark.parametrize(
    "name", ["lora", "language_adapter", "dist_align", "mined_align", "drift_reg", "teacher", "self_training"]
)
def test_a_recipe_comes_back_from_its_text(tmp_path, name):
    recipe = load_recipe(
        str(chosen(name, LanguageData(**{**vars(HAS), "pairs": 9, "texts": 9}), E5).file), ["task.targets=jpn,kor"]
    )
    (tmp_path / f"{name}.toml").write_text(recipe_text(recipe, "cym"))
    assert load_recipe(str(tmp_path / f"{name}.toml")).resolved() == recipe.resolved()


def test_the_evidence_is_that_of_the_study():
    assert study_methods.EVIDENCE.read_text(encoding="utf-8") == study_tables.evidence(study_methods.read_study())


def test_a_recipe_that_was_tuned_on_targets_says_so():
    tuned = chosen("drift_reg", HAS, E5).caveats
    assert (
        "Its settings were chosen on: dev of eng, deu, jpn, tur; deu, jpn, tur are also test languages of the study, so its"
        " effect is overestimated there."
    ) in tuned
    assert not any("chosen on:" in caveat for caveat in chosen("lora", HAS, E5).caveats)


def test_what_the_evidence_rests_on_is_said():
    drift, *_ = proposals(HAS, E5)
    assert (
        drift.why
        == "it needs no data of the language; the reference study (5 seeds) does not show a gain on its targets"
    )
    assert (
        "Its effects are from runs trained with the class `Flags`, scored without it; to be run anew." in drift.caveats
    )
    assert drift.evidence.all.low < 0 < drift.evidence.all.high
    registered, pairs, *_ = proposals(LanguageData(**{**vars(HAS), "pairs": 500}), E5)
    assert registered.why == "there are 500 sentence pairs; a registered study shows a gain"
    assert pairs.why == "there are 500 sentence pairs; the reference study (5 seeds) shows a gain on its targets"


def test_a_dictionary_is_said_to_be_of_another_kind_than_the_studys():
    words = chosen("code_switch", LanguageData(**{**vars(HAS), "words": 9}), E5)
    assert words.why.startswith("there is a dictionary of 9 words; the reference study (3 seeds) does not")
    assert any(caveat.startswith("Its dictionaries were made from in-domain parallel text") for caveat in words.caveats)
