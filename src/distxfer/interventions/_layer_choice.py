"""The layers of an intervention: named by the recipe, guided by measured runs, or random."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import BeforeValidator, Field

from distxfer._lists import comma_separated
from distxfer.encoders import Layers, layer_numbers
from distxfer.errors import InputError, listed
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.encoders import Encoder

ChosenLayers = Annotated[
    Layers | Literal["guided", "random"],
    Field(description="blocks by number or band; guided: by measured drift; random"),
]
Count = Annotated[int, Field(description="number of blocks, if guided or random", ge=0)]
Measurement = Annotated[
    tuple[Path, ...],
    BeforeValidator(comma_separated()),
    Field(description="measurements.parquet of the runs that guide the choice"),
]
Sign = Annotated[
    Literal["positive", "negative"], Field(description="sign of the correlation of drift with distance, if guided")
]

_FEWEST = 4  # languages for a correlation
_KINDS: dict[str, tuple[type | UnionType, str]] = {
    "language": (str, "a text"),
    "layer": (int, "a whole number"),
    "value": (int | float, "a number"),
}
_DRAWS = 99  # the minimum of `correlate`, whose p value is not used


class LayerKeys(Protocol):
    """The keys of an intervention with a choice of layers."""

    @property
    def layers(self) -> ChosenLayers:
        """Numbers or a band; `guided` by measurements; or `random`."""

    @property
    def count(self) -> int:
        """How many layers to choose."""

    @property
    def measurement(self) -> tuple[Path, ...]:
        """The `measurements.parquet` of the runs that guide the choice."""

    @property
    def sign(self) -> Sign:
        """The sign of the correlation."""

    @property
    def distance(self) -> str:
        """The distance, if not the recipe's: the name of another, or `shuffled`."""


@dataclass(frozen=True)
class LayerChoice:
    """The layers, in order, and the record of their choice for the result."""

    layers: tuple[int, ...]
    resolved_values: Mapping[str, Any] = field(default_factory=dict)


def check_layer_keys(keys: LayerKeys) -> None:
    """Raise InputError for a key that has no effect with this value of `layers`."""
    chosen = keys.layers if isinstance(keys.layers, str) else ",".join(map(str, keys.layers))
    files = ",".join(map(str, keys.measurement))
    for key, value, unused, needed in (
        ("count", keys.count, keys.count and chosen not in ("guided", "random"), "`guided` or `random`"),
        ("measurement", files, files and chosen != "guided", "`guided`"),
        ("sign", keys.sign, keys.sign != "positive" and chosen != "guided", "`guided`"),
    ):
        if unused:
            raise InputError(
                f"`{key}` = `{value}` has no effect where `layers` is `{chosen}`. Set `layers` to {needed}, or leave it out."
            )


def check_guiding_distance(keys: LayerKeys) -> None:
    """Raise InputError for a distance that guides nothing, for interventions that it does not weight."""
    if keys.distance and keys.layers != "guided":
        raise InputError(
            f"`distance` = `{keys.distance}` has no effect where `layers` is not `guided`. Set it so, or leave it out."
        )


def layer_choice(keys: LayerKeys, encoder: Encoder, distances: Distances) -> LayerChoice:
    r"""Return the layers that an intervention acts on.

    `guided`: the `count` layers whose drift correlates with distance most strongly. Drift is that of the target languages in
    the files of `measurement` (`drift_cka`, `after`), averaged over the files; a layer's correlation is Spearman's, over
    the languages that all files and this run have, with the run's distance or the one called `distance`. Only layers
    whose correlation has the `sign` are chosen; layers of equal correlation from the lowest up.

    `random`: `count` layers, each set as likely as any other, from torch's stream, seeded by the run's seed: the
    control, with as many layers and no information about them.

    Raises InputError for a `count` out of range, no measurement or one that does not fit this run, fewer than 4 languages,
    or fewer layers of that sign than `count`.

    Reference: Philippy et al. 2023, which freezes layers by the correlation of drift (impact) and distance.
    """
    if keys.layers == "random":
        import torch

        _check_count(keys, encoder)
        drawn = torch.randperm(encoder.layers, device="cpu")[: keys.count] + 1
        layers = tuple(sorted(drawn.tolist()))
        return LayerChoice(layers, {"layers": list(layers)})
    if keys.layers == "guided":
        return _guided(keys, encoder, distances)
    return LayerChoice(layer_numbers(keys.layers, encoder.layers, "layers"))


def _guided(keys: LayerKeys, encoder: Encoder, distances: Distances) -> LayerChoice:
    from distxfer.measure import correlate

    if not keys.measurement:
        raise InputError(
            "`layers` = `guided` needs measured drift. Give `measurement` = the `measurements.parquet` of a run of `plain`"
            " with this model and source (several, of other seeds: with commas between them)."
        )
    _check_count(keys, encoder)
    drifts = [_drift(path.expanduser(), encoder, distances.source) for path in keys.measurement]
    between = distances.by(keys.distance)
    languages = [language for language in between.values if all(language in drift for drift in drifts)]
    if len(languages) < _FEWEST:
        raise InputError(
            f"`measurement` has drift for {len(languages)} of this run's targets ({listed(languages) or 'none'}); expected"
            f" {_FEWEST} at least, to correlate it with distance. Give runs with more of: {listed(between.values)}."
        )
    far = [between.values[language] for language in languages]
    correlations = {
        layer: correlate(
            [fmean(drift[language][layer] for drift in drifts) for language in languages], far, draws=_DRAWS
        ).r
        for layer in range(1, encoder.layers + 1)
    }
    strengths = {layer: r if keys.sign == "positive" else -r for layer, r in correlations.items() if r is not None}
    fitting = sorted((layer for layer in strengths if strengths[layer] > 0), key=lambda layer: -strengths[layer])
    if len(fitting) < keys.count:
        raise InputError(
            f"`count` is `{keys.count}`, but the drift of {len(fitting)} of the {encoder.layers} layers has a {keys.sign}"
            f" correlation with the {between.name} distance, over {len(languages)} languages. Lower `count`, or change `sign`."
        )
    layers = tuple(sorted(fitting[: keys.count]))
    record = {"layers": list(layers), "correlations": {str(layer): r for layer, r in correlations.items()}}
    return LayerChoice(layers, {**record, "languages": languages})


def _check_count(keys: LayerKeys, encoder: Encoder) -> None:
    if not 1 <= keys.count <= encoder.layers:
        raise InputError(
            f"`count` is `{keys.count}`; expected 1 to {encoder.layers}: how many of this encoder's {encoder.layers} layers"
            f" to choose where `layers` is `{keys.layers}`."
        )


def _drift(path: Path, encoder: Encoder, source: str) -> dict[str, dict[int, float]]:
    """Return language -> layer -> drift after training, of a run that has this encoder and source."""
    import pyarrow

    from distxfer._durable import read_table

    try:
        rows = read_table(path).to_pylist()
        rows = [row for row in rows if (row["measure"], row["moment"]) == ("drift_cka", "after")]
        for row in rows:
            _check_kinds(path, row)
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise InputError(
            f"`measurement` = `{path}` cannot be read as the measurements of a run: {error}. Give the"
            " `measurements.parquet` in the folder of a run."
        ) from error
    drift: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["layer"] > 0:
            drift.setdefault(row["language"], {})[row["layer"]] = row["value"]
    if not drift:
        raise InputError(
            f"`measurement` = `{path}` has no rows of the measure `drift_cka` and the moment `after`. Give the"
            " `measurements.parquet` in the folder of a run."
        )
    _check_same(path, max(map(max, drift.values())), encoder, source)
    # A language with fewer than 4 test sentences has rows, and no drift.
    return {language: layers for language, layers in drift.items() if all(map(math.isfinite, layers.values()))}


def _check_kinds(path: Path, row: Mapping[str, Any]) -> None:
    """Refuse a row with something else than a text or a number where one is expected."""
    for column, (kind, expected) in _KINDS.items():
        if not isinstance(row[column], kind):
            raise InputError(
                f"`measurement` = `{path}` has `{row[column]}` in the column `{column}`, but expected {expected}. Give the"
                " `measurements.parquet` in the folder of a run."
            )


def _check_same(path: Path, layers: int, encoder: Encoder, source: str) -> None:
    """Refuse the measurements of another model, depth or source: its layers, or distances, would not be this run's."""
    beside = path.parent / "result.json"
    try:
        data = json.loads(beside.read_text(encoding="utf-8"))
        model, measured_source = str(data["recipe"]["model"]["name"]), data["source"]
        print_of_model = data["provenance"]["fingerprints"]["model"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"`measurement` = `{path}` has no valid `result.json` beside it, which names its model ({error})."
            " Leave the file in the folder of its run."
        ) from error
    # Equal fingerprints are the same model under any path; the name decides only without fingerprints.
    has_fingerprints = bool(encoder.fingerprint and print_of_model)
    same_name = Path(model).expanduser().resolve() == Path(encoder.name).expanduser().resolve()
    same_model = print_of_model == encoder.fingerprint if has_fingerprints else same_name
    if (layers, measured_source) != (encoder.layers, source) or not (same_model or same_name):
        raise InputError(
            f"`measurement` = `{path}` is of the model `{model}` with {layers} layers and the source `{measured_source}`, but"
            f" this run has `{encoder.name}` with {encoder.layers} layers and `{source}`. Give runs of the same model and source."
        )
    if not same_model:
        raise InputError(
            f"`measurement` = `{path}` is of other files of the model `{model}` than this run's: another revision, or weights"
            " that have changed since. Measure a run with this run's files."
        )
