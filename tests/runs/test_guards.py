"""A silent no-op is the failure of this field: here each guard is broken on purpose, and must say so loudly."""

import json
import sys
from pathlib import Path

import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file

from distxfer import InputError, RunError, load_recipe, read_result, train
from distxfer.encoders import Reference
from distxfer.runs.prepare import assemble, prepare
from distxfer.runs.snapshots import snapshot
from distxfer.training import Processes
from distxfer.training._reference import CachedReference

# An intervention from another package, as a user would write it: one file. `how` picks what is wrong with it.
PACKAGE = '''
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from distxfer.interventions import BoundIntervention, Term

noise = iter(range(10**6))


@dataclass(frozen=True)
class Centre:
    """Pull the middle layer's mean towards a learned point."""

    weight: float = 1.0
    how: Literal["well", "constant", "never", "nan", "moody", "undeclared", "nothing", "everything", "needy", "late"] = "well"

    def bind(self, encoder, languages, distances):
        module = nn.Linear(encoder.hidden_size, 1)

        def term(step):
            pooled = step.encoded().pooled(encoder.layers // 2)
            total = module(pooled).square().sum()
            if self.how == "constant":
                total = torch.ones(())
            if self.how == "nan" and step.number == 7:
                total = total * torch.nan
            if self.how == "undeclared":
                step.reference(step.batch)
            idle = self.how == "never" or (self.how == "late" and step.number < 14)
            count = 0 if idle else len(pooled)
            return Term(total * (count > 0), count + (next(noise) if self.how == "moody" else 0), "example")

        if self.how == "nothing":
            return BoundIntervention(trains=lambda name: False)
        if self.how == "everything":
            return BoundIntervention(trains=lambda name: True)
        needs = frozenset({"pairs"}) if self.how == "needy" else frozenset()
        return BoundIntervention(term=term, weight=self.weight, module=module, needs=needs, languages=languages.targets)
'''
RECIPE = "# Pull the middle layer to a learned point.\n[intervention.centre]\nweight = 0.5\n"


@pytest.fixture
def run(tmp_path, tiny_settings, monkeypatch):
    """Train with the package `centre_package` installed: found by its entry point, like any other package's."""
    site = tmp_path / "site"
    (site / "centre_package-1.dist-info").mkdir(parents=True)
    (site / "centre_package.py").write_text(PACKAGE)
    (site / "centre_package-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: centre-package\nVersion: 1\n"
    )
    (site / "centre_package-1.dist-info" / "entry_points.txt").write_text(
        "[distxfer.interventions]\ncentre = centre_package:Centre\n"
    )
    monkeypatch.syspath_prepend(site)
    recipe = tmp_path / "centred.toml"
    recipe.write_text(RECIPE)

    def runner(*overrides: str, **options):
        return train(load_recipe(str(recipe), [*tiny_settings, *overrides]), tmp_path / "results", **options)

    yield runner
    sys.modules.pop("centre_package", None)


def test_a_new_intervention_is_one_file_and_one_recipe(run, tmp_path):
    """Discovered, trained, logged, saved and measured, its own weights included."""
    result = run()
    assert result.folder.parent.name == "centred"
    assert result.data["recipe"]["intervention"]["centre"] == {"kind": "centre", "weight": 0.5, "how": "well"}
    file = load_file(result.folder / "interventions.safetensors")
    assert set(file) == {"centre.weight", "centre.bias"}
    assert len(parquet.read_table(result.folder / "measurements.parquet")) > 0
    log = (result.folder / "log.jsonl").read_text()
    assert log.count('"term/centre"') == log.count('"term/task"') == 18
    plain = train(load_recipe("plain", [*_settings(result)]), tmp_path / "plain")
    repeated = load_file(plain.folder / "model" / "model.safetensors")
    moved = load_file(result.folder / "model" / "model.safetensors")
    assert any(not torch.equal(repeated[key], moved[key]) for key in repeated)


def test_weights_of_its_own_are_optimised_and_resumed(run):
    """The total is quadratic in them, so that training must bring them nearer to 0 than they were."""

    def stop(phase, step, steps, loss):
        if step == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(report=stop)
    resumed = load_file(run().folder / "interventions.safetensors")
    file = load_file(run(again=True).folder / "interventions.safetensors")
    assert torch.equal(resumed["centre.weight"], file["centre.weight"])
    zero = load_file(run("intervention.centre.weight=0").folder / "interventions.safetensors")
    assert not torch.equal(zero["centre.weight"], file["centre.weight"])


def _settings(result) -> list[str]:
    recipe = result.data["recipe"]
    phase = recipe["phase"]["finetune"]
    return [
        f"model={recipe['model']['name']}", f"task={recipe['task']['name']}", f"parallel={recipe['parallel']['name']}",
        *(f"phase.finetune.{key}={phase[key]}" for key in ("epochs", "batch_size", "learning_rate")),
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["constant", "never"])
def test_a_term_without_effect_stops_the_run(run, how):
    with pytest.raises(RunError, match="The term `centre` has had no gradient on any trainable parameter by step"):
        run(f"intervention.centre.how={how}")


def test_a_loss_that_is_not_finite_names_the_term_and_the_step_and_keeps_the_checkpoint(run, tmp_path):
    with pytest.raises(InputError, match=r"The term `centre` at step 7 of the phase `finetune` is nan\. Lower `phase"):
        run("intervention.centre.how=nan")
    (folder,) = (tmp_path / "results" / "centred").iterdir()
    assert [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()] == list(range(7))
    assert (folder / "checkpoint.safetensors").is_file()
    assert read_result(folder) is None
    assert not (folder / "model").exists()


def test_a_learning_rate_that_blows_up_is_named(run):
    with pytest.raises(
        InputError, match=r"The (term `(task|centre)`|gradient) at step \d+ of the phase `finetune` is (nan|inf)"
    ):
        run("phase.finetune.learning_rate=1e30")


def test_a_term_that_counts_at_random_is_caught_where_it_matters(run):
    with pytest.raises(RunError, match="A term counts differently each time it is computed"):
        run("intervention.centre.how=moody", "phase.finetune.accumulation=2")


def test_a_term_that_did_not_say_what_it_needs(run):
    with pytest.raises(InputError, match="The term `centre` uses the reference, but its `BoundIntervention` does not"):
        run("intervention.centre.how=undeclared")


def test_trains_must_match_some_parameters(run):
    with pytest.raises(
        InputError, match=r"Nothing may train in the phase `finetune`: its interventions freeze all \d+"
    ):
        run("intervention.centre.how=nothing")


def test_trains_must_not_match_all_parameters(run):
    with pytest.raises(
        InputError, match="The intervention `centre` freezes no parameter that trains in the phase `finetune`"
    ):
        run("intervention.centre.how=everything")


def test_what_is_needed_must_be_there(run):
    with pytest.raises(
        InputError,
        match=r"The intervention `centre` needs parallel text, and `parallel\.name` is empty\. Set `parallel\.name`",
    ):
        run("intervention.centre.how=needy", "parallel=")


def test_a_phase_with_nothing_to_optimise(tmp_path, tiny_settings):
    with pytest.raises(InputError, match="The phase `finetune` has nothing to optimise"):
        train(load_recipe("plain", [*tiny_settings, "phase.finetune.task=false"]), tmp_path)


@pytest.mark.parametrize("recipe", ["drift_reg", "lora"])
@pytest.mark.parametrize("text", ["task", "pairs"])
def test_a_wrong_reference_is_noticed_before_the_first_step(tmp_path, tiny_settings, monkeypatch, recipe, text):
    """As when the reference is loaded from the tuned checkpoint, which published code did."""
    kind = Reference if text == "pairs" else CachedReference
    states = kind.states
    monkeypatch.setattr(kind, "states", lambda self, keys, inputs: states(self, keys, inputs) * 1.01)
    overrides = ["model.precision=float32", f"intervention.drift.text={text}"]
    with pytest.raises(
        RunError, match=r"The reference encoder differs from the encoder before the first step by 0\.0099"
    ):
        train(load_recipe(recipe, [*tiny_settings, *overrides]), tmp_path)


def test_a_text_scored_twice_is_noticed(tmp_path, tiny_settings, monkeypatch):
    """As when a distributed sampler pads the last batch with repeats."""
    monkeypatch.setattr(Processes, "shard", lambda self, items: [*items, *items[:1]])
    with pytest.raises(RunError, match=r"\d+ texts were encoded, but \d+ were expected, each once"):
        snapshot(*_snapshot_arguments(tmp_path, tiny_settings))


def _snapshot_arguments(folder: Path, settings: list[str]):
    from distxfer.runs.prepare import assemble, prepare

    processes = Processes()
    prepared = prepare(load_recipe("plain", settings))
    assembled = assemble(prepared, processes)
    return assembled.encoder, assembled.collate, [prepared.task.examples("test", "eng")[:5]], processes


def test_geomloss_does_not_switch_autograd_on():
    """jeanfeydy/geomloss#57: the wrapped divergence leaves `no_grad` as it found it, and returns no graph in it."""
    from geomloss import SamplesLoss

    from distxfer.interventions._losses import sinkhorn_divergence

    x, y = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    with torch.no_grad():
        divergence = sinkhorn_divergence(x, y)
        assert not divergence.requires_grad
        assert not torch.is_grad_enabled()
    with torch.no_grad():
        SamplesLoss("sinkhorn", p=2, blur=0.05, backend="tensorized")(x, y)
        assert torch.is_grad_enabled(), "geomloss#57 is fixed: the guard in align.py can go"
    torch.set_grad_enabled(True)
    assert sinkhorn_divergence(x, y).requires_grad


def test_with_adapters_no_phase_trains_the_pretrained_weights(tmp_path, tiny_settings):
    """Not even one in which `lora` does not act: they would move the reference, and would not be saved."""
    settings = ["phases=adapt,finetune", "phase.adapt.epochs=1", "phase.adapt.interventions=lora"]
    settings += ["phase.finetune.interventions="]
    recipe = load_recipe("lora", [*tiny_settings, *settings])
    result = train(recipe, tmp_path)
    alone = train(load_recipe("lora", tiny_settings), tmp_path)
    assert result.data["cost"]["trainable_parameters"] == alone.data["cost"]["trainable_parameters"]


def test_a_term_may_be_idle_for_long_as_long_as_it_acts(run):
    """Alternating schedules: nothing to sum over in the first 14 of 18 steps is no reason to stop."""
    log = (run("intervention.centre.how=late").folder / "log.jsonl").read_text()
    assert log.count('"term/centre"') == 4


def test_a_head_for_other_labels_is_made_anew_from_the_seed(tmp_path, tiny):
    """One for these very labels is kept; one of the same size for others would be a silent head start."""
    from distxfer.encoders import load_encoder

    trained = load_encoder("tiny", tiny, ("animal", "plant"), seed=5)
    trained.save(tmp_path)
    head = load_encoder("tiny", tmp_path, ("animal", "plant"), seed=1).model.classifier.weight
    anew = [load_encoder("tiny", tmp_path, ("good", "bad"), seed=seed).model.classifier.weight for seed in (1, 1, 2)]
    assert torch.equal(head, trained.model.classifier.weight)
    assert torch.equal(anew[0], anew[1])
    assert not torch.equal(anew[0], head)
    assert not torch.equal(anew[0], anew[2])


def test_again_goes_on_with_what_is_not_done_and_replaces_what_is(run):
    def stop(phase, step, steps, loss):
        if step == 13:
            raise KeyboardInterrupt

    steps: list[int] = []
    run()
    with pytest.raises(KeyboardInterrupt):
        run(again=True, report=stop)
    run(again=True, report=lambda phase, step, total, loss: steps.append(step))
    assert steps[0] == 13


def test_a_phase_in_which_every_weight_is_0_has_nothing_to_optimise(tmp_path, tiny_settings):
    settings = [*tiny_settings, "phase.finetune.task=false", "intervention.drift.weight=0"]
    with pytest.raises(
        InputError, match="has nothing to optimise: neither `task = true` nor a term with a weight above 0"
    ):
        train(load_recipe("drift_reg", settings), tmp_path)


@pytest.mark.parametrize("name", ["consistency", "r3f"])
def test_a_head_that_nothing_has_trained_has_nothing_to_teach(tiny_settings, name):
    phases = ["phases=first,finetune", "phase.first.task=false", f"phase.first.interventions={name}"]
    with pytest.raises(InputError) as error:
        assemble(prepare(load_recipe(name, [*tiny_settings, *phases, "model.head_start=random"])), Processes())
    assert str(error.value) == (
        f"The intervention `{name}` compares predictions of the head, which is random in the phase `first`."
        " Set `phase.first.task=true`, or let the phase begin where one with the task has ended."
    )
    assemble(prepare(load_recipe(name, [*tiny_settings, *phases, "model.head_start=probe"])), Processes())
    later = [
        "model.head_start=random",
        "phases=finetune,last",
        "phase.last.task=false",
        f"phase.last.interventions={name}",
    ]
    assemble(prepare(load_recipe(name, [*tiny_settings, *later])), Processes())
