"""Merges models without training: weighted means, task arithmetic, layers of another model."""

import json
import math
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import torch
from huggingface_hub import ModelCardData
from torch import Tensor

from distxfer._durable import atomic_folder
from distxfer._installed import version
from distxfer._markdown import markdown_code
from distxfer.encoders import Band, Encoder, Place, adapter_base, fingerprint, layer_numbers, load_config, model_folder
from distxfer.errors import InputError, counted, did_you_mean, listed
from distxfer.runs.model_card import PIPELINES, PLACE, loading, meaning, shown_path
from distxfer.runs.saved_model import MERGED, SavedModel, run_of_model, saved_model

_EMBEDDINGS: Final = "embeddings"
_CPU = torch.device("cpu")
_ALIKE = ("model_type", "num_hidden_layers", "hidden_size", "num_attention_heads", "hidden_act")  # of a configuration
_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
_ADVICE = "Merge models that were trained from the same one."
# How models are loaded of which none has a trained head.
_ENCODERS = SavedModel(Path(), "", "retrieval", False, {"model": {"pooling": "mean", "head": "auto"}})


def merge(
    models: Sequence[str | Path],
    out: str | Path,
    *,
    weights: Sequence[float] | None = None,
    layers: Sequence[int | str] = (),
    layers_from: str | Path | None = None,
) -> Path:
    """Write the model that others are merged into to the new folder `out`, and return this folder.

    theta = sum_i w_i theta_i, with `weights` w that sum to 1, may be negative, and are equal by default: of runs that differ in
    seed or recipe, a model soup (Wortsman et al. 2022). Task arithmetic, theta_0 + sum_i l_i (theta_i - theta_0), has the
    pretrained model theta_0 among the models, with the weight 1 - sum_i l_i (Ilharco et al. 2023). Then the blocks in `layers`
    (numbers from 1, or bands such as `lower`), and the embeddings where it has `embeddings`, are replaced by those of the
    model `layers_from` (layer swapping, Bandarkar et al. 2025).

    A model is the folder of a run or of merged models, or an encoder without a head (a folder, a name on the hub, a bundled
    one). Adapters are merged into the weights of their model. The head is the mean over the models that have trained one, by
    their weights divided by the sum of these. Sums are in float64: equal models give the same one again.

    The folder loads with transformers, `distxfer predict` and `distxfer measure`. Its `merge.json` and its card name the
    models, their weights and fingerprints.

    Raises InputError for weights that do not fit, layers out of range, an `out` that exists, and models that differ in
    architecture, shapes, tokenizer, task type, labels or pooling.
    """
    out = Path(out).expanduser()
    if len(models) + (layers_from is not None) < 2:
        raise InputError(
            f"`models` names {counted(len(models), 'models')}; expected two or more, or one and another in `layers_from`."
        )
    if bool(layers) != (layers_from is not None):
        raise InputError(
            "`layers` and `layers_from` say which layers to take, and from which model. Give both or none."
        )
    if out.exists():
        raise InputError(f"`out` = `{out}` exists already. Give a new folder, or remove it.")
    shares = _shares(weights, len(models))
    sources = [_source(model) for model in models]
    donor = None if layers_from is None else _source(layers_from, is_donor=True)
    with_head = [source for source in sources if source.has_head]
    labels, like = _common_labels(with_head), with_head[0] if with_head else _ENCODERS
    merged, places = _merged(sources, shares, labels, like, donor, layers)
    record = _record(sources, shares, donor, places, like)
    with atomic_folder(out) as aside:
        merged.save(aside)
        (aside / MERGED).write_text(f"{json.dumps(record, indent=1, ensure_ascii=False)}\n", encoding="utf-8")
        (aside / "README.md").write_text(_card(record, merged, like, labels, out.name), encoding="utf-8")
    return out


def _merged(
    sources: Sequence[SavedModel],
    shares: Sequence[float],
    labels: Sequence[str],
    like: SavedModel,
    donor: SavedModel | None,
    layers: Sequence[int | str],
) -> tuple[Encoder, list[Place]]:
    """Return the encoder with the merged weights, and the places of those that are the donor's."""
    # The first of those with a head comes first: its model receives the sums.
    order = sorted(zip(sources, shares, strict=True), key=lambda part: part[0] is not like)
    first = order[0][0]
    merged = first.load(labels, _CPU, like)
    places = _places(layers, merged.layers)
    others = {_EMBEDDINGS, *range(1, merged.layers + 1), "final", "head"} - {*places}
    total: dict[str, tuple[Tensor, float]] = {}
    for source, share in order:
        encoder = merged if source is first else source.load(labels, _CPU, like)
        have_heads = first.has_head and source.has_head
        _check_alike((merged, encoder), (first.name, source.name), left_out=() if have_heads else ("head",))
        _add(total, encoder, share, with_head=source.has_head)
    _write_sums(total, merged)
    if donor is not None:
        encoder = donor.load(labels, _CPU, like)
        _check_alike((merged, encoder), (first.name, donor.name), left_out=others)
        tensors = encoder.model.state_dict()
        for name, tensor in merged.model.state_dict().items():
            if merged.place(name) in places:
                tensor.copy_(tensors[name])
    return merged, places


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    """Return the weights of the models, which sum to 1."""
    if weights is None:
        return [1 / count] * count
    given, total = ",".join(f"{weight:g}" for weight in weights), math.fsum(weights)
    if len(weights) != count:
        numbers = counted(len(weights), "numbers")
        raise InputError(f"`weights` = `{given}` has {numbers}; expected {count}, one per model in their order.")
    if not math.isclose(total, 1, abs_tol=1e-6):
        raise InputError(f"`weights` = `{given}` sum to {total:g}; expected 1. Change one of them; it may be negative.")
    return [weight / total for weight in weights]


def _places(layers: Sequence[int | str], depth: int) -> list[Place]:
    """Return the places that `layers` names: the embeddings, and blocks by number."""
    numbers: set[int] = set()
    for word in layers:
        if word in get_args(Band):
            numbers |= {*layer_numbers(str(word), depth, "layers")}
        elif str(word).isdecimal():
            numbers |= {*layer_numbers([int(word)], depth, "layers")}
        elif word != _EMBEDDINGS:
            words = (_EMBEDDINGS, *get_args(Band))
            raise InputError(
                f"`layers` names `{word}`.{did_you_mean(str(word), words)} Expected numbers from 1 to {depth}, or:"
                f" {', '.join(words)}."
            )
    embeddings: list[Place] = [_EMBEDDINGS] if _EMBEDDINGS in layers else []
    return [*embeddings, *sorted(numbers)]


def _source(model: str | Path, *, is_donor: bool = False) -> SavedModel:
    """Return a model to merge; what the head of another than a run or merged models is for would not be known."""
    if saved := saved_model(run_of_model(Path(model).expanduser())):
        return saved
    name = str(model)
    if adapter_base(name) != name:
        raise InputError(f"`{name}` holds adapters outside of a run. Give the folder of their run.")
    folder = model_folder(name)
    classes = load_config(folder).architectures or ["a model"]
    if classes[0].endswith(_HEADS) and not is_donor:
        raise InputError(
            f"`{name}` holds a `{classes[0]}` outside of a run, so its head's task is not known. Give the folder of its run,"
            " or an encoder without a head."
        )
    return SavedModel(folder, shown_path(name), "", has_head=False, recipe={})


def _common_labels(sources: Sequence[SavedModel]) -> tuple[str, ...]:
    """Return the labels of all these models in order; raises InputError where their heads are for something else."""
    facts = [(source.task_type, source.labels(), source.recipe["model"]["pooling"]) for source in sources]
    for source, of_source in zip(sources, facts, strict=True):
        for key, *values in zip(("task.type", "labels", "model.pooling"), facts[0], of_source, strict=True):
            _check_equal(key, values, (sources[0].name, source.name), "Merge models of one task and pooling.")
    return facts[0][1] if facts else ()


def _check_alike(encoders: tuple[Encoder, Encoder], names: tuple[str, str], left_out: Container[Place]) -> None:
    """Raise InputError where two models differ in architecture, tokenizer or shapes, except in the places `left_out`."""
    for key in _ALIKE:
        _check_equal(key, [getattr(encoder.base.config, key, None) for encoder in encoders], names, _ADVICE)
    if encoders[0].tokenizer.get_vocab() != encoders[1].tokenizer.get_vocab():
        raise InputError(f"`{names[0]}` and `{names[1]}` have different tokenizers. {_ADVICE}")
    states = [encoder.model.state_dict() for encoder in encoders]
    for name in sorted({*states[0], *states[1]}):
        if not any(encoder.place(name) in left_out for encoder in encoders):
            shapes = [[*state[name].shape] if name in state else "missing" for state in states]
            _check_equal(name, shapes, names, _ADVICE)
            if not states[0][name].is_floating_point() and not states[0][name].equal(states[1][name]):
                raise InputError(f"The integers `{name}` differ in `{names[0]}` and `{names[1]}`. {_ADVICE}")


def _check_equal(key: str, values: Sequence[Any], names: tuple[str, str], advice: str) -> None:
    if values[0] != values[1]:
        texts = [listed(value) if isinstance(value, tuple) else value for value in values]
        raise InputError(f"`{key}` is `{texts[0]}` in `{names[0]}` and `{texts[1]}` in `{names[1]}`. {advice}")


def _add(total: dict[str, tuple[Tensor, float]], encoder: Encoder, share: float, *, with_head: bool) -> None:
    """Add the model's tensors to the sums and its share to the sums of shares, by name; those of a head only `with_head`."""
    for name, tensor in encoder.model.state_dict().items():
        if tensor.is_floating_point() and (with_head or encoder.place(name) != "head"):
            summand = share * tensor.double()
            total[name] = (total[name][0] + summand, total[name][1] + share) if name in total else (summand, share)


def _write_sums(total: Mapping[str, tuple[Tensor, float]], merged: Encoder) -> None:
    for name, tensor in merged.model.state_dict().items():
        if name in total:
            summed, share = total[name]
            if abs(share) < 1e-6:
                raise InputError("The `weights` of the models with a head sum to 0, so no head follows. Change them.")
            tensor.copy_(summed / share)


def _record(
    sources: Sequence[SavedModel],
    shares: Sequence[float],
    donor: SavedModel | None,
    places: Sequence[Place],
    like: SavedModel,
) -> dict[str, Any]:
    """Return the content of `merge.json`; `recipe` is the part of a recipe that predicting needs."""

    def entry(source: SavedModel) -> dict[str, Any]:
        return {"name": source.name, "fingerprint": fingerprint(source.folder)}

    settings: dict[str, Any] | None = None
    if like.has_head:
        model = like.recipe["model"]
        settings = {
            "model": {key: model[key] for key in ("pooling", "head", "precision") if key in model},
            "task": {"max_length": like.max_length},
        }
    return {
        "distxfer": version("distxfer"),
        "models": [{**entry(source), "weight": share} for source, share in zip(sources, shares, strict=True)],
        "layers": [*places],
        "layers_from": None if donor is None else entry(donor),
        "task_type": like.task_type if like.has_head else None,
        "recipe": settings,
    }


def _card(record: Mapping[str, Any], merged: Encoder, like: SavedModel, labels: Sequence[str], name: str) -> str:
    """Return the card in Markdown: from what the model is merged, and how it is loaded."""
    metadata = ModelCardData(
        library_name="transformers", pipeline_tag=PIPELINES[merged.output], tags=["distxfer", "merge"]
    )
    rows = [
        f"| {markdown_code(model['name'])} | {model['weight']:.6g} | `{model['fingerprint'][:12]}` |\n"
        for model in record["models"]
    ]
    swapped = ""
    if donor := record["layers_from"]:
        swapped = (
            f"\nThese layers are of {markdown_code(donor['name'])} (`{donor['fingerprint'][:12]}`) alone:"
            f" {listed(record['layers'])}.\n"
        )
    code = "\n".join(loading(merged, len(labels), 0, like.max_length if like.has_head else merged.max_tokens))
    code = code.replace(PLACE, f"name = {json.dumps(name)}")
    return (
        f"---\n{metadata.to_yaml()}\n---\n\n# Merged model\n\nMerged by distxfer without training: the"
        " sum of the weights of these models, each times its factor.\n\n| model | factor | fingerprint |\n|---|---|---|\n"
        f"{''.join(rows)}{swapped}\n```python\n{code}\n```\n\n{meaning(merged, labels)}\n\n"
        "Nothing was scored or measured. The licences of these models apply.\n"
    )
