"""What the tests of alignment share: a step with known pairs, states one text at a time, InfoNCE as it is written down."""

import math
from dataclasses import dataclass, field
from functools import partial

import torch

import fakes
from conftest import say
from distxfer.data import Batch, Example, Pair
from distxfer.encoders import Encoded, Encoder

SAID = [[0, 10], [3, 6, 11], [1, 12, 14], [4, 2], [5, 7, 8, 13], [9, 0, 6]]  # words by their number, 2 to 4 of them
MANY = [  # enough pairs, and words, for CKA
    *SAID, [1, 5], [2, 6], [3, 7, 0], [4, 8], [5, 9], [6, 10], [7, 11], [8, 12], [9, 13], [10, 14], [11, 2], [12, 3]
]  # fmt: skip


def translations(language="deu", said=SAID) -> list[Pair]:
    return [
        Pair(Example(str(n), "eng", say(words, "eng")), Example(str(n), language, say(words[::-1], language)))
        for n, words in enumerate(said, 1)
    ]


@dataclass
class FakeStep(fakes.FakeStep):
    """A step with known pairs; it remembers what the pretrained encoder was asked."""

    given: list[Pair] = field(default_factory=translations)
    before: Encoder | None = None
    asked: list[str] = field(default_factory=list)

    def sample_pairs(self, language: str, n: int) -> tuple[Batch, Batch]:
        return self.collate([pair.source for pair in self.given]), self.collate([pair.target for pair in self.given])

    def pretrained(self, batch: Batch) -> Encoded:
        self.asked += [example.text for example in batch.examples]
        with torch.no_grad():
            return self.before.encode(batch.inputs)


bind = partial(fakes.bind, kind="align", languages="deu")
term = partial(fakes.term, kind="align", languages="deu")


def pooled(encoder: Encoder, layer: int, given: list[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both sides' sentences, each encoded alone: the mean over its tokens."""
    return tuple(
        torch.stack([states(encoder, one.text, layer).mean(dim=0) for one in side])
        for side in zip(*((pair.source, pair.target) for pair in given), strict=True)
    )


def states(encoder: Encoder, text: str, layer: int) -> torch.Tensor:
    """Return the states of a text's tokens, special ones first and last, without padding."""
    return encoder.encode(dict(encoder.tokenizer([text], return_tensors="pt"))).hidden[layer][0]


def word(encoder: Encoder, text: str, spelled: str, layer: int) -> torch.Tensor:
    return states(encoder, text, layer)[1 + text.split().index(spelled)]


def naive_info_nce(source, target, temperature, strong):
    """Return the loss in scalars, as it is written down."""

    def one_way(a, b):
        total = 0.0
        for i in range(len(a)):
            rivals = [(b[j]) for j in range(len(b))] + [a[j] for j in range(len(a)) if strong and j != i]
            scores = [math.exp(torch.cosine_similarity(a[i], rival, dim=0).item() / temperature) for rival in rivals]
            total -= math.log(scores[i] / sum(scores))
        return total

    return (one_way(source, target) + one_way(target, source)) / 2


def write_dictionary(folder, **languages):
    folder.mkdir()
    for language, entries in languages.items():
        (folder / f"{language}.txt").write_text("".join(f"{one} {other}\n" for one, other in entries))
    return folder
