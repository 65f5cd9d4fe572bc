"""What tests of single terms share: a step with known text and without a loop, and interventions bound to a tiny encoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch

from distxfer.data import Batch, Collator, Example
from distxfer.encoders import Encoded, Encoder
from distxfer.interventions import BoundIntervention, Languages, Term, make_intervention
from distxfer.languages import Distances, distances

WORDS = {"eng": "the cat runs dog bird", "deu": "das katze rennt hund vogel", "jpn": "sono neko hashi inu tori"}
TARGETS = ("deu", "jpn")


@cache
def between(targets: tuple[str, ...] = TARGETS) -> Distances:
    """The distances from English."""
    return distances("eng", targets, imputed=True)


def noise(states: torch.Tensor, _: Batch) -> torch.Tensor:
    """States that are off by known noise, so that drift is not 0."""
    return states + torch.randn(states.shape, generator=torch.Generator().manual_seed(1))


@dataclass
class FakeStep:
    """A step with known text: the public `Step` without a loop; the reference is the encoder itself, moved by `away`."""

    encoder: Encoder
    n: int = 6
    texts: Sequence[str] = ()  # of the task, in place of `n` made-up ones
    with_head: bool = False  # whether the task's own pass includes the head
    max_length: int = 32
    away: Callable[[torch.Tensor, Batch], torch.Tensor] = noise
    number: int = 0
    synchronized: bool = False
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    drawn: list[tuple[str, int]] = field(default_factory=list)
    classified: list[Batch] = field(default_factory=list)  # all batches that went through the head

    def collate(self, examples) -> Batch:
        return Collator(self.encoder.tokenizer, self.max_length)(list(examples))

    def of(self, language: str, n: int) -> Batch:
        words = WORDS.get(language, WORDS["jpn"]).split()
        texts = [" ".join(words[: 1 + item % 5] * (1 + item // 5)) for item in range(n)]
        return self.collate([Example(str(i), language, text) for i, text in enumerate(texts)])

    @property
    def batch(self) -> Batch:
        if not self.texts:
            return self.of("eng", self.n)
        return self.collate(Example(str(n), "eng", text, label=n % 2) for n, text in enumerate(self.texts))

    def encoded(self) -> Encoded:
        return (self.encoder.classify if self.with_head else self.encoder.encode)(self.batch.inputs)

    def classify(self, batch: Batch) -> Encoded:
        self.classified.append(batch)
        return self.encoder.classify(batch.inputs)

    def encode(self, batch: Batch) -> Encoded:
        return self.encoder.encode(batch.inputs)

    def reference(self, batch: Batch) -> torch.Tensor:
        return self.away(self.encode(batch).pooled_layers().detach(), batch)

    def sample_pairs(self, language: str, n: int) -> tuple[Batch, Batch]:
        self.drawn.append((language, n))
        return self.of("eng", n), self.of(language, n)

    def sample_texts(self, language: str, n: int) -> Batch:
        self.drawn.append((language, n))
        return self.of(language, n)


def bind(encoder: Encoder, kind: str, *, targets: tuple[str, ...] = TARGETS, **keys) -> BoundIntervention:
    """The intervention with these keys, bound to the encoder, English and the targets."""
    made, complaints = make_intervention(kind, keys)
    assert made is not None, complaints
    return made.bind(encoder, Languages("eng", targets), between(targets))


def term(step: FakeStep, kind: str, **keys) -> Term:
    """The term of that intervention in a step."""
    return bind(step.encoder, kind, **keys).term(step)


def complaints_about(kind: str, keys: dict) -> list[tuple[str, str]]:
    """(key, complaint) for all that is wrong with these keys of an intervention."""
    intervention, complaints = make_intervention(kind, keys)
    assert intervention is None
    return complaints
