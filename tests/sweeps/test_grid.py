"""Which runs a sweep means: grids and pairs, words and study files, what applies to which recipe, and what is refused."""

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distxfer import load_recipe
from distxfer.config.files import recipe_files
from distxfer.errors import listed
from distxfer.interventions import intervention_class
from distxfer.runs.prepare import prepare
from distxfer.sweeps.axes import read_axes, split_values
from distxfer.sweeps.grid import PlannedRun, SweepPlan, plan_sweep
from helpers import message

RESULTS = Path("results")
TOP = "seed, phases, model, task, distance, parallel, phase, diagnostics, measure, intervention"


@pytest.fixture(scope="module")
def settings(tiny_settings):
    """The tiny encoder on its task, and nothing about training: nobody trains here."""
    return [word for word in tiny_settings if not word.startswith("phase.")]


@pytest.fixture(scope="module")
def plan(settings):
    return lambda *words, **options: plan_sweep([*settings, *words], RESULTS, **options)


@pytest.fixture
def refusal(plan):
    return lambda *words, **options: message(plan, *words, **options)


def study(folder: Path, text: str) -> str:
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return f"study={path}"


def error_message(run: PlannedRun) -> str:
    return " ".join((run.name, *run.varied, f"s{run.seed}"))


def all_said(plan: SweepPlan) -> list[str]:
    return [error_message(run) for run in plan.runs]


# Which runs


def test_a_grid_is_every_combination_seed_by_seed_and_an_axis_leaves_recipes_alone_that_it_says_nothing_of(plan):
    result = plan("recipe=plain,dist_align", "seed=0,1", "intervention.align.distance=syntactic,genetic,shuffled")
    distances = [f"intervention.align.distance={name}" for name in ("syntactic", "genetic", "shuffled")]
    assert all_said(result) == [
        line
        for seed in (0, 1)
        for line in (f"plain s{seed}", *(f"dist_align {distance} s{seed}" for distance in distances))
    ]
    assert result.notices == (
        "The recipe `plain` has no `intervention.align`, so `intervention.align.distance` does not apply to it.",
    )
    assert result.name == ""


def test_a_run_is_the_one_that_train_does(plan, tiny_settings, tmp_path):
    """Same id, same folder, although the data of several recipes is read once."""
    dictionaries = [tmp_path / name for name in ("a", "b")]
    for folder, word in zip(dictionaries, ("katze", "hund"), strict=True):
        folder.mkdir()
        for language in ("deu", "jpn"):
            (folder / f"{language}.txt").write_text(f"cat {word}\n")
    words = ["recipe=plain,drift_reg,word_align", "seed=0,7", "task.targets=[jpn,deu],jpn", "distance=genetic,syntactic",
             f"intervention.align.dictionary={dictionaries[0]},{dictionaries[1]}"]  # fmt: skip
    result = plan(*words)
    assert len(result.runs) == (2 * 2 * 2) * (1 + 1 + 2)
    assert len({run.folder for run in result.runs}) == len(result.runs)
    for run in result.runs[::5]:
        name, *overrides = run.words
        recipe = load_recipe(name.removeprefix("recipe="), overrides)
        assert prepare(recipe).folder(RESULTS.absolute()) == run.folder
        assert run.folder.name == f"{run.id}-s{run.seed}"


def test_combinations_that_are_the_same_run_are_one(plan):
    result = plan("recipe=plain", "seed=0,0,1", "task.targets=[deu,jpn],all")
    assert all_said(result) == ["plain task.targets=deu,jpn s0", "plain task.targets=deu,jpn s1"]
    assert result.notices == ("2 of 4 combinations are the same run as another one.",)


def test_paired_axes_go_in_step(plan):
    words = ["recipe=plain,dist_align", "phase.finetune.epochs=1,2", "seed=0,1", "phase.finetune.warmup=0.1,0.2"]
    result = plan(*words, paired=["phase.finetune.epochs,phase.finetune.warmup"])
    steps = ["phase.finetune.epochs=1 phase.finetune.warmup=0.1", "phase.finetune.epochs=2 phase.finetune.warmup=0.2"]
    assert all_said(result) == [
        f"{recipe} {step} s{seed}" for seed in (0, 1) for recipe in ("plain", "dist_align") for step in steps
    ]
    assert all_said(plan("recipe=plain,dist_align", "seed=3,4", paired=["recipe,seed"])) == [
        "plain s3",
        "dist_align s4",
    ]


def test_an_axis_of_an_intervention_that_no_recipe_has_adds_it_as_train_does(plan):
    result = plan("recipe=plain", "intervention.drift.weight=1,2")
    assert all_said(result) == ["plain intervention.drift.weight=1 s0", "plain intervention.drift.weight=2 s0"]
    assert [run.recipe.interventions["drift"].weight for run in result.runs] == [1, 2]
    assert result.notices == ("None of the recipes has `intervention.drift`, so it is added to it.",)


def test_a_phase_that_one_recipe_lacks_is_left_out_of_it_too(plan, tmp_path):
    (tmp_path / "two.toml").write_text('phases = ["realign", "finetune"]\n[phase.realign]\nepochs = 1\n')
    result = plan(f"recipe=plain,{tmp_path / 'two.toml'}", "phase.realign.epochs=1,2")
    assert [run.recipe.name for run in result.runs] == ["plain", "two", "two"]
    assert result.notices == (
        "The recipe `plain` has no `phase.realign`, so `phase.realign.epochs` does not apply to it.",
    )


# How values are written


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0,1,2", ["0", "1", "2"]),
        ("5e-5, 1e-4", ["5e-5", "1e-4"]),
        ("[jpn,kor],[deu]", ["jpn,kor", "deu"]),
        ("[jpn, kor],all", ["jpn,kor", "all"]),
        ("'a,b',c", ["a,b", "c"]),
        ('"it\'s",b', ["it's", "b"]),
        ("no,nan", ["no", "nan"]),
        ("data[1],x=y", ["data[1]", "x=y"]),
        ("'',emoji", ["", "emoji"]),
        ("", [""]),
        ("[]", [""]),
    ],
)
def test_a_comma_separates_values_and_brackets_make_a_list(text, values):
    assert split_values("key", text) == values


WORD = st.text(st.sampled_from("ab1.- é[]'"), max_size=5)


@given(
    st.lists(
        st.one_of(WORD.map(lambda text: ("text", text)), st.lists(WORD).map(lambda some: ("list", some))), min_size=1
    )
)
def test_what_is_written_is_what_is_read(values):
    def clean(text: str) -> str:
        return "".join(letter for letter in text if letter not in "[]'").strip()

    written = [f"[{','.join(map(clean, value))}]" if kind == "list" else f'"{value}"' for kind, value in values]
    meant = [",".join(map(clean, value)) if kind == "list" else value for kind, value in values]
    assert split_values("key", " , ".join(written)) == meant


@pytest.mark.parametrize("text", ["[a,b", "'a,b", "[a][b]", "[a,[b]]", "'a'b", "a,[b"])
def test_brackets_and_quotes_that_do_not_close_are_refused(text):
    assert message(split_values, "task.targets", text).startswith(f"`task.targets={text}` cannot be read from `")


@pytest.mark.parametrize("text", ["0,", ",0", "0,,1", ",", "0, "])
def test_an_empty_value_among_others_is_refused(text):
    assert message(split_values, "seed", text) == (
        f"`seed={text}` has an empty value. Remove a comma, or write '' for an empty value."
    )


def test_a_list_whose_values_become_runs_is_told_of(plan):
    result = plan("recipe=plain", "task.targets=deu,jpn")
    assert [run.recipe.task.targets for run in result.runs] == [("deu",), ("jpn",)]
    assert result.notices == (
        "`task.targets` is a list, but here commas separate runs: each run has one of deu, jpn. For one run with all of"
        " them, write `task.targets=[deu,jpn]`.",
    )
    assert plan("recipe=plain", "task.targets=[deu,jpn],[deu]").notices == ()


# Study files

STUDY = """
name = "distances"
recipes = ["plain", "dist_align"]
seeds = [0, 1]

[fixed]
task.targets = ["jpn", "deu"]
diagnostics = {gradients = 0, states = 0}

[axes]
intervention.align.distance = ["syntactic", "shuffled"]

[[paired]]
phase.finetune.learning_rate = [1e-3, 2e-3]
"phase.finetune.warmup" = [0.1, 0.2]
"""


def test_a_study_file_says_what_words_say(plan, tmp_path):
    words = ["recipe=plain,dist_align", "seed=0,1", "task.targets=[jpn,deu]", "diagnostics.gradients=0", "diagnostics.states=0",
             "intervention.align.distance=syntactic,shuffled", "phase.finetune.learning_rate=1e-3,2e-3",
             "phase.finetune.warmup=0.1,0.2"]  # fmt: skip
    read = plan(study(tmp_path, STUDY))
    typed = plan(*words, paired=["phase.finetune.learning_rate,phase.finetune.warmup"])
    assert {run.folder for run in read.runs} == {run.folder for run in typed.runs}
    assert len(read.runs) == 2 * (2 + 4)
    assert (read.name, typed.name) == ("distances", "")


def test_a_folder_stands_for_its_study_file(plan, tmp_path):
    word = study(tmp_path, STUDY)
    folder = str(Path(word.removeprefix("study=")).parent)
    assert {run.folder for run in plan(f"study={folder}").runs} == {run.folder for run in plan(word).runs}


def test_the_study_of_the_documentation_is_one(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    name, axes, recipes = read_axes([study(tmp_path, text.partition("```toml")[2].partition("```")[0])], [])
    assert (name, recipes) == ("distances", ("plain", "dist_align"))
    assert axes == [
        {"recipe": ("plain", "dist_align")},
        {"seed": ("0", "1", "2", "3", "4")},
        {"task.targets": ("jpn,kor,tur,deu",)},
        {"intervention.align.distance": ("syntactic", "genetic", "shuffled")},
        {"phase.finetune.epochs": ("8", "16"), "phase.finetune.learning_rate": ("0.0001", "5e-05")},
    ]


def test_a_word_goes_before_the_study(plan, tmp_path):
    """And what the study says of an intervention of its other recipes is not added to the one that is left."""
    result = plan(study(tmp_path, STUDY), "recipe=plain", "seed=5", "phase.finetune.warmup=0", "name=mine")
    assert result.name == "mine"
    assert [(run.recipe.name, run.seed) for run in result.runs] == [("plain", 5)] * 2
    assert {run.recipe.phases["finetune"].warmup for run in result.runs} == {0}
    assert not any(run.recipe.interventions for run in result.runs)


def test_all_that_is_wrong_with_a_study_is_said_at_once(refusal, tmp_path):
    path = tmp_path / "study.toml"
    assert refusal(study(tmp_path, 'recipe = ["plain"]\nseeds = [0, -1]\nfixed = 3\n')) == (
        f"The study `{path}` has 3 mistakes:\n"
        "  `seeds` is `-1`, but it should be greater than or equal to 0.\n"
        "  `fixed` is `3`, but it should be a table of keys.\n"
        "  `recipe` is not a key of a study. Did you mean `recipes`? Its keys: name, recipes, seeds, fixed, axes, paired."
    )
    text = 'recipes = []\n[axes]\ntask.shots = []\nmodel = "a"\nx = [1]\n[[paired]]\nx = [1, 2]\ny = [1]\n'
    assert refusal(study(tmp_path, text)) == (
        f"The study `{path}` has 5 mistakes:\n"
        "  `axes.task.shots` is empty, so the grid has no runs. Write [a, b], or put one value under [fixed].\n"
        "  `axes.model.name` is `a`, but expected a list. Write [a, b], or put one value under [fixed].\n"
        "  Paired axes need the same number of values, but `x` has 2, `y` has 1.\n"
        "  `recipes` is empty, so the grid has no runs. Give values, or remove it.\n"
        "  `x` is given twice. Keep one."
    )
    assert refusal(study(tmp_path, "recipes = [")).startswith(f"The study file `{path}` is not valid TOML: ")
    assert refusal("study=none.toml") == (
        "The study file `none.toml` cannot be read: [Errno 2] No such file or directory: 'none.toml'. Give the path of a"
        " .toml file."
    )


# What is refused


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        (["recipe=plain,dist_align", "sed=0,1"], f"`sed` is not a key. Did you mean `seed`? Keys here: {TOP}."),
        (["recipe=plain,drift_reg", "seed=0,x"],
         "`seed` is `x`, but it should be a whole number. (in 2 of 4 runs, such as `recipe=plain seed=x`)"),
        (["recipe=plain,drift_reg", "intervention.drift.wieght=1,2"],
         "`intervention.drift.wieght` is no key of the intervention `drift`. Did you mean `weight`? Its keys:"
         f" {', '.join(field.name for field in fields(intervention_class('drift')))}. (in 2 of 3 runs,"
         " such as `recipe=drift_reg intervention.drift.wieght=1`)"),
        (["recipe=plain,drift_reg", "task.targets=[deu],[deu,ger]"],
         "`task.targets` has the language `deu` twice (deu, ger). Name it once. (in 2 of 4 runs, such as"
         " `recipe=plain task.targets=deu,ger`)"),
        (["recipe=plain,none.toml"],
         f"The recipe file `none.toml` does not exist. Check the path, or name one of: {listed(recipe_files())}."
         " (in 1 of 2 runs, such as `recipe=none.toml`)"),
    ],
)  # fmt: skip
def test_mistakes_of_runs_are_said_before_anything_is_run(refusal, words, mistake):
    assert refusal(*words) == f"The sweep has 1 mistake:\n  {mistake}"


def test_mistakes_of_all_runs_are_said_at_once(refusal):
    head, *lines = refusal("recipe=plain,dist_aling", "seed=0,-1").split("\n")
    assert head == "The sweep has 2 mistakes:"
    assert lines[0] == (
        "  `seed` is `-1`, but it should be greater than or equal to 0. (in 1 of 4 runs, such as `recipe=plain seed=-1`)"
    )
    assert "There is no recipe `dist_aling`. Did you mean `dist_align`?" in lines[1]


def test_an_intervention_that_is_none_is_an_error_in_all_recipes(refusal):
    text = refusal("recipe=plain,dist_align", "intervention.algin.distance=syntactic,genetic")
    assert "`intervention.algin`: There is no intervention `algin`. Did you mean `align`?" in text
    assert " runs, such as" not in text  # it is in all of them


def test_a_sweep_needs_a_recipe(refusal):
    assert refusal("seed=0,1").startswith("The sweep names no recipe; expected `recipe=NAME,NAME`. Recipes: ")


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["recipe=plain", "seed"], ["`seed` is not an axis. Write KEY=VALUE,VALUE, such as `seed=0,1,2`."]),
        (["recipe=plain", "seed=0", "seed=1,2", "=3"],
         ["`seed` is given twice. Give all of its values at once: `seed=0,1,2`.",
          "`=3` is not an axis. Write KEY=VALUE,VALUE, such as `seed=0,1,2`."]),
    ],
)  # fmt: skip
def test_words_that_are_no_axes(refusal, words, lines):
    assert refusal(*words) == f"The sweep has {len(lines)} mistake{'s' * (len(lines) > 1)}:\n" + "\n".join(
        f"  {line}" for line in lines
    )


@pytest.mark.parametrize(
    ("paired", "expected"),
    [
        ("seed", "`--paired seed` must name at least two different axes, separated by commas."),
        ("seed,seed", "`--paired seed,seed` must name at least two different axes, separated by commas."),
        ("seed,task.targets",
         "`--paired seed,task.targets` has 1 mistake:\n  Paired axes need the same number of values, but `seed` has 3,"
         " `task.targets` has 2."),
    ],
)  # fmt: skip
def test_axes_that_cannot_go_in_step(refusal, paired, expected):
    assert refusal("recipe=plain", "seed=0,1,2", "task.targets=[deu],[jpn]", paired=[paired]) == expected


def test_a_pair_of_what_is_no_axis(refusal):
    text = refusal("recipe=plain", "seed=0,1", paired=["seed,task.target"])
    assert text.startswith(
        "`--paired seed,task.target`: `task.target` is not an axis of this sweep. Did you mean `task.name`? Axes: "
    )


def test_a_grid_that_is_too_large_is_refused_before_it_is_built(refusal):
    many = ",".join(map(str, range(100)))
    words = [
        f"{key}={many}" for key in ("seed", "task.shots", "phase.finetune.average", "phase.finetune.steps", "a", "b")
    ]
    assert refusal("recipe=plain", *words) == (
        "The grid has 1,000,000,000,000 runs, more than `--max-runs` = 1,000. Remove values, vary axes together with"
        " `--paired`, or raise `--max-runs`."
    )
    assert "The grid has 4 runs, more than `--max-runs` = 3." in refusal("recipe=plain", "seed=0,1,2,3", max_runs=3)


def test_a_name_is_a_files_name(refusal):
    assert refusal("recipe=plain", "name=a/b") == (
        "`name` is `a/b`; expected letters, digits, `-`, `_` and dots, since it names a file."
    )


# Shards


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_shards_are_the_whole_and_each_run_is_in_one(plan, count):
    words = ["recipe=plain,drift_reg", "seed=0,1"]
    parts = [plan(*words, shard=f"{number}/{count}") for number in range(1, count + 1)]
    assert [error_message(run) for part in parts for run in part.runs] == all_said(plan(*words))
    sizes = [len(part.runs) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert all(len(part.all_runs) == 4 for part in parts)


@pytest.mark.parametrize("shard", ["0/4", "5/4", "4", "1/", "/4", "a/b", "-1/4", "1/0"])
def test_a_shard_that_is_none(refusal, shard):
    assert refusal("recipe=plain", shard=shard) == (
        f"`--shard` is `{shard}`; expected I/N with I from 1 to N, such as `--shard 1/4`."
    )
