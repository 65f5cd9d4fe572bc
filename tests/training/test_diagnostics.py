"""What is looked at while training: right by hand, written when asked, and without any effect on the run."""

import pandas as pd
import pytest
import torch
from torch import nn

from distxfer import load_recipe
from distxfer.runs.prepare import assemble, prepare
from distxfer.training import Processes
from distxfer.training._diagnostics import gradient_diagnostics
from helpers import log, same, weights

ALIGN = ["intervention.align.layers=3", "intervention.align.batch_size=8", "intervention.align.weight=0.7"]


def looked_at(line: dict) -> dict:
    return {key: value for key, value in line.items() if key.split("/")[0] in ("gradient", "drift", "retrieval")}


def diagnosed(losses: dict, parameters: list, task: str = "task") -> dict[str, float]:
    """Return the diagnostics of losses, from their gradients."""
    parts = {
        name: torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for name, loss in losses.items()
    }
    return gradient_diagnostics(parts, task)


def linear(*rows: list[float]) -> tuple[list[nn.Parameter], list[torch.Tensor]]:
    """Return two parameters and losses whose gradients, on (2, 1) and (1,) entries, are the rows."""
    first, second = nn.Parameter(torch.ones(2, 1)), nn.Parameter(torch.ones(1))
    return [first, second], [
        row[0] * first[0, 0] + row[1] * first[1, 0] + (row[2] * second[0] if row[2] else 0) for row in rows
    ]


def test_cosines_and_shares_known_by_hand():
    """g_task = (3, 4, 0), g_a = (4, 0, 3), g_b = (-3, -4, 0): the sum is (4, 0, 3), of squared length 25."""
    parameters, (task, a, b) = linear([3, 4, 0], [4, 0, 3], [-3, -4, 0])
    diagnostics = diagnosed({"task": task, "a": a, "b": b}, parameters)
    assert diagnostics == pytest.approx(
        {
            "gradient/task/share": 12 / 25,
            "gradient/a/share": 25 / 25,
            "gradient/b/share": -12 / 25,
            "gradient/a/cosine": 12 / 25,
            "gradient/b/cosine": -1.0,
        }
    )


def test_what_is_not_defined_is_left_out():
    """A gradient of 0 has no direction, and shares of nothing are nothing; without a task there is no cosine."""
    parameters, (task, zero, back) = linear([3, 4, 0], [0, 0, 0], [-3, -4, 0])
    diagnostics = diagnosed({"task": task, "zero": zero}, parameters)
    assert diagnostics == {"gradient/task/share": 1, "gradient/zero/share": 0}
    assert diagnosed({"task": task, "back": back}, parameters) == {"gradient/back/cosine": -1}
    assert diagnosed({"a": task, "b": zero}, parameters) == {
        "gradient/a/share": 1,
        "gradient/b/share": 0,
    }


def test_shares_sum_to_1_and_scale_with_the_weights():
    draw = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.randn(7, 5, generator=draw))
    rows = {name: torch.randn(7, 5, generator=draw) for name in ("task", "a", "b")}
    for scale in (1.0, 10.0):
        losses = {name: (row * parameter).sum() * (scale if name == "a" else 1) for name, row in rows.items()}
        diagnostics = diagnosed(losses, [parameter])
        assert sum(diagnostics[f"gradient/{name}/share"] for name in rows) == pytest.approx(1)
        cosine = torch.cosine_similarity(rows["a"].flatten(), rows["task"].flatten(), dim=0)
        assert diagnostics["gradient/a/cosine"] == pytest.approx(float(cosine), rel=1e-5)


def test_the_log_has_those_of_the_gradients_that_each_summand_has_alone(run, tiny_settings):
    """Each summand in a recipe of its own, at the very same weights, draws and dropout."""
    start = "model.head_start=random"

    def gradient(recipe: str, *overrides: str) -> torch.Tensor:
        training = assemble(prepare(load_recipe(recipe, [*tiny_settings, start, *overrides])), Processes()).training
        loop = training._loop(0, "finetune")
        loop.gradients(0, None)
        return torch.cat(
            [
                (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).flatten()
                for parameter in loop.module.parameters()
                if parameter.requires_grad
            ]
        ).double()

    task, align = gradient("plain"), gradient("dist_align", *ALIGN, "phase.finetune.task=false")
    summed = task + align
    (line,) = log(run("dist_align", start, *ALIGN, "diagnostics.gradients=1", "phase.finetune.steps=1"))
    assert {key: value for key, value in line.items() if key.startswith("gradient/")} == pytest.approx(
        {
            "gradient/task/share": float(task @ summed / (summed @ summed)),
            "gradient/align/share": float(align @ summed / (summed @ summed)),
            "gradient/align/cosine": float(task @ align / task.norm() / align.norm()),
        },
        rel=1e-4,
    )
    assert line["gradient_norm"] == pytest.approx(float(summed.norm()), rel=1e-5)


def test_nothing_that_is_looked_at_changes_the_run(run):
    """Bit for bit, with dropout on, though gradients and states are computed on the way."""
    often = run("dist_align", *ALIGN, "diagnostics.gradients=2", "diagnostics.states=3")
    never = run("dist_align", *ALIGN, "diagnostics.gradients=0", "diagnostics.states=0")
    assert same(weights(often), weights(never))
    assert not any(looked_at(line) for line in log(never))
    logged = [{key: line[key] for key in line if key not in looked_at(line)} for line in log(often)]
    assert logged == log(never)


TURNS = ["phase.finetune.alternate=true", "phase.finetune.epochs=2"]


def test_where_steps_take_turns_both_are_looked_at_on_the_same_examples(run):
    """At step 0 the weights are those of a run without turns, and so are the batch and the draws of both turns."""
    settings = [*ALIGN, "diagnostics.gradients=1", "phase.finetune.steps=2"]
    together, turns = (log(run("dist_align", *settings, *turns_keys))[0] for turns_keys in ([], TURNS[:1]))
    keys = ("gradient/task/share", "gradient/align/share", "gradient/align/cosine")
    assert [turns[key] for key in keys] == pytest.approx([together[key] for key in keys], rel=1e-4)
    assert "term/align" not in turns


def test_looking_at_both_turns_changes_nothing(run):
    settings = [*ALIGN, *TURNS, "intervention.drift.weight=1"]  # whose reference makes passes, too
    often, never = (run("dist_align", *settings, f"diagnostics.gradients={every}") for every in (1, 0))
    assert same(weights(often), weights(never))
    assert all("gradient/align/cosine" in line for line in log(often))
    assert [{key: line[key] for key in line if key not in looked_at(line)} for line in log(often)] == log(never)
    for key in ("tokens", "forwards_per_step"):
        assert often.data["cost"][key] == never.data["cost"][key]


def test_they_are_written_every_so_many_steps(run):
    for number, line in enumerate(log(run("dist_align", *ALIGN, "diagnostics.gradients=2", "diagnostics.states=3"))):
        kinds = {key.split("/")[0] for key in looked_at(line)}
        assert ("gradient" in kinds) == ((number + 1) % 2 == 0)
        assert ("drift" in kinds) == ("retrieval" in kinds) == ((number + 1) % 3 == 0)
        if "gradient" in kinds:
            assert line["gradient/task/share"] + line["gradient/align/share"] == pytest.approx(1)
            assert -1 <= line["gradient/align/cosine"] <= 1


def test_there_is_no_cosine_where_the_task_is_alone_or_not_there(run):
    settings = ["diagnostics.gradients=1", "phase.finetune.steps=2"]
    for recipe, *overrides in (("plain",), ("dist_align", *ALIGN, "phase.finetune.task=false")):
        assert not any(looked_at(line) for line in log(run(recipe, *overrides, *settings)))


def test_the_states_at_the_last_step_are_those_of_the_result(run):
    """The tiny task's test texts are fewer than the sample, so both measure the same; and drift grows on the way."""
    result = run("dist_align", *ALIGN, "diagnostics.gradients=2", "diagnostics.states=3")
    rows = pd.read_parquet(result.folder / "measurements.parquet").query("moment == 'after' and layer > 0")
    values = rows.set_index(["measure", "language", "layer"])["value"].sort_index()
    lines = [looked_at(line) for line in log(result) if "drift/eng" in line]
    for language in ("eng", "deu", "jpn"):
        drift = values["drift_cka", language]
        assert len(drift) == 4
        assert lines[-1][f"drift/{language}"] == pytest.approx(drift.mean(), abs=1e-6)
        assert 0 < lines[0][f"drift/{language}"] < lines[-1][f"drift/{language}"]
    for language in ("deu", "jpn"):
        assert lines[-1][f"retrieval/{language}"] == pytest.approx(values["retrieval_weak_forward", language, 4])
