"""Hold the representation space near the pretrained one: a penalty on drift, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from distxfer.errors import InputError
from distxfer.interventions import _shared_keys as shared
from distxfer.interventions._contract import (
    CKA_ROWS,
    BoundIntervention,
    Languages,
    Need,
    Step,
    Term,
    distinct_texts,
    empty_term,
)
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.data import Batch
    from distxfer.encoders import Encoded, Encoder

_NEEDS: dict[str, tuple[Need, ...]] = {
    "task": ("task_reference",),
    "target": ("reference", "target_text"),
    "pairs": ("reference", "pairs"),
}
_FEWEST = {"cka": CKA_ROWS, "relational": 2, "cosine": 1, "mse": 1}  # distinct texts per batch that a measure needs


@dataclass(frozen=True)
class Drift:
    """Add `weight` times the mean over `layers` of the drift of the pooled states H_l from the pretrained H0_l.

    Per batch: `cka`: 1 - CKA(H0_l, H_l), unbiased and linear (the drift of the report), over the distinct texts; batches of
    fewer than 16 count 0. `relational`: the mean over pairs of rows of (cos(h_i, h_j) - cos(h0_i, h0_j))^2. Per sentence:
    `cosine`: 1 - cos(h0, h); `mse`: |h - h0|^2 / |h0|^2.

    `text` is `task`: the task's own inputs, without another forward pass; or text of one target language per micro-batch,
    drawn or scaled by distance: `batch_size` unlabelled texts (`target`), or both sides of as many `pairs` as rows of one
    batch. CKA of each side alone would let the sides move apart as a whole; in one batch it also holds their relative
    position. (The rows are then not independent, so unbiased CKA is a penalty, not an estimate.)

    `layers` can be chosen as in `freeze`: `guided` by the drift in the runs of `measurement`, or `random`.

    References: drift as in Philippy et al. 2023 (1 - CKA); CKA of Kornblith et al. 2019; relations as in Park et al. 2019.
    A penalty on target text alone lets the source move away from it: compare with `task` or `pairs`.
    """

    weight: Annotated[float, Field(description="factor of the penalty", ge=0)] = 1.0
    measure: Annotated[Literal["cka", "relational", "cosine", "mse"], Field(description="measure of drift")] = "cka"
    layers: shared.ChosenLayers = "all"
    count: shared.Count = 0
    measurement: shared.Measurement = ()
    sign: shared.Sign = "positive"
    text: Annotated[
        Literal["task", "target", "pairs"],
        Field(description="texts that are held; pairs: both sides"),
    ] = "task"
    languages: shared.LanguageList = "all"
    batch_size: Annotated[int, Field(description="texts or pairs per micro-batch, unless text=task", ge=4)] = 32
    weighting: shared.Weighting = "uniform"
    weighting_by: shared.WeightingBy = "scaling"
    distance: shared.OtherDistance = ""

    def __post_init__(self) -> None:
        """Refuse settings that would have no effect."""
        shared.check_layer_keys(self, weights_languages=True)
        drawing = ["languages", "batch_size", "weighting", "weighting_by"]
        of_target_text = drawing if self.layers == "guided" else [*drawing, "distance"]  # which guides, too
        unused = [
            key.name for key in fields(self) if key.name in of_target_text and getattr(self, key.name) != key.default
        ]
        if self.text == "task" and unused:
            raise InputError(
                f"`{unused[0]}` = `{getattr(self, unused[0])}` has no effect on the task's inputs, which are all in the"
                " source language. Set `text` to `target` or `pairs`, or leave it out."
            )
        if self.text != "task" and self.batch_size < self._fewest:
            raise InputError(
                f"`batch_size` = `{self.batch_size}` is too small for the measure `{self.measure}` on `{self.text}`, which"
                f" needs {_FEWEST[self.measure]} texts per batch. Give at least {self._fewest}."
            )

    @property
    def _fewest(self) -> int:
        """The fewest texts, or pairs of texts, that a batch must have."""
        return -(-_FEWEST[self.measure] // (2 if self.text == "pairs" else 1))

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the penalty as a term; no parameter is frozen."""
        layers, record = shared.layer_choice(self, encoder, distances)
        guides_only = self.layers == "guided" and self.weighting == "uniform"  # then `distance` weighs no language
        drawing = replace(self, distance="") if guides_only else self
        choice = None if self.text == "task" else shared.language_choice(drawing, languages, distances)

        def term(step: Step) -> Term:
            if choice is None:
                return self._term(step, step.batch, step.encoded(), layers)
            language, factor = choice.draw(step.random)
            if self.text == "target":
                batch = step.sample_texts(language, self.batch_size)
            else:  # both sides as one batch, with one mean and one pass
                source, target = step.sample_pairs(language, self.batch_size)
                batch = step.collate([*source.examples, *target.examples])
            return self._term(step, batch, step.encode(batch), layers, factor)

        return BoundIntervention(
            term=term,
            weight=self.weight,
            needs=frozenset(_NEEDS[self.text]),
            languages=choice.languages if choice else (),
            resolved_values=record,
            layers=layers,
            own_passes=self.text != "task",
            min_distinct_texts=self._fewest,
        )

    def _term(self, step: Step, batch: Batch, encoded: Encoded, layers: Sequence[int], factor: float = 1.0) -> Term:
        """Return the sum over the batch: one item for a measure of the batch, else one per sentence."""
        import torch

        from distxfer.measure import cka, cosine_drift, normalised_mse, relational_drift

        per: Literal["batch", "example"] = "batch" if self.measure in ("cka", "relational") else "example"
        # Unbiased CKA assumes independent rows, so equal texts count once.
        rows = distinct_texts(batch) if self.measure == "cka" else list(range(len(batch)))
        if len(rows) < _FEWEST[self.measure]:
            return empty_term(step, [encoded.pooled(layer) for layer in layers], per)
        now = torch.stack([encoded.pooled(layer) for layer in layers])
        before = step.reference(batch)[list(layers)].to(now)
        if len(rows) < len(batch):
            now, before = now[:, rows], before[:, rows]
        measures = {"relational": relational_drift, "cosine": cosine_drift, "mse": normalised_mse}
        drift = 1 - cka(before, now) if self.measure == "cka" else measures[self.measure](now, before)
        return Term(factor * drift.mean(dim=0).sum(), 1 if per == "batch" else len(batch), per)
