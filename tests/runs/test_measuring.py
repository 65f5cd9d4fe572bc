"""Rows of measurements are those of the public measures, whichever way the states are held, and no text is encoded twice."""

import math
import weakref

import pytest
import torch

from conftest import LAYERS
from distxfer import load_recipe, measure, train
from distxfer.encoders import Encoder, States
from distxfer.runs import measurements
from distxfer.runs.prepare import assemble, prepare
from distxfer.runs.snapshots import Snapshot, snapshot, texts_to_measure
from distxfer.training import Processes


@pytest.fixture
def assembled(tiny_settings):
    prepared = prepare(load_recipe("plain", tiny_settings))
    return prepared, assemble(prepared, Processes())


def taken(prepared, assembled, *, language: str = "") -> Snapshot:
    parts = texts_to_measure(prepared.task, prepared.parallel, prepared.languages.all)
    parts = [[text for text in part if language in ("", text.language)] for part in parts]
    return snapshot(assembled.encoder, assembled.collate, parts, Processes())


def moved(encoder: Encoder) -> None:
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.base.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=draw)


def test_rows_are_the_public_measures_of_the_states(assembled):
    prepared, assembled = assembled
    task, parallel, languages = prepared.task, prepared.parallel, prepared.languages.all
    before = taken(prepared, assembled)
    moved(assembled.encoder)
    after, of_source = taken(prepared, assembled), taken(prepared, assembled, language="eng")
    for language in languages:
        alone = taken(prepared, assembled, language=language)
        examples = task.examples("test", language)
        assert torch.equal(alone.states(examples), after.states(examples))
        rows = measurements.drift_rows(before, alone, task, language, "after")
        old, new = before.states(examples), after.states(examples)
        expected = [1 - measure.cka(old, new), 1 - measure.cka(measure.standardise(old), measure.standardise(new))]
        assert [row.value for row in rows] == pytest.approx(torch.cat(expected).tolist(), abs=1e-12)
        assert min(row.value for row in rows) > 1e-6
        at_rest = measurements.drift_at_rest(rows, before, task)
        assert at_rest == measurements.drift_rows(before, before, task, language, "before")
        for row in measurements.alignment_rows(of_source, alone, parallel, language, "after"):
            pairs = measurements._unambiguous(parallel.held_out[language])
            sides = [after.states([pair[side] for pair in pairs])[row.layer] for side in (0, 1)]
            both = measure.retrieval(*sides), measure.csls_retrieval(*sides, k=min(10, len(pairs)))
            name = row.measure.removeprefix("retrieval_")
            assert row.value == getattr(both[name.startswith("csls")], name.removeprefix("csls_"))


def test_drift_at_rest_is_nan_where_the_states_have_no_structure(assembled):
    prepared, assembled = assembled
    examples, task = prepared.task.examples("test", "deu"), prepared.task
    states = torch.randn(LAYERS + 1, len(examples), 4, generator=torch.Generator().manual_seed(0))
    flat = states.clone()
    flat[2] = 1.0
    texts = [measurements.bare(example) for example in examples]
    for old, new, undefined in ((states, flat, []), (flat, states, [2])):
        before, after = (Snapshot([(texts, States(pooled))]) for pooled in (old, new))
        rows = measurements.drift_rows(before, after, task, "deu", "after")
        assert {row.layer for row in rows if math.isnan(row.value)} == {2}
        at_rest = measurements.drift_at_rest(rows, before, task)
        assert {row.layer for row in at_rest if math.isnan(row.value)} == {*undefined}
        assert {row.value for row in at_rest if not math.isnan(row.value)} == {0.0}
    [note] = measurements.undefined_notes(measurements.undefined_values(before, after, task, rows))
    assert note.startswith("No drift for deu at layer 2: the self-similarity of `x` is 0")


def test_the_states_of_the_source_and_one_language_at_a_time_are_in_memory(tmp_path, tiny_settings, monkeypatch):
    alive: set[weakref.ref[Snapshot]] = set()
    most = []

    def counted(self, groups, make=Snapshot.__init__):
        make(self, groups)
        alive.add(weakref.ref(self, alive.discard))
        most.append(len(alive))

    monkeypatch.setattr(Snapshot, "__init__", counted)
    train(load_recipe("plain", [*tiny_settings, "phase.finetune.epochs=1"]), tmp_path)
    # Before training, of all languages, which lies on disk, and of the training texts, for the probe; then the source's, the last
    # language's and the next one's.
    assert (len(most), max(most)) == (1 + 1 + 3, 1 + 3)
