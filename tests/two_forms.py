"""What the tests of the consistency terms share: a step with known text, an encoder with opinions, and the divergence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

import fakes
from distxfer.data import Batch, Collator, Example
from distxfer.encoders import Encoder

TEXTS = ["the cat runs", "the big dog sees the bird", "rose", "two old tree the new cat"]
TRANSLATED = {"deu": ["das katze rennt", "hund", "rot blume", "das alt"], "jpn": ["neko", "sono inu", "bara", "ki ni"]}


@dataclass
class FakeStep(fakes.FakeStep):
    """A step with known text, of the task and of two targets."""

    texts: Sequence[str] = tuple(TEXTS)
    with_head: bool = True

    def sample_pairs(self, language: str, n: int) -> tuple[Batch, Batch]:
        self.drawn.append((language, n))
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


def kl(p, q) -> float:
    """Return the KL divergence of two lists of probabilities, summed one by one."""
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def probabilities(encoder: Encoder, batch: Batch, temperature: float = 1.0) -> list[list[float]]:
    with torch.no_grad():
        return (encoder.classify(batch.inputs).logits.double() / temperature).softmax(dim=-1).tolist()
