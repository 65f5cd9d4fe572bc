"""Pull translations together: an alignment loss on sentence pairs, which knows how far each language is."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from distxfer.encoders import Encoder, layer_numbers
from distxfer.errors import InputError
from distxfer.interventions._choice import LanguageList, Weighting, WeightingBy, language_choice
from distxfer.interventions._contract import Bound, Languages, Step, Term
from distxfer.languages import Distances

_TEMPERATURE = 0.1
_BLUR, _DIAMETER = 0.05, 2.0  # of the Sinkhorn divergence; no two unit vectors are farther apart than 2


@dataclass(frozen=True)
class Align:
    """Add `weight` times a loss between the pooled states of sentences and of their translations, at one layer.

    Each micro-batch draws one target language, by distance from the source, and `batch_size` pairs (s_i, t_i) of it:

    `infonce`: -1/2 [log softmax_j(cos(s_i, t_j) / temperature)_i + the same from t_i to the s_j], per pair.
    `l2`: |s_i - t_i|^2 / d, per pair.
    `sinkhorn`: the Sinkhorn divergence (p = 2, blur 0.05) of the two clouds of unit vectors, per batch; it needs no
    knowledge of which sentence translates which.

    The mean cosine of the pairs is logged as `term/NAME/cosine`.

    References: InfoNCE as in van den Oord et al. 2018 and Gaschi et al. 2023; L2 as in Cao et al. 2020; Sinkhorn
    divergence of Feydy et al. 2019, alignment by optimal transport as in Alqahtani et al. 2021.
    """

    weight: Annotated[float, Field(ge=0)] = 0.5
    loss: Literal["infonce", "l2", "sinkhorn"] = "infonce"
    layer: int = 8
    temperature: Annotated[float, Field(gt=0)] = _TEMPERATURE
    languages: LanguageList = "all"
    batch_size: Annotated[int, Field(ge=2)] = 32
    weighting: Weighting = "linear"
    weighting_by: WeightingBy = "sampling"
    distance: str = ""

    def __post_init__(self) -> None:
        """Refuse a setting that would have no effect."""
        if self.loss != "infonce" and self.temperature != _TEMPERATURE:
            raise InputError(
                f"`temperature` has no effect on the loss `{self.loss}`. Set `loss = infonce`, or leave it out."
            )

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> Bound:
        """Return the loss as a term; no parameter is kept from training."""
        layer_numbers((self.layer,), encoder.layers, "layer")
        choice = language_choice(self, languages, distances)

        def term(step: Step) -> Term:
            language, factor = choice.draw(step.random)
            source, target = step.pairs(language, self.batch_size)
            first, second = step.encode(source).pooled(self.layer), step.encode(target).pooled(self.layer)
            total = self._sum(first, second)
            logs = {"cosine": cosine_similarity(first.detach(), second.detach()).mean().item()}
            per: Literal["batch", "pair"] = "batch" if self.loss == "sinkhorn" else "pair"
            return Term(factor * total, 1 if per == "batch" else len(source), per, logs)

        return Bound(term=term, weight=self.weight, needs=frozenset({"pairs"}), languages=choice.languages)

    def _sum(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the loss of n pairs, (n, d) and (n, d), summed."""
        if self.loss == "l2":
            return (source - target).square().mean(dim=-1).sum()
        source, target = normalize(source, dim=-1), normalize(target, dim=-1)
        if self.loss == "sinkhorn":
            return sinkhorn_divergence(source, target)
        similarity = source @ target.T / self.temperature
        gold = torch.arange(len(source), device=source.device)
        forward = cross_entropy(similarity, gold, reduction="sum")
        return (forward + cross_entropy(similarity.T, gold, reduction="sum")) / 2


def sinkhorn_divergence(x: Tensor, y: Tensor) -> Tensor:
    """Return the debiased Sinkhorn divergence of two clouds of unit vectors (n, d) and (m, d), equal weights, p = 2.

    Range: [0, inf) up to rounding, 0 for equal clouds. Invariant under permutations of either cloud and under
    isometries of both. Reference: Feydy et al. 2019, eq. 3, by geomloss.
    """
    from geomloss import SamplesLoss

    # The diameter is given because geomloss fails where all points are one (jeanfeydy/geomloss#51). And it switches
    # autograd on, and leaves it on, inside `no_grad` (jeanfeydy/geomloss#57).
    enabled = torch.is_grad_enabled()
    try:
        divergence: Tensor = SamplesLoss("sinkhorn", p=2, blur=_BLUR, diameter=_DIAMETER, backend="tensorized")(x, y)
    finally:
        torch.set_grad_enabled(enabled)
    return divergence if enabled else divergence.detach()
