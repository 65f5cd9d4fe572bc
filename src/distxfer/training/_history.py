"""State of a phase beside the weights: starting values, masks of entries, running means, terms with an effect."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from distxfer.errors import RunError
from distxfer.interventions import BoundIntervention, Change

_START, _MASK, _MEAN, _EFFECTIVE, _LABELS = "start", "mask", "mean", "proven", "labels"


class History:
    """Tensors that a checkpoint holds beside the weights, so that a resumed run equals an uninterrupted one.

    `tensors` holds them by name: `start/PHASE/PARAMETER`, and of the present phase `mask/PARAMETER`, `mean/PARAMETER`,
    `proven/TERM` and `labels/TERM/LANGUAGE`.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def keep_start(self, phase: str, weights: Mapping[str, Tensor]) -> None:
        """Keep a copy of the weights at the start of `phase`."""
        for name, weight in weights.items():
            self.tensors[f"{_START}/{phase}/{name}"] = weight.detach().clone()

    def rewind(self, phase: str, weights: Mapping[str, Tensor]) -> None:
        """Set the weights to their values at the start of `phase`."""
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(self.tensors[f"{_START}/{phase}/{name}"])

    def merge(self, phase: str, weights: Mapping[str, Tensor], share: float) -> None:
        """Set the weights to (1 - share) w + share w_start, with those at the start of `phase`."""
        with torch.no_grad():
            for name, weight in weights.items():
                weight += share * (self.tensors[f"{_START}/{phase}/{name}"] - weight)

    def choose_entries(self, phase: str, weights: Mapping[str, Tensor], bounds: Iterable[BoundIntervention]) -> None:
        """Ask the interventions which entries of the weights may train, given the changes since `phase` began.

        Raises RunError for a mask that fits no weight, or where all entries may train, or none.
        """
        choices = [bound.entries for bound in bounds if bound.entries is not None]
        if not choices:
            return
        changes = {
            name: Change(self.tensors[f"{_START}/{phase}/{name}"], weight.detach()) for name, weight in weights.items()
        }
        for entries in choices:
            for name, mask in entries(changes).items():
                if name not in weights or mask.shape != weights[name].shape or mask.dtype != torch.bool:
                    raise RunError(
                        f"`entries` returned no valid mask for `{name}`. Return, for parameters that train, a boolean tensor of"
                        " the parameter's shape."
                    )
                key = f"{_MASK}/{name}"
                self.tensors[key] = mask & self.tensors[key] if key in self.tensors else mask.clone()
        masks = dict(self._masks(weights))
        allowed = sum(int(masks[name].sum()) if name in masks else weight.numel() for name, weight in weights.items())
        if allowed in (0, sum(weight.numel() for weight in weights.values())):
            raise RunError(
                f"`entries` let {allowed} entries train, which is {'all' if allowed else 'none'} of them. Select some."
            )

    def mask_gradients(self, weights: Mapping[str, Tensor]) -> None:
        """Zero the gradient of the entries that may not train."""
        for name, mask in self._masks(weights):
            gradient = weights[name].grad
            if gradient is not None:
                gradient.mul_(mask)

    def restore_entries(self, phase: str, weights: Mapping[str, Tensor]) -> None:
        """Reset the entries that may not train: weight decay changes entries without a gradient too."""
        with torch.no_grad():
            for name, mask in self._masks(weights):
                weights[name].copy_(torch.where(mask, weights[name], self.tensors[f"{_START}/{phase}/{name}"]))

    def add_to_mean(self, weights: Mapping[str, Tensor], n: int) -> None:
        """Add the weights to their running mean, as the `n`-th of them, from 1."""
        for name, weight in weights.items():
            key = f"{_MEAN}/{name}"
            if n == 1:
                self.tensors[key] = weight.detach().clone()
            else:
                self.tensors[key] += (weight.detach() - self.tensors[key]) / n

    def to_mean(self, weights: Mapping[str, Tensor]) -> None:
        """Set the weights to their running mean, and drop the mean."""
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(self.tensors.pop(f"{_MEAN}/{name}"))

    def keep_labels(self, term: str, labels: Mapping[str, Tensor]) -> None:
        """Keep the labels of a term's texts, (texts, classes) or (texts, d) for each language."""
        for language, rows in labels.items():
            self.tensors[f"{_LABELS}/{term}/{language}"] = rows

    def labels(self, term: str, language: str) -> Tensor:
        """Return the labels of a term's texts, on the CPU."""
        return self.tensors[f"{_LABELS}/{term}/{language}"].cpu()

    def record_effect(self, term: str) -> None:
        """Record that a term had a gradient in this phase."""
        self.tensors[f"{_EFFECTIVE}/{term}"] = torch.ones(())

    def has_effect(self, term: str) -> bool:
        """Return whether a term had a gradient in this phase, also before the run was stopped."""
        return f"{_EFFECTIVE}/{term}" in self.tensors

    def forget(self, needed: Collection[str]) -> None:
        """Drop the tensors of the phase that ends, and the starts of all phases except the `needed`."""
        starts = tuple(f"{_START}/{phase}/" for phase in needed)
        self.tensors = {name: tensor for name, tensor in self.tensors.items() if name.startswith(starts)}

    def _masks(self, weights: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
        return [(name, self.tensors[f"{_MASK}/{name}"]) for name in weights if f"{_MASK}/{name}" in self.tensors]
