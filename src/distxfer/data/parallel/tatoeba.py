"""Parallel text of Tatoeba: up to 1,000 everyday sentences a language with English, those of the task `tatoeba`."""

from collections import Counter

from distxfer.data._examples import About, Data, ParallelText, held_out
from distxfer.data._hub import copy_of, left_out_notes
from distxfer.data.tasks import tatoeba
from distxfer.data.tasks.tatoeba import DATASET

ABOUT = About(
    "up to 1,000 everyday sentences a language with English; the task `tatoeba` tests on the same",
    task_type="",
    needs="hub",
    size="up to 1,000 pairs a language",
    licence="CC-BY-2.0",
    citation=tatoeba.ABOUT.citation,
    source=DATASET.repository,
    revision=DATASET.revision,
    keys=("folder", "revision"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the corpus, including English."""
    return tatoeba.languages(data)


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the pairs; a fixed fifth, by hash of their ids, is held out for measuring."""
    tatoeba.needs_english(data, source, "parallel")
    targets = tuple(target for target in targets if target in DATASET.codes)
    copy = copy_of(DATASET, data, [("test", target) for target in targets], "parallel", pinned=False)
    left_out: Counter[str] = Counter()
    pairs = {target: tatoeba.pairs(copy, target, "parallel", left_out) for target in targets}
    return ParallelText(
        data.name,
        train={
            target: tuple(pair for pair in language_pairs if not held_out(pair.source.id))
            for target, language_pairs in pairs.items()
        },
        held_out={
            target: tuple(pair for pair in language_pairs if held_out(pair.source.id))
            for target, language_pairs in pairs.items()
        },
        notes=(*copy.notes, *left_out_notes(data.name, tatoeba.BLANK, left_out)),
        left_out={(language, tatoeba.BLANK): n for language, n in left_out.items()},
    )
