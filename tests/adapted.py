"""What the tests of adapters share: encoders with noise on what was adapted, and what they make of known texts."""

import torch
from transformers import AutoTokenizer

from distxfer.encoders import load_encoder

LABELS = ("animal", "plant")
TEXTS = ["the cat", "the big old dog sees two new trees", "neko ooki", "rose"]


def load(folder, **settings):
    return load_encoder(str(folder), folder, LABELS, seed=0, **settings)


def states(encoder):
    return encoder.states([dict(encoder.tokenizer(TEXTS, padding=True, return_tensors="pt"))])


def shake(encoder, names, seed=1):
    """Add noise to these parameters, as training would."""
    parameters, random = dict(encoder.model.named_parameters()), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in sorted(names):
            parameters[name].add_(0.1 * torch.randn(parameters[name].shape, generator=random))


def logits_of(model, folder, texts=TEXTS):
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits, mask = model.eval()(**tokens).logits, tokens["attention_mask"].unsqueeze(-1)
        return (logits * mask).sum(1) / mask.sum(1) if logits.dim() > mask.dim() - 1 else logits


def close(one, other, tolerance=1e-5):
    torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)
