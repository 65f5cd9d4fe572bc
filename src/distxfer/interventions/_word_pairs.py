"""Word translations in sentence pairs: from a dictionary, from an aligner, or from the encoder itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from distxfer.data import (
    Batch,
    Pair,
    Span,
    WordPair,
    aligned_pairs,
    dictionary_finder,
    read_aligned_folder,
    read_dictionary_folder,
    word_spans,
)
from distxfer.encoders import Encoded, Encoder
from distxfer.errors import InputError
from distxfer.interventions._contract import Step

Places = list[tuple[int, list[int]]]  # by word: its row in the batch, and the positions of its sub-words
Find = Callable[[Step, Sequence[Pair]], list[list[WordPair]]]  # returns the word pairs of each sentence pair
Check = Callable[[Mapping[str, Sequence[Pair]]], None]  # raises InputError for sentence pairs without word pairs


@dataclass(frozen=True)
class WordPlaces:
    """The places of n word pairs in the two batches of sentences: word i of one side translates word i of the other."""

    source: Places
    target: Places

    def states(self, source: Encoded, target: Encoded, layer: int) -> tuple[Tensor, Tensor]:
        """Return the states of both sides, (n, d) each: sums over sub-words."""
        return source.words(layer, self.source), target.words(layer, self.target)


def find_places(find: Find, encoder: Encoder, step: Step, source: Batch, target: Batch) -> WordPlaces:
    """Return the places of the word pairs of a batch of sentence pairs, without pairs of which a word was cut off."""
    pairs = [Pair(*sides) for sides in zip(source.examples, target.examples, strict=True)]
    word_pairs = find(step, pairs)
    sides = (
        places_in(encoder, source, [[word.source_span for word in row] for row in word_pairs]),
        places_in(encoder, target, [[word.target_span for word in row] for row in word_pairs]),
    )
    complete = [
        (source_place, target_place)
        for source_place, target_place in zip(*sides, strict=True)
        if source_place[1] and target_place[1]
    ]
    return WordPlaces([source_place for source_place, _ in complete], [target_place for _, target_place in complete])


def places_in(encoder: Encoder, batch: Batch, spans: Sequence[Sequence[Span]]) -> Places:
    """Return the places of words in a batch, without sub-words for a word that was cut off."""
    # A batch is as wide as its longest text or as the maximum length, so its width is where texts were cut.
    width = batch.inputs["input_ids"].shape[1]
    return encoder.word_places([example.text for example in batch.examples], spans, max_length=width)


def by_dictionary(folder: Path, languages: Sequence[str]) -> Find:
    """Return a finder of word pairs by the dictionary of the target language."""
    finders = {
        key: dictionary_finder(dictionary) for key, dictionary in read_dictionary_folder(folder, languages).items()
    }

    def find(step: Step, pairs: Sequence[Pair]) -> list[list[WordPair]]:
        return [finders[pair.target.language]([pair]) for pair in pairs]

    return find


def by_aligner(folder: Path, source: str, languages: Sequence[str]) -> tuple[Find, Check]:
    """Return a finder of the word pairs in the alignments of a folder with parallel text, and its check.

    The check raises InputError for a sentence pair that the folder does not hold.
    """
    lines = read_aligned_folder(folder, source, languages)

    def check(pairs: Mapping[str, Sequence[Pair]]) -> None:
        for language in languages:
            for pair in pairs[language]:
                if pair not in lines:
                    raise InputError(
                        f"`alignments` = `{folder}` has no alignment of the sentence pair `{pair.source.text[:40]}`. It must be"
                        " the folder of the run's parallel text, and the pairs must not be mined. Set"
                        f" `parallel={folder} parallel.mined=false`."
                    )

    def find(step: Step, pairs: Sequence[Pair]) -> list[list[WordPair]]:
        return [aligned_pairs([pair], [lines[pair]]) for pair in pairs]

    return find, check


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
