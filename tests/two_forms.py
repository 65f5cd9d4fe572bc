"""What the tests of the consistency terms share: a step with known text, an encoder with opinions, and the divergence."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from distxfer.data import Batch, Collator, Example
from distxfer.encoders import Encoded, Encoder
from distxfer.interventions import Languages, make_intervention
from distxfer.languages import distances

LANGUAGES = Languages("eng", ("deu", "jpn"))
DISTANCES = distances("eng", LANGUAGES.targets, imputed=True)
TEXTS = ["the cat runs", "the big dog sees the bird", "rose", "two old tree the new cat"]
TRANSLATED = {"deu": ["das katze rennt", "hund", "rot blume", "das alt"], "jpn": ["neko", "sono inu", "bara", "ki ni"]}


@dataclass
class FakeStep:
    """A step with known text: the public `Step` without a loop. Each batch that went through the head is kept."""

    encoder: Encoder
    texts: list[str] = field(default_factory=lambda: TEXTS)
    with_head: bool = True
    synchronized: bool = False
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    drawn: list[str] = field(default_factory=list)
    classified: list[Batch] = field(default_factory=list)

    def collate(self, examples) -> Batch:
        return Collator(self.encoder.tokenizer, 64)(list(examples))

    @property
    def batch(self) -> Batch:
        return self.collate(Example(str(n), "eng", text, label=n % 2) for n, text in enumerate(self.texts))

    def encoded(self) -> Encoded:
        return (self.encoder.classify if self.with_head else self.encoder.encode)(self.batch.inputs)

    def classify(self, batch: Batch) -> Encoded:
        self.classified.append(batch)
        return self.encoder.classify(batch.inputs)

    def sample_pairs(self, language: str, n: int) -> tuple[Batch, Batch]:
        self.drawn.append(language)
        target = [Example(str(n), language, text) for n, text in enumerate(TRANSLATED[language])]
        return self.batch, self.collate(target)


def decided(encoder: Encoder) -> Encoder:
    """Give every weight some noise, and the head no favourite, so that texts differ in what is predicted; switch dropout off."""
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=noise))
        encoder.model.eval()
        texts = Collator(encoder.tokenizer, 64)([Example("", "eng", text) for text in [*TEXTS, *TRANSLATED["jpn"]]])
        encoder.model.classifier.bias -= encoder.classify(texts.inputs).logits.mean(dim=0)
    return encoder


def bind(encoder: Encoder, kind: str, **keys):
    made, complaints = make_intervention(kind, keys)
    assert made is not None, complaints
    return made.bind(encoder, LANGUAGES, DISTANCES)


def kl(p, q) -> float:
    """Return the KL divergence of two lists of probabilities, summed one by one."""
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def probabilities(encoder: Encoder, batch: Batch, temperature: float = 1.0) -> list[list[float]]:
    with torch.no_grad():
        return (encoder.classify(batch.inputs).logits.double() / temperature).softmax(dim=-1).tolist()
