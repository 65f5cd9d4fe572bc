"""What a phase needs of the past: where weights began, which of their entries may move, and their running mean."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from distxfer.errors import RunError
from distxfer.interventions import Bound, Change

# Under these names they stand in a checkpoint, so that a run goes on as if it had not been stopped.
_START, _MASK, _MEAN = "start", "mask", "mean"


class History:
    """Tensors that are kept beside the weights, by name, and go into the checkpoint with them."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def keep_start(self, phase: str, weights: Mapping[str, Tensor]) -> None:
        """Keep the weights as they are now that `phase` begins."""
        for name, one in weights.items():
            self.kept[f"{_START}/{phase}/{name}"] = one.detach().clone()

    def rewind(self, phase: str, weights: Mapping[str, Tensor]) -> None:
        """Set the weights back to what they were when `phase` began."""
        with torch.no_grad():
            for name, one in weights.items():
                one.copy_(self.kept[f"{_START}/{phase}/{name}"])

    def choose_entries(self, phase: str, weights: Mapping[str, Tensor], bounds: Iterable[Bound]) -> None:
        """Let every intervention that is asked say which entries of the weights may train, from what `phase` changed.

        Raises RunError for a mask of another shape, or one that lets all entries train, or none.
        """
        changes = {
            name: Change(self.kept[f"{_START}/{phase}/{name}"], one.detach().clone()) for name, one in weights.items()
        }
        for bound in bounds:
            if bound.entries is None:
                continue
            masks = bound.entries(changes)
            for name, mask in masks.items():
                if name not in weights or mask.shape != weights[name].shape:
                    raise RunError(f"`entries` returned a mask for `{name}` that fits no parameter that trains.")
                key = f"{_MASK}/{name}"
                self.kept[key] = mask & self.kept[key] if key in self.kept else mask.clone()
        allowed = sum(int(self._mask(name, one).sum()) for name, one in weights.items())
        if allowed in (0, sum(one.numel() for one in weights.values())):
            raise RunError(f"`entries` let {allowed} entries train: all of them, or none. That is no selection.")

    def mask_gradients(self, weights: Mapping[str, Tensor]) -> None:
        """Take away the gradient of the entries that may not train."""
        for name, one in self._masked(weights):
            if one.grad is not None:
                one.grad.mul_(self.kept[f"{_MASK}/{name}"])

    def restore_entries(self, phase: str, weights: Mapping[str, Tensor]) -> None:
        """Put the entries that may not train back to where they were: weight decay moves what has no gradient, too."""
        with torch.no_grad():
            for name, one in self._masked(weights):
                one.copy_(torch.where(self.kept[f"{_MASK}/{name}"], one, self.kept[f"{_START}/{phase}/{name}"]))

    def add_to_mean(self, weights: Mapping[str, Tensor], n: int) -> None:
        """Take the weights into their running mean, as the `n`-th of them, from 1."""
        for name, one in weights.items():
            key = f"{_MEAN}/{name}"
            if n == 1:
                self.kept[key] = one.detach().clone()
            else:
                self.kept[key] += (one.detach() - self.kept[key]) / n

    def to_mean(self, weights: Mapping[str, Tensor]) -> None:
        """Set the weights to their running mean."""
        with torch.no_grad():
            for name, one in weights.items():
                one.copy_(self.kept[f"{_MEAN}/{name}"])

    def forget(self, starts: Sequence[str] = ()) -> None:
        """Drop what belongs to one phase alone, and the starts of phases that nobody goes back to any more."""
        self.kept = {
            name: one
            for name, one in self.kept.items()
            if name.split("/")[0] == _START and name.split("/")[1] in starts
        }

    def _mask(self, name: str, weight: Tensor) -> Tensor:
        mask = self.kept.get(f"{_MASK}/{name}")
        return torch.ones_like(weight, dtype=torch.bool) if mask is None else mask

    def _masked(self, weights: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
        return [(name, one) for name, one in weights.items() if f"{_MASK}/{name}" in self.kept]
