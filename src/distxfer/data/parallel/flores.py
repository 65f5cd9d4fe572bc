"""Parallel text of FLORES+: 2,009 sentences of Wikimedia in over 200 languages, all of them parallel."""

from collections import Counter
from dataclasses import replace

from distxfer.data._examples import Data, Example, Pair, ParallelText
from distxfer.data._forms import Unusable
from distxfer.data._hub import Copy, copy_of, hub_tasks, left_out_notes

(DATASET,) = hub_tasks()["flores"].datasets
ABOUT = replace(
    hub_tasks()["flores"].ABOUT,
    description="sentences of Wikimedia in over 200 languages, all of them parallel; the task `flores` tests on those held out",
    task_type="",
    size="997 pairs to train on, 1,012 held out",
)
_LEFT_OUT = "sentences without text, a translation or an id of their own"
languages = hub_tasks()["flores"].languages


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the sentences of dev for training, those of devtest held out (none for a target without devtest)."""
    targets = tuple(target for target in targets if target in DATASET.codes and target != source)
    parts = [(split, language) for split in DATASET.splits for language in (source, *targets)]
    copy = copy_of(DATASET, data, parts, "parallel")
    left_out: Counter[str] = Counter()
    sentences = {part: _sentences(copy, *part, left_out) for part in parts}
    if lacks := next((key for split, key in parts if split == "dev" and not sentences[split, key]), None):
        raise copy.missing("dev", lacks, "parallel")
    pairs: dict[str, dict[str, tuple[Pair, ...]]] = {split: {} for split in DATASET.splits}
    for split, target in parts:
        first, second = sentences[split, source], sentences[split, target]
        if target != source and second:
            left_out[target] += len(first.keys() ^ second.keys())
            pairs[split][target] = tuple(Pair(first[key], second[key]) for key in second if key in first)
    notes = (*copy.notes, *left_out_notes(data.name, _LEFT_OUT, left_out))
    counts = {(language, _LEFT_OUT): n for language, n in left_out.items()}
    return ParallelText(data.name, pairs["dev"], pairs["test"], notes, counts)


def _sentences(copy: Copy, split: str, language: str, left_out: Counter[str]) -> dict[str, Example]:
    """Return id -> the first sentence with that id, and count the others."""
    sentences: dict[str, Example] = {}
    for row in copy.rows(split, language):
        try:
            key, text = row.name(row.value("id"), "id"), row.text("text").strip()
            row.check_encodable(text)
        except Unusable:
            left_out[language] += 1
            continue
        if key in sentences:
            left_out[language] += 1
        else:
            sentences[key] = Example(key, language, text)
    return sentences
