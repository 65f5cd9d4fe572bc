"""What a phase may ask for: steps that take turns, weights that go back, a mean of them, or one with where they started."""

from itertools import chain

import pytest
import torch
from safetensors.torch import load_file

import distxfer.runs.run as run_file
from distxfer import RunError, load_recipe
from distxfer.runs.prepare import assemble, prepare
from distxfer.training import Processes
from helpers import installed, log, message, same, stop_at, weights

ALIGN = ["intervention.align.layers=3", "intervention.align.batch_size=8"]
ALTERNATE = [*ALIGN, "phase.finetune.alternate=true"]
STILL = "phase.finetune.learning_rate=1e-60"  # changes no weight by a bit
AVERAGED = ["parallel=", "phase.finetune.average=3", "phase.finetune.epochs=4"]
# Interventions from another package: a term with weights of its own, and all the ways in which `entries` can be wrong.
PACKAGE = '''
from dataclasses import dataclass

import torch
from torch import nn

from distxfer.interventions import BoundIntervention, Term


@dataclass(frozen=True)
class Own:
    """Pull the middle layer to a learned point; choose entries wrongly; rewrite nothing."""

    how: str = ""

    def bind(self, encoder, languages, distances):
        module = nn.Linear(encoder.hidden_size, 1)

        def term(step):
            pooled = step.encoded().pooled(encoder.layers // 2)
            return Term(module(pooled).square().sum(), len(pooled), "example")

        def entries(changes):
            shapes = {name: change.now.shape for name, change in changes.items()}
            name = next(iter(shapes))
            return {
                "all": {name: torch.ones(shapes[name], dtype=torch.bool) for name in shapes},
                "none": {name: torch.zeros(shapes[name], dtype=torch.bool) for name in shapes},
                "unknown": {"elsewhere": torch.ones(3, dtype=torch.bool)},
                "shape": {name: torch.ones(3, dtype=torch.bool)},
                "numbers": {name: torch.ones(shapes[name])},
            }[self.how]

        if self.how == "idle":
            return BoundIntervention(replace_weight=lambda name, weight: weight)
        return BoundIntervention(entries=entries) if self.how else BoundIntervention(term=term, module=module)
'''


@pytest.fixture
def own(tmp_path, run):
    """Train with the package above installed: `own`'s keys and more overrides, in phases if there are any."""
    recipe = tmp_path / "own.toml"
    recipe.write_text("# Own.\n[intervention.own]\n")
    with installed(tmp_path / "site", PACKAGE, own="Own"):
        yield lambda *overrides, **options: run(str(recipe), *overrides, **options)


@pytest.fixture
def loop(tiny_settings):
    """Return the loop of the phase `finetune` of a recipe, before its first step."""

    def made(recipe: str, *overrides: str):
        prepared = prepare(load_recipe(recipe, [*tiny_settings, *overrides]))
        return assemble(prepared, Processes()).training._loop(0, "finetune")

    return made


# Steps that take turns.


def test_the_task_and_the_terms_take_turns(run):
    lines = log(run("dist_align", *ALTERNATE, "phase.finetune.steps=5"))
    assert ["term/task" in line for line in lines] == [True, False, True, False, True]
    assert ["term/align" in line for line in lines] == [False, True, False, True, False]
    for line in lines:
        summand = line.get("term/task", 0.5 * line.get("term/align", 0))
        assert line["loss"] == pytest.approx(summand)


def test_in_its_turns_a_summand_has_the_batches_that_it_has_without_turns(loop):
    """24 steps are two epochs of the task's, each in the order of `plain`; the terms look at the same batches."""

    def read(of, number: int) -> list[str]:
        return [example.id for micro in of._micros(number) for example in micro.batch.examples]

    turns, plain = loop("dist_align", *ALTERNATE, "phase.finetune.epochs=4"), loop("plain", "phase.finetune.epochs=2")
    assert turns.steps == 2 * plain.steps == 24
    order = [read(plain, number) for number in range(12)]
    assert [read(turns, number) for number in range(0, 24, 2)] == order
    assert [read(turns, number) for number in range(1, 24, 2)] == order
    assert sorted(chain(*order[:6])) == sorted(chain(*order[6:]))
    assert order[:6] != order[6:]


def test_the_gradient_of_a_step_is_that_of_the_summand_whose_turn_it_is(loop):
    """The same gradients, bit for bit, as in the same turn where the other summand is not in the recipe at all."""
    for number, recipe, *alone in [
        (0, "plain"),
        (2, "plain"),
        (1, "dist_align", *ALIGN, "phase.finetune.task=false"),
        (5, "dist_align", *ALIGN, "phase.finetune.task=false"),
    ]:
        gradients = []
        for phase_loop, step in ((loop("dist_align", *ALTERNATE), number), (loop(recipe, *alone), number // 2)):
            phase_loop.gradients(step, None)
            gradients.append({key: parameter.grad for key, parameter in phase_loop.module.model.named_parameters()})
        turn, only = ({key: gradient for key, gradient in grads.items() if gradient is not None} for grads in gradients)
        assert turn
        assert same(turn, only)
        assert ("classifier.weight" in turn) == (number % 2 == 0)


def test_a_step_without_the_task_leaves_the_head_as_it_is(run):
    first, second = (weights(run("dist_align", *ALTERNATE, f"phase.finetune.steps={steps}")) for steps in (1, 2))
    still = {key for key in first if torch.equal(first[key], second[key])}
    assert {"classifier.weight", "classifier.bias"} <= still
    assert not any(f"layer.{number}.attention.self.query.weight" in key for key in still for number in range(3))
    assert same(first, weights(run("plain", "phase.finetune.steps=1")))


@pytest.mark.parametrize("steps", [3, 4, 18])
def test_a_term_that_does_nothing_is_found_in_its_turns_and_only_there(run, steps):
    """Of three steps, the one after the weights have moved is the task's: too few to tell."""
    frozen = ["intervention.freeze.layers=1", "intervention.align.layers=1"]
    if steps == 3:
        run("dist_align", *ALTERNATE, "phase.finetune.steps=3")
    else:
        with pytest.raises(RunError, match=f"The term `align` has had no gradient .* by step {steps} of the phase"):
            run("dist_align", *ALTERNATE, *frozen, f"phase.finetune.steps={steps}")


@pytest.mark.parametrize(
    ("recipe", "overrides", "lack"),
    [
        ("plain", [], "no term with a weight above 0"),
        ("dist_align", [*ALIGN, "intervention.align.weight=0"], "no term with a weight above 0"),
        ("dist_align", [*ALIGN, "phase.finetune.task=false"], "no task"),
    ],
)
def test_nothing_to_take_turns_with_is_refused(run, recipe, overrides, lack):
    assert message(run, recipe, *overrides, "phase.finetune.alternate=true") == (
        "`phase.finetune.alternate` lets the task's loss and the interventions' terms take turns, and this phase has"
        f" {lack}. Leave it out."
    )


# Weights that go back.


def test_a_phase_begins_where_the_one_it_goes_back_to_began(run):
    """Whether that one was the first, had itself gone back, or came after another."""
    short = ["parallel=", "phase.finetune.steps=1", STILL, "phase.dense.steps=4", "phase.dense.learning_rate=1e-3"]
    before = weights(run("plain", *short[:3]))
    assert same(before, weights(run("sparse", *short)))

    warm = ["phase.warm.steps=3", "phase.warm.learning_rate=1e-3", "phase.warm.interventions="]
    after_warm = weights(run("plain", *short[:3], *warm[:2], "phases=warm,finetune"))
    assert not same(before, after_warm)
    twice = [
        *short, *warm, "phases=warm,dense,again,finetune", "phase.again.rewind=dense", "phase.again.interventions=sparse",
        "phase.again.steps=3", "phase.again.learning_rate=1e-3", "phase.finetune.rewind=again",
    ]  # fmt: skip
    assert same(after_warm, weights(run("sparse", *twice)))


def test_what_is_no_earlier_phase_is_refused_with_all_other_mistakes(tiny_settings):
    wrong = [
        "phases=dense,finetune,more", "phase.dense.rewind=more", "phase.finetune.rewind=finetune", "phase.more.rewind=dens",
        "phase.more.average=1", "phase.finetune.average=4", "phase.dense.average=3", "phase.dense.steps=9",
    ]  # fmt: skip
    mistakes = message(load_recipe, "sparse", [*tiny_settings, *wrong])
    assert mistakes.splitlines()[0] == "The recipe `sparse` has 6 mistakes:"
    for line in (
        "`phase.dense.rewind` is `more`, which is not an earlier phase. None is earlier than `dense`.",
        "`phase.dense.average` = `3` counts epochs, but this phase sets `steps` = `9` instead. Set only"
        " `phase.dense.epochs`, or remove `average`.",
        "`phase.finetune.rewind` is `finetune`, which is not an earlier phase. Earlier than `finetune`: dense.",
        "`phase.more.rewind` is `dens`, which is not an earlier phase. Earlier than `more`: dense, finetune.",
        "`phase.more.average` is `1`, but expected 0, or 2 to its 8 epochs.",
        "`phase.finetune.average` is `4`, but expected 0, or 2 to its 3 epochs.",
    ):
        assert f"  {line}" in mistakes.splitlines()


def test_to_go_back_without_taking_anything_along_is_refused(run):
    assert message(run, "plain", "phases=dense,finetune", "phase.finetune.rewind=dense") == (
        "`phase.finetune.rewind` undoes what has been trained since the phase `dense` began, and no intervention of"
        " `finetune` uses those changes, as `sparse` or `self_training` does. Leave it out."
    )


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("all", r"`entries` let \d+ entries train, which is all of them\. Select some\."),
        ("none", r"`entries` let 0 entries train, which is none of them\. Select some\."),
        ("unknown", "`entries` returned no valid mask for `elsewhere`"),
        ("shape", r"`entries` returned no valid mask for `bert\..*`"),
        ("numbers", "Return, for parameters that train, a boolean tensor of the parameter's shape"),
    ],
)
def test_a_choice_of_entries_that_chooses_nothing_is_refused(own, how, complaint):
    phases = [
        "phases=dense,finetune",
        "phase.dense.interventions=",
        "phase.dense.steps=1",
        "phase.finetune.rewind=dense",
    ]
    with pytest.raises(RunError, match=complaint):
        own(*phases, f"intervention.own.how={how}")


def test_rewriting_weights_of_which_none_trains_is_refused(own):
    with pytest.raises(RunError, match="The intervention `own` rewrites no weight that trains in the phase `finetune`"):
        own("intervention.own.how=idle")


# The mean of the last epochs.


def all_weights(result) -> dict[str, torch.Tensor]:
    """Return the model's weights and those of `own`, as a checkpoint calls them."""
    return weights(result) | {
        key.replace("own.", "own/"): weight
        for key, weight in load_file(result.folder / "interventions.safetensors").items()
    }


def test_a_phase_ends_at_the_mean_of_its_last_epochs(own, tmp_path):
    """Of all that trains, weights of an intervention's own included; what is frozen stays as it was."""
    at_end: dict[int, dict[str, torch.Tensor]] = {}

    def read(phase, step, steps, loss):
        """In the first step of the next epoch, the checkpoint is that of the epoch's end."""
        if step in (13, 19):
            (path,) = tmp_path.glob("own/*/checkpoint.safetensors")
            at_end[step - 1] = {key.removeprefix("parameter/"): weight for key, weight in load_file(path).items()}

    plain = own("parallel=", "phase.finetune.epochs=4", folder=tmp_path, report=read)
    last = all_weights(plain)
    averaged = own(*AVERAGED, folder=tmp_path)
    ended = all_weights(averaged)
    assert {"own/weight", "classifier.weight", "bert.embeddings.LayerNorm.bias"} <= ended.keys() & at_end[12].keys()
    for key in ended.keys() & at_end[12].keys():
        mean = torch.stack([at_end[12][key], at_end[18][key], last[key]]).double().mean(dim=0)
        assert torch.allclose(ended[key].double(), mean, atol=1e-7), key
        assert not torch.equal(ended[key], last[key]), key
    still = "bert.embeddings.word_embeddings.weight"
    assert still not in at_end[12]
    assert torch.equal(ended[still], last[still])
    assert [line["loss"] for line in log(averaged)] == [line["loss"] for line in log(plain)]


def test_the_next_phase_begins_at_the_mean(run):
    mean = weights(run("plain", *AVERAGED))
    next_phase = ["phases=finetune,more", "phase.more.steps=1", STILL.replace("finetune", "more")]
    assert same(mean, weights(run("plain", *AVERAGED, *next_phase)))


# Merging with where a phase began.


def assert_between(merged: dict, start: dict, end: dict, share: float) -> None:
    assert merged.keys() == start.keys() == end.keys()
    assert not same(start, end)
    for key, weight in merged.items():
        expected = (1 - share) * end[key].double() + share * start[key].double()
        torch.testing.assert_close(weight.double(), expected, rtol=1e-6, atol=1e-7, msg=key)


@pytest.mark.parametrize("settings", [[], AVERAGED[1:], ["model.train_word_embeddings=true"]])
def test_a_phase_ends_between_its_start_and_what_it_has_trained(own, settings):
    """The encoder and the head, word embeddings of tokens that the run never reads included; not an intervention's weights."""
    settings = ["parallel=", "phase.finetune.weight_decay=0.5", *settings]
    still = own("parallel=", "phase.finetune.steps=1", STILL, *settings[-1:] * ("train" in settings[-1]))
    end, merged = own(*settings), own(*settings, "phase.finetune.merge=0.25")
    assert_between(weights(merged), weights(still), weights(end), 0.25)
    files = [load_file(result.folder / "interventions.safetensors") for result in (end, merged)]
    assert same(*files)


def test_a_later_phase_is_merged_with_where_it_began_and_the_next_begins_there(run):
    first = ["parallel=", "phases=first,finetune", "phase.first.steps=3"]
    start, end = weights(run("plain", *first, "phase.finetune.steps=1", STILL)), weights(run("plain", *first))
    merged = [*first, "phase.finetune.merge=0.6"]
    next_phase = ["phases=first,finetune,more", "phase.more.steps=1", STILL.replace("finetune", "more")]
    assert_between(weights(run("plain", *merged, *next_phase)), start, end, 0.6)


# Stopped anywhere, and gone on with.

ALL = [
    *ALIGN, "phases=dense,finetune,more", "phase.dense.interventions=align", "phase.dense.alternate=true", "phase.dense.epochs=2",
    "phase.dense.batch_size=24", "phase.finetune.average=2", "phase.finetune.merge=0.3", "phase.more.steps=3",
    "phase.more.interventions=", "diagnostics.gradients=2", "diagnostics.states=5",
]  # fmt: skip


@pytest.mark.parametrize("stop", [8, 13, 26, 31])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(run, tmp_path, stop):
    """12 steps that take turns, 18 of sparse training from where they began that end at a mean, 3 more.

    Stopped among the turns, as the second and the third phase begin, and between the epochs that the mean is of.
    """
    with pytest.raises(KeyboardInterrupt):
        run("sparse", *ALL, folder=tmp_path, report=stop_at(stop))
    resumed, uninterrupted = run("sparse", *ALL, folder=tmp_path), run("sparse", *ALL)
    assert same(weights(uninterrupted), weights(resumed))
    assert log(uninterrupted) == log(resumed)


def test_what_is_kept_for_a_phase_goes_when_nobody_needs_it_any_more(run, tmp_path):
    """A copy of the weights is much: beside the weights and the optimiser, a checkpoint has what a later step reads."""
    kept_at: dict[tuple[str, int], set[str]] = {}

    def read(phase, step, steps, loss):
        for path in tmp_path.glob("sparse/*/checkpoint.safetensors"):
            keys = (key.split("/") for key in load_file(path) if key.startswith("kept/"))
            kept_at[phase, step] = {f"start {part[2]}" if part[1] == "start" else part[1] for part in keys}

    run("sparse", *ALL, folder=tmp_path, report=read)
    assert kept_at["dense", 12] == kept_at["finetune", 1] == {"start dense", "proven"}
    assert kept_at["finetune", 8] == {"start dense", "start finetune", "mask", "proven"}
    assert kept_at["finetune", 13] == {"start dense", "start finetune", "mask", "mean", "proven"}
    assert kept_at["more", 1] == {"start dense", "start finetune", "mask", "proven"}  # written as `finetune` ended
    assert kept_at["more", 3] == set()


def test_a_kill_between_training_and_result_loses_no_training(run, tmp_path, monkeypatch):
    """The last checkpoint holds the mean, merged once, and which terms have been seen to act: no step is done again."""
    merged = [*AVERAGED, "phase.finetune.merge=0.5"]
    with monkeypatch.context() as patch:
        patch.setattr(run_file, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run("plain", *merged, folder=tmp_path)
    steps = []
    resumed = run("plain", *merged, folder=tmp_path, report=lambda *arguments: steps.append(arguments))
    assert not steps
    assert same(weights(run("plain", *merged)), weights(resumed))
