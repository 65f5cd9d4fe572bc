"""A training step waits for no value: on a GPU, each read of one stops the queue of work."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import distxfer.encoders._load as load_file
from distxfer import InputError, load_recipe
from distxfer.runs.prepare import assemble, prepare
from distxfer.training import Processes
from helpers import log, same, stop_at

RECIPES = {"plain": [], "drift_reg": [], "dist_align": ["intervention.align.layers=3"]}
STEPS = 43
ONE_PHASE = [
    f"phase.finetune.steps={STEPS}",
    "phase.finetune.epochs=1",
    "diagnostics.states=0",
    "diagnostics.gradients=0",
]


class Reads(TorchDispatchMode):
    """Counts what returns values of a tensor to Python, or depends on them in its shape."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, arguments=(), settings=None):
        by_shape = torch.Tag.dynamic_output_shape in operation.tags
        if operation is torch.ops.aten.index.Tensor:
            by_shape = any(index is not None and index.dtype == torch.bool for index in arguments[1])
        self.count += by_shape or torch.Tag.data_dependent_output in operation.tags
        return operation(*arguments, **(settings or {}))


@pytest.fixture
def reads(monkeypatch):
    """Count the reads of encoders that do not pack texts, as on a GPU."""
    packs_texts = load_file.packs_texts
    monkeypatch.setattr(load_file, "packs_texts", lambda model: packs_texts(model) and False)
    counter = Reads()

    def count(method):
        def counted(tensor, *arguments):
            counter.count += 1
            return method(tensor, *arguments)

        return counted

    for name in ("tolist", "cpu"):  # which do not show as operations on a CPU
        monkeypatch.setattr(torch.Tensor, name, count(getattr(torch.Tensor, name)))
    return counter


@pytest.mark.parametrize("recipe", RECIPES)
def test_at_most_one_read_in_ten_steps(run, tmp_path, reads, recipe):
    """After the third step, whose one read tells whether every term acts, up to the checkpoint of the last."""
    counts = []
    with reads:
        result = run(
            recipe, *ONE_PHASE, *RECIPES[recipe], folder=tmp_path, report=lambda *_: counts.append(reads.count)
        )
    assert [line["step"] for line in log(result)] == list(range(STEPS))
    assert counts[0] == counts[2]  # there is no loss to report before
    assert 0 < counts[-1] - counts[2] <= (STEPS - 3) / 10


def test_every_step_is_in_the_log_of_an_interrupted_run(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run("plain", *ONE_PHASE, folder=tmp_path, report=stop_at(9))
    (path,) = tmp_path.rglob("log.jsonl")
    assert len(path.read_text().splitlines()) == 9


def test_no_weight_changes_from_a_step_on_that_is_not_finite(tiny_settings):
    """Neither do the optimiser's moments, which would move the weights later."""
    loop = assemble(prepare(load_recipe("plain", tiny_settings)), Processes()).training._loop(0, "finetune")

    def state() -> dict[str, torch.Tensor]:
        moments = enumerate(loop.plain_optimizer.state.values())
        stored = {f"{place} {name}": moment for place, values in moments for name, moment in values.items()}
        stored |= dict(loop.module.named_parameters())
        return {name: tensor.detach().clone() for name, tensor in stored.items()}

    loop._step(0)
    before = state()
    hook = loop.parameters[-1].register_hook(lambda gradient: gradient * torch.inf)
    loop._step(1)
    hook.remove()
    loop._step(2)
    assert same(before, state())
    with pytest.raises(InputError, match=r"The gradient at step 1 of the phase `finetune` is (nan|inf)"):
        loop._read(None)
