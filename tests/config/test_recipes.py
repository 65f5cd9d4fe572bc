"""Recipes: what is shipped, what goes before what, where each value came from, and what may be written how."""

import hashlib
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

import distxfer.interventions
from distxfer import load_recipe
from distxfer.cli._recipes import settings_text
from distxfer.config import files
from distxfer.config.files import DEFAULTS, SOURCES, description, recipe_files, recipe_path
from distxfer.interventions import intervention_class, intervention_names
from helpers import message
from studies.emoji.methods import read_study

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.stem for path in (ROOT / "recipes").glob("[!_]*.toml"))
STUDIES = [name for name, path in recipe_files().items() if path.is_relative_to(ROOT / "studies")]
PLAIN = load_recipe("plain").resolved()


def write(folder: Path, text: str, name: str = "mine") -> str:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def flat(table: dict, prefix: str = "") -> dict[str, object]:
    flattened: dict[str, object] = {}
    for key, value in table.items():
        flattened |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flattened


def origins(recipe) -> dict[str, str]:
    return {key: value.origin for key, value in recipe.values.items()}


def test_the_shipped_recipes_are_those_of_the_folder():
    assert list(recipe_files())[: len(SHIPPED)] == SHIPPED
    assert set(SHIPPED) >= {"plain", "drift_reg", "dist_align", "freeze_lower", "lora"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_loads_and_differs_from_the_defaults_only_in_what_it_says(name):
    recipe = load_recipe(name)
    error_message = flat(tomllib.loads(recipe_path(name).read_text(encoding="utf-8")))
    resolved = flat(recipe.resolved())
    assert {key: resolved[key] for key in error_message} == error_message
    assert {key for key, origin in origins(recipe).items() if origin == f"{name}.toml"} == set(error_message)
    defaults = flat(PLAIN) | {"name": name}
    silent = {
        key: value
        for key, value in resolved.items()
        if not key.startswith("intervention.") and key not in error_message
    }
    for key, value in silent.items():  # every phase starts as a copy of the one that the defaults describe
        section, _, remainder = key.partition(".")
        assert value == defaults[f"phase.finetune.{remainder.split('.', 1)[1]}" if section == "phase" else key]
    assert resolved.keys() >= {key for key in defaults if not key.startswith("phase.")}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_starts_with_what_it_is_for(name):
    assert description(recipe_path(name)).endswith(".")


def test_the_plain_recipe_is_the_defaults():
    defaults = [flat(tomllib.loads(path.read_text(encoding="utf-8"))) for path in (DEFAULTS, SOURCES)]
    assert flat(PLAIN) == {
        **defaults[0],
        **defaults[1],
        "name": "plain",
        "parallel.name": "emoji",
    }  # `auto`, of the task `emoji`
    assert load_recipe("plain").interventions == {}


@pytest.mark.parametrize("name", SHIPPED)
def test_resolved_is_plain_json_and_its_values_load_again(name, tmp_path):
    overrides = ["task.targets=jpn,no,nan", "seed=3", "phase.finetune.learning_rate=3e-4"]
    recipe = load_recipe(name, overrides)
    resolved = recipe.resolved()
    assert json.loads(json.dumps(resolved, allow_nan=False)) == resolved
    values = flat({key: value for key, value in resolved.items() if key != "name"})
    again = load_recipe(write(tmp_path, settings_text({key: (value, "") for key, value in values.items()}), name))
    assert again.resolved() == resolved
    assert again.phases == recipe.phases
    assert again.interventions == recipe.interventions


@pytest.mark.parametrize("name", SHIPPED)
def test_every_value_has_an_origin(name):
    recipe = load_recipe(name)
    assert set(recipe.values) == set(flat(recipe.resolved())) - {"name"}
    assert all(origins(recipe).values())


def test_precedence_is_defaults_then_recipe_then_overrides_in_order(tmp_path):
    recipe_file = write(tmp_path, "seed = 7\n[task]\nmax_length = 64\n[phase.finetune]\nepochs = 2\n")
    recipe = load_recipe(recipe_file, ["seed=8", "phase.finetune.epochs=3", "seed=9"])
    assert (recipe.name, recipe.seed, recipe.task.max_length, recipe.task.source) == ("mine", 9, 64, "eng")
    assert recipe.phases["finetune"].epochs == 3
    where = origins(recipe)
    assert where["seed"] == where["phase.finetune.epochs"] == "override"
    assert where["task.max_length"] == "mine.toml"
    assert where["task.source"] == "_defaults.toml"


def test_an_interventions_own_defaults_have_an_origin():
    where = origins(load_recipe("drift_reg", ["intervention.drift.measure=mse"]))
    assert where["intervention.drift.weight"] == "drift_reg.toml"
    assert where["intervention.drift.measure"] == "override"
    assert where["intervention.drift.kind"] == "default of the intervention drift"
    assert where["intervention.drift.weighting"] == "default of the intervention drift"


def test_an_override_splits_at_the_first_equals_sign():
    assert load_recipe("plain", ["model=/models/a=b"]).model.name == "/models/a=b"
    assert load_recipe("plain", [" seed = 4 "]).seed == 4


@pytest.mark.parametrize("spelling", ["jpn,kor", "jpn, kor", " jpn ,kor,", ",jpn,,kor"])
def test_a_list_takes_commas(spelling):
    assert load_recipe("plain", [f"task.targets={spelling}"]).task.targets == ("jpn", "kor")


def test_a_list_of_one_and_the_word_all():
    assert load_recipe("plain", ["task.targets=jpn"]).task.targets == ("jpn",)
    assert load_recipe("plain", ["task.targets=jpn", "task.targets=all"]).task.targets == "all"


def test_layers_are_numbers_or_a_band():
    def layers(value: str):
        return load_recipe("freeze_lower", [f"intervention.freeze.layers={value}"]).interventions["freeze"].layers

    assert layers("1,2,3") == (1, 2, 3)
    assert layers("5") == (5,)
    assert layers("upper") == "upper"


def test_no_nan_and_yes_stay_languages(tmp_path):
    error_message = ("no", "nan", "yes", "on", "inf")
    assert load_recipe("plain", ["task.targets=no,nan,yes,on,inf"]).task.targets == error_message
    toml = write(tmp_path, '[task]\ntargets = ["no", "nan", "yes", "on", "inf"]\nsource = "nan"\n')
    assert load_recipe(toml).task.targets == error_message
    assert load_recipe(toml).task.source == "nan"
    assert load_recipe("plain", ["task.source=no"]).resolved()["task"]["source"] == "no"


NAMED = {"model": "xlm-roberta-base", "task": "folder", "parallel": "django", "distance": "genetic"}


@pytest.mark.parametrize(("key", "value"), NAMED.items())
def test_a_scalar_in_the_place_of_a_table_is_its_name(key, value, tmp_path):
    over = load_recipe("plain", [f"{key}={value}"])
    file = load_recipe(write(tmp_path, f'{key} = "{value}"\n'))
    expected = {**PLAIN[key], "name": value}
    assert over.resolved()[key] == file.resolved()[key] == expected
    assert origins(over)[f"{key}.name"] == "override"
    assert origins(file)[f"{key}.name"] == "mine.toml"
    assert load_recipe("plain", [f"{key}=first", f"{key}.name={value}"]).resolved()[key] == expected


def test_a_recipe_in_the_working_folder_is_found_and_goes_first(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    write(tmp_path / "recipes", "seed = 5\n")
    write(tmp_path / "recipes", "seed = 6\n", "plain")
    write(tmp_path / "recipes", "seed = 7\n", "_draft")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("mine").seed == 5
    assert load_recipe("plain").seed == 6
    assert load_recipe("drift_reg").seed == 0
    assert set(recipe_files()) == {*SHIPPED, *STUDIES, "mine"}


def test_a_recipe_of_a_study_has_its_own_name_or_that_of_the_study_before_it():
    assert {"oracle", "plain_matched", "probe", "emoji/code_switch", "emoji_120/plain"} <= recipe_files().keys()
    assert not {"code_switch", "plain"} & set(STUDIES)
    assert recipe_path("emoji/code_switch") == ROOT / "studies" / "emoji" / "recipes" / "code_switch.toml"
    assert load_recipe("emoji_120/plain").name == "plain"  # a recipe's runs lie under the name of its file


def test_an_installed_package_says_where_the_recipes_of_studies_are(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "distxfer"
    shutil.copytree(ROOT / "recipes", package / "recipes")
    monkeypatch.setattr(files, "__file__", str(package / "config" / "files.py"))
    assert list(recipe_files()) == SHIPPED
    assert message(recipe_path, "oracle") == (
        f"There is no recipe `oracle`. Did you mean `lora`? Choose from: {', '.join(SHIPPED)}; or give the path of a .toml file."
        " Recipes of studies are not installed: a checkout has them in `studies/`."
    )


def test_every_recipe_that_the_documentation_names_is_known():
    """`oracle` in a table of results, `recipe=NAME` in a command."""
    pages = [ROOT / "README.md", ROOT / "LOG.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        name for page in pages for name in re.findall(r"recipe=([a-z]\w*)(?![\w/.])", page.read_text(encoding="utf-8"))
    }
    methods = {name for method in read_study() for name in method.recipes}
    assert len(named) > 5
    assert named | methods <= recipe_files().keys() | {"mine", "centroid"}  # the reader's own, in examples


def test_a_recipe_loads_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipe("plain").resolved() == PLAIN


def test_a_byte_order_mark_does_no_harm(tmp_path):
    recipe_file = write(tmp_path, "\ufeff# Mine.\nseed = 5\n")
    assert load_recipe(recipe_file).seed == 5
    assert description(Path(recipe_file)) == "Mine."


def test_phases_start_as_a_copy_of_the_default_one():
    recipe = load_recipe(
        "dist_align",
        ["phases=realign,finetune", "phase.realign.task=false", "phase.realign.epochs=1", "phase.finetune.epochs=2"],
    )
    assert list(recipe.phases) == ["realign", "finetune"]
    assert (recipe.phases["realign"].epochs, recipe.phases["finetune"].epochs) == (1, 2)
    assert not recipe.phases["realign"].task
    assert recipe.phases["finetune"].task
    assert recipe.phases["realign"].learning_rate == PLAIN["phase"]["finetune"]["learning_rate"]
    where = origins(recipe)
    assert where["phase.realign.epochs"] == "override"
    assert where["phase.realign.learning_rate"] == "_defaults.toml, phase.finetune"


def test_a_run_need_not_have_the_default_phase():
    recipe = load_recipe("plain", ["phases=only", "phase.only.steps=3"])
    assert list(recipe.phases) == ["only"]
    assert recipe.resolved()["phase"] == {"only": {**PLAIN["phase"]["finetune"], "steps": 3}}
    assert not [key for key in recipe.values if key.startswith("phase.finetune")]


def test_a_phase_may_be_called_by_a_number():
    assert load_recipe("plain", ["phases=1", "phase.1.epochs=3"]).phases["1"].epochs == 3


def test_a_phase_names_its_interventions():
    recipe = load_recipe(
        "plain",
        ["phases=one,two", "intervention.freeze.layers=lower", "intervention.drift.weight=1",
         "phase.one.interventions=freeze", "phase.two.interventions=drift,freeze"],
    )  # fmt: skip
    assert recipe.phases["one"].interventions == ("freeze",)
    assert recipe.phases["two"].interventions == ("drift", "freeze")


def test_an_override_adds_an_intervention():
    recipe = load_recipe("plain", ["intervention.drift.weight=0.5"])
    assert recipe.interventions == {"drift": intervention_class("drift")(weight=0.5)}


def test_two_instances_of_one_kind():
    recipe = load_recipe(
        "plain",
        ["intervention.near.kind=drift", "intervention.near.layers=lower", "intervention.far.kind=drift",
         "intervention.far.weight=1"],
    )  # fmt: skip
    drift = intervention_class("drift")
    assert recipe.interventions == {"near": drift(layers="lower"), "far": drift(weight=1.0)}
    assert {name: row["kind"] for name, row in recipe.resolved()["intervention"].items()} == {
        "near": "drift",
        "far": "drift",
    }


@pytest.mark.parametrize("text", ["[intervention.lora]\n", "intervention.lora = {}\n", "[intervention]\nlora = {}\n"])
def test_an_empty_table_is_an_intervention_with_its_defaults(text, tmp_path):
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.interventions == {"lora": intervention_class("lora")()}
    assert origins(recipe)["intervention.lora.kind"] == "default of the intervention lora"
    assert set(recipe.values) == set(flat(recipe.resolved())) - {"name"}


def test_empty_tables_of_known_sections_say_nothing(tmp_path):
    recipe_file = write(tmp_path, 'phases = ["a"]\n[task]\n[model]\n[phase.a]\n[phase.finetune]\n[intervention]\n')
    resolved = load_recipe(recipe_file).resolved()
    assert resolved == {**PLAIN, "name": "mine", "phases": ["a"], "phase": {"a": PLAIN["phase"]["finetune"]}}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Another package that brings the interventions `quiet` and `drift_of_ours`."""
    (tmp_path / "other_package.py").write_text(
        "from dataclasses import dataclass\n"
        "from distxfer.interventions import BoundIntervention\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Quiet:\n"
        '    """Do nothing, loudly."""\n\n'
        "    strength: float = 2.0\n\n"
        "    def bind(self, encoder, languages, distances):\n"
        "        return BoundIntervention()\n"
    )
    info = tmp_path / "other_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[distxfer.interventions]\nquiet = other_package:Quiet\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_the_shipped_interventions_are_found_by_file_name():
    folder = Path(distxfer.interventions.__file__).parent
    assert list(intervention_names()) == sorted(path.stem for path in folder.glob("[!_]*.py"))
    assert set(intervention_names()) >= {"align", "consistency", "drift", "freeze", "lora", "sparse"}


@pytest.mark.usefixtures("package")
def test_an_intervention_of_another_package_is_found_by_its_entry_point():
    assert "quiet" in intervention_names()
    recipe = load_recipe("plain", ["intervention.quiet.strength=3", "intervention.twice.kind=quiet"])
    assert recipe.resolved()["intervention"] == {
        "quiet": {"kind": "quiet", "strength": 3.0},
        "twice": {"kind": "quiet", "strength": 2.0},
    }
    assert origins(recipe)["intervention.twice.strength"] == "default of the intervention quiet"


@pytest.mark.parametrize(("name", "identity"), [("plain", "0d6ba955"), ("drift_reg", "d848094f")])
def test_keys_that_recipes_learned_later_change_no_id_where_they_are_not_set(name, identity):
    """The ids of two committed runs, whose data has been changed since, from the fingerprints in their `result.json`."""
    fingerprints = {
        "task": "6910c720bf370b5b5f8e19d4cd74d3ca0a0fca0fac8a2f21df2e0d4067bc6ae1",
        "parallel": "56b9623da1aa7bf31c1f584c5bb13a8b2ed71ed49d8e1aa8ebf48977e1f11bd1",
        "distances": "b271cfbfb421dfe1e86cd1f4a538a92cba00ff4e2a9ed98114bdfd21c241e07c",
        "files": "",
        "model": "33a4015330ad84e6e19ea7b4592be9e773cc42c3fc5728c07e94763eaa5ba2cf",
    }
    targets = "ara,deu,fas,fra,ind,ita,jpn,kor,por,rus,spa,tur,zho"

    def found(*overrides):
        then = [
            "model.head=architecture",
            "model.head_start=random",
            "phase.finetune.epochs=16",
        ]  # defaults of that time
        recipe = load_recipe(name, [f"task.targets={targets}", *then, *overrides]).resolved(complete=False)
        del recipe["seed"]
        text = json.dumps({"recipe": recipe, **fingerprints}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    assert found() == found("measure.similarity=") == identity
    assert found("measure.similarity=cka") != identity


def test_overrides_from_python_are_those_of_the_command_line(tmp_path):
    words = ["seed=1", "task.targets=jpn,kor", "phase.finetune.epochs=3", "intervention.drift.weight=0.5"]
    expected = load_recipe("drift_reg", words).resolved()
    nested = {
        "task": {"targets": ["jpn", "kor"]},
        "phase.finetune.epochs": 3,
        "intervention": {"drift": {"weight": 0.5}},
    }
    assert load_recipe("drift_reg", nested, seed=1).resolved() == expected
    assert load_recipe("drift_reg", words[1:], seed=1).resolved() == expected
    assert load_recipe(recipe_path("drift_reg"), words).resolved() == expected
    assert load_recipe("plain", task=tmp_path, model="bundled/multilingual-e5-small").task.name == str(tmp_path)
    assert message(load_recipe, "plain", epochs=3).endswith(
        "  `epochs` is not a complete key. Write `phase.finetune.epochs=3`."
    )
