"""Which layers an intervention acts on: by their place, by what was measured, or by chance."""

import json
import re
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

import fakes
from conftest import TARGETS
from distxfer import InputError, load_recipe, train
from distxfer.encoders import Encoder, layer_numbers
from distxfer.languages import distance
from distxfer.runs.run import validate
from fakes import FakeStep, between, complaints_about
from helpers import gone, message

DISTANCES = between(TARGETS)
bind, term = (partial(function, targets=TARGETS) for function in (fakes.bind, fakes.term))


def frozen_layers(encoder: Encoder, bound) -> set:
    return {encoder.place(name) for name, _ in encoder.model.named_parameters() if not bound.trains(name)}


# By their place


def test_halves_of_the_layers(encoder):
    assert frozen_layers(encoder, bind(encoder, "freeze", layers="lower_half", embeddings=False)) == {1, 2}
    assert frozen_layers(encoder, bind(encoder, "freeze", layers="upper_half", embeddings=False)) == {3, 4}
    step = FakeStep(encoder, n=16)
    half, same = (term(step, "drift", layers=layers).loss_sum.item() for layers in ("upper_half", [3, 4]))
    assert half == same != term(step, "drift", layers="lower_half").loss_sum.item()


@pytest.mark.parametrize("depth", [2, 3, 6, 7, 12, 25])
def test_halves_have_every_layer_once_and_differ_by_at_most_one(depth):
    lower, upper = (layer_numbers(half, depth, "layers") for half in ("lower_half", "upper_half"))
    assert lower + upper == tuple(range(1, depth + 1))
    assert len(upper) - len(lower) == depth % 2


def test_a_half_of_one_layer_is_refused():
    with pytest.raises(InputError, match="`layers` names no layer of this encoder of 1 layers"):
        layer_numbers("lower_half", 1, "layers")


# By what was measured

# Drift by language, in the order of TARGETS, at layers 1 to 4: two runs.
ORDER = np.argsort(np.argsort([DISTANCES.values[language] for language in TARGETS]))  # 0 for the nearest
DRIFT = {
    1: (0.5 - 0.05 * ORDER, 0.4 - 0.05 * ORDER),  # falls with distance
    2: (0.1 + 0.05 * ORDER, 0.2 + 0.05 * ORDER),  # rises with it
    3: (np.full(6, 0.3), np.full(6, 0.3)),  # as in a frozen layer
    4: (np.array([0.3, 0.1, 0.2, 0.6, 0.5, 0.4]), np.array([0.1, 0.3, 0.1, 0.2, 0.4, 0.5])),
}


def write_run(
    folder: Path,
    run: int = 0,
    *,
    model: str = "tiny",
    layers: int = 4,
    source: str = "eng",
    fingerprint: str = "",
    **change,
) -> Path:
    """Write what a run leaves behind, with rows that must not count: the source's, layer 0's, earlier ones, other measures."""
    folder.mkdir(parents=True)
    rows = []
    for layer in range(layers + 1):
        for place, language in enumerate(TARGETS):
            value = float(DRIFT[layer][run][place]) if 0 < layer <= 4 else 0.9 - place
            row = {"layer": layer, "language": language, "n": 24, "moment": "after"}
            rows += [{**row, "measure": "drift_cka", "value": value} | change]
            rows += [{**row, "measure": "drift_cka", "value": 0.0, "moment": "before"}]
            rows += [{**row, "measure": "drift_cka_standardised", "value": -value}]
        rows.append(
            {"measure": "drift_cka", "layer": layer, "language": source, "value": 5.0, "n": 24, "moment": "after"}
        )
    pd.DataFrame(rows).to_parquet(folder / "measurements.parquet")
    prints = {"fingerprints": {"model": fingerprint}}
    result = {"recipe": {"model": {"name": model}}, "source": source, "provenance": prints}
    (folder / "result.json").write_text(json.dumps(result))
    return folder / "measurements.parquet"


@pytest.fixture
def measured(tmp_path) -> list[str]:
    return [str(write_run(tmp_path / f"s{run}", run)) for run in (0, 1)]


def expected_correlations(runs: tuple[int, ...], values=DISTANCES.values) -> dict[str, float]:
    far = [values[language] for language in TARGETS]
    means = {layer: np.mean([DRIFT[layer][run] for run in runs], axis=0) for layer in (1, 2, 4)}
    return {str(layer): float(spearmanr(mean, far).statistic) for layer, mean in means.items()}


def test_guided_layers_are_those_whose_mean_drift_goes_with_distance_most(encoder, measured):
    bound = bind(encoder, "freeze", layers="guided", count=1, measurement=measured, embeddings=False)
    assert frozen_layers(encoder, bound) == {2}
    assert bound.resolved_values["layers"] == [2]
    assert bound.resolved_values["languages"] == list(TARGETS)
    correlations = dict(bound.resolved_values["correlations"])
    assert correlations.pop("3") is None  # nothing moves there
    assert correlations == pytest.approx(expected_correlations((0, 1)))
    assert correlations["2"] == pytest.approx(1)
    json.dumps(bound.resolved_values, allow_nan=False)


def test_the_files_are_averaged_and_may_be_given_with_commas(encoder, measured):
    both = bind(encoder, "freeze", layers="guided", count=2, measurement=",".join(measured))
    assert both.resolved_values["layers"] == [2, 4]
    for run, path in enumerate(measured):
        correlations = bind(encoder, "freeze", layers="guided", count=2, measurement=path).resolved_values[
            "correlations"
        ]
        assert correlations["4"] == pytest.approx(expected_correlations((run,))["4"])
        assert correlations["4"] != pytest.approx(both.resolved_values["correlations"]["4"])


def test_runs_with_several_sources_are_correlated_over_their_pairs(encoder, tmp_path):
    """A language with itself is no pair: the drift of `deu` in the run on German stays out."""
    runs = {"eng": 0, "deu": 1, "kor": 1}
    paths = [str(write_run(tmp_path / source, run, source=source)) for source, run in runs.items()]
    bound = bind(encoder, "freeze", layers="guided", count=1, measurement=",".join(paths))
    pairs = [(source, target) for source in runs for target in TARGETS if target != source]
    far = [distance(*pair, imputed=True).value for pair in pairs]
    for layer in (1, 2, 4):
        drift = [DRIFT[layer][runs[source]][TARGETS.index(target)] for source, target in pairs]
        assert bound.resolved_values["correlations"][str(layer)] == pytest.approx(spearmanr(drift, far).statistic)
    assert bound.resolved_values["sources"] == ["eng", "deu", "kor"]


def test_distances_that_another_source_does_not_have_are_refused(encoder, tmp_path):
    path = write_run(tmp_path / "deu", source="deu")
    problem = message(bind, encoder, "freeze", layers="guided", count=1, measurement=str(path), distance="shuffled")
    assert problem.startswith("`measurement` has runs with the source `deu`, and the distance `shuffled` is known from")


def test_the_negative_sign_looks_for_drift_that_falls_with_distance(encoder, measured):
    bound = bind(encoder, "freeze", layers="guided", count=1, measurement=measured, sign="negative")
    assert bound.resolved_values["layers"] == [1]
    assert frozen_layers(encoder, bound) == {1, "embeddings"}


def test_another_distance_guides_to_other_correlations(encoder, measured):
    bound = bind(encoder, "freeze", layers="guided", count=1, measurement=measured[0], distance="shuffled")
    values = DISTANCES.by("shuffled").values
    correlations = {layer: r for layer, r in bound.resolved_values["correlations"].items() if r is not None}
    assert correlations == pytest.approx(expected_correlations((0,), values))
    assert abs(correlations["2"]) < 1


def test_drift_takes_the_same_choice(encoder, measured):
    step = FakeStep(encoder)
    keys = {"layers": "guided", "count": 2, "measurement": measured}
    bound = bind(encoder, "drift", **keys)
    assert bound.resolved_values == bind(encoder, "freeze", **keys).resolved_values
    assert bound.term(step).loss_sum.item() == term(step, "drift", layers=[2, 4]).loss_sum.item()
    pairs = bind(encoder, "drift", **keys, text="pairs", distance="geographic", batch_size=8)
    assert pairs.languages == TARGETS
    assert pairs.resolved_values["correlations"] != bound.resolved_values["correlations"]


def test_l2_sp_takes_the_same_choice(encoder, measured):
    keys = {"layers": "guided", "count": 2, "measurement": measured}
    bound = bind(encoder, "l2_sp", **keys)
    assert bound.resolved_values == bind(encoder, "freeze", **keys).resolved_values
    pulled = torch.autograd.grad(
        bound.term(FakeStep(encoder)).loss_sum, [*encoder.model.parameters()], allow_unused=True
    )
    names = [name for name, _ in encoder.model.named_parameters()]
    assert {encoder.place(name) for name, gradient in zip(names, pulled, strict=True) if gradient is not None} == {2, 4}


def test_a_key_that_came_later_leaves_the_ids_of_runs_as_they_were():
    def keys(*overrides: str) -> dict:
        return load_recipe("l2_sp", overrides).resolved(complete=False)["intervention"]["l2_sp"]

    assert keys() == {"kind": "l2_sp", "weight": 0.1, "layers": "all"}
    assert keys("intervention.l2_sp.layers=random", "intervention.l2_sp.count=2")["count"] == 2
    assert load_recipe("l2_sp").resolved()["intervention"]["l2_sp"]["count"] == 0


def test_a_language_with_too_few_sentences_has_no_say(encoder, tmp_path):
    path = write_run(tmp_path / "run")
    table = pd.read_parquet(path)
    table.loc[table["language"].isin(["fin", "kor"]), "value"] = float("nan")
    table.to_parquet(path)
    bound = bind(encoder, "freeze", layers="guided", count=1, measurement=str(path))
    assert bound.resolved_values["languages"] == ["deu", "fra", "jpn", "tur"]
    keys, fewer = {"layers": "guided", "count": 1, "measurement": str(path)}, ("fin", "fra", "jpn", "tur")
    with pytest.raises(InputError, match=r"`measurement` has drift for 3 of this run's targets \(fra, jpn, tur\)"):
        fakes.bind(encoder, "freeze", targets=fewer, **keys)


def test_a_measurement_that_does_not_fit_is_refused(encoder, tmp_path):
    def refuse(path: Path, message: str) -> None:
        with pytest.raises(InputError, match=message):
            bind(encoder, "freeze", layers="guided", count=1, measurement=str(path))

    own = "but this run has `tiny` with 4 layers. Give runs of the same model."
    for number, (keys, theirs) in enumerate(
        (
            ({"model": "large"}, "is of the model `large` with 4 layers, "),
            ({"layers": 3}, "is of the model `tiny` with 3 layers, "),
        )
    ):
        refuse(write_run(tmp_path / str(number), **keys), re.escape(theirs + own))
    encoder.fingerprint = "these"
    bind(
        encoder, "freeze", layers="guided", count=1, measurement=str(write_run(tmp_path / "same", fingerprint="these"))
    )
    refuse(
        write_run(tmp_path / "revised", fingerprint="those"), "is of other files of the model `tiny` than this run's"
    )
    lonely = write_run(tmp_path / "lonely", fingerprint="these")
    (lonely.parent / "result.json").unlink()
    refuse(lonely, "has no valid `result.json` beside it")
    refuse(lonely.parent, "cannot be read as the measurements of a run")
    refuse(tmp_path / "nowhere.parquet", "cannot be read as the measurements of a run")
    broken = write_run(tmp_path / "broken")
    broken.write_text("no table")
    refuse(broken, "cannot be read as the measurements of a run")
    lacking = write_run(tmp_path / "lacking")
    pd.DataFrame({"language": ["deu"]}).to_parquet(lacking)
    refuse(lacking, "cannot be read as the measurements of a run: .*measure")
    early = write_run(tmp_path / "early")
    pd.read_parquet(early).query("moment == 'before'").to_parquet(early)
    refuse(early, "has no rows of the measure `drift_cka` and the moment `after`")


def test_the_same_model_by_another_name(encoder, tmp_path, monkeypatch):
    """By the fingerprint of its files or, where one of the two has none, by the place that a path means."""
    monkeypatch.chdir(tmp_path)
    runs = iter(range(9))

    def chosen(model: str, fingerprint: str) -> list[int]:
        path = write_run(tmp_path / str(next(runs)), model=model, fingerprint=fingerprint)
        return bind(encoder, "freeze", layers="guided", count=1, measurement=str(path)).resolved_values["layers"]

    encoder.name, encoder.fingerprint = "models/tiny", "these"
    assert chosen("elsewhere/copy", "these") == [2]
    for name in ("models/tiny/", str(tmp_path / "models" / "tiny"), "./models/../models/tiny"):
        assert chosen(name, "") == [2]
        assert "is of other files of the model" in message(chosen, name, "those")
    assert "is of the model `tiny` with 4 layers" in message(chosen, "tiny", "")
    assert "is of the model `tiny` with 4 layers" in message(chosen, "tiny", "those")


@pytest.mark.parametrize(("column", "value"), [("value", "much"), ("layer", "two"), ("layer", 1.5)])
def test_a_column_of_another_type_is_refused(encoder, tmp_path, column, value):
    path = write_run(tmp_path / "run")
    pd.read_parquet(path).assign(**{column: value}).to_parquet(path)
    assert message(bind, encoder, "freeze", layers="guided", count=1, measurement=str(path)).startswith(
        f"`measurement` = `{path}` cannot be read as the measurements of a run: "
    )


def test_a_count_that_cannot_be_had_is_refused(encoder, measured):
    for layers, extra in (("guided", {"measurement": measured}), ("random", {})):
        for count in (0, 5):
            with pytest.raises(
                InputError, match=f"`count` is `{count}`; expected 1 to 4: how many of this encoder's 4"
            ):
                bind(encoder, "freeze", layers=layers, count=count, **extra)
    message = "`count` is `3`, but the drift of 2 of the 4 layers has a positive correlation with the syntactic distance, over 6"
    with pytest.raises(InputError, match=message):
        bind(encoder, "freeze", layers="guided", count=3, measurement=measured)


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("freeze", {"count": 2}, "`count` = `2` has no effect where `layers` is `lower`. Set `layers` to `guided` or `random`"),
        ("drift", {"layers": [1, 2], "count": 2}, "`count` = `2` has no effect where `layers` is `1,2`."),
        ("freeze", {"layers": "random", "measurement": "a,b"}, "`measurement` = `a,b` has no effect where `layers` is `random`."),
        ("freeze", {"layers": "random", "sign": "negative"}, "`sign` = `negative` has no effect where `layers` is `random`."),
        ("freeze", {"distance": "genetic"}, "`distance` = `genetic` has no effect where `layers` is `lower`."),
        ("drift", {"distance": "genetic"}, "`distance` = `genetic` has no effect on the task's inputs"),
        ("drift", {"languages": "jpn"}, "Set `text` to `target` or `pairs`, or leave it out."),
        ("drift", {"text": "pairs", "batch_size": 3}, "greater than or equal to 4"),
        ("freeze", {"layers": "lower_hal"}, "Did you mean `lower_half`?"),
        ("freeze", {"layers": "giuded"}, "Did you mean `guided`?"),
        ("l2_sp", {"count": 2}, "`count` = `2` has no effect where `layers` is `all`. Set `layers` to `guided` or `random`"),
        ("l2_sp", {"distance": "genetic"}, "`distance` = `genetic` has no effect where `layers` is `all`."),
    ],
)  # fmt: skip
def test_keys_without_effect_are_refused(kind, keys, message):
    assert message in complaints_about(kind, keys)[0][1]


def test_a_distance_that_neither_weighs_nor_guides_is_refused(encoder):
    with pytest.raises(InputError, match="`distance` = `genetic` has no effect where `weighting` is `uniform`"):
        bind(encoder, "drift", text="pairs", distance="genetic")


# By chance


def test_random_layers_are_those_of_the_seed_and_each_as_likely(encoder):
    def drawn(seed: int) -> tuple[int, ...]:
        torch.manual_seed(seed)
        return tuple(bind(encoder, "freeze", layers="random", count=2).resolved_values["layers"])

    with torch.random.fork_rng():
        sets = [drawn(seed) for seed in range(240)]
        assert sets[:9] == [drawn(seed) for seed in range(9)]
    assert all(1 <= first < second <= 4 for first, second in sets)
    counts = Counter(sets)
    assert len(counts) == 6
    assert max(abs(count - 40) for count in counts.values()) < 4 * (240 * 1 / 6 * 5 / 6) ** 0.5


# In a run


def moved_layers(result, tiny: Path) -> set[int]:
    moved = {name for name, way in gone(result, tiny).items() if way > 0 and ".layer." in name}
    return {int(name.split(".layer.")[1].split(".")[0]) + 1 for name in moved}


def test_random_layers_stay_and_are_in_the_result(tiny, run):
    settings = ["intervention.freeze.count=2", "phase.finetune.epochs=1"]
    results = [run("freeze_random", *settings, f"seed={seed}") for seed in (0, 2)]
    chosen = [result.data["resolved_values"]["freeze"]["layers"] for result in results]
    assert chosen[0] != chosen[1]
    assert results[0].data["id"] == results[1].data["id"]  # one experiment: the draw is part of the seed
    for result, layers in zip(results, chosen, strict=True):
        assert moved_layers(result, tiny) == {1, 2, 3, 4} - set(layers)


def test_guided_by_a_run_of_plain(tiny, seven, tmp_path):
    settings = [
        f"model={tiny}", f"task={seven}", "parallel=", "task.max_length=32",
        "phase.finetune.steps=6", "phase.finetune.batch_size=8", "phase.finetune.learning_rate=1e-3",
    ]  # fmt: skip
    plain = train(load_recipe("plain", settings), tmp_path)
    path = plain.folder / "measurements.parquet"
    rows = pd.read_parquet(path).query("measure == 'drift_cka' and moment == 'after' and layer > 0")
    drift = rows.pivot(index="language", columns="layer", values="value").loc[list(TARGETS)]
    correlations = drift.corrwith(pd.Series(DISTANCES.values), method="spearman")
    best, sign = correlations.abs().idxmax(), "positive" if correlations.max() > -correlations.min() else "negative"
    keys = [f"intervention.freeze.{key}" for key in (f"measurement={path}", "count=1", f"sign={sign}")]
    guided = train(load_recipe("freeze_guided", [*settings, *keys]), tmp_path)
    record = guided.data["resolved_values"]["freeze"]
    assert record["layers"] == [best]
    assert record["correlations"] == pytest.approx({str(layer): r for layer, r in correlations.items()})
    assert guided.data["provenance"]["fingerprints"]["model"] == plain.data["provenance"]["fingerprints"]["model"]
    assert moved_layers(guided, tiny) == {1, 2, 3, 4} - {best}
    recipe = load_recipe("freeze_guided", [*settings, *keys])
    table = pd.read_parquet(path)
    table.assign(n=table["n"] + 1).to_parquet(path)
    data = json.loads((plain.folder / "result.json").read_text())
    del data["digests"], data["provenance"]["digests"]  # as of an earlier version, whose tables nobody can check
    (plain.folder / "result.json").write_text(json.dumps(data))
    assert validate(recipe).id != guided.data["id"]  # what is in the file is part of the experiment


def test_the_recipe_for_guided_freezing_is_listed_and_shown(cli):
    assert "intervention.freeze.measurement=RUN/measurements.parquet" in cli("ls", "recipes", "--json").stdout
    shown = cli("show", "recipe=freeze_guided").stdout
    assert re.search(r'layers\s*=\s*"guided"', shown)
    assert re.search(r"measurement\s*=\s*\[\]", shown)


def test_the_recipe_for_guided_freezing_says_what_it_needs(cli, tiny_settings):
    refused = cli("validate", "recipe=freeze_guided", *tiny_settings)
    assert refused.exit_code == 2
    said = " ".join(refused.stderr.split())
    assert "`intervention.freeze`: `layers` = `guided` needs measured drift. Give `measurement` =" in said
    missing = cli("validate", "recipe=freeze_guided", *tiny_settings, "intervention.freeze.measurement=gone.parquet")
    assert "`intervention.freeze.measurement` is `gone.parquet`, which does not exist" in " ".join(
        missing.stderr.split()
    )
