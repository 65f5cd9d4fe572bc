"""Where the weights lie while a phase trains: whole in every process, or divided among the processes (FSDP2)."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from distxfer.encoders import Encoder
from distxfer.interventions import Term
from distxfer.training._objective import Micro
from distxfer.training._processes import Processes

Gradients = Sequence[Tensor | None]  # of one loss, over the parameters that train


class Weights(Protocol):
    """What the loop asks of the place where the weights lie; `encoder` is the one that the objective runs."""

    encoder: Encoder

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Return what is called in the place of the objective; its parameters are those that train from then on."""

    def terms(self, model: nn.Module, micro: Micro) -> dict[str, Term]:
        """Return the objective's terms, by a forward pass of what `wrap` returned."""

    def named(self, moving: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what holds, in this phase, the values of the tensors that any phase may change."""

    def gradients(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> Gradients:
        """Return the gradients of a loss, which keeps its graph; no `.grad` is changed."""

    def acts(self, term: Term, parameters: Sequence[nn.Parameter]) -> bool:
        """Return whether a term has a gradient other than 0, as far as this process can tell."""

    def sum(self, values: Tensor) -> Tensor:
        """Return what is summed over entries of `gradients`, as the sum over all entries of the parameters."""

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Have the run's own encoder hold the weights as they are now, on the device."""

    def close(self) -> None:
        """Leave the weights whole, in the run's own encoder, on whatever device it is."""


class WholeWeights:
    """Every process has all weights; DDP shares the gradients."""

    def __init__(self, encoder: Encoder, processes: Processes) -> None:
        self.encoder, self._processes = encoder, processes

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Return the objective, within DDP where there are several processes."""
        prepared: nn.Module = self._processes.accelerator.prepare(objective)
        return prepared

    def terms(self, model: nn.Module, micro: Micro) -> dict[str, Term]:
        """Return what the model does."""
        found: dict[str, Term] = model(micro)
        return found

    def named(self, moving: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return them as they are."""
        return moving

    def gradients(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> Gradients:
        """Return this process's gradients."""
        return torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)

    def acts(self, term: Term, parameters: Sequence[nn.Parameter]) -> bool:
        """Return whether the term has something to sum over and a gradient, in this process."""
        if not (term.count and term.total.requires_grad):
            return False
        return _any(self.gradients(term.total, parameters))

    def sum(self, values: Tensor) -> Tensor:
        """Return the values: this process has all entries."""
        return values

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """There is nothing to gather."""
        yield

    def close(self) -> None:
        """There is nothing to put back."""


class DividedWeights:
    """Every process has its part of each weight that the phase uses, of its gradient and of its optimiser's state (FSDP2).

    The objective runs a copy of the encoder whose blocks, and all the rest as one group, torch's `fully_shard` divides; a
    block is whole only while it computes. The run's own encoder waits on the CPU with whole weights, under the names that
    all else goes by: to be measured, scored, saved, or divided otherwise in the next phase.

    The processes wait for each other at every block, on the way back too, so that each must make the same passes, and have
    each loss reach the same ones.
    """

    def __init__(self, encoder: Encoder, processes: Processes) -> None:
        self._whole, self._processes = encoder, processes
        self._divided: Mapping[str, Tensor] = {}
        # The copy has modules of its own and the very parameters, until they are divided.
        kept: list[Any] = [*encoder.model.parameters(), encoder.tokenizer]
        self.encoder = copy.deepcopy(encoder, memo={id(one): one for one in kept})

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Divide the weights of the objective."""
        root = _Root(objective)
        for block in self.encoder.block_modules():
            fully_shard(block)
        fully_shard(root)
        self._whole.move_to(torch.device("cpu"))
        for parameter in self._whole.model.parameters():
            parameter.requires_grad_(False)  # what trains is the copy
        return root

    def terms(self, model: nn.Module, micro: Micro) -> dict[str, Term]:
        """Return what the model does, without what is there for FSDP to see."""
        found: dict[str, Term] = model(micro)[0]
        return found

    def named(self, moving: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the divided parameters of these names; modules have others in their place while they compute."""
        self._divided = {name: one for name, one in self.encoder.model.named_parameters() if name in moving}
        return self._divided

    def gradients(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> Gradients:
        """Return this process's part of the gradients, averaged over the processes."""
        before = [one.grad for one in parameters]
        for one in parameters:
            one.grad = None
        loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        found = [None if one.grad is None else local(one.grad) for one in parameters]
        for one, gradient in zip(parameters, before, strict=True):
            one.grad = gradient
        return found

    def acts(self, term: Term, parameters: Sequence[nn.Parameter]) -> bool:
        """Return whether the term has a gradient, in all processes alike."""
        if not term.total.requires_grad:
            return False
        mine = torch.tensor([float(_any(self.gradients(term.total, parameters)))])
        return bool(self._processes.sum(mine) > 0)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over the processes, each of which has a part of the entries."""
        return self._processes.sum(values)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Put the values into the run's own encoder, on the device, and take it from there afterwards."""
        self._gather()
        self._whole.move_to(self._processes.device)
        yield
        self._whole.move_to(torch.device("cpu"))

    def close(self) -> None:
        """Put the values back into the run's own encoder, and let go of the divided ones."""
        self._gather()
        self.encoder, self._divided = self._whole, {}

    def _gather(self) -> None:
        """Put all that any phase may change into the run's own encoder: after a stop, it has nothing of that yet."""
        own = dict(self._whole.model.named_parameters())
        with torch.no_grad():
            for name, one in self._divided.items():
                own[name].copy_(whole(one))


class _Root(nn.Module):
    """The objective, and the tensors that are gone back from: FSDP looks for those where a forward pass ends.

    It sees no tensor within a `Term`, and gradients of all that is in no block would be left with none to gather them where
    no block has any.
    """

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, micro: Micro) -> tuple[dict[str, Term], list[Tensor]]:
        terms: dict[str, Term] = self.objective(micro)
        return terms, [term.total for term in terms.values()]


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with all of its entries; where it is divided, every process has to ask, in the same order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, model: Tensor) -> Tensor:
    """Return a value, which every process has whole, on the device of `model` and divided as that is."""
    value = value.to(model.device)
    if not isinstance(model, DTensor):
        return value
    return distribute_tensor(value, model.device_mesh, model.placements, src_data_rank=None)


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor, or all of it where it is not divided."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _any(gradients: Gradients) -> bool:
    return any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)
