"""What many tests share: tiny encoders of random weights with a real tokenizer, a tiny task and parallel text."""

import functools
import gc
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest
import torch
from tokenizers import Tokenizer, models, processors
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)
from typer.testing import CliRunner

from distxfer import load_recipe, train
from distxfer.checkpoints.measure import Measured, measure
from distxfer.cli import app
from distxfer.encoders import Encoder, load_encoder, load_tokenizer
from distxfer.results.result import Result
from stand_in import StandIn

# The same examples in every run, however slow the machine is: what passes here passes elsewhere.
# `--hypothesis-profile=default` looks for new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("torture", derandomize=True, max_examples=2000, deadline=None)
hypothesis.settings.load_profile("repeatable")

# Words of three made-up "languages" that share nothing but the place of each word in its list.
WORDS = {
    "eng": ["cat", "dog", "bird", "tree", "rose", "leaf", "red", "big", "old", "new", "runs", "sees", "eats", "two", "the"],
    "deu": ["katze", "hund", "vogel", "baum", "blume", "blatt", "rot", "dick", "alt", "neu", "rennt", "sieht", "isst",
            "zwei", "das"],
    "jpn": ["neko", "inu", "tori", "ki", "bara", "ha", "aka", "ooki", "furui", "atara", "hashi", "miru", "tabe", "ni", "sono"],
}  # fmt: skip
ANIMALS, PLANTS = range(3), range(3, 6)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LAYERS = 4
# Of the task in seven languages, on which checkpoints are measured.
LABELS = ("animal", "plant")
TARGETS = ("deu", "fin", "fra", "jpn", "kor", "tur")

TINY = {"hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 32}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
ARCHITECTURES = {
    "bert": TINY,
    "xlm-roberta": TINY,
    "deberta-v2": TINY,
    "distilbert": {"dim": 16, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 32},
    "modernbert": {**TINY, "global_attn_every_n_layers": 2},
    "qwen2": {**TINY, "num_key_value_heads": 2},
    "llama": {**TINY, "num_key_value_heads": 2},
}


T = TypeVar("T")
FULL = False  # whether `--torture` asks for the long form of the tests


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--torture`."""
    parser.addoption(
        "--torture", action="store_true", help="Run the tests of tests/torture and those marked `torture`, in full."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set the number of examples before any test module is imported."""
    global FULL
    FULL = config.getoption("--torture")
    if FULL:
        hypothesis.settings.load_profile("torture")


# A worker runs whole files: the long ones come first, so that no worker waits for the last of them at the end.
LONG_FILES = {
    "test_run.py",
    "test_training.py",
    "test_sharded.py",
    "test_interrupt.py",
    "test_sweep.py",
    "test_sweep_ray.py",
    "test_phases.py",  # and, with the next one, else among the last
    "test_word_embeddings.py",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `torture`, or, with `--torture`, everything else but tests/torture; put long files first."""
    folder = Path(__file__).parent / "torture"
    chosen, left_out = [], []
    for item in items:
        marked = item.get_closest_marker("torture") is not None
        runs = marked or folder in item.path.parents if FULL else not marked
        (chosen if runs else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = sorted(chosen, key=lambda item: item.path.name not in LONG_FILES)


def scaled(quick: T, full: T) -> T:
    """Return a number or list of examples: `quick` in `make test`, `full` with `--torture`."""
    return full if FULL else quick


def number(tokens: list[str]) -> dict[str, int]:
    """Return token -> id, in order."""
    return {token: index for index, token in enumerate(tokens)}


def save_tiny(folder: Path, architecture: str = "bert", **settings) -> Path:
    """Save a tiny encoder of random weights, and a tokenizer (of whole words, or of bytes), as `from_pretrained` loads them."""
    if architecture == "qwen2":  # its tokenizer is loaded as byte-level BPE, whatever was saved
        tokenizer = Tokenizer(models.BPE(number([*SPECIAL, "<|endoftext|>", *sorted(ByteLevel.alphabet())]), []))
        tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    else:
        words = [word for language in WORDS.values() for word in language]
        tokenizer = Tokenizer(models.WordLevel(number([*SPECIAL, *words]), unk_token="[UNK]"))
        tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    config = AutoConfig.for_model(
        architecture,
        vocab_size=tokenizer.get_vocab_size(),
        pad_token_id=0,
        **{**ARCHITECTURES.get(architecture, {}), **settings},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
    return folder


def pytest_collection_finish():
    """Keep what is imported by now out of later searches for garbage: each run asks for one, as long as a tiny run itself."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory):
    """A cache of this session's own, so that nothing is found that an earlier one left; a gigabyte, so it does not stay."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTXFER_CACHE", str(folder))
        yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session", autouse=True)
def unflushed():
    """No file is flushed to the disk: every tiny run flushes twenty, and no test takes the power away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A tiny BERT of 4 layers, with dropout."""
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_without_dropout(tmp_path_factory) -> Path:
    """The same encoder, without dropout: a step's gradients then do not depend on how the step is cut up."""
    return save_tiny(tmp_path_factory.mktemp("still"), **NO_DROPOUT)


@pytest.fixture(scope="session", params=ARCHITECTURES)
def architecture(request) -> str:
    """Each architecture in turn."""
    return request.param


@pytest.fixture(scope="session")
def coarse(architecture, tmp_path_factory) -> Path:
    """A tiny encoder of each architecture, whose weights are large enough for a mistake to show."""
    return save_tiny(tmp_path_factory.mktemp(architecture), architecture, initializer_range=0.2)


@pytest.fixture(scope="session")
def coarse_bert(tmp_path_factory) -> Path:
    """A BERT with weights as large."""
    return save_tiny(tmp_path_factory.mktemp("bert"), initializer_range=0.2)


@pytest.fixture
def encoder(tiny_without_dropout) -> Encoder:
    """That encoder with a new head for two labels."""
    return load_encoder("tiny", tiny_without_dropout, ("a", "b"), seed=0)


def sentences(n: int, seed: int) -> list[tuple[list[int], str]]:
    """Return n (word numbers, label): two to five words, one of which is an animal or a plant."""
    draw = random.Random(seed)
    rows = []
    for _ in range(n):
        kind = draw.choice([ANIMALS, PLANTS])
        words = [draw.choice(kind), *draw.sample(range(6, 15), draw.randint(1, 4))]
        draw.shuffle(words)
        rows.append((words, "animal" if kind is ANIMALS else "plant"))
    return rows


def say(words: list[int], language: str) -> str:
    """Return the sentence of these words in a language."""
    return " ".join(WORDS[language][word] for word in words)


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory) -> Path:
    """A task of your own: is it about an animal or a plant? English labels, German and Japanese tests."""
    folder = tmp_path_factory.mktemp("task")
    for seed, (split, n) in enumerate({"train": 144, "dev": 12, "test": 24}.items()):
        for language in WORDS if split != "train" else ["eng"]:
            path = folder / language / f"{split}.jsonl"
            path.parent.mkdir(exist_ok=True)
            rows = [
                {"id": f"{split}-{number}", "text": say(words, language), "label": label}
                for number, (words, label) in enumerate(sentences(n, seed))
            ]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def parallel_folder(tmp_path_factory) -> Path:
    """Parallel text of your own for that task."""
    folder = tmp_path_factory.mktemp("parallel")
    for language in ("deu", "jpn"):
        pairs = [f"{say(words, 'eng')}\t{say(words, language)}\n" for words, _ in sentences(80, seed=9)]
        (folder / f"{language}.tsv").write_text("".join(pairs), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_settings(tiny, task_folder, parallel_folder) -> list[str]:
    """The overrides that make any shipped recipe a matter of seconds."""
    return [
        f"model={tiny}", f"task={task_folder}", f"parallel={parallel_folder}",
        "phase.finetune.epochs=3", "phase.finetune.batch_size=24", "phase.finetune.learning_rate=1e-3", "task.max_length=32",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def run(tmp_path_factory, tiny_settings):
    """Train a recipe with the tiny task and encoder; what another test has trained in the shared folder is there already."""
    shared = tmp_path_factory.mktemp("results")

    def train_recipe(recipe: str, *overrides: str, folder: Path = shared, **options) -> Result:
        return train(load_recipe(recipe, [*tiny_settings, *overrides]), folder, **options)

    return train_recipe


def texts_of(language: str) -> list[tuple[str, str]]:
    """Return text and label; a language without words of its own writes German ones backwards, or Japanese ones."""
    base = language if language in WORDS else "deu" if language in ("fin", "fra") else "jpn"
    rows = [(say(words if base == language else words[::-1], base), label) for words, label in sentences(24, 5)]
    return rows if language != "kor" else [(f"{text} the", label) for text, label in rows]


def write_task(folder: Path) -> Path:
    """Write the task of these texts, in seven languages, whose source trains on what it is tested on: nobody trains here."""
    for language in ("eng", *TARGETS):
        (folder / language).mkdir(parents=True)
        for split in ("train", "test") if language == "eng" else ("test",):
            rows = [
                {"id": str(number), "text": text, "label": label}
                for number, (text, label) in enumerate(texts_of(language))
            ]
            (folder / language / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def perturbed(source: Path, folder: Path, labels: tuple[str, ...] | None, noise: float = 0.1) -> Path:
    """Save the model with noise on its weights, with a head for these labels or without a head."""
    if labels is None:
        model = AutoModel.from_pretrained(source)
    else:
        names = {"id2label": dict(enumerate(labels)), "label2id": {label: place for place, label in enumerate(labels)}}
        model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=len(labels), **names)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(noise * torch.randn(weights.shape, generator=draw))
        if labels is not None:  # so that it does not say the same of everything
            texts = AutoTokenizer.from_pretrained(source)(
                [text for text, _ in texts_of("eng")], padding=True, return_tensors="pt"
            )
            model.classifier.bias -= model.eval()(**texts).logits.quantile(0.5, dim=0)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def seven(tmp_path_factory) -> Path:
    """The task in seven languages."""
    return write_task(tmp_path_factory.mktemp("seven") / "task")


@pytest.fixture(scope="session")
def tuned(tiny, tmp_path_factory) -> Path:
    """The tiny encoder with other weights and a head for the task."""
    return perturbed(tiny, tmp_path_factory.mktemp("tuned"), LABELS)


@pytest.fixture(scope="session")
def measurement(tiny, tuned, seven) -> Measured:
    """What lies between the two, without parallel text."""
    return measure(str(tiny), str(tuned), [f"task={seven}", "parallel="])


@pytest.fixture(scope="module")
def shared_tokenizers():
    """Load the tokenizer of a model once: that is most of the time of the verb `language`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distxfer.language_facts.load_tokenizer", functools.cache(load_tokenizer))
        yield


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Run the command line in this process, in an empty folder; what is neither done nor refused raises."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISTXFER_RESULTS", raising=False)
    return lambda *words: CliRunner().invoke(app, list(words), prog_name="distxfer", catch_exceptions=False)


@pytest.fixture
def fake(tmp_path, monkeypatch, tiny_settings) -> StandIn:
    """What a sweep starts in place of `train`."""
    stand_in = StandIn(tmp_path, [word for word in tiny_settings if not word.startswith("phase.")])
    monkeypatch.setattr(sys, "executable", str(stand_in.python))
    monkeypatch.setenv("FAKE_TRAIN", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return stand_in
