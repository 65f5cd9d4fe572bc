"""The head's start: a linear probe of the pretrained states, in place of random weights."""

from collections.abc import Callable, Iterable, Sequence

import torch

from distxfer.data import Example, task_type_of
from distxfer.encoders import StateCache
from distxfer.errors import counted
from distxfer.measure import Probe, fit_probe
from distxfer.results.tables import Row
from distxfer.runs.checks import starts_as_probe
from distxfer.runs.prepare import Assembled, Prepared
from distxfer.runs.snapshots import Snapshot, bare, snapshot
from distxfer.training import Processes, generator

_CHUNK = 1024  # texts whose states of all layers are in memory at a time
_MOST = 8192  # training texts that the probe is fitted to; of more, a random choice


def start_head(
    prepared: Prepared,
    assembled: Assembled,
    processes: Processes,
    cache: StateCache | None,
    notice: Callable[[str], None],
) -> Probe | None:
    """Start the head as a linear probe (`fit_probe`) of the pretrained states, as `model.head_start` = `probe` says.

    A fresh head's gradients distort the pretrained states before it has learnt anything; fine-tuning from a probe generalises
    better to data unlike the source's (LP-FT, Kumar et al. 2022). The probe is fitted to the training texts, or to 8192 of
    them. Returns None where the head starts as it was loaded or drawn: it is from the checkpoint, does not train, or is no
    linear map of a text's pooled state.
    """
    encoder, examples = assembled.encoder, probed_examples(prepared, assembled)
    if not examples:
        return None
    notice(f"Fitting a linear probe to {counted(len(examples), 'training texts')}: the head starts from it.")
    chunks = [examples[start : start + _CHUNK] for start in range(0, len(examples), _CHUNK)]
    states = [
        snapshot(
            encoder, assembled.collate, [[*dict.fromkeys(map(bare, chunk))]], processes, cache, logits=False
        ).states(chunk)[-1]
        for chunk in chunks
    ]
    has_bias = any(name.endswith(".bias") for name in encoder.head)
    probe = fit_probe(torch.cat(states), _labels(examples), len(prepared.task.labels), bias=has_bias)
    probe = processes.broadcast(probe)
    start = {"weight": torch.from_numpy(probe.weights), "bias": torch.from_numpy(probe.bias)}
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():  # with PEFT's adapters, several copies
            if encoder.place(name) == "head":
                parameter.copy_(start[name.rpartition(".")[2]])
    return probe


def probed_examples(prepared: Prepared, assembled: Assembled) -> Sequence[Example]:
    """Return the training examples that the probe is fitted to; none where the head does not start as a probe."""
    if not starts_as_probe(prepared.recipe, task_type_of(prepared.task).output, assembled.encoder):
        return ()
    examples = assembled.training.data.examples  # which may lie on disk
    places: Iterable[int] = range(len(examples))
    if len(examples) > _MOST:
        places = sorted(generator(prepared.recipe.seed, "probe").choice(len(examples), _MOST, replace=False).tolist())
    return [example for place in places if isinstance((example := examples[place]).label, int)]


def probe_rows(probe: Probe, before: Snapshot, prepared: Prepared) -> list[Row]:
    """Return `probe_accuracy` of each language's test texts: what the pretrained states give without fine-tuning."""
    rows = []
    for language in prepared.languages.all:
        examples = [example for example in prepared.task.examples("test", language) if isinstance(example.label, int)]
        if examples:
            accuracy = probe.accuracy(before.states(examples)[-1], _labels(examples))
            rows.append(
                Row("probe_accuracy", len(before.groups[0].pooled) - 1, language, accuracy, len(examples), "before")
            )
    return rows


def _labels(examples: Sequence[Example]) -> list[int]:
    return [example.label for example in examples if isinstance(example.label, int)]
