"""Bad input: exit code 2, one clear message on stderr, no traceback, nothing on stdout, nothing half-written."""

import json
import resource
import shutil
from pathlib import Path

import pytest

from distxfer.config.files import recipe_files
from distxfer.data import parallel_names, task_names
from distxfer.errors import listed

NOTHING = {".lock"}  # the lock of a run's folder, which is taken before the encoder is loaded


@pytest.fixture
def refused(cli, tiny_settings):
    """Give the message that `train` refuses the tiny run for, with these overrides."""

    def message(*words: str, recipe: str = "plain", files: set[str] | None = None) -> str:
        before = {path for path in Path().rglob("*") if path.is_file()}
        done = cli("train", f"recipe={recipe}", *tiny_settings, *words)
        assert (done.exit_code, done.stdout) == (2, ""), done.output
        *notices, _ = done.stderr.split("Error: ")
        assert notices == [""], "one message and no progress"
        assert "Traceback" not in done.stderr
        names = {path.name for path in Path().rglob("*") if path.is_file() and path not in before}
        assert names <= (files or NOTHING)
        return done.stderr.removeprefix("Error: ").rstrip("\n")

    return message


def test_no_recipe_or_two(cli):
    recipes = f"Recipes: {listed(recipe_files())}."
    for words, expected in (
        ([], "no recipe"),
        (["seed=1"], "no recipe"),
        (["recipe="], "no recipe"),
        (["recipe=plain", "recipe=lora"], "2 recipes (plain, lora)"),
    ):
        for verb in ("train", "show", "validate"):
            wrong = cli(verb, *words)
            assert (wrong.exit_code, wrong.stdout) == (2, "")
            assert wrong.stderr == f"Error: The command names {expected}; expected one `recipe=NAME`. {recipes}\n"


@pytest.mark.parametrize("verb", ["train", "show", "validate"])
def test_an_unknown_recipe(cli, verb):
    wrong = cli(verb, "recipe=drift_rge")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("Error: There is no recipe `drift_rge`. Did you mean `drift_reg`? Choose from: ")


@pytest.mark.parametrize(
    "words",
    [
        ["show", "recipe=LONG.toml"],
        ["validate", "recipe=plain", "model=LONG"],
        ["compare", "--table", "LONG.csv", "--baseline", "plain"],
        ["cp", "plain", "LONG.toml"],
    ],
)
def test_a_name_that_is_too_long_is_one_message(cli, words):
    wrong = cli(*(word.replace("LONG", "a" * 300) for word in words))
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("Error: `")
    assert wrong.stderr.count("\n") == 1
    assert not list(Path().iterdir())


def test_several_mistakes_in_a_recipe(refused):
    message = refused("task.sorce=deu", "phase.finetune.epochs=none", "foo")
    assert message.splitlines() == [
        "The recipe `plain` has 3 mistakes:",
        "  `foo` is not an override. Write KEY=VALUE, such as `seed=1` or `task.targets=jpn,kor`.",
        "  `task.sorce` is not a key. Did you mean `task.source`? Keys here: name, source, targets, shots, max_length,"
        " folder, revision, type, pattern, columns, mixing, budget.",
        "  `phase.finetune.epochs` is `none`, but it should be a whole number.",
    ]


SETTINGS = [
    ("task.targets=deu,jpm", "Language code `jpm` is not known. Did you mean `jpn`?"),
    ("task.source=ang", "The task `{task}` has no data for the language `ang`. Did you mean `eng`? It has: deu, eng, jpn."),
    ("task.targets=deu,fra", "The task `{task}` has no data for the language `fra`. It has: deu, eng, jpn."),
    ("task.targets=deu,ger", "`task.targets` has the language `deu` twice (deu, ger). Name it once."),
    ("task.targets=jpn,en", "`eng` is both `task.source` and one of `task.targets`. Remove it from one of them."),
    ("task.targets=", "`task.targets` is empty. Name at least one of: deu, eng, jpn."),
    ("task=emojy", f"The task `emojy` is neither built in ({', '.join(task_names())}) nor a folder. Did you mean `emoji`?"),
    ("parallel=djagno", f"The parallel text `djagno` is neither built in ({', '.join(parallel_names())}) nor a folder. Did you"
     " mean `django`?"),
    ("distance=syntatic", "Distance `syntatic` is not known. Did you mean `syntactic`? Choose from: featural, "),
    ("distance.matrix=no.csv", "Distance table `no.csv` is not a file. Give the path of a CSV file as `distance.matrix`."),
    ("model=./nothing", "The model `./nothing` does not exist. Give a folder, a name on the Hugging Face hub, or "),
    ("model=bundled/multilingual-e5-smal", "The model `bundled/multilingual-e5-smal` does not exist."
     " Did you mean `bundled/multilingual-e5-small`?"),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "message"), SETTINGS)
def test_a_setting_that_names_what_there_is_not(refused, task_folder, setting, message):
    assert refused(setting, files=set()).startswith(message.format(task=task_folder))
    assert not list(Path().iterdir())


# What layers and languages may be is tested with the interventions.
INTERVENTIONS = [
    ("dist_align", ["intervention.align.layers=9"],
     "`intervention.align`: `layers` names layer `9`, but this encoder has layers 1 to 4."),
    ("freeze_lower", ["intervention.freeze.layers="],
     "`intervention.freeze`: `layers` names no layer of this encoder of 4 layers."),
    ("freeze_lower", ["intervention.freeze.layers=lowr"],
     "The recipe `freeze_lower` has 1 mistake:\n  `intervention.freeze.layers` is `lowr`, but it should be a whole number, or"
     " 'all', 'lower', 'middle', 'upper', 'lower_half' or 'upper_half', or 'guided' or 'random'. Did you mean `lower`?"),
    ("dist_align", ["intervention.align.layers=3", "intervention.align.languages=deu,de"],
     "`intervention.align`: The intervention's `languages` are `deu, de`; expected each once"),
    ("dist_align", ["intervention.align.layers=3", "parallel="],
     "The intervention `align` needs parallel text, and `parallel.name` is empty. Set `parallel.name` to a folder of your own,"
     f" or to one of: {', '.join(parallel_names())} (with `parallel.folder` for a local copy of its files)."),
    ("dist_align", ["intervention.align.layers=3", "parallel=auto"],
     "The intervention `align` needs parallel text, and `parallel.name` is `auto`: the task `"),
    ("dist_align", ["intervention.align.layers=3", "parallel=one"],
     "The intervention `align` needs parallel text for `jpn`, and there is none (`parallel.name` = `one`)."
     " Give it with `parallel=FOLDER`, or keep to `intervention.align.languages=deu`."),
    ("drift_reg", ["intervention.drift.text=target", "parallel="],
     "The intervention `drift` needs unlabelled text for `deu`, and there is none"),
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "settings", "message"), INTERVENTIONS)
def test_an_intervention_that_asks_for_what_there_is_not(refused, parallel_folder, recipe, settings, message):
    Path("one").mkdir()
    shutil.copy(parallel_folder / "deu.tsv", "one")
    assert refused(*settings, recipe=recipe).startswith(message)


def test_a_language_without_a_vector(refused, task_folder, parallel_folder):
    shutil.copytree(task_folder, "task")
    shutil.copytree("task/deu", "task/cnr")
    message = refused("task=task")
    assert message == (
        "`cnr` (Montenegrin) has no syntactic data in URIEL@lang2vec-1.1.2, and no families by which to find relatives. Give"
        " your own table as `distance.matrix`."
    )
    shutil.copytree("task/deu", "task/bos")
    shutil.rmtree("task/cnr")
    message = refused("task=task", "distance.imputed=false", "distance=inventory")
    assert message.startswith(
        "`bos` (Bosnian) has no inventory data in URIEL@lang2vec-1.1.2. Choose one of its nearest"
    )
    assert "set `distance.imputed=true` to use predicted features" in message


def test_a_task_folder_that_does_not_hold_a_task(refused, task_folder):
    shutil.copytree(task_folder, "task")
    Path("task/jpn/test.jsonl").write_text('{"id": 1, "text": "neko", "label": "anmal"}\n')
    assert refused("task=task").startswith("`task/jpn/test.jsonl:1` has the label `anmal`, which")
    assert "Did you mean `animal`?" in refused("task=task")
    Path("task/eng/train.jsonl").unlink()
    assert refused("task=task").startswith("`task/eng/train.jsonl` does not exist")
    Path("empty").mkdir()
    assert refused("task=empty").startswith("`empty` has no test file in any language; expected files such as ")


def test_a_model_folder_that_holds_no_encoder(refused, tiny):
    """Every damage and its message: tests/encoders/test_model_folders.py."""
    shutil.copytree(tiny, "model")
    Path("model/model.safetensors").unlink()
    assert refused("model=model").startswith("The model folder `model` has no weights; expected `model.safetensors`.")
    Path("model/config.json").unlink()
    assert refused("model=model").startswith("The model folder `model` has no `config.json`.")


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_results_folder_that_is_a_file(refused, below):
    Path("file").write_text("mine")
    message = refused(f"--results=file{below}")
    assert message.startswith(f"The result folder `file{below}/plain/")
    assert "` cannot be written: Not a directory. Free some space or choose another with `--results`" in message
    assert Path("file").read_text() == "mine"


def test_a_result_of_a_newer_schema_is_left_alone(refused, cli, tiny_settings):
    facts = json.loads(cli("train", "recipe=plain", "--dry-run", "--json", *tiny_settings).stdout)
    path = Path(facts["folder"]) / "result.json"
    path.parent.mkdir(parents=True)
    for contents, message in (
        ('{"schema": 2}', "has the schema 2, made by a newer distxfer; this version knows up to 1. Upgrade distxfer,"
         " or choose another folder with `--results`."),
        ("{", "is no result of distxfer (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))."
         " Move it away, or run with `--again`."),
        ("[]", "is no result of distxfer (list indices must be integers or slices, not str)."
         " Move it away, or run with `--again`."),
    ):  # fmt: skip
        path.write_text(contents)
        assert refused() == f"`{path}` {message}"
        assert path.read_text() == contents
        assert cli("train", "recipe=plain", "--dry-run", *tiny_settings).exit_code == 2


def test_a_full_disk_stops_the_run_and_the_same_command_goes_on(cli, tiny_settings):
    words = ["train", "recipe=plain", "--json", *tiny_settings]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))  # no file may grow beyond 64 KiB: a checkpoint would
    try:
        full = cli(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (full.exit_code, full.stdout) == (2, "")
    message = full.stderr.splitlines()[-1]
    assert message.startswith("Error: The result folder `results/plain/")
    assert "cannot be written: " in message
    assert "File too large" in message
    assert message.endswith("files written before are kept, and the same command resumes from them.")
    assert not list(Path().rglob("result.json"))
    done = cli(*words)
    assert done.exit_code == 0
    folder = Path(json.loads(done.stdout)["folder"])
    assert [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()] == list(range(18))
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize(("recipe", "term"), [("plain", "task"), ("drift_reg", "task")])
def test_a_loss_that_is_not_finite_names_the_term_and_the_step(cli, tiny_settings, recipe, term):
    wrong = cli("train", f"recipe={recipe}", *tiny_settings, "phase.finetune.learning_rate=1e30")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    message = wrong.stderr.splitlines()[-1]
    assert message.startswith(f"Error: The term `{term}` ")
    assert "at step 1" in message
    assert not list(Path().rglob("result.json"))
