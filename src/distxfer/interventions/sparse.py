"""Sparse fine-tuning: rewind to the start of a phase, and train only the entries that it changed most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from distxfer.errors import InputError
from distxfer.interventions._contract import BoundIntervention, Change, Languages
from distxfer.languages import Distances

if TYPE_CHECKING:
    from torch import Tensor

    from distxfer.encoders import Encoder


@dataclass(frozen=True)
class Sparse:
    """Let only `share` of the encoder's entries train: those that the phase named in `rewind` has changed most.

    Of all N entries of the encoder's parameters that train in this phase, together, the k = round(share N) with the
    largest |w - w_start| (of equal ones, some); the head trains whole. All others end bit for bit where they began.

    Reference: Ansell et al. 2022, lottery-ticket sparse fine-tuning, one round of it, without its L1 penalty. They train
    about 8 % of mBERT's entries.
    """

    share: Annotated[float, Field(description="share of the entries that train", gt=0, lt=1)] = 0.08

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the choice of entries, made as the phase begins; no term is added."""
        import torch

        def inside(names: Iterable[str]) -> list[str]:
            return [name for name in names if encoder.place(name) != "head"]

        def count(entries: int) -> int:
            k = round(self.share * entries)
            if not k:
                raise InputError(
                    f"`share` = `{self.share}` selects none of the {entries} trainable entries of the encoder."
                    " Raise it, or train more of the encoder."
                )
            return k

        def selects(sizes: Mapping[str, int]) -> int:
            entries = sum(sizes[name] for name in inside(sizes))
            return count(entries) + sum(sizes.values()) - entries

        def chosen(changes: Mapping[str, Change]) -> dict[str, Tensor]:
            changed = {name: (changes[name].now - changes[name].start).abs() for name in inside(changes)}
            k = count(sum(change.numel() for change in changed.values()))
            ranked = torch.cat([change.flatten() for change in changed.values()])
            mask = torch.zeros_like(ranked, dtype=torch.bool)
            mask[ranked.topk(k).indices] = True
            parts: tuple[Tensor, ...] = torch.split(mask, [change.numel() for change in changed.values()])
            return {name: part.view_as(change) for (name, change), part in zip(changed.items(), parts, strict=True)}

        return BoundIntervention(entries=chosen, selects=selects, needs=frozenset({"weights"}))
