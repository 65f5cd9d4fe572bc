"""Keys that several interventions share: which target language a term draws, and on which layers it acts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from distxfer._lists import comma_separated
from distxfer.encoders import Layers, layer_numbers
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.interventions._contract import Languages
from distxfer.languages import Distances, canonical, weights
from distxfer.languages import distances as between_languages

if TYPE_CHECKING:
    import pandas as pd

    from distxfer.encoders import Encoder
    from distxfer.interventions.align import Align
    from distxfer.interventions.code_switch import CodeSwitch
    from distxfer.interventions.consistency import Consistency
    from distxfer.interventions.drift import Drift
    from distxfer.interventions.freeze import Freeze
    from distxfer.interventions.l2_sp import L2SP
    from distxfer.interventions.language_modelling import LanguageModelling
    from distxfer.interventions.self_training import SelfTraining
    from distxfer.interventions.state_teacher import StateTeacher
    from distxfer.interventions.teacher import FixedTeacher
    from distxfer.interventions.typology import Typology

Weighting = Annotated[
    Literal["uniform", "linear", "power", "rank", "softmax"],
    Field(description="how a distance becomes a language's weight"),
]
WeightingBy = Annotated[Literal["sampling", "scaling"], Field(description="whether the weight scales draws or losses")]
LanguageList = Annotated[
    tuple[str, ...] | Literal["all"],
    BeforeValidator(comma_separated("all")),
    Field(description="targets that are drawn"),
]
OtherDistance = Annotated[str, Field(description="distance, if not the recipe's: its name, or shuffled")]
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
_DRAWS = 99  # the minimum of `correlate`, whose p value is not used
_COLUMNS = {"measure": "string", "moment": "string", "language": "string", "layer": "int64", "value": "float64"}


@dataclass(frozen=True)
class LanguageChoice:
    """A distribution over target languages and a factor for each: w has mean 1 over the languages.

    `sampling`: language l is drawn with probability w_l / sum(w), with factor 1. `scaling`: languages are drawn uniformly,
    with factor w_l. Both have the same expected objective.
    """

    weights: dict[str, float]
    by: WeightingBy

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that can be drawn."""
        return tuple(self.weights)

    def draw(self, random: np.random.Generator) -> tuple[str, float]:
        """Return a language and the factor of its term."""
        values = np.array(list(self.weights.values()))
        chances = values / values.sum() if self.by == "sampling" else None
        language = self.languages[int(random.choice(len(values), p=chances))]
        return language, 1.0 if self.by == "sampling" else self.weights[language]


def language_choice(
    keys: Align
    | CodeSwitch
    | Consistency
    | Drift
    | FixedTeacher
    | LanguageModelling
    | SelfTraining
    | StateTeacher
    | Typology,
    languages: Languages,
    distances: Distances,
) -> LanguageChoice:
    """Return the choice among the recipe's targets, or some of them, weighted by a distance from the source.

    `distance` names another distance than the recipe's, or `shuffled`: the recipe's values, permuted
    among the languages, as a control for whether distance matters.

    Raises InputError for a language that is no target of the run, or a distance it has no data for.
    """
    if keys.weighting == "uniform" and keys.distance:
        raise InputError(
            f"`distance` = `{keys.distance}` has no effect where `weighting` is `uniform`. Choose another, or leave it out."
        )
    chosen = languages.targets
    if keys.languages != "all":
        chosen = tuple(canonical(code) for code in keys.languages)
        for language in chosen:
            if language not in languages.targets:
                raise InputError(
                    f"The intervention names `{language}`, which is no target of this run."
                    f"{did_you_mean(language, languages.targets)} Targets: {listed(languages.targets)}."
                )
        if len(set(chosen)) < len(chosen) or not chosen:
            raise InputError(
                f"The intervention's `languages` are `{listed(keys.languages)}`; expected each once, and at least one."
            )
    values = distances.by(keys.distance).values if keys.weighting != "uniform" else dict.fromkeys(distances.values, 1.0)
    return LanguageChoice(
        weights({language: values[language] for language in chosen}, keys.weighting), keys.weighting_by
    )


def check_layer_keys(keys: Drift | Freeze | L2SP, *, weights_languages: bool = False) -> None:
    """Raise InputError for a key that has no effect with this value of `layers`.

    `weights_languages`: `distance` has an effect of its own.
    """
    chosen = keys.layers if isinstance(keys.layers, str) else ",".join(map(str, keys.layers))
    distance = "" if weights_languages else keys.distance
    for key, value, default, needed in (
        ("count", keys.count, 0, ("guided", "random")),
        ("measurement", ",".join(map(str, keys.measurement)), "", ("guided",)),
        ("sign", keys.sign, "positive", ("guided",)),
        ("distance", distance, "", ("guided",)),
    ):
        if value != default and chosen not in needed:
            raise InputError(
                f"`{key}` = `{value}` has no effect where `layers` is `{chosen}`. Set `layers` to"
                f" {' or '.join(f'`{word}`' for word in needed)}, or leave it out."
            )


def layer_choice(
    keys: Drift | Freeze | L2SP, encoder: Encoder, distances: Distances
) -> tuple[tuple[int, ...], dict[str, Any]]:
    r"""Return the layers that an intervention acts on, in order, and the record of their choice for the result.

    `guided`: the `count` layers whose drift correlates with distance most strongly. Drift is that of the target languages in
    the files of `measurement` (`drift_cka`, `after`), averaged over the files of a source; a layer's correlation is Spearman's,
    over the pairs of each source with the languages that all files and this run have, with the run's distance or the one called
    `distance`. Only layers whose correlation has the `sign` are chosen; layers of equal correlation from the lowest up.

    `random`: `count` layers, each set as likely as any other, from torch's stream, seeded by the run's seed: the
    control, with as many layers and no information about them.

    Raises InputError for a `count` out of range, no measurement or one that does not fit this run, fewer than 4 languages,
    or fewer layers of that sign than `count`.

    Reference: Philippy et al. 2023, which freezes layers by the correlation of drift (impact) and distance.
    """
    if keys.layers == "guided" and not keys.measurement:
        raise InputError(
            "`layers` = `guided` needs measured drift. Give `measurement` = the `measurements.parquet` of a run of `plain`"
            " with this model (several, of other seeds or sources: with commas between them)."
        )
    if keys.layers in ("guided", "random") and not 1 <= keys.count <= encoder.layers:
        raise InputError(
            f"`count` is `{keys.count}`; expected 1 to {encoder.layers}: how many of this encoder's {encoder.layers} layers"
            f" to choose where `layers` is `{keys.layers}`."
        )
    if keys.layers == "random":
        import torch

        drawn = torch.randperm(encoder.layers, device="cpu")[: keys.count] + 1
        layers = tuple(sorted(drawn.tolist()))
        return layers, {"layers": list(layers)}
    if keys.layers == "guided":
        return _guided(keys, encoder, distances)
    return layer_numbers(keys.layers, encoder.layers, "layers"), {}


def _guided(
    keys: Drift | Freeze | L2SP, encoder: Encoder, distances: Distances
) -> tuple[tuple[int, ...], dict[str, Any]]:
    import pandas as pd

    from distxfer.measure import correlate

    measured: dict[str, list[pd.DataFrame]] = {}
    for path in keys.measurement:
        source, drift = _drift(path.expanduser(), encoder)
        measured.setdefault(source, []).append(drift)
    between = {source: _from(source, distances, keys.distance) for source in measured}
    drifts = [drift for of_source in measured.values() for drift in of_source]
    languages = [language for language in distances.entries if all(language in drift for drift in drifts)]
    if len(languages) < _FEWEST:
        raise InputError(
            f"`measurement` has drift for {len(languages)} of this run's targets ({listed(languages) or 'none'}); expected"
            f" {_FEWEST} at least, to correlate it with distance. Give runs with more of: {listed(distances.entries)}."
        )
    pairs = [(source, language) for source in measured for language in languages if language != source]
    far = [between[source][language] for source, language in pairs]
    means = {source: pd.concat(drifts).groupby(level="layer").mean() for source, drifts in measured.items()}
    correlations = {
        layer: correlate(
            np.array([means[source].at[layer, language] for source, language in pairs], float), far, draws=_DRAWS
        ).r
        for layer in range(1, encoder.layers + 1)
    }
    strengths = {layer: r if keys.sign == "positive" else -r for layer, r in correlations.items() if r is not None}
    fitting = sorted((layer for layer in strengths if strengths[layer] > 0), key=lambda layer: -strengths[layer])
    if len(fitting) < keys.count:
        raise InputError(
            f"`count` is `{keys.count}`, but the drift of {len(fitting)} of the {encoder.layers} layers has a {keys.sign}"
            f" correlation with the {keys.distance or distances.name} distance, over {len(languages)} languages. Lower `count`,"
            " or change `sign`."
        )
    layers = tuple(sorted(fitting[: keys.count]))
    record = {"layers": list(layers), "correlations": {str(layer): r for layer, r in correlations.items()}}
    sources = {"sources": list(measured)} if {*measured} != {distances.source} else {}
    return layers, {**record, "languages": languages, **sources}


def _from(source: str, distances: Distances, name: str) -> dict[str, float]:
    """Return the distances of this run's languages from a source that was measured: from its own, the run's.

    Raises InputError for another source and distances that only the run's own has.
    """
    if source == distances.source:
        return distances.by(name).values
    name = name or distances.name
    if name in ("matrix", "shuffled"):
        raise InputError(
            f"`measurement` has runs with the source `{source}`, and the distance `{name}` is known from this run's source"
            f" `{distances.source}` alone. Name a distance of URIEL as `distance`, or give runs with this source."
        )
    targets = [language for language in (distances.source, *distances.entries) if language != source]
    return between_languages(source, targets, name, imputed=distances.imputed).values


def _drift(path: Path, encoder: Encoder) -> tuple[str, pd.DataFrame]:
    """Return the source and the drift after training (layers, languages) of a run that has this encoder.

    Raises InputError for the measurements of another model or depth: its layers are not this run's.
    """
    import pyarrow

    from distxfer._durable import read_table

    try:
        stored = read_table(path).select(list(_COLUMNS)).cast(pyarrow.schema(list(_COLUMNS.items())))
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        raise InputError(
            f"`measurement` = `{path}` cannot be read as the measurements of a run: {error}. Give the"
            " `measurements.parquet` in the folder of a run."
        ) from error
    rows = stored.to_pandas().query("measure == 'drift_cka' and moment == 'after' and layer > 0")
    if rows.empty:
        raise InputError(
            f"`measurement` = `{path}` has no rows of the measure `drift_cka` and the moment `after`. Give the"
            " `measurements.parquet` in the folder of a run."
        )
    try:
        data = json.loads((path.parent / "result.json").read_text(encoding="utf-8"))
        model, measured_source = str(data["recipe"]["model"]["name"]), data["source"]
        fingerprint = data["provenance"]["fingerprints"]["model"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"`measurement` = `{path}` has no valid `result.json` beside it, which names its model ({error})."
            " Leave the file in the folder of its run."
        ) from error
    # Equal fingerprints are the same model under any path; the name decides only without fingerprints.
    same_name = Path(model).expanduser().resolve() == Path(encoder.name).expanduser().resolve()
    same_files = fingerprint == encoder.fingerprint if encoder.fingerprint and fingerprint else same_name
    layers = int(rows["layer"].max())
    if layers != encoder.layers or not (same_files or same_name):
        raise InputError(
            f"`measurement` = `{path}` is of the model `{model}` with {layers} layers, but this run has `{encoder.name}` with"
            f" {encoder.layers} layers. Give runs of the same model."
        )
    if not same_files:
        raise InputError(
            f"`measurement` = `{path}` is of other files of the model `{model}` than this run's: another revision, or weights"
            " that have changed since. Measure a run with this run's files."
        )
    # A language with fewer than 4 test sentences has rows, and no drift.
    table = rows.pivot_table(index="layer", columns="language", values="value", aggfunc="last", dropna=False)
    return str(measured_source), table.dropna(axis="columns")
