"""SimCSE without labels: two passes of a text under different dropout attract each other, other texts repel it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from distxfer.encoders import layer_numbers
from distxfer.errors import InputError
from distxfer.interventions._contract import BoundIntervention, Languages, Step, Term, distinct_texts, empty_term
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.encoders import Encoder

_TEXTS = 2  # distinct ones in a batch, so that there are negatives


@dataclass(frozen=True)
class SimCSE:
    """Add `weight` times InfoNCE between the pooled states h_i and h'_i of the task's texts under two dropout masks, per text.

    Of the n texts of a batch: -1/2 [log exp(cos(h_i, h'_i) / temperature) / sum_j exp(cos(h_i, h'_j) / temperature) + the same
    with h and h' swapped], at one `layer`. Texts equal to i are no negatives: the sum over j leaves them out. The h_i are
    those of the task's own forward pass, the h'_i of one more. Batches in which all texts are equal count 0.

    The mean cosine of h_i and h'_i is logged as `term/NAME/cosine`.

    References: unsupervised SimCSE, Gao et al. 2021, eq. 4 (one direction; here the mean of both, as the two passes are
    alike); on English text alone, for other languages too, Wang, Wu and Neubig 2022.
    """

    weight: Annotated[float, Field(description="factor of the loss", ge=0)] = 1.0
    temperature: Annotated[float, Field(description="temperature of InfoNCE", gt=0)] = 0.05
    layer: Annotated[
        int | Literal["last"], Field(description="block whose pooled states are contrasted: a number, or last")
    ] = "last"

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the loss as a term; no parameter is frozen. Before training, refuses an encoder without dropout."""
        from distxfer.interventions._losses import info_nce, mean_cosine, same_texts

        (layer,) = layer_numbers((encoder.layers if self.layer == "last" else self.layer,), encoder.layers, "layer")

        def term(step: Step) -> Term:
            batch = step.batch
            sides = step.encoded().pooled(layer), step.encode(batch).pooled(layer)
            if len(distinct_texts(batch)) < _TEXTS:
                return empty_term(step, sides, "example")
            total = info_nce(*sides, self.temperature, shared_text=same_texts(batch))
            return Term(total, len(batch), "example", {"cosine": mean_cosine([sides])})

        return BoundIntervention(
            term=term,
            weight=self.weight,
            checks=lambda pairs: _check_dropout(encoder),  # once adapters, with dropout of their own, are added
            layers=(layer,),
            min_distinct_texts=_TEXTS,
        )


def _check_dropout(encoder: Encoder) -> None:
    """Raise InputError for an encoder without dropout, whose two passes of a text are the same."""
    from torch import nn

    dropouts = [module.p for module in encoder.base.modules() if isinstance(module, nn.Dropout)]
    # Some architectures drop attention weights without a module.
    if not any([*dropouts, getattr(encoder.base.config, "attention_dropout", 0)]):
        raise InputError(
            f"two passes of a text differ by dropout alone, and the encoder `{encoder.name}` has none. Choose one that has,"
            " or add adapters with dropout, such as `intervention.lora.dropout=0.1`."
        )
