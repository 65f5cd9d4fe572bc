"""Weights while a phase trains: replicated in every process (DDP), or sharded over the processes (FSDP2)."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import get_total_norm

from distxfer.encoders import Encoder
from distxfer.interventions import Term
from distxfer.training._objective import MicroBatch
from distxfer.training._processes import Processes

Gradients = Sequence[Tensor | None]  # of one loss, for each parameter that trains


class Weights:
    """The weights of a phase: here every process has all of them, and DDP averages the gradients.

    `encoder` is the one that the objective runs.
    """

    def __init__(self, encoder: Encoder, processes: Processes) -> None:
        self.encoder, self._processes = encoder, processes

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Return the module to call in place of the objective; its parameters are those that train from then on."""
        prepared: nn.Module = self._processes.accelerator.prepare(objective)
        return prepared

    def terms(self, model: nn.Module, micro_batch: MicroBatch, names: Sequence[str] | None = None) -> dict[str, Term]:
        """Return the objective's terms, or those of some `names`, by a forward pass of the module that `wrap` returned."""
        terms: dict[str, Term] = model(micro_batch, names)
        return terms

    def named(self, changing: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the tensors that hold, in this phase, the values of the tensors that any phase may change."""
        return changing

    def gradients(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> Gradients:
        """Return the gradients of a loss in this process; the loss keeps its graph, and no `.grad` changes."""
        return torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)

    def acts(self, term: Term, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Return whether a term has a gradient other than 0, as far as this process knows, on the device."""
        if not (term.num_items and term.loss_sum.requires_grad):
            return torch.zeros((), dtype=torch.bool)
        return _has_nonzero(self.gradients(term.loss_sum, parameters))

    def sum(self, values: Tensor) -> Tensor:
        """Return sums over the entries of `gradients` as sums over all entries of the parameters."""
        return values

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Have the present weights in the run's own encoder, on the device."""
        yield

    def close(self) -> None:
        """Leave the full weights in the run's own encoder, on whatever device it is."""


class ShardedWeights(Weights):
    """Every process has a shard of each weight of the phase, of its gradient and of the optimiser's state (FSDP2).

    The objective runs a copy of the encoder that torch's `fully_shard` shards: each block, and the rest as one group. A
    block is gathered only while it computes. The run's own encoder keeps full weights on the CPU, under their usual names,
    for measuring, scoring and saving, and for the next phase, which may shard others.

    The processes synchronise at every block, forward and backward. So each must make the same passes, and every loss must
    reach the same passes.
    """

    def __init__(self, encoder: Encoder, processes: Processes) -> None:
        self._whole = encoder
        self._sharded: Mapping[str, Tensor] = {}
        # The copy has modules of its own and shares the parameters until they are sharded.
        shared: list[Any] = [*encoder.model.parameters(), encoder.tokenizer]
        super().__init__(copy.deepcopy(encoder, memo={id(entry): entry for entry in shared}), processes)

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Shard the weights of the objective."""
        root = _Root(objective)
        for block in self.encoder.block_modules():
            fully_shard(block)
        fully_shard(root)
        self._whole.move_to(torch.device("cpu"))
        for parameter in self._whole.model.parameters():
            parameter.requires_grad_(False)  # the copy trains
        return root

    def terms(self, model: nn.Module, micro_batch: MicroBatch, names: Sequence[str] | None = None) -> dict[str, Term]:
        """Return the terms of the module, without the tensors that are returned for FSDP."""
        terms: dict[str, Term] = model(micro_batch, names)[0]
        return terms

    def named(self, changing: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the sharded parameters of these names, which modules replace while they compute."""
        self._sharded = {
            name: parameter for name, parameter in self.encoder.model.named_parameters() if name in changing
        }
        return self._sharded

    def gradients(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> Gradients:
        """Return this process's shard of the gradients, averaged over the processes."""
        before = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        gradients = [None if parameter.grad is None else local_shard(parameter.grad) for parameter in parameters]
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient
        return gradients

    def acts(self, term: Term, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Return whether the term has a gradient other than 0 in this process's shard: all make the same passes."""
        if not term.loss_sum.requires_grad:
            return torch.zeros((), dtype=torch.bool)
        return _has_nonzero(self.gradients(term.loss_sum, parameters))

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over the processes, each of which has a shard of the entries."""
        return self._processes.sum(values)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Copy the values to the run's own encoder, on the device, and move it back to the CPU afterwards."""
        self._gather()
        self._whole.move_to(self._processes.device)
        yield
        self._whole.move_to(torch.device("cpu"))

    def close(self) -> None:
        """Copy the values to the run's own encoder, and drop the shards."""
        self._gather()
        self.encoder, self._sharded = self._whole, {}

    def _gather(self) -> None:
        """Copy all that any phase may change to the run's own encoder, which lacks it after a resume."""
        parameters = dict(self._whole.model.named_parameters())
        with torch.no_grad():
            for name, shard in self._sharded.items():
                parameters[name].copy_(full_tensor(shard))


class _Root(nn.Module):
    """The objective, which also returns the totals of its terms: FSDP looks for tensors in the output of a forward pass.

    It finds none within a `Term`, and would not reduce the gradients of parameters outside the blocks where no block has
    a gradient.
    """

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(
        self, micro_batch: MicroBatch, names: Sequence[str] | None = None
    ) -> tuple[dict[str, Term], list[Tensor]]:
        terms: dict[str, Term] = self.objective(micro_batch, names)
        return terms, [term.loss_sum for term in terms.values()]


def full_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor with all of its entries; for a sharded one, a collective call of all processes."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(value: Tensor, model: Tensor) -> Tensor:
    """Return a value, which every process has in full, on the device of `model` and sharded in the same way."""
    value = value.to(model.device)
    if not isinstance(model, DTensor):
        return value
    return distribute_tensor(value, model.device_mesh, model.placements, src_data_rank=None)


def local_shard(tensor: Tensor) -> Tensor:
    """Return this process's shard of a tensor, or all of it where it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all entries of this process's shards are numbers; a tenth of the time of `isfinite` where they are."""
    shards = [local_shard(tensor.detach()) for tensor in tensors if tensor.is_floating_point()]
    norm = get_total_norm(shards)  # which may overflow, too
    return bool(norm.isfinite()) or all(bool(shard.isfinite().all()) for shard in shards)


def _has_nonzero(gradients: Gradients) -> Tensor:
    return get_total_norm([gradient for gradient in gradients if gradient is not None], norm_type=1) > 0
