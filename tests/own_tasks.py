"""Tasks of one's own of kinds beside classification, in the words of the tiny encoder."""

import json
import re
from pathlib import Path

from conftest import ANIMALS, PLANTS, WORDS, say, sentences


def row_of_words(key, words, language):
    tags = ["B-ANI" if word in ANIMALS else "B-PLA" if word in PLANTS else "O" for word in words]
    return {"id": key, "words": [WORDS[language][word] for word in words], "tags": tags}


def row_of_answer(key, words, language):
    """What in a long text is an animal or a plant?"""
    words = [*words, *(12 + place % 3 for place in range(3 * len(words)))]
    context = say(words, language)
    noun = next(WORDS[language][word] for word in words if word < 6)
    answers = {"text": [noun], "answer_start": [re.search(rf"\b{noun}\b", context).start()]}
    return {"id": key, "question": say([13, 6], language), "context": context, "answers": answers}


def row_of_text(key, words, language):
    return {"id": key, "text": say(words, language)}


def write(folder: Path, row, train_size: int = 48) -> Path:
    """Write a task in three languages, with labels to train on in English."""
    for seed, (split, n) in enumerate({"train": train_size, "dev": 8, "test": 24}.items()):
        for language in WORDS if split != "train" else ["eng"] if n else []:
            path = folder / language / f"{split}.jsonl"
            path.parent.mkdir(exist_ok=True, parents=True)
            rows = [row(f"{split}-{place}", words, language) for place, (words, _) in enumerate(sentences(n, seed))]
            path.write_text("".join(json.dumps(record) + "\n" for record in rows), encoding="utf-8")
    return folder
