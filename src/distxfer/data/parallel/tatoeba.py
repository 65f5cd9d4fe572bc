"""Parallel text of Tatoeba: up to 1,000 everyday sentences a language with English, those of the task `tatoeba`."""

from collections import Counter
from dataclasses import replace

from distxfer.data._examples import Data, ParallelText, split_pairs
from distxfer.data._hub import copy_of, left_out_notes
from distxfer.data.tasks import tatoeba
from distxfer.data.tasks.tatoeba import BLANK, DATASET

ABOUT = replace(
    tatoeba.ABOUT,
    description="up to 1,000 everyday sentences a language with English; the task `tatoeba` tests on the same",
    task_type="",
    size="up to 1,000 pairs a language",
)
languages = tatoeba.languages


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the pairs; a fixed fifth, by hash of their ids, is held out for measuring."""
    tatoeba.needs_english(data, source, "parallel")
    targets = tuple(target for target in targets if target in DATASET.codes)
    copy = copy_of(DATASET, data, [("test", target) for target in targets], "parallel")
    left_out: Counter[str] = Counter()
    parts = {target: split_pairs(tatoeba.pairs(copy, target, "parallel", left_out)) for target in targets}
    return ParallelText(
        data.name,
        train={target: train for target, (train, _) in parts.items()},
        held_out={target: held for target, (_, held) in parts.items()},
        notes=(*copy.notes, *left_out_notes(data.name, BLANK, left_out)),
        left_out={(language, BLANK): n for language, n in left_out.items()},
    )
