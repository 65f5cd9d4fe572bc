"""Alignment loss on translation pairs, weighted by the distance of the language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from distxfer._lists import OptionalPath
from distxfer.encoders import Layers, layer_numbers
from distxfer.errors import InputError, RunError
from distxfer.interventions import _shared_keys as shared
from distxfer.interventions._contract import (
    CKA_ROWS,
    LATER,
    BoundIntervention,
    Languages,
    Need,
    Step,
    Term,
    distinct_texts,
    empty_term,
)
from distxfer.languages import Distances

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distxfer.data import Batch
    from distxfer.encoders import Encoder

    Sides = tuple[Tensor, Tensor]  # the states of the source and of the target

_TEMPERATURE = 0.1
_NEEDS: frozenset[Need] = frozenset({"pairs"})
_NEEDS_FINDER: frozenset[Need] = frozenset({"pairs", "pretrained"})


@dataclass(frozen=True)
class Align:
    """Add `weight` times a loss between the states of translations, the mean over `layers`.

    Each micro-batch draws one target language, by distance from the source, and `batch_size` sentence pairs of it. The
    aligned `unit` is the pooled sentence; the word, for pairs of words that translate each other, with the sum over its
    sub-words as its state; or the token, without pairs of tokens. Of n pairs (s_i, t_i):

    `infonce`: -1/2 [log exp(cos(s_i, t_i) / temperature) / Z_i + the same with s and t swapped], per pair. Z_i sums
    exp(cos(s_i, .) / temperature) over all t_j (`negatives = weak`), and over the other s_j too (`strong`). For sentences,
    it excludes pairs with the same source or target, which are no negatives.
    `l2`: |s_i - t_i|^2 / d, per pair.
    `cka`: 1 - CKA of the s_i and the t_i, unbiased and linear, per batch. Sentence pairs that repeat a source or target of
    the batch are left out, and batches of fewer than 16 pairs count 0.
    `sinkhorn`: the Sinkhorn divergence (p = 2, blur 0.05) of two clouds of unit vectors, which needs no pairs: of the
    sentences, per batch, or of the tokens of a sentence and its translation, per pair.

    `projection`: the width of a trained head h -> h -> projection (ReLU between), shared by all layers and both sides,
    before InfoNCE; 0 for none. `standardise`: before the loss, each dimension of either side has mean 0 and variance 1
    over the batch, so that one outlier dimension, as decoders have, does not dominate every cosine. `stop_gradient`: the
    source's states are constants. Word pairs come from the `dictionary` (a folder with one `{language}.txt` per target),
    from the `alignments` (the folder of the parallel text, with `{language}.pharaoh` beside `{language}.tsv`), or else are
    mutual nearest neighbours in the pretrained encoder.

    The mean cosine of the pairs (of tokens: of the pooled sentences), after standardising, if any, and before any head, is logged
    as `term/NAME/cosine`.

    References: InfoNCE as in van den Oord et al. 2018; on words, with strong negatives and a head of 128, Gaschi et al.
    2023; L2 on words as in Cao et al. 2020; CKA of Kornblith et al. 2019; Sinkhorn divergence of Feydy et al. 2019,
    on tokens as in Alqahtani et al. 2021; mutual nearest words as in Jalili Sabet et al. 2020;
    outlier dimensions: Timkey and van Schijndel 2021.
    """

    weight: Annotated[float, Field(description="factor of the loss", ge=0)] = 0.5
    loss: Annotated[Literal["infonce", "l2", "cka", "sinkhorn"], Field(description="loss on pairs of states")] = (
        "infonce"
    )
    layers: Annotated[Layers, Field(description="blocks whose states are aligned: numbers or a band")] = (8,)
    unit: Annotated[Literal["sentence", "word", "token"], Field(description="what is aligned")] = "sentence"
    dictionary: Annotated[
        OptionalPath, Field(description="folder with {language}.txt of word pairs or of FreeDict, for unit=word")
    ] = None
    alignments: Annotated[
        OptionalPath, Field(description="folder with {language}.pharaoh alignments, for unit=word")
    ] = None
    temperature: Annotated[float, Field(description="temperature of InfoNCE", gt=0)] = _TEMPERATURE
    negatives: Annotated[
        Literal["weak", "strong"],
        Field(description="negatives of InfoNCE; strong: other sources, too"),
    ] = "weak"
    projection: Annotated[int, Field(description="width of a projection head before InfoNCE; 0: no head", ge=0)] = 0
    standardise: Annotated[bool, Field(description="z-score the dimensions of either side over the batch")] = field(
        default=False, metadata=LATER
    )
    stop_gradient: Annotated[bool, Field(description="treat the source's states as constants")] = False
    languages: shared.LanguageList = "all"
    batch_size: Annotated[int, Field(description="sentence pairs per micro-batch", ge=2)] = 32
    weighting: shared.Weighting = "linear"
    weighting_by: shared.WeightingBy = "sampling"
    distance: shared.OtherDistance = ""

    def __post_init__(self) -> None:
        """Refuse settings that would have no effect, or that make no sense together."""
        for key, is_set in (
            ("temperature", self.temperature != _TEMPERATURE),
            ("negatives", self.negatives != "weak"),
        ):
            if is_set and self.loss != "infonce":
                raise InputError(
                    f"`{key}` has no effect on the loss `{self.loss}`. Set `loss = infonce`, or leave it out."
                )
        if self.projection and self.loss != "infonce":
            raise InputError(
                f"`projection` = `{self.projection}` would let the head lower the loss `{self.loss}` by itself, by dropping"
                " what the two sides do not share. Set `loss = infonce`, or leave it out."
            )
        if self.unit == "token" and self.loss != "sinkhorn":
            raise InputError(
                f"`unit` = `token` has no pairs of tokens, which the loss `{self.loss}` needs. Set"
                " `loss = sinkhorn`, or `unit = word`."
            )
        if self.unit == "word" and self.loss == "sinkhorn":
            raise InputError(
                "`unit` = `word` finds pairs of words, which the loss `sinkhorn` does not use. Set"
                " `unit = token`, or another loss."
            )
        if self.standardise and self.unit == "token":
            raise InputError("`standardise` has no effect where `unit` is `token`. Set another unit, or leave it out.")
        if self.unit != "word" and (self.dictionary or self.alignments):
            key = "dictionary" if self.dictionary else "alignments"
            raise InputError(
                f"`{key}` has no effect where `unit` is `{self.unit}`. Set `unit = word`, or leave it out."
            )
        if self.dictionary and self.alignments:
            raise InputError("`dictionary` and `alignments` both name the word pairs. Keep one.")
        if self.batch_size < self._fewest:
            raise InputError(
                f"`batch_size` = `{self.batch_size}` is too small for the loss `cka`, which needs {CKA_ROWS} pairs. Give"
                f" at least {CKA_ROWS}."
            )

    @property
    def _fewest(self) -> int:
        """The fewest distinct sentences that a batch must have."""
        return CKA_ROWS if self.loss == "cka" and self.unit == "sentence" else 2 if self.standardise else 1

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the loss as a term, with the projection head if there is one; no parameter is frozen."""
        import torch

        from distxfer.interventions._losses import mean_cosine, same_texts
        from distxfer.interventions._word_pairs import find_places, word_pair_finder

        layers = layer_numbers(self.layers, encoder.layers, "layers")
        choice = shared.language_choice(self, languages, distances)
        find, check = word_pair_finder(self, encoder, layers, languages.source, choice.languages)
        head = projection_head(encoder.hidden_size, self.projection) if self.projection else None

        def term(step: Step) -> Term:
            language, factor = choice.draw(step.random)
            source, target = step.sample_pairs(language, self.batch_size)
            first, second = step.encode(source), step.encode(target)
            shared_text = None
            sides: list[Sides]
            if find:
                places = find_places(find, encoder, step, source, target)
                sides = [(first.words(layer, places[0]), second.words(layer, places[1])) for layer in layers]
            else:
                sides = [(first.pooled(layer), second.pooled(layer)) for layer in layers]
            if self.stop_gradient:
                sides = [(first.detach(), second) for first, second in sides]
            if self.unit == "token":
                weights = token_weights(encoder, source), token_weights(encoder, target)
                clouds = [(first.hidden[layer], second.hidden[layer]) for layer in layers]
                if self.stop_gradient:
                    clouds = [(first.detach(), second) for first, second in clouds]
                total = torch.stack([self._sinkhorn(*cloud, weights).sum() for cloud in clouds]).mean()
                return Term(factor * total, len(source), "pair", {"cosine": mean_cosine(sides)})
            if self.unit == "sentence" and self.loss == "cka":
                rows = sorted({*distinct_texts(source)} & {*distinct_texts(target)})
                sides = [(first[rows], second[rows]) for first, second in sides]
            if self.unit == "sentence" and self.loss == "infonce":
                shared_text = same_texts(source) | same_texts(target)
            return self._of_pairs(step, sides, head, factor, shared_text)

        return BoundIntervention(
            term=term,
            weight=self.weight,
            module=head,
            needs=_NEEDS_FINDER if self.unit == "word" and not (self.dictionary or self.alignments) else _NEEDS,
            languages=choice.languages,
            checks=check,
            layers=layers,
            constant_source=self.stop_gradient,
            own_passes=True,
            min_distinct_texts=self._fewest,
        )

    def _of_pairs(
        self, step: Step, sides: Sequence[Sides], head: nn.Module | None, factor: float, shared_text: Tensor | None
    ) -> Term:
        """Return the loss of n pairs, whose states at each layer are (n, d) and (n, d); `shared_text`: see `info_nce`."""
        import torch

        from distxfer.interventions._losses import mean_cosine
        from distxfer.measure import standardise

        n = len(sides[0][0])
        per: Literal["batch", "pair"] = "pair" if self.loss in ("infonce", "l2") else "batch"
        if n < (CKA_ROWS if self.loss == "cka" else 1):
            return empty_term(step, chain(*sides), per)
        if self.standardise:
            sides = [(standardise(first).to(first), standardise(second).to(second)) for first, second in sides]
        logs = {"cosine": mean_cosine(sides)}
        if head is not None:
            if torch.is_grad_enabled() and not any(states.requires_grad for states in chain(*sides)):
                raise RunError(
                    "Nothing at or below the `layers` of the alignment trains, so its loss would train only its own"
                    " head. Choose `layers` above one that trains."
                )
            sides = [(head(first), head(second)) for first, second in sides]
        total = torch.stack([self._sum(first, second, shared_text) for first, second in sides]).mean()
        return Term(factor * total, n if per == "pair" else 1, per, logs)

    def _sum(self, source: Tensor, target: Tensor, shared_text: Tensor | None) -> Tensor:
        """Return the loss of one layer, summed over pairs or of the batch."""
        from distxfer.interventions._losses import info_nce, squared_distance
        from distxfer.measure import cka

        if self.loss == "infonce":
            strong = self.negatives == "strong"
            return info_nce(source, target, self.temperature, strong=strong, shared_text=shared_text)
        if self.loss == "l2":
            return squared_distance(source, target)
        return 1 - cka(source, target) if self.loss == "cka" else self._sinkhorn(source, target)

    @staticmethod
    def _sinkhorn(source: Tensor, target: Tensor, weights: Sides | None = None) -> Tensor:
        from torch.nn.functional import normalize

        from distxfer.interventions._losses import sinkhorn_divergence

        return sinkhorn_divergence(normalize(source, dim=-1), normalize(target, dim=-1), weights)


def projection_head(width: int, projection: int) -> nn.Module:
    """Return the map width -> width -> `projection` with a ReLU between, as in Gaschi et al. (2023)."""
    from torch import nn

    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection))


def token_weights(encoder: Encoder, batch: Batch) -> Tensor:
    """Return (n, tokens): 1 over the number of its words' tokens in each text, 0 at special tokens and padding.

    A text of special tokens alone keeps them.
    """
    import torch

    mask = batch.inputs["attention_mask"].bool()
    special = set(encoder.tokenizer.all_special_ids) - {encoder.tokenizer.unk_token_id}
    ids = batch.inputs["input_ids"]
    words = mask & ~torch.isin(ids, torch.tensor(sorted(special), device=ids.device))
    counted = torch.where(words.any(dim=1, keepdim=True), words, mask).float()
    return counted / counted.sum(dim=1, keepdim=True)
