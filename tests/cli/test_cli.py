"""The verbs: what they print where, in tables and in JSON, and what they write."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from filelock import FileLock

from distxfer import __version__, load_recipe
from distxfer.cli._options import KEY_EXAMPLES
from distxfer.config.files import recipe_files, recipe_path
from distxfer.data import parallel_names, task_names
from distxfer.interventions import intervention_names

VERBS = (
    "ls", "show", "cp", "validate", "train", "predict", "measure", "merge", "sweep", "compare", "report", "publish",
    "language", "new-language", "env",
)  # fmt: skip
HEAVY = ("torch", "transformers", "accelerate", "peft", "scipy", "pyarrow", "altair")


def python(*words: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=300, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_settings):
    """A results folder with one finished run of `drift_reg`; nobody changes it."""
    from typer.testing import CliRunner

    from distxfer.cli import app

    results = tmp_path_factory.mktemp("results")
    done = CliRunner().invoke(app, ["train", "recipe=drift_reg", f"--results={results}", *tiny_settings])
    assert done.exit_code == 0
    (folder,) = results.glob("drift_reg/*-s0")
    return results, folder, done


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(cli, *words: str) -> str:
    """The message of a command with exit code 2, which prints nothing else."""
    wrong = cli(*words)
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    return wrong.stderr


# The program


def test_help_completion_and_recipes_import_nothing_heavy():
    code = f"""
import json, sys
from typer.testing import CliRunner
from distxfer.cli import app
loaded = {{}}
for number, words in enumerate(([], *([verb] for verb in {VERBS!r}))):
    shown = CliRunner().invoke(app, [*words, ("--help", "-h")[number % 2]])
    assert shown.exit_code == 0 and "Usage: " in shown.stdout and not shown.stderr, words
    assert words or all(verb in shown.stdout for verb in {VERBS!r})
    loaded[" ".join(words)] = [name for name in {HEAVY!r} if name in sys.modules]
from distxfer._complete import complete_recipe
assert "plain" in complete_recipe("")
for words in ("recipe=", "recipe = dr", "phase.", "task.targets=jpn,"):
    typed = "distxfer train " + words
    env = {{"_DISTXFER_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}}
    shown = CliRunner().invoke(app, [], env=env, prog_name="distxfer")
    assert shown.stdout, words
    loaded["completing " + words] = [name for name in {HEAVY!r} if name in sys.modules]
for words, exit_code in (
    (["train", "recipe=plian"], 2), (["ls"], 0), (["ls", "keys"], 0), (["show", "recipe=word_align"], 0),
    (["train", "recipe=lora", "intervention.lora.rank=4"], 2), (["validate", "recipe=plain", "phase.finetune.epohcs=3"], 2),
    (["ls", "runs"], 0), (["ls", "tasks"], 0),
):
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == exit_code, (words, shown.stderr)
    loaded[" ".join(words)] = list({{"torch", "transformers", "peft"}} & set(sys.modules))
print(json.dumps(loaded))
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert not any(loaded.values()), loaded


def test_the_program_is_a_module_too(tmp_path):
    done = python("-m", "distxfer", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"distxfer {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "Error"),
        (["train", "--resluts=x"], "Error"),
        (["ls", "--foo"], "Error"),
        (["cp", "plain"], "Error"),
        (["ls", "recipe"], "Error: `recipe` cannot be listed. Did you mean `recipes`?"),
        (["ls", "keys", "phse"],
         "Error: `phse` is no key or table of keys. Did you mean `phase`? `distxfer ls keys` lists all.\n"),
    ],
)  # fmt: skip
def test_unknown_words_are_refused(cli, words, expected):
    assert expected in refused(cli, *words)


# show, cp, validate, env


def test_show_is_toml_with_origins_that_loads_again(cli):
    words = ["recipe=drift_reg", "task.targets=jpn,no", "seed=2", "intervention.drift.weight=2"]
    shown = cli("show", *words)
    assert (shown.exit_code, shown.stderr) == (0, "")
    lines = dict(line.split(" = ", 1) for line in shown.stdout.splitlines())
    assert lines["seed"].split() == ["2", "#", "override"]
    assert lines["model.name"].endswith("# _defaults.toml, texts without padding on a CPU")
    assert lines["task.targets"].split("#") == ['["jpn", "no"]'.ljust(lines["task.targets"].index("#")), " override"]
    assert lines["intervention.drift.weight"].split() == ["2.0", "#", "override"]
    assert lines["intervention.drift.measure"].split() == ['"cka"', "#", "drift_reg.toml"]
    assert lines["model.pooling"].split() == ['"mean"', "#", "_defaults.toml"]
    assert lines["intervention.drift.kind"].endswith("# default of the intervention drift")
    resolved = load_recipe("drift_reg", words[1:]).resolved()
    assert {**tomllib.loads(shown.stdout), "name": "drift_reg"} == resolved
    Path("drift_reg.toml").write_text(shown.stdout)
    assert load_recipe("drift_reg.toml").resolved() == resolved


@pytest.mark.parametrize(
    "words",
    [
        ["drift_reg", "seed=2", "phase.finetune.epochs=3"],
        ["--recipe", "drift_reg", "--seed", "2", "--phase.finetune.epochs=3"],
        ["--recipe=drift_reg", "seed = 2", "--phase.finetune.epochs", "3", "--json"],
    ],
)
def test_settings_may_be_written_as_words_or_options(cli, words):
    options = [word for word in words if word == "--json"]
    expected = cli("show", "recipe=drift_reg", "seed=2", "phase.finetune.epochs=3", *options)
    shown = cli("show", *words)
    assert (shown.exit_code, shown.stdout) == (0, expected.stdout)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["epochs=3"], "`epochs` is not a complete key. Write `phase.finetune.epochs=3`."),
        (["--lr", "1e-5", "phases=adapt,finetune"], "`lr` is not a complete key. Write one of:"
         " `phase.adapt.learning_rate=1e-5`, `phase.finetune.learning_rate=1e-5`."),
        (["--batch-size=8"], "`batch_size` is not a complete key. Write one of: `phase.finetune.batch_size=8`,"
         " `intervention.drift.batch_size=8`."),
        (["sign=negative"], "`sign` is not a complete key. Write `intervention.drift.sign=negative`."),
    ],
)  # fmt: skip
def test_a_key_without_its_table_is_answered_with_the_full_key(cli, words, expected):
    assert refused(cli, "show", "drift_reg", *words) == (
        f"Error: The recipe `drift_reg` has 1 mistake:\n  {expected}\n"
    )


def test_show_as_json_and_with_phases(cli):
    rows = json.loads(cli("show", "--json", "seed=2", "recipe=lora").stdout)
    assert rows[0] == {"key": "seed", "value": 2, "origin": "override"}
    assert [set(row) for row in rows] == [{"key", "value", "origin"}] * len(rows)
    assert {row["key"]: row["origin"] for row in rows}["phase.finetune.learning_rate"] == "lora.toml"
    settings = tomllib.loads(cli("show", "recipe=plain", "phases=one,two", "phase.two.steps=3").stdout)
    assert list(settings["phase"]) == ["one", "two"]
    assert settings["phase"]["two"] == {**settings["phase"]["one"], "steps": 3}


def test_cp_copies_the_file_and_overwrites_nothing(cli):
    done = cli("cp", "drift_reg", "mine.toml")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "mine.toml\n", "")
    assert Path("mine.toml").read_bytes() == recipe_path("drift_reg").read_bytes()
    Path("mine.toml").write_text("seed = 4\n")
    for words, message in (
        (["plain", "mine.toml"], "Error: `mine.toml` exists already. Choose another name, or remove it first.\n"),
        (["plain", "mine"], "Error: `mine` is no recipe's file name; expected one that ends in `.toml`.\n"),
        (["plain", "no/x.toml"], "Error: `no/x.toml` cannot be written: No such file or directory. Choose another folder.\n"),
    ):  # fmt: skip
        assert refused(cli, "cp", *words) == message
    assert cli("cp", "plian", "x.toml").exit_code == 2
    assert [path.name for path in Path().iterdir()] == ["mine.toml"]
    assert Path("mine.toml").read_text() == "seed = 4\n"
    assert cli("cp", "mine.toml", "again.toml").exit_code == 0
    assert '"override"' not in cli("show", "--json", "recipe=again.toml").stdout


def test_validate_checks_and_writes_nothing(cli, tiny_settings):
    words = ("validate", "recipe=dist_align", "intervention.align.layers=3", *tiny_settings)
    shown = cli(*words)
    assert shown.exit_code == 0
    notes = (" repeats ", "occur in the training pairs", "occurs in the training pairs")
    assert all(any(note in line for note in notes) for line in shown.stderr.splitlines())
    facts = json.loads(cli(*words, "--json").stdout)
    assert facts.pop("id") in shown.stdout
    assert facts == {
        "recipe": "dist_align", "source": "eng", "targets": "deu, jpn", "train examples": 144, "labels": 2,
        "parallel text": f"`{tiny_settings[2].removeprefix('parallel=')}` (domain unknown), 64 pairs in 2 languages",
        "valid": True, "data_issues": [],
    }  # fmt: skip
    assert not list(Path().iterdir())


def test_env_prints_versions_and_folders(cli, monkeypatch):
    facts = json.loads(cli("env", "--json", "--results", "there").stdout)
    assert facts["distxfer"] == __version__
    assert facts["results"] == str(Path.cwd() / "there")
    assert set(facts) >= {"device", "cache", "torch", "transformers", "lang2vec"}
    monkeypatch.setenv("DISTXFER_RESULTS", "elsewhere")
    monkeypatch.setenv("DISTXFER_CACHE", "/somewhere/cache")
    lines = dict(line.split(maxsplit=1) for line in cli("env").stdout.splitlines())
    assert (lines["results"], lines["cache"]) == (str(Path.cwd() / "elsewhere"), "/somewhere/cache")
    assert not list(Path().iterdir())


# ls

LISTED = {
    "recipes": set(recipe_files()),
    "tasks": {*task_names(), "FOLDER"},
    "parallel": {*parallel_names(), "FOLDER"},
    "interventions": set(intervention_names()),
    "distances": {"syntactic", "phonological", "inventory", "genetic", "geographic", "featural", "NAME@uriel+"},
    "models": {"bundled/multilingual-e5-small", "bundled/gemma-3-270m", "FOLDER or NAME"},
}


@pytest.mark.parametrize("kind", LISTED)
def test_ls_of_a_kind(cli, kind):
    rows = json.loads(cli("ls", kind, "--json").stdout)
    assert {row["name"] for row in rows} == LISTED[kind]
    assert all(row["what it is"] for row in rows)
    shown = cli("ls", kind)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert all(row["name"] in shown.stdout and row["what it is"] in shown.stdout for row in rows)


def test_ls_says_that_a_corpus_is_parallel_text(cli):
    assert json.loads(cli("ls", "parallel", "opus100", "--json").stdout)["task_type"] == "parallel text"


def test_ls_of_keys_has_every_key_with_its_meaning(cli):
    rows = {row["name"]: row for row in json.loads(cli("ls", "keys", "--json").stdout)}
    assert all(row["meaning"] and row["type"] for row in rows.values())
    recipes = [
        load_recipe(name) for name in recipe_files() if name not in ("freeze_guided", "word_align", "code_switch")
    ]
    for recipe in recipes:
        for key in recipe.values:
            section, label, leaf = (*key.split(".", 2), "", "")[:3]
            if section == "phase":
                key = f"phase.finetune.{leaf}"
            elif section == "intervention":
                key = f"intervention.{recipe.values[f'intervention.{label}.kind'].value}.{leaf}"
            assert key in rows or key.endswith(".kind"), key
    lora = json.loads(cli("ls", "keys", "intervention.lora", "--json").stdout)
    assert lora[0] == {"name": "intervention.lora.r", "type": "whole number", "default": 16, "meaning": "rank"}
    assert "rank (whole number; default 16)" in cli("ls", "keys", "intervention.lora").stdout


def test_the_examples_of_help_are_settings_of_recipes(cli, task_folder):
    assert all(example in cli("train", "--help").stdout for example in KEY_EXAMPLES)
    words = [example.replace("FOLDER", str(task_folder)) for example in KEY_EXAMPLES]
    assert load_recipe("drift_reg", words).task.columns == {"text": "sentence"}


def test_ls_of_languages(cli):
    rows = {row["language"]: row for row in json.loads(cli("ls", "languages", "--json").stdout)}
    assert rows["jpn"] == {
        **rows["jpn"], "language": "jpn", "name": "Japanese", "syntactic from eng": pytest.approx(0.5, abs=0.05),
        "task emoji": True, "parallel django": True, "parallel emoji": True,
        "tasks on the hub": 7, "parallel on the hub": 3,
    }  # fmt: skip
    assert rows["eng"]["syntactic from eng"] == 0
    assert rows["khm"]["task emoji"] is False
    assert "Khmer" in cli("ls", "languages").stdout


def test_ls_of_everything_also_with_a_broken_recipe_in_the_working_folder(cli):
    tables = json.loads(cli("ls", "--json").stdout)
    assert set(tables) == {*LISTED, "runs"}
    assert tables["runs"] == []
    assert all(name in cli("ls").stdout for name in tables)
    Path("recipes").mkdir()
    Path("recipes/bad.toml").write_bytes(b"# caf\xe9\nseed = ")
    assert "bad" in [row["name"] for row in json.loads(cli("ls", "recipes", "--json").stdout)]
    assert cli("show", "recipe=bad").exit_code == 2


def test_ls_of_runs(cli, trained, tmp_path):
    results, folder, _ = trained
    data = json.loads((folder / "result.json").read_text())
    plain = shutil.copytree(results, tmp_path / "results") / "plain"
    for name in ("0123abcd-s12", "notes-some", "4567abcd-s3", "89abcdef-s4"):
        (plain / name).mkdir(parents=True)
    (plain / "4567abcd-s3" / "result.json").write_text('{"schema": 99}')
    earlier = {**data, "provenance": {key: value for key, value in data["provenance"].items() if key != "digests"}}
    del earlier["digests"]
    (plain / "89abcdef-s4" / "result.json").write_text(json.dumps({**earlier, "summary": "x"}))
    rows, summary = json.loads(cli("ls", "runs", "--json").stdout), data["summary"]
    nothing = {"source": None, "targets": None, "far": None, "differs in": None}
    assert rows == [
        {"recipe": "drift_reg", "id": folder.name.split("-")[0], "seed": 0, "status": rows[0]["status"],
         "source": summary["source"], "targets": summary["target_mean"], "far": summary["far_mean"],
         "differs in": None},
        {"recipe": "plain", "id": "0123abcd", "seed": 12, "status": "not done", **nothing},
        {"recipe": "plain", "id": "4567abcd", "seed": 3, "status": "unreadable", **nothing},
        {"recipe": "plain", "id": "89abcdef", "seed": 4, "status": "unreadable", **nothing},
    ]  # fmt: skip
    assert rows[0]["status"] in ("done", "collapsed")
    shown = cli("ls", "runs").stdout
    assert "not done" in shown
    assert "has the schema 99, made by a newer distxfer" in shown
    assert "result.json` is no result of distxfer: `summary` is `x`." in shown
    assert json.loads(cli("ls", "runs", "--json", "--results", str(results)).stdout) == rows[:1]


# train


def test_train_prints_the_table_and_its_progress_and_leaves_one_complete_result(trained):
    _, folder, done = trained
    lines = done.stdout.splitlines()
    assert lines[-1] == f"Result: {folder}"
    table = [line.split() for line in lines if line.split()[:1] in (["eng"], ["deu"], ["jpn"])]
    assert [" ".join(row[:3]) for row in table] == ["eng English source", "deu German near", "jpn Japanese far"]
    assert "One seed: no ranking of methods." in done.stdout
    assert "step" not in done.stdout

    of_data = ("repeats", "in the training pairs", "for the reference")  # the last: unless an earlier run has left them
    notices = [line for line in done.stderr.splitlines() if not any(words in line for words in of_data)]
    assert notices[0] == "Measuring 117 texts in 3 languages before training."
    assert notices[-2].startswith("finetune: step 18 of 18, loss ")
    assert notices[-1] == "Scoring and measuring after training."
    assert len(notices) == 3 + 18

    names = {path.name for path in folder.iterdir()} - {".lock"}
    assert names == {"result.json", "measurements.parquet", "predictions.parquet", "log.jsonl", "model"}
    data = json.loads((folder / "result.json").read_text())
    assert (data["schema"], data["seed"], data["source"]) == (1, 0, "eng")
    assert f"{data['id']}-s0" == folder.name
    assert data["provenance"]["command"]


def test_a_run_that_is_done_is_not_run_again(cli, trained, tiny_settings):
    results, folder, done = trained
    before = contents(folder)
    words = ("train", "recipe=drift_reg", f"--results={results}", *tiny_settings)
    again = cli(*words)
    assert (again.exit_code, again.stdout) == (0, done.stdout)
    assert again.stderr == f"This run is done already: {folder}. Use `--again` to repeat it.\n"
    data = json.loads((folder / "result.json").read_text())
    assert json.loads(cli(*words, "--json").stdout) == {**data, "folder": str(folder)}
    assert contents(folder) == before


def test_again_runs_anew_in_the_folder_of_the_environment(cli, monkeypatch, tiny_settings, trained):
    monkeypatch.setenv("DISTXFER_RESULTS", "mine")
    words = ["train", "recipe=drift_reg", "--json", *tiny_settings]
    folder = Path("mine", "drift_reg", trained[1].name)
    shutil.copytree(trained[1], folder)
    (folder / "left over.txt").write_text("from before")
    shown = cli(*words, "--again")
    assert "step 18 of 18" in shown.stderr
    data = json.loads(shown.stdout)
    assert data["folder"] == str(folder)
    assert [path.name for path in Path().iterdir()] == ["mine"]
    assert not (folder / "left over.txt").exists()
    assert data["scores"] == json.loads((trained[1] / "result.json").read_text())["scores"]


def test_dry_run_writes_nothing(cli, tiny_settings, trained):
    words = ["train", "recipe=drift_reg", "--dry-run", *tiny_settings]
    shown = cli(*words)
    assert shown.exit_code == 0
    assert shown.stderr == cli("validate", *words[1:2], *tiny_settings).stderr  # what is to be known of the data
    facts = json.loads(cli(*words, "--json", "seed=7").stdout)  # the seed is not part of the id
    assert not list(Path().iterdir())
    assert facts["finetune: steps"] == 18
    assert 0 < facts["finetune: parameters that train"] < facts["finetune: parameters"]
    assert facts["folder"] == f"results/drift_reg/{trained[1].name.removesuffix('-s0')}-s7"
    assert facts["done already"] is False
    assert {*facts} >= {"task tokens", "disk (MB)", "time here (seconds, estimated)"}
    before = contents(trained[1])
    done = json.loads(cli(*words, "--json", "--results", str(trained[0])).stdout)
    assert done["done already"] is True
    assert contents(trained[1]) == before


def test_a_second_process_on_a_run_says_that_it_waits(cli, tiny_settings, trained, monkeypatch):
    results, folder, _ = trained
    lock = FileLock(folder / ".lock")
    lock.acquire()
    waiting = FileLock.acquire
    result, aside = folder / "result.json", folder / "result.aside"
    result.rename(aside)

    def acquire(self, *arguments, **options):
        if options.get("timeout") != 0:  # the second, patient attempt: the other process is done by now
            aside.rename(result)
            lock.release()
        return waiting(self, *arguments, **options)

    monkeypatch.setattr(FileLock, "acquire", acquire)
    shown = cli("train", "recipe=drift_reg", f"--results={results}", *tiny_settings)
    assert shown.exit_code == 0
    assert shown.stderr.splitlines() == [
        f"Another process is working on this run ({folder}); waiting for it to finish.",
        f"This run is done already: {folder}. Use `--again` to repeat it.",
    ]


# Completion


def completed(cli, monkeypatch, typed: str, words: int) -> list[str]:
    """What bash is offered, which splits at `=`, for what is typed."""
    monkeypatch.setenv("_DISTXFER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"distxfer {typed}")
    monkeypatch.setenv("COMP_CWORD", str(words))
    return cli().stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("train rec", ["recipe="]),
        ("train recipe = dr", ["drift_align", "drift_reg", "drift_strong"]),
        ("train recipe =", sorted(recipe_files())),
        ("train recipe=dr", ["recipe=drift_align", "recipe=drift_reg", "recipe=drift_strong"]),
        ("train recipe = drift_reg intervention.align.t", ["intervention.align.temperature="]),
        ("train recipe = drift_reg task.targets = jpn,k", ["jpn,kor"]),
        ("train task.targets=jpn,k", ["task.targets=jpn,kor"]),
        ("train task.targets=jpn,j", []),
        ("show task.source=z", ["task.source=zho"]),
        ("train seed = 4", []),
        ("ls di", ["distances"]),
        ("cp fr", ["freeze_guided", "freeze_lower", "freeze_random", "front_frozen_realign"]),
    ],
)
def test_completion(cli, monkeypatch, typed, offered):
    assert completed(cli, monkeypatch, typed, len(typed.split())) == offered


def test_completion_after_a_blank_offers_keys_and_passes_over_a_broken_recipe(cli, monkeypatch):
    for typed in ("train recipe = plain ", "train recipe=plain "):
        offered = completed(cli, monkeypatch, typed, len(typed.split()) + 1)
        assert {"seed=", "task.targets=", "phase.finetune.epochs="} <= set(offered)
    Path("recipes").mkdir()
    Path("recipes/bad.toml").write_bytes(b"\xff seed = ")
    monkeypatch.setenv("_DISTXFER_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "distxfer train se")
    shown = cli()
    assert "seed=" in shown.stdout
    assert shown.stderr == ""


def test_an_interrupted_verb_that_keeps_nothing_does_not_promise_to_resume(monkeypatch):
    from typer.testing import CliRunner

    from distxfer.cli import app

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("distxfer.results.collect.collect_against", interrupt)
    result = CliRunner().invoke(app, ["compare"])
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")
