"""Write the dictionaries for the study's `code_switch` recipe, made by the encoder from the task's parallel text.

`python -m studies.emoji.dictionaries` writes `studies/emoji/dictionaries/{language}.txt`, a source word, a tab and a target word
a line. Two words of a sentence pair are linked if they are mutual nearest neighbours in the pretrained encoder, as in
`word_align` (cosine at layer 8). In scripts without spaces, every character counts as a word, and adjacent characters with the
same nearest source word are merged. Each source word keeps the target words that it is linked with most often, or none if
one of them is the word itself. Labels and the texts of train, dev and test are not read.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import normalize

from distxfer.data import Example, Pair, load_parallel, task_languages, word_spans
from distxfer.encoders import BUNDLED, Encoder, load_encoder, model_folder
from distxfer.interventions._word_pairs import mutual_nearest
from studies.emoji.methods import STUDY

FOLDER = STUDY / "dictionaries"
LAYER = 8


def main() -> None:
    """Write one dictionary for each target."""
    targets = tuple(key for key in task_languages("emoji") if key != "eng")
    encoder = load_encoder(BUNDLED, model_folder(BUNDLED), [], seed=0)
    FOLDER.mkdir(exist_ok=True)
    for language, pairs in load_parallel("emoji", "eng", targets).train.items():
        entries = dictionary(encoder, pairs)
        lines = [f"{word}\t{translation}\n" for word, translations in entries.items() for translation in translations]
        (FOLDER / f"{language}.txt").write_text("".join(lines), encoding="utf-8")


def dictionary(encoder: Encoder, pairs: Sequence[Pair]) -> dict[str, list[str]]:
    """Return source word -> the target words that it is linked with most often; case-folded, in alphabetical order."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    sides = words_of(encoder, [pair.source for pair in pairs]), words_of(encoder, [pair.target for pair in pairs])
    for source, target in zip(*sides, strict=True):
        similarity = source.states @ target.states.mT
        nearest = similarity.argmax(dim=0).tolist()
        for i, j in mutual_nearest(similarity):
            counts[source.spelled(i, i)][target.spelled(*run_around(j, nearest, target.spans))] += 1
    entries = {}
    for word, links in sorted(counts.items()):
        translations = [translation for translation, n in links.items() if n == max(links.values())]
        if word not in translations:
            entries[word] = sorted(translations)
    return entries


def run_around(place: int, nearest: Sequence[int], spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the first and the last of the words around one that touch each other and have the same nearest word."""
    first = last = place
    while first and spans[first - 1][1] == spans[first][0] and nearest[first - 1] == nearest[place]:
        first -= 1
    while last + 1 < len(spans) and spans[last][1] == spans[last + 1][0] and nearest[last + 1] == nearest[place]:
        last += 1
    return first, last


@dataclass(frozen=True)
class Words:
    """The words of a text: where they stand, characters [start, end), and their states (n, d), each of length 1."""

    text: str
    spans: list[tuple[int, int]]
    states: Tensor

    def spelled(self, first: int, last: int) -> str:
        """Return the text from one word to another, case-folded."""
        return self.text[self.spans[first][0] : self.spans[last][1]].casefold()


def words_of(encoder: Encoder, examples: Sequence[Example]) -> list[Words]:
    """Return the words of each text."""
    spans = [word_spans(example.text) for example in examples]
    words = [(example.text, span) for example, text_spans in zip(examples, spans, strict=True) for span in text_spans]
    states, is_read = encoder.word_states(words, max_length=encoder.max_tokens)
    if not is_read.all():
        raise SystemExit(f"The encoder does not read {int((~is_read).sum())} of the words.")
    parts = normalize(states[LAYER], dim=-1).split([len(text_spans) for text_spans in spans])
    return [Words(example.text, *row) for example, *row in zip(examples, spans, parts, strict=True)]


if __name__ == "__main__":
    main()
