"""Labels that a phase asks the model for as it begins: who makes them, of which texts, when, and what survives a stop."""

from itertools import groupby

import pytest
import torch
from safetensors.torch import load_file

from distxfer import RunError, load_recipe
from distxfer.data import Collator
from distxfer.encoders import load_encoder
from distxfer.interventions import intervention_class
from distxfer.runs.prepare import assemble, prepare
from distxfer.training import Processes
from distxfer.training._labels import PhaseTeacher
from helpers import installed, log, message, same, stop_at, weights

SHORT = "phase.finetune.epochs=2"
ONE_EPOCH = ["phase.own.epochs=1"]
EXACT = "model.precision=float32"
# An intervention of another package: it keeps what it is given, and labels as `how` says.
PACKAGE = '''
from dataclasses import dataclass

import torch

from distxfer.interventions import BoundIntervention, Term


@dataclass(frozen=True)
class Own:
    """Label every second text as the last class, or wrongly; the term keeps what it draws."""

    how: str = ""
    drawn = []
    given = []
    states = []

    def bind(self, encoder, languages, distances):
        def labels(teacher):
            if self.how == "memory":
                raise MemoryError("of the test")
            self.given.append({key: (texts, teacher.logits(texts)) for key, texts in teacher.texts.items()})
            self.states.append({key: teacher.states(texts) for key, texts in teacher.texts.items()})
            if self.how == "states":
                return {key: torch.full((len(rows), 16), torch.nan) for key, rows in teacher.texts.items()}
            rows = {key: torch.zeros(len(teacher.texts[key]), 2) for key in languages.targets}
            for some in rows.values():
                some[::2, 1] = 1
            wrong = {
                "none": torch.zeros_like(rows["jpn"]), "shape": rows["jpn"][:-1], "sum": 2 * rows["jpn"],
                "negative": rows["jpn"] + torch.tensor([1, -1]), "nan": rows["jpn"] * torch.nan,
            }
            if self.how == "more":
                return {key: some.double() for key, some in rows.items()} | {"eng": torch.ones(1, dtype=torch.float64)}
            return {**rows, "jpn": wrong.get(self.how, rows["jpn"])}

        def term(step):
            if self.how == "pairs":
                step.sample_labelled_pairs("deu", 5)
            batch, labels = step.sample_labelled("deu", 5)
            self.drawn.append((batch.examples, labels))
            logits = step.classify(batch).logits
            return Term(-(labels * logits.log_softmax(dim=-1)).sum(), len(batch), "example")

        return BoundIntervention(
            term=term, labels=None if self.how == "unlabelled" else labels,
            needs=frozenset({"target_text", "predictions"}),
            languages=("jpn",) if self.how == "elsewhere" else languages.targets,
            labels_are_states=self.how == "states",
        )
'''


@pytest.fixture
def own(tmp_path, run):
    """Train with the package above installed, in a phase after one of the task, with more overrides."""
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        '# Own.\nphases = ["finetune", "own"]\n[phase.finetune]\ninterventions = []\n[phase.own]\ninterventions = ["own"]\n'
        "[intervention.own]\n"
    )
    with installed(tmp_path / "site", PACKAGE, own="Own"):
        yield lambda *overrides, **options: run(str(recipe), SHORT, *overrides, **options)


@pytest.mark.parametrize("recipe", ["self_training", "teacher", "state_teacher"])
@pytest.mark.parametrize("stop", [13, 15, 21])
def test_an_interrupted_run_goes_on_with_the_same_labels(run, tmp_path, recipe, stop):
    """12 steps of the task, then 12 with labels: stopped as the second phase begins, and in both of its epochs."""
    settings = SHORT, f"phase.{recipe}.epochs=2"
    with pytest.raises(KeyboardInterrupt):
        run(recipe, *settings, folder=tmp_path, report=stop_at(stop))
    resumed, uninterrupted = run(recipe, *settings, folder=tmp_path), run(recipe, *settings)
    assert same(weights(uninterrupted), weights(resumed))
    assert log(uninterrupted) == log(resumed)
    assert resumed.data["cost"]["forwards_per_step"] == uninterrupted.data["cost"]["forwards_per_step"]


@pytest.fixture
def own_class(own):
    """The class above, which has been given nothing yet."""
    cls = intervention_class("own")
    cls.given.clear(), cls.drawn.clear(), cls.states.clear()
    return cls


def test_the_teacher_is_the_model_as_the_phase_begins_without_dropout(own, own_class, run):
    """Of the same seed, the first phase alone is `plain`; the source has its training texts."""
    own(*ONE_EPOCH, EXACT)
    (given,), (states,) = own_class.given, own_class.states
    encoder = load_encoder("plain", run("plain", SHORT, EXACT).folder / "model", ("animal", "plant"), seed=0)
    assert given.keys() == {"eng", "deu", "jpn"}
    for language, (texts, logits) in given.items():
        inputs = Collator(encoder.tokenizer, 32)(texts).inputs
        expected = encoder.outputs(inputs)
        assert {text.language for text in texts} == {language}
        torch.testing.assert_close(logits, expected.float(), rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            pooled = encoder.encode(inputs).pooled(encoder.layers)
        torch.testing.assert_close(states[language], pooled, rtol=1e-4, atol=1e-5)


def test_a_term_draws_labelled_texts_alone_without_repetition(own, own_class):
    own(*ONE_EPOCH, again=True)
    ids = [text.id for text in own_class.given[0]["deu"][0]]
    draws = own_class.drawn[::2]  # a micro-batch is run again where its counts are not those expected
    assert all(len({example.id for example in batch}) == 5 for batch, _ in own_class.drawn)
    assert {example.id for batch, _ in own_class.drawn for example in batch} <= {*ids[::2]}
    assert len({example.id for batch, _ in draws for example in batch}) > 5
    assert all(torch.equal(labels, torch.tensor([[0.0, 1.0]] * 5)) for _, labels in own_class.drawn)


def test_a_phase_that_rewinds_is_taught_by_the_model_before(own, own_class, run):
    """The student begins where the first phase began, with the labels of its end."""
    still = "phase.own.learning_rate=1e-60"  # changes no weight by a bit
    rewound = own(*ONE_EPOCH, still, "phase.own.rewind=finetune")
    trained = own(*ONE_EPOCH, still)
    (first, second) = ({key: logits for key, (_, logits) in given.items()} for given in own_class.given)
    assert same(first, second)
    assert same(weights(rewound), weights(run("plain", "phase.finetune.steps=1", still.replace("own", "finetune"))))
    assert not same(weights(rewound), weights(trained))


@pytest.mark.parametrize("how", ["shape", "sum", "negative", "nan"])
def test_rows_that_are_no_distributions_are_refused(own, how):
    with pytest.raises(
        RunError, match=r"`labels` of the intervention `own` returned no valid rows for `jpn`\. Return a"
    ):
        own(*ONE_EPOCH, f"intervention.own.how={how}")


def test_states_that_are_not_finite_are_refused(own):
    with pytest.raises(RunError) as error:
        own(*ONE_EPOCH, "intervention.own.how=states")
    assert str(error.value) == (
        "`labels` of the intervention `own` returned no valid rows for `deu`. Return a tensor of 64 texts and 16 entries, which"
        " are finite."
    )


def test_to_draw_labelled_pairs_without_needing_pairs_is_refused(own):
    with pytest.raises(RunError) as error:
        own(*ONE_EPOCH, "intervention.own.how=pairs")
    assert str(error.value) == (
        "The term `own` draws labelled pairs, but its `BoundIntervention` does not have `pairs` in `needs`."
    )


@pytest.mark.parametrize("how", ["unlabelled", "elsewhere"])
def test_to_draw_labels_that_were_not_asked_for_is_refused(own, how):
    with pytest.raises(RunError) as error:
        own(*ONE_EPOCH, f"intervention.own.how={how}")
    assert str(error.value) == (
        "The term `own` draws labelled texts of `deu`, but its `BoundIntervention` has no `labels`, or no `deu` in its"
        " `languages`."
    )


def test_memory_that_runs_out_while_labelling_is_named(own):
    with pytest.raises(RunError) as error:
        own(*ONE_EPOCH, "intervention.own.how=memory")
    assert str(error.value) == (
        "Memory ran out in labelling text as the phase `own` begins (of the test). Lower `task.max_length`, set"
        " `model.precision=bf16`, or use a smaller model."
    )


def test_labels_are_kept_in_float32_and_of_the_languages_alone(own, tmp_path):
    """Whatever else there is in what `labels` returns."""
    kept = {}

    def read(phase, step, steps, loss):
        for path in tmp_path.rglob("checkpoint.safetensors"):
            kept.update({key: rows.dtype for key, rows in load_file(path).items() if key.startswith("kept/labels/")})

    own("phase.own.epochs=2", "intervention.own.how=more", folder=tmp_path, report=read)
    assert kept == dict.fromkeys(("kept/labels/own/deu", "kept/labels/own/jpn"), torch.float32)


def test_a_language_without_a_labelled_text_is_refused(own):
    assert message(own, *ONE_EPOCH, "intervention.own.how=none") == (
        "The intervention `own` labels none of the 64 texts of `jpn`. Give more text, or leave the language out of"
        " `intervention.own.languages`."
    )


def test_labels_of_a_head_that_nothing_has_trained_are_refused(tiny_settings):
    """Unless it starts as a probe, in a phase with the task or without."""
    settings = [*tiny_settings, "phases=self_training,finetune"]
    assemble(prepare(load_recipe("self_training", settings)), Processes())
    assemble(prepare(load_recipe("self_training", [*settings, "phase.self_training.task=false"])), Processes())
    assert message(
        lambda: assemble(prepare(load_recipe("self_training", [*settings, "model.head_start=random"])), Processes())
    ) == (
        "The intervention `self_training` labels text as the phase `self_training` begins, by a head that is random then."
        " Let a phase with the task come first, as `phases=finetune,self_training` does."
    )


def test_labels_are_counted_in_the_plan_and_gone_after_the_phase(run, tmp_path, tiny_settings):
    """64 texts of two languages and two classes: 4 bytes each."""
    settings = [SHORT, "phase.self_training.epochs=2", "phases=finetune,self_training,more", "phase.more.steps=2"]
    settings += ["phase.more.interventions="]
    names: list[set[str]] = []

    def read(phase, step, steps, loss):
        for path in tmp_path.rglob("checkpoint.safetensors"):
            kept = {key: tensor for key, tensor in load_file(path).items() if key.startswith("kept/labels/")}
            names.append({*kept})
            assert sum(tensor.nbytes for tensor in kept.values()) in (0, 2 * 64 * 2 * 4)

    run("self_training", *settings, folder=tmp_path, report=read)
    of_languages = {f"kept/labels/self_training/{language}" for language in ("deu", "jpn")}
    assert [group for group, _ in groupby(names)] == [set(), of_languages, set()]
    training = assemble(prepare(load_recipe("self_training", [*tiny_settings, *settings])), Processes()).training
    sizes = {plan.phase: plan.checkpoint_bytes for plan in training.plan()}
    assert sizes["self_training"] - sizes["finetune"] == 2 * 64 * 2 * 4
    training.estimate()
    assert not training._context.history.tensors


@pytest.mark.parametrize(
    ("recipe", "settings", "expected"),
    [
        ("self_training", [], [64, 64]),
        ("self_training", ["intervention.self_training.centre=true"], [64, 64, 144]),  # the source's training texts too
        ("teacher", [], [63]),  # the distinct source sentences of 128 pairs
        ("state_teacher", [], [63]),
        ("plain", [], []),
    ],
)
def test_the_texts_of_a_forecast_are_those_that_the_teacher_reads(tiny_settings, recipe, settings, expected):
    training = assemble(prepare(load_recipe(recipe, [*tiny_settings, *settings])), Processes()).training
    texts = training.texts_for_labels()
    assert [*map(len, texts)] == expected
    teacher = PhaseTeacher(training._context)
    for name, bound in training.bounds.items():
        teacher.label_texts(name, bound)
    assert teacher.tokens == sum(training.data.collate.lengths(some).sum() for some in texts)
