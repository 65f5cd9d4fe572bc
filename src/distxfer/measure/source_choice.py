"""How near the hidden states of two languages' texts are: what ranks the source languages for a target without labels."""

from collections.abc import Mapping

import torch
from torch import Tensor

from distxfer.errors import InputError
from distxfer.measure._tensors import Array, check_same_width, working


def neighbour_shares(target: Array, sources: Mapping[str, Array], *, k: int = 10) -> dict[str, float]:
    r"""Return the share of each source among the k nearest texts of all sources to the texts of a target.

    With :math:`N_k(t)` the k texts, of all sources together, of the highest cosine with text t of the target, the share of
    source s is :math:`\frac{1}{n k} \sum_t |N_k(t) \cap s|`, divided by the number of texts of s and scaled to a sum of 1, so
    that a source with more texts is not nearer for that. The mean of all sources' texts is subtracted first, since states have
    a large common direction.

    Shapes: (n, d) and (m, d) each, with n, m >= 1. Range: [0, 1]; invariant under rotations and a common shift. Raises
    InputError for no source, shapes that do not fit, or k above the number of texts.

    Source: the ranking by nearest neighbours of hidden states of NN-Rank (2025), which counts hits of single sentences.
    """
    rows, pools = _centred(target, sources)
    pool = torch.cat(list(pools.values()))
    if not 1 <= k <= len(pool):
        raise InputError(f"`k` is {k}; expected a number from 1 to {len(pool)}, the texts of all sources.")
    owners = torch.repeat_interleave(torch.arange(len(pools)), torch.tensor([len(part) for part in pools.values()]))
    nearest = (rows @ pool.T).topk(k, dim=1).indices
    hits = torch.bincount(owners[nearest].flatten(), minlength=len(pools)).double()
    shares = hits / torch.bincount(owners, minlength=len(pools))
    return dict(zip(pools, (shares / shares.sum()).tolist(), strict=True))


def centroid_distances(target: Array, sources: Mapping[str, Array]) -> dict[str, float]:
    r"""Return the cosine distance of the mean state of a target's texts from that of each source's.

    :math:`1 - \cos(\bar t, \bar s)`, with the mean of all sources' texts subtracted from each text first. Shapes as for
    `neighbour_shares`. Range: [0, 2].
    """
    rows, pools = _centred(target, sources, unit=False)
    mean = torch.nn.functional.normalize(rows.mean(dim=0), dim=0)
    return {
        source: 1 - float(mean @ torch.nn.functional.normalize(part.mean(dim=0), dim=0))
        for source, part in pools.items()
    }


def _centred(target: Array, sources: Mapping[str, Array], *, unit: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the rows of the target and of each source less the mean of all sources' rows, with norm 1 if `unit`."""
    if not sources:
        raise InputError("The texts of at least one source are needed.")
    rows = {name: working(states, name) for name, states in {"": target, **sources}.items()}
    for name, states in rows.items():
        check_same_width(target, states, names=("target", name))
    mean = torch.cat([rows[name] for name in sources]).mean(dim=0)
    moved = {name: states - mean for name, states in rows.items()}
    if unit:
        moved = {name: torch.nn.functional.normalize(states, dim=1) for name, states in moved.items()}
    return moved.pop(""), moved
