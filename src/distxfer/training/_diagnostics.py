"""Diagnostics of the gradients of one step: conflict of each term with the task, and its share of the gradient."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor


def gradient_diagnostics(
    gradients: Mapping[str, Sequence[Tensor | None]], task: str, add: Callable[[Tensor], Tensor] = lambda sums: sums
) -> dict[str, float]:
    r"""Return the cosine of every term's gradient with the task's, and every term's share of their sum.

    With :math:`g_i` the gradient of summand i of the objective, weight included, over all parameters that train, and
    :math:`g = \sum_i g_i`:

    - `gradient/NAME/cosine`: :math:`\langle g_i, g_{task} \rangle / (|g_i| |g_{task}|)`, in [-1, 1]; near 0 where term
      and task are independent, below 0 where they conflict.
    - `gradient/NAME/share`: :math:`\langle g_i, g \rangle / |g|^2`; the shares sum to 1, and one is negative where the
      step goes against that term.

    `gradients` lists those of each summand in the order of the parameters, None where there is none. Where each process
    has a shard of them, `add` sums over the processes. A number that is undefined, because a gradient is 0, is left out.
    Reference for the cosine: gradient conflict as in Yu et al. 2020 (gradient surgery), eq. 1.
    """
    names = list(gradients)
    products = torch.zeros(len(names), len(names), dtype=torch.float64)
    blocks: list[tuple[list[int], Tensor]] = []  # of one parameter each, still on its device
    for place in range(max(map(len, gradients.values()))):
        rows = [gradients[name][place] for name in names]
        present = [number for number, row in enumerate(rows) if row is not None]
        if present:
            flat = torch.stack([row.detach().float().flatten() for row in rows if row is not None])
            blocks.append((present, (flat @ flat.T).flatten()))
    values = torch.split(torch.cat([block for _, block in blocks]).cpu(), [len(block) for _, block in blocks])
    for (present, _), block in zip(blocks, values, strict=True):
        products[[[number] for number in present], present] += block.view(len(present), -1).double()
    products = add(products)
    diagnostics: dict[str, float] = {}
    total, norms = float(products.sum()), products.diagonal().clamp(min=0).sqrt()
    for number, name in enumerate(names):
        if task in names and name != task:
            scale = float(norms[number] * norms[names.index(task)])
            if scale > 0:
                diagnostics[f"gradient/{name}/cosine"] = float(products[number, names.index(task)]) / scale
        if total > 0:
            diagnostics[f"gradient/{name}/share"] = float(products[number].sum()) / total
    return diagnostics
