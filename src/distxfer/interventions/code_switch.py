"""Consistency of predictions when words are replaced by their translations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BeforeValidator, Field

from distxfer.data import Example, Lexicon, read_dictionary_folder
from distxfer.interventions import _shared_keys as shared
from distxfer.interventions._contract import BoundIntervention, Languages, Step, Term
from distxfer.languages import Distances

if TYPE_CHECKING:
    from distxfer.encoders import Encoder


def _not_empty(value: object) -> object:
    """Refuse the empty string, which as a path would mean the current folder."""
    if value == "":
        raise ValueError("it is empty. Give the folder that has a file `{language}.txt` for each target.")
    return value


@dataclass(frozen=True)
class CodeSwitch:
    """Add `weight` times KL(p(x) || p(A(x))), per example of the task, with A(x) the code-switched text x.

    KL(p || q) = sum_c p_c (log p_c - log q_c), in nats, range [0, inf). `dictionary` is a folder with `{language}.txt` (or
    `.tsv`), one source word and one of its translations a line, such as MUSE's. Each micro-batch draws one target
    language, by distance from the source, and replaces each word of the source that its dictionary has with probability
    `share` by one of its translations. p(x), which has the label's loss, is a constant here: it teaches p(A(x)). One
    more forward pass, of the texts in which a word was replaced; the others are 0.

    The mean KL is logged as `term/NAME/kl`, the share of texts with a replaced word as `term/NAME/altered`.

    Reference: example consistency of xTune (Zheng et al. 2021) by code-switching, which draws a language per word and
    has both directions of the KL; `share` and `weight` are theirs for XNLI.
    """

    dictionary: Annotated[
        Path,
        BeforeValidator(_not_empty),
        Field(description="folder with {language}.txt of word pairs, or /usr/share/dictd (FreeDict)"),
    ]
    weight: Annotated[float, Field(description="factor of the divergence", ge=0)] = 5.0
    share: Annotated[float, Field(description="share of the words that are replaced", gt=0, le=1)] = 0.3
    languages: shared.LanguageList = "all"
    weighting: shared.Weighting = "linear"
    weighting_by: shared.WeightingBy = "sampling"
    distance: shared.OtherDistance = ""

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return the divergence as a term; no parameter is frozen."""
        from distxfer.interventions._losses import check_predicts_texts, self_consistency

        check_predicts_texts(encoder)
        choice = shared.language_choice(self, languages, distances)
        dictionaries = read_dictionary_folder(self.dictionary.expanduser(), choice.languages, source=languages.source)
        lexicons = {language: Lexicon(dictionary) for language, dictionary in dictionaries.items()}

        def term(step: Step) -> Term:
            language, factor = choice.draw(step.random)
            switched = [
                self._switch(example, lexicons[language], step.random)
                if example.language == languages.source
                else example
                for example in step.batch.examples
            ]
            rows = [row for row, (old, new) in enumerate(zip(step.batch.examples, switched, strict=True)) if old != new]
            summed = self_consistency(step, rows, lambda rows: step.collate([switched[row] for row in rows]))
            return replace(summed, loss_sum=factor * summed.loss_sum)

        return BoundIntervention(term=term, weight=self.weight, needs=frozenset({"predictions", "vocabulary"}))

    def _switch(self, example: Example, words: Lexicon, random: np.random.Generator) -> Example:
        text = words.switch(example.text, self.share, random)
        pair = None if example.text_pair is None else words.switch(example.text_pair, self.share, random)
        return replace(example, text=text, text_pair=pair)
