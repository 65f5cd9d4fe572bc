"""What a family of models needs in place of the defaults: how it is found, and what goes before it."""

import json

import pytest

from distxfer import load_recipe
from distxfer.config.families import families, family_of
from distxfer.config.files import recipe_files
from distxfer.encoders import BUNDLED
from distxfer.runs.prepare import prepare

FAMILIES = {family.name: family for family in families()}


def configured(folder, **config):
    """A folder with this configuration and nothing else."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def of(model):
    result = family_of(model)
    return result.name if result else ""


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("bert-base-multilingual-cased", "mbert"),
        ("google-bert/bert-base-multilingual-uncased", "mbert"),
        ("distilbert/distilbert-base-multilingual-cased", "distilmbert"),
        ("distilbert/distilbert-base-uncased", ""),
        ("FacebookAI/xlm-roberta-base", "xlm-roberta-base"),
        ("FacebookAI/XLM-RoBERTa-Large", "xlm-roberta-large"),
        ("intfloat/multilingual-e5-base", "xlm-roberta-base"),
        ("intfloat/multilingual-e5-large", "xlm-roberta-large"),
        ("cis-lmu/glot500-base", "glot500"),
        ("microsoft/mdeberta-v3-base", "mdeberta-v3"),
        ("google/mt5-base", "mt5"),
        ("google/umt5-small", "mt5"),
        ("jhu-clsp/mmBERT-base", "modernbert"),
        ("Qwen/Qwen3-0.6B", "decoder"),
        ("meta-llama/Llama-3.2-1B", "decoder"),
        ("google/gemma-3-1b-pt", "decoder"),
        ("bigscience/bloom-560m", "decoder"),
        ("CohereLabs/aya-expanse-8b", "decoder"),
        (BUNDLED, ""),
        ("intfloat/multilingual-e5-small", ""),
        ("someone/something", ""),
        ("qwen/something", ""),
        ("", ""),
        ("~nobody-of-this-name/x", ""),
    ],
)
def test_a_model_is_known_by_the_last_part_of_its_name(model, family):
    assert of(model) == family


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"model_type": "bert", "hidden_size": 768}, "mbert"),
        ({"model_type": "bert", "hidden_size": 384}, ""),
        ({"model_type": "distilbert", "dim": 768, "vocab_size": 119547}, "distilmbert"),
        ({"model_type": "distilbert", "dim": 768, "vocab_size": 30522}, ""),
        ({"model_type": "xlm-roberta", "hidden_size": 768, "vocab_size": 250002}, "xlm-roberta-base"),
        ({"model_type": "xlm-roberta", "hidden_size": 768, "vocab_size": 401145}, "glot500"),
        ({"model_type": "xlm-roberta", "hidden_size": 1024}, "xlm-roberta-large"),
        ({"model_type": "deberta-v2", "hidden_size": 768}, "mdeberta-v3"),
        ({"model_type": "umt5"}, "mt5"),
        ({"model_type": "modernbert"}, "modernbert"),
        ({"model_type": "cohere2"}, "decoder"),
        ({"model_type": ["bert"]}, ""),
        ({}, ""),
        ([], ""),
    ],
)
def test_a_folder_is_known_by_its_configuration_whatever_it_is_called(tmp_path, config, family):
    folder = tmp_path / "xlm-roberta-large"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    assert of(str(folder)) == family
    (folder / "config.json").write_text("{")
    assert of(str(folder)) == ""


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_says_where_its_settings_are_from_and_they_are_keys_of_a_recipe(name, tmp_path):
    family = FAMILIES[name]
    assert family.source
    example = {"xlm-roberta-base": "xlm-roberta-base", "xlm-roberta-large": "xlm-roberta-large"}.get(name)
    model = example or family.names[0].replace("*", "x")
    for recipe in ("plain", "drift_reg"):
        values = load_recipe(recipe, [f"model=someone/{model}"]).values
        family_values = {key: value.value for key, value in values.items() if value.origin == f"_families.toml, {name}"}
        assert set(family_values) == {
            "model.pooling", "model.precision", "phase.finetune.learning_rate", "phase.finetune.warmup"
        }  # fmt: skip
        assert family_values["model.precision"] != "fp16"
        assert 0 < family_values["phase.finetune.learning_rate"] <= 1e-3


def test_precedence_is_defaults_then_family_then_recipe_then_overrides(tmp_path):
    model = configured(tmp_path / "model", model_type="xlm-roberta", hidden_size=1024)
    recipe_file = tmp_path / "mine.toml"
    recipe_file.write_text(f'[model]\nname = "{model}"\n[phase.finetune]\nwarmup = 0.2\n')
    recipe = load_recipe(str(recipe_file), ["model.pooling=cls"])
    differing = {
        key: (recipe.values[key].value, recipe.values[key].origin)
        for key in ("phase.finetune.epochs", "phase.finetune.learning_rate", "phase.finetune.warmup", "model.pooling")
    }
    assert differing == {
        "phase.finetune.epochs": (8, "_defaults.toml"),
        "phase.finetune.learning_rate": (7e-6, "_families.toml, xlm-roberta-large"),
        "phase.finetune.warmup": (0.2, "mine.toml"),
        "model.pooling": ("cls", "override"),
    }
    assert recipe.phases["finetune"].learning_rate == 7e-6


def test_the_model_of_an_override_counts_not_the_recipes(tmp_path):
    recipe_file = tmp_path / "mine.toml"
    recipe_file.write_text('[model]\nname = "Qwen/Qwen3-0.6B"\n')
    assert load_recipe(str(recipe_file)).model.pooling == "last"
    again = load_recipe(str(recipe_file), ["model=someone/something", "model=xlm-roberta-base"])
    assert again.model.pooling == "mean"
    assert again.values["phase.finetune.warmup"].origin == "_families.toml, xlm-roberta-base"


def test_other_phases_start_as_a_copy_of_the_familys():
    recipe = load_recipe("plain", ["model=mt5-base", "phases=first,finetune"])
    assert recipe.phases["first"].learning_rate == recipe.phases["finetune"].learning_rate == 1e-4
    assert recipe.values["phase.first.learning_rate"].origin == "_families.toml, mt5, phase.finetune"


def test_a_recipe_without_the_phase_that_the_family_speaks_of():
    assert load_recipe("plain", ["model=mt5-base", "phases=only"]).phases["only"].learning_rate == 1e-4


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        ([], 1e-5),
        (["intervention.lora.r=4"], 2e-4),
        (["intervention.mine.kind=lora"], 2e-4),
        (["intervention.drift.weight=1"], 1e-5),
        (["intervention.lora.r=4", "phase.finetune.learning_rate=3e-4"], 3e-4),
    ],
)
def test_adapters_have_a_rate_of_their_own(words, rate):
    assert load_recipe("plain", ["model=Qwen/Qwen3-0.6B", *words]).phases["finetune"].learning_rate == rate


def test_the_bundled_encoder_keeps_the_ids_of_its_runs():
    recipe = load_recipe("plain")
    assert not [key for key, value in recipe.values.items() if "_families" in value.origin]
    assert prepare(recipe).id == "36571ebc"


def test_the_files_of_families_and_of_published_results_are_no_recipes():
    assert not [name for name in recipe_files() if name.startswith("_") or "famil" in name or "reference" in name]
