"""The head's start: a linear probe of the pretrained states, in place of random weights."""

from collections.abc import Sequence

import torch

from distxfer.data import Example, task_type_of
from distxfer.encoders import Encoder, StateCache
from distxfer.errors import InputError
from distxfer.measure import Probe, fit_probe
from distxfer.results.tables import Row
from distxfer.runs.prepare import Assembled, Prepared
from distxfer.runs.snapshots import Snapshot, bare, snapshot
from distxfer.training import Processes, stream_seed

_MOST = 8192  # training texts that the probe is fitted to; of more, a random choice


def start_head(
    prepared: Prepared, assembled: Assembled, processes: Processes, cache: StateCache | None
) -> Probe | None:
    """Start the head as a linear probe (`fit_probe`) of the states that it reads, as `model.head_start` = `probe` says.

    A fresh head's gradients distort the pretrained states before it has learnt anything; fine-tuning from a probe keeps more
    of what they have learnt for other data than the source's (LP-FT, Kumar et al. 2022). The probe is fitted to the training
    texts, or to 8192 of them. Returns None where the head starts as it was loaded or drawn: it is from the checkpoint, does
    not train, or is no linear map of a text's pooled state.

    Raises InputError for such a head where the recipe itself asks for a probe.
    """
    recipe, encoder = prepared.recipe, assembled.encoder
    if recipe.model.head_start != "probe":
        return None
    if reason := _obstacle(prepared, encoder):
        if recipe.values["model.head_start"].is_default:
            return None
        raise InputError(f"`model.head_start` is `probe`, but {reason}. Set it to `random`.")
    examples = [example for example in assembled.training.data.examples if isinstance(example.label, int)]
    if len(examples) > _MOST:
        order = torch.randperm(
            len(examples), generator=torch.Generator().manual_seed(stream_seed(recipe.seed, "probe"))
        )
        examples = [examples[number] for number in order[:_MOST].sort().values.tolist()]
    texts = [*dict.fromkeys(map(bare, examples))]
    states = snapshot(encoder, assembled.collate, [texts], processes, cache, logits=False)
    names = {name.rpartition(".")[2] for name in encoder.head}
    probe = processes.broadcast(
        fit_probe(
            _last_layer(states, examples),
            _labels(examples),
            len(prepared.task.labels),
            bias="bias" in names,
        )
    )
    start = {"weight": torch.from_numpy(probe.weights), "bias": torch.from_numpy(probe.bias)}
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():  # with PEFT's adapters, several copies
            if encoder.place(name) == "head":
                parameter.copy_(start[name.rpartition(".")[2]])
    return probe


def probe_rows(probe: Probe, before: Snapshot, prepared: Prepared) -> list[Row]:
    """Return `probe_accuracy` of each language's test texts: what the pretrained states give without fine-tuning."""
    rows = []
    for language in prepared.languages.all:
        examples = [example for example in prepared.task.examples("test", language) if isinstance(example.label, int)]
        if examples:
            states = _last_layer(before, examples)
            accuracy = probe.accuracy(states, _labels(examples))
            rows.append(
                Row("probe_accuracy", len(before.groups[0].pooled) - 1, language, accuracy, len(examples), "before")
            )
    return rows


def _last_layer(states: Snapshot, examples: Sequence[Example]) -> torch.Tensor:
    return states.states(examples)[-1]


def _labels(examples: Sequence[Example]) -> list[int]:
    return [example.label for example in examples if isinstance(example.label, int)]


def _obstacle(prepared: Prepared, encoder: Encoder) -> str | None:
    """Return why the head cannot start as a probe, or None."""
    modules = {name.rpartition(".")[0] for name in encoder.head}
    if task_type_of(prepared.task).output != "text":
        return f"a task of type `{prepared.task.task_type}` has no head with one output per text"
    if encoder.head_is_loaded:
        return "the head is the checkpoint's"
    if len(modules) > 1 or not (encoder.token_head or (encoder.causal and encoder.pooling == "last")):
        return "the head is no linear map of the pooled state"
    if not any(phase.task for phase in prepared.recipe.phases.values()):
        return "no phase trains the head"
    return None
