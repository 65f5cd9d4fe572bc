"""What a phase needs of the past: where weights began, which entries may move, their mean, and which terms act."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from distxfer.errors import RunError
from distxfer.interventions import Bound, Change

_START, _MASK, _MEAN, _PROVEN = "start", "mask", "mean", "proven"


class History:
    """Tensors that stand beside the weights in a checkpoint, so that a run goes on as if it had not been stopped.

    `kept` holds them by name: `start/PHASE/PARAMETER`, and of the present phase `mask/PARAMETER`, `mean/PARAMETER` and
    `proven/TERM`.
    """

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
        """Let the interventions say which entries of the weights may train, from what has changed since `phase` began.

        Raises RunError for a mask that fits no weight, or where all entries may train, or none.
        """
        choices = [bound.entries for bound in bounds if bound.entries is not None]
        if not choices:
            return
        changes = {name: Change(self.kept[f"{_START}/{phase}/{name}"], one.detach()) for name, one in weights.items()}
        for entries in choices:
            for name, mask in entries(changes).items():
                if name not in weights or mask.shape != weights[name].shape or mask.dtype != torch.bool:
                    raise RunError(
                        f"`entries` returned for `{name}` what is no mask of a parameter that trains. Return a tensor of"
                        " booleans in the shape of the parameter."
                    )
                key = f"{_MASK}/{name}"
                self.kept[key] = mask & self.kept[key] if key in self.kept else mask.clone()
        masks = dict(self._masks(weights))
        allowed = sum(int(masks[name].sum()) if name in masks else one.numel() for name, one in weights.items())
        if allowed in (0, sum(one.numel() for one in weights.values())):
            raise RunError(
                f"`entries` let {allowed} entries train, which is {'all' if allowed else 'none'} of them. Select some."
            )

    def mask_gradients(self, weights: Mapping[str, Tensor]) -> None:
        """Take away the gradient of the entries that may not train."""
        for name, mask in self._masks(weights):
            gradient = weights[name].grad
            if gradient is not None:
                gradient.mul_(mask)

    def restore_entries(self, phase: str, weights: Mapping[str, Tensor]) -> None:
        """Put the entries that may not train back to where they were: weight decay moves what has no gradient, too."""
        with torch.no_grad():
            for name, mask in self._masks(weights):
                weights[name].copy_(torch.where(mask, weights[name], self.kept[f"{_START}/{phase}/{name}"]))

    def add_to_mean(self, weights: Mapping[str, Tensor], n: int) -> None:
        """Take the weights into their running mean, as the `n`-th of them, from 1."""
        for name, one in weights.items():
            key = f"{_MEAN}/{name}"
            if n == 1:
                self.kept[key] = one.detach().clone()
            else:
                self.kept[key] += (one.detach() - self.kept[key]) / n

    def to_mean(self, weights: Mapping[str, Tensor]) -> None:
        """Set the weights to their running mean, which is then done with."""
        with torch.no_grad():
            for name, one in weights.items():
                one.copy_(self.kept.pop(f"{_MEAN}/{name}"))

    def prove(self, term: str) -> None:
        """Note that a term has been seen to act in this phase."""
        self.kept[f"{_PROVEN}/{term}"] = torch.ones(())

    def is_proven(self, term: str) -> bool:
        """Return whether a term has been seen to act in this phase, also before the run was stopped."""
        return f"{_PROVEN}/{term}" in self.kept

    def forget(self, needed: Collection[str]) -> None:
        """Drop what belongs to the phase that ends, and the starts of all phases but the `needed`."""
        starts = tuple(f"{_START}/{phase}/" for phase in needed)
        self.kept = {name: one for name, one in self.kept.items() if name.startswith(starts)}

    def _masks(self, weights: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
        return [(name, self.kept[f"{_MASK}/{name}"]) for name in weights if f"{_MASK}/{name}" in self.kept]
