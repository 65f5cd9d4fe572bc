"""Word translations in sentence pairs: from a dictionary, from an aligner, or from the encoder itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from distxfer.data import (
    Batch,
    Lexicon,
    Pair,
    Span,
    WordPair,
    aligned_pairs,
    read_aligned_folder,
    read_dictionary_folder,
    word_spans,
)
from distxfer.encoders import Encoder
from distxfer.errors import InputError
from distxfer.interventions._contract import Step

if TYPE_CHECKING:
    from distxfer.interventions.align import Align

Places = list[tuple[int, list[int]]]  # by word: its row in the batch, and the positions of its sub-words
Find = Callable[[Step, Sequence[Pair]], list[list[WordPair]]]  # returns the word pairs of each sentence pair
Check = Callable[[Mapping[str, Sequence[Pair]]], None]  # raises InputError for sentence pairs without word pairs


def find_places(find: Find, encoder: Encoder, step: Step, source: Batch, target: Batch) -> tuple[Places, Places]:
    """Return the places of n word pairs in the two batches of sentences, without pairs of which a word was cut off."""
    pairs = [Pair(*sides) for sides in zip(source.examples, target.examples, strict=True)]
    word_pairs = find(step, pairs)
    of_source = places_in(encoder, source, [[word.source_span for word in row] for row in word_pairs])
    of_target = places_in(encoder, target, [[word.target_span for word in row] for row in word_pairs])
    complete = [places for places in zip(of_source, of_target, strict=True) if places[0][1] and places[1][1]]
    return [place for place, _ in complete], [place for _, place in complete]


def places_in(encoder: Encoder, batch: Batch, spans: Sequence[Sequence[Span]]) -> Places:
    """Return the places of words in a batch, without sub-words for a word that was cut off."""
    # A batch is as wide as its longest text or as the maximum length, so its width is where texts were cut.
    width = batch.inputs["input_ids"].shape[1]
    return encoder.word_places([example.text for example in batch.examples], spans, max_length=width)


def word_pair_finder(
    keys: Align, encoder: Encoder, layers: Sequence[int], source: str, targets: Sequence[str]
) -> tuple[Find | None, Check | None]:
    """Return the finder of the word pairs and the check of the sentence pairs, None where there is none."""
    if keys.unit != "word":
        return None, None
    if keys.dictionary:
        dictionaries = read_dictionary_folder(keys.dictionary.expanduser(), targets, source=source)
        lexicons = {language: Lexicon(dictionary) for language, dictionary in dictionaries.items()}
        return lambda step, pairs: [lexicons[pair.target.language].pairs([pair]) for pair in pairs], None
    if keys.alignments:
        return by_aligner(keys.alignments.expanduser(), source, targets)
    return by_encoder(encoder, layers), None


def by_aligner(folder: Path, source: str, languages: Sequence[str]) -> tuple[Find, Check]:
    """Return a finder of the word pairs in the alignments of a folder with parallel text, and its check.

    The check raises InputError for a sentence pair that the folder does not hold.
    """
    lines = read_aligned_folder(folder, source, languages)

    def check(pairs: Mapping[str, Sequence[Pair]]) -> None:
        missing = next((pair for language in languages for pair in pairs[language] if pair not in lines), None)
        if missing is not None:
            raise InputError(
                f"`alignments` = `{folder}` has no alignment of the sentence pair `{missing.source.text[:40]}`. It must be"
                " the folder of the run's parallel text, and the pairs must not be mined. Set"
                f" `parallel={folder} parallel.mined=false`."
            )

    return lambda step, pairs: [aligned_pairs([pair], [lines[pair]]) for pair in pairs], check


def by_encoder(encoder: Encoder, layers: Sequence[int]) -> Find:
    """Return a finder of word pairs that are mutual nearest neighbours in the pretrained encoder, cached by sentence pair.

    Word a of the source and word b of the target are a pair where c(a, b) >= c(a, b') for every word b' of the target
    sentence and c(a, b) >= c(a', b) for every a' of the source's: c is the cosine of word states, the mean over
    `layers`; of equals, the first is taken. Reference: Jalili Sabet et al. 2020, section 2.2 (Argmax).
    """
    word_pairs: dict[Pair, list[WordPair]] = {}

    def find(step: Step, pairs: Sequence[Pair]) -> list[list[WordPair]]:
        new = [pair for pair in dict.fromkeys(pairs) if pair not in word_pairs]
        if new:
            word_pairs.update(zip(new, _nearest(encoder, step, new, layers), strict=True))
        return [word_pairs[pair] for pair in pairs]

    return find


def _nearest(encoder: Encoder, step: Step, pairs: Sequence[Pair], layers: Sequence[int]) -> list[list[WordPair]]:
    sides = []
    for examples in ([pair.source for pair in pairs], [pair.target for pair in pairs]):
        batch = step.collate(examples)
        spans = [word_spans(example.text) for example in examples]
        words = [(row, span) for row, of_row in enumerate(spans) for span in of_row]
        places = places_in(encoder, batch, spans)
        complete = [(word, place) for word, place in zip(words, places, strict=True) if place[1]]
        encoded = step.pretrained(batch)
        states = torch.stack([encoded.words(layer, [place for _, place in complete]) for layer in layers])
        sides.append(([word for word, _ in complete], normalize(states.float(), dim=-1)))
    word_pairs = []
    for row, pair in enumerate(pairs):
        numbers = [[number for number, word in enumerate(words) if word[0] == row] for words, _ in sides]
        (first, source), (second, target) = (
            ([words[number][1] for number in chosen], states[:, chosen])
            for (words, states), chosen in zip(sides, numbers, strict=True)
        )
        with torch.autocast(states.device.type, enabled=False):  # in bf16, many cosines are equal
            links = mutual_nearest((source @ target.mT).mean(dim=0))
        word_pairs.append([WordPair(pair.source, first[i], pair.target, second[j]) for i, j in links])
    return word_pairs


def mutual_nearest(similarity: Tensor) -> list[tuple[int, int]]:
    """Return the (i, j) of a matrix (n, m) whose entry is the largest of its row and of its column, the first of equals."""
    if 0 in similarity.shape:
        return []
    of_rows, of_columns = similarity.argmax(dim=1).tolist(), similarity.argmax(dim=0).tolist()
    return [(i, j) for i, j in enumerate(of_rows) if of_columns[j] == i]
