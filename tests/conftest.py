"""What many tests share: tiny encoders of random weights with a real tokenizer, a tiny task and parallel text."""

import json
import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, processors
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast
from typer.testing import CliRunner

from distxfer.cli import app

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
        **{**ARCHITECTURES[architecture], **settings},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A tiny BERT of 4 layers, with dropout."""
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_without_dropout(tmp_path_factory) -> Path:
    """The same encoder, without dropout: a step's gradients then do not depend on how the step is cut up."""
    return save_tiny(tmp_path_factory.mktemp("still"), **NO_DROPOUT)


def sentences(n: int, seed: int) -> list[tuple[list[int], str]]:
    """Return n (word numbers, label): two to five words, one of which is an animal or a plant."""
    draw = random.Random(seed)
    made = []
    for _ in range(n):
        kind = draw.choice([ANIMALS, PLANTS])
        words = [draw.choice(kind), *draw.sample(range(6, 15), draw.randint(1, 4))]
        draw.shuffle(words)
        made.append((words, "animal" if kind is ANIMALS else "plant"))
    return made


def say(words: list[int], language: str) -> str:
    """Return the sentence of these words in a language."""
    return " ".join(WORDS[language][word] for word in words)


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory) -> Path:
    """A task of your own: is it about an animal or a plant? English labels, German and Japanese tests."""
    folder = tmp_path_factory.mktemp("task")
    for seed, (split, n) in enumerate({"train": 48, "dev": 12, "test": 24}.items()):
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
        "phase.finetune.epochs=3", "phase.finetune.batch_size=8", "phase.finetune.learning_rate=1e-3", "task.max_length=32",
    ]  # fmt: skip


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Run the command line in this process, in an empty folder; what is neither done nor refused raises."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISTXFER_RESULTS", raising=False)
    return lambda *words: CliRunner().invoke(app, list(words), prog_name="distxfer", catch_exceptions=False)
