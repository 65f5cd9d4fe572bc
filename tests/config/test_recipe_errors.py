"""What is wrong with a recipe is said all at once: each mistake with its key, what is expected, the nearest name."""

import contextlib
import functools
import operator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distxfer import InputError, load_recipe
from distxfer.config.files import recipe_files
from distxfer.errors import listed
from distxfer.interventions import intervention_names

TOP = "seed, phases, model, task, distance, parallel, phase, diagnostics, measure, intervention"
PHASE = (
    "task, interventions, epochs, steps, batch_size, accumulation, learning_rate, warmup, weight_decay, clip,"
    " alternate, rewind, average, cache_frozen, head_learning_rate, merge, languages"
)  # fmt: skip
DRIFT = (
    "weight, measure, layers, count, measurement, sign, text, languages, batch_size, weighting, weighting_by, distance"
)
BANDS = "'all', 'lower', 'middle', 'upper', 'lower_half' or 'upper_half', or 'guided' or 'random'"


def mistakes(name: str, *overrides: str) -> list[str]:
    """Return the mistakes that a recipe is refused for, one line each."""
    with pytest.raises(InputError) as caught:
        load_recipe(name, overrides)
    head, *lines = str(caught.value).split("\n")
    stem = Path(name).stem
    assert head == f"The recipe `{stem}` has {len(lines)} mistake{'s' * (len(lines) > 1)}:"
    assert all(line.startswith("  ") for line in lines)
    return [line[2:] for line in lines]


def mistakes_in(folder: Path, text: str) -> list[str]:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return mistakes(str(path))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        # unknown sections, keys, interventions and their keys
        ("sed=1", f"`sed` is not a key. Did you mean `seed`? Keys here: {TOP}."),
        ("tasks.source=deu", f"`tasks` is not a key. Did you mean `task`? Keys here: {TOP}."),
        ("interventions.drift.weight=1", f"`interventions` is not a key. Did you mean `intervention`? Keys here: {TOP}."),
        ("task.sorce=deu", "`task.sorce` is not a key. Did you mean `task.source`?"
         " Keys here: name, source, targets, shots, max_length, folder, revision, type, pattern, columns, mixing,"
         " budget."),
        ("task.shots=x", "`task.shots` is `x`, but it should be a whole number, or 'all'."),
        ("phase.finetune.epoch=3",
         f"`phase.finetune.epoch` is not a key. Did you mean `phase.finetune.epochs`? Keys here: {PHASE}."),
        ("intervention.drfit.weight=1", "`intervention.drfit`: There is no intervention `drfit`. Did you mean `drift`?"
         f" Choose from: {', '.join(intervention_names())}."),
        ("intervention.near.kind=drfit", "`intervention.near`: There is no intervention `drfit`. Did you mean `drift`?"
         f" Choose from: {', '.join(intervention_names())}."),
        ("intervention.code_switch.weight=1", "`intervention.code_switch.dictionary` is missing, and has no default. Set it."),
        ("intervention.drift.wieght=1", "`intervention.drift.wieght` is no key of the intervention `drift`."
         f" Did you mean `weight`? Its keys: {DRIFT}."),
        # keys inside single values, and single values in the place of tables
        ("seed.x=1", "`seed.x` is not a key: `seed` is a single value. Did you mean `seed`?"),
        ("task.source.x=1", "`task.source.x` is not a key: `task.source` is a single value. Did you mean `task.source`?"),
        ("phase=3", "`phase`: expected a table or a key in one, such as `phase.finetune.epochs`."),
        ("phase.finetune=3", "`phase.finetune` is `3`, but it should be a table of keys."),
        ("intervention=drift", "`intervention`: expected a table or a key in one, such as `intervention.align.weight`."),
        ("intervention.drift=4",
         "`intervention.drift` is `4`; expected a table of keys, such as `intervention.drift.weight`."),
        # wrong types, out of range, not finite, none of the choices
        ("seed=one", "`seed` is `one`, but it should be a whole number."),
        ("seed=1.5", "`seed` is `1.5`, but it should be a whole number."),
        ("seed=-1", "`seed` is `-1`, but it should be greater than or equal to 0."),
        ("distance.imputed=maybe", "`distance.imputed` is `maybe`, but it should be true or false."),
        ("phase.finetune.epochs=0", "`phase.finetune.epochs` is `0`, but it should be greater than or equal to 1."),
        ("phase.finetune.learning_rate=fast", "`phase.finetune.learning_rate` is `fast`, but it should be a number."),
        ("phase.finetune.learning_rate=nan", "`phase.finetune.learning_rate` is `nan`, but it should be a finite number."),
        ("phase.finetune.clip=inf", "`phase.finetune.clip` is `inf`, but it should be a finite number."),
        ("phase.finetune.warmup=1.1", "`phase.finetune.warmup` is `1.1`, but it should be less than or equal to 1."),
        ("intervention.drift.weight=-1", "`intervention.drift.weight` is `-1`, but it should be greater than or equal to 0."),
        ("intervention.drift.weight=inf", "`intervention.drift.weight` is `inf`, but it should be a finite number."),
        ("intervention.drift.weight=nan", "`intervention.drift.weight` is `nan`, but it should be greater than or equal to 0."),
        ("model.pooling=maen", "`model.pooling` is `maen`, but it should be 'mean', 'cls' or 'last'. Did you mean `mean`?"),
        ("intervention.drift.measure=ckka", "`intervention.drift.measure` is `ckka`, but it should be 'cka', 'relational',"
         " 'cosine' or 'mse'. Did you mean `cka`?"),
        ("intervention.drift.layers=lowr", "`intervention.drift.layers` is `lowr`, but it should be a whole number, or"
         f" {BANDS}. Did you mean `lower`?"),
        ("intervention.drift.layers=1,x", f"`intervention.drift.layers` is `x`, but it should be a whole number, or {BANDS}."),
        ("intervention.align.batch_size=upper", "`intervention.align.batch_size` is `upper`, but it should be a whole number."),
        ("measure.similarity=ckka", "`measure.similarity` is `ckka`, but it should be 'cka', 'cka_biased', 'cka_standardised',"
         " 'rbf_cka', 'procrustes', 'rsa', 'svcca', 'pwcca' or 'neighbour_overlap'. Did you mean `cka`?"),
        # phases and what acts in them
        ("phases=", "`phases` is empty, but a run has at least one phase. Set `phases=finetune`."),
        ("phases=a,b,a", "`phases` has `a` twice. Name each once."),
        ("phase.finetun.epochs=3", "`phase.finetun` is not among `phases` = `finetune`. Did you mean `finetune`? Add it there."),
        ("phase.finetune.interventions=drift", "`phase.finetune.interventions` has `drift`, which the recipe does not define."
         " It defines: none."),
        # not KEY=VALUE
        ("foo", "`foo` is not an override. Write KEY=VALUE, such as `seed=1` or `task.targets=jpn,kor`."),
        ("=foo", "`=foo` is not an override. Write KEY=VALUE, such as `seed=1` or `task.targets=jpn,kor`."),
        ("", "`` is not an override. Write KEY=VALUE, such as `seed=1` or `task.targets=jpn,kor`."),
    ],
)  # fmt: skip
def test_a_mistake_is_named(overrides, message):
    assert mistakes("plain", overrides) == [message]


def test_an_intervention_that_is_given_twice_or_misspelled_in_a_phase():
    assert mistakes("drift_reg", "phase.finetune.interventions=drift,drift") == [
        "`phase.finetune.interventions` has `drift` twice. Name each once."
    ]
    assert mistakes("drift_reg", "phase.finetune.interventions=drif") == [
        "`phase.finetune.interventions` has `drif`, which the recipe does not define. Did you mean `drift`?"
        " It defines: drift."
    ]


def test_an_intervention_that_no_phase_uses_is_refused():
    assert mistakes("drift_reg", "phase.finetune.interventions=") == [
        "`intervention.drift` acts in no phase. Add it to `phase.finetune.interventions`, or remove it."
    ]
    overrides = ["phases=one,two", "phase.one.interventions=", "phase.two.interventions=drift"]
    assert list(load_recipe("drift_reg", overrides).interventions) == ["drift"]


def test_an_intervention_must_not_take_the_name_of_the_loss_on_the_labels():
    assert mistakes("plain", "intervention.task.kind=drift") == [
        "`intervention.task`: `task` is the name of the loss on labels. Choose another name, and set its `kind`."
    ]


def test_a_setting_without_effect_is_refused():
    (line,) = mistakes("drift_reg", "intervention.drift.weighting=rank")
    assert line.startswith("`intervention.drift` is refused: `weighting` = `rank` has no effect on the task's inputs")


def test_a_phase_that_is_left_out_but_set():
    assert mistakes("plain", "phases=realign", "phase.finetune.epochs=3") == [
        "`phase.finetune` is not among `phases` = `realign`. Add it there."
    ]


def test_all_mistakes_are_told_at_once(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'sed = 1\n[task]\nsorce = "deu"\nmax_length = 2\n[phase.finetune]\nepochs = 0\nclip = nan\n[phase.other]\n'
        "epochs = 1\n[intervention.drift]\nwieght = 1\nmeasure = 'ckka'\n[intervention.drfit]\n[extra]\n"
    )
    result = mistakes(str(path), "foo", "seed.x=1", "model.pooling=x", "intervention.align.weight=-1")
    keys = [line.split("`")[1] for line in result]
    assert sorted(keys) == sorted(
        ["foo", "seed.x", "sed", "task.sorce", "task.max_length", "phase.finetune.epochs", "phase.finetune.clip",
         "model.pooling", "intervention.align.weight", "intervention.drift.wieght", "intervention.drift.measure",
         "intervention.drfit", "extra"]
    )  # fmt: skip
    assert len(set(result)) == len(result)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("phases = 3", ["`phases` is `3`, but it should be a list."]),
        ("phases = []", ["`phases` is empty, but a run has at least one phase. Set `phases=finetune`."]),
        ("phases = [3]", ["`phases` is `3`, but it should be a text."]),
        ("model = 3", ["`model.name` is `3`, but it should be a text."]),
        ("task.source = [1979-05-27]", ['`task.source` is `["1979-05-27"]`, but it should be a text.']),
        ("task.targets = 5", ["`task.targets` is `5`, but it should be a list, or 'all'."]),
        ("task.targets = ['jpn', 5]", ["`task.targets` is `5`, but it should be a text, or 'all'."]),
        ("task.targets = false", ["`task.targets` is `false`, but it should be a list, or 'all'."]),
        ("task.source = {}", ["`task.source` is `a table`, but it should be a text."]),
        ("task.source.x = 1", ["`task.source.x` is not a key: `task.source` is a single value. Did you mean `task.source`?"]),
        ("seed = 2026-01-01", ["`seed` is `2026-01-01`, but it should be a whole number."]),
        ("phase.finetune.epochs = 2.5", ["`phase.finetune.epochs` is `2.5`, but it should be a whole number."]),
        ("phase.finetune.clip = -inf", ["`phase.finetune.clip` is `-inf`, but it should be a finite number."]),
        ("[foo]", [f"`foo` is not a key. Keys here: {TOP}."]),
        ("[phase.extra]", ["`phase.extra` is not among `phases` = `finetune`. Add it there."]),
        (
            "intervention.drift = 'cka'",
            ["`intervention.drift` is `cka`; expected a table of keys, such as `intervention.drift.weight`."],
        ),
        ("[intervention.lora]\nr = 1.5\ndropout = 1", ["`intervention.lora.r` is `1.5`, but it should be a whole number.",
                                                      "`intervention.lora.dropout` is `1`, but it should be less than 1."]),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file(text, expected, tmp_path):
    assert mistakes_in(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"seed =\n", "is not valid TOML: Invalid value (at line 1, column 7)."),
        (b"seed = 1\nseed = 2\n", "is not valid TOML: Cannot overwrite a value (at line 2, column 9)."),
        (b"\xff\xfe", "cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte."),
    ],
)
def test_a_file_that_is_no_recipe(contents, message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(contents)
    with pytest.raises(InputError) as caught:
        load_recipe(str(path))
    assert str(caught.value) == f"`{path}` {message}"


def test_a_recipe_that_does_not_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipes = listed(recipe_files())
    with pytest.raises(InputError) as caught:
        load_recipe("drift_rg")
    assert str(caught.value) == (
        f"There is no recipe `drift_rg`. Did you mean `drift_reg`? Choose from: {recipes}; or give the path of a .toml file."
    )
    for name in ("mine.toml", str(tmp_path), "_defaults", ""):
        with pytest.raises(InputError, match=r"does not exist|There is no recipe"):
            load_recipe(name)
    with pytest.raises(InputError) as caught:
        load_recipe("mine.toml")
    assert str(caught.value) == (
        f"The recipe file `mine.toml` does not exist. Check the path, or name one of: {recipes}."
    )


VALID = sorted(
    {key for name in ("drift_reg", "dist_align", "lora", "freeze_lower") for key in load_recipe(name).values}
)
GARBAGE = st.one_of(
    st.text(),
    st.text(alphabet="0123456789.,-+e_ \t[]{}\"'=", max_size=12),
    st.sampled_from(
        ["nan", "-inf", "1e999", "true", "null", "all", "None", "0x10", "1_000", "all,all", "9" * 5000, "٣"]
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*VALID, "model", "task", "phase", "intervention", "intervention.x.kind"]), GARBAGE)
@example("phases", "a.b")
@example("intervention.drift.kind", "_find")
@example("intervention.drift.kind", "../drift")
def test_garbage_in_the_place_of_a_value_is_refused_or_has_an_effect(key, text):
    try:
        recipe = load_recipe("drift_reg", [f"{key}={text}"])
    except InputError:
        return
    place = f"{key}.name" if key in ("model", "task") else key
    assert recipe.values[place].origin == "override"
    value = functools.reduce(operator.getitem, place.split("."), recipe.resolved())
    assert value == text.strip() or not isinstance(value, str)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.text(), st.from_regex(r"\A[a-z.]{0,12}=[a-z0-9,.]{0,6}\Z")), max_size=4))
@example(["phase.=1", ".=1", "task.=", "intervention.=", "intervention..=x", "phase..epochs=1"])
def test_garbage_for_overrides_is_fine_or_refused(overrides):
    with contextlib.suppress(InputError):
        load_recipe("plain", overrides)
