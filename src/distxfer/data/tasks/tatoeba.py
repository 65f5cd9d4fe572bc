"""The task `tatoeba`: find the English translation of a sentence."""

from collections import Counter

from distxfer.data._examples import Data, Example, Issue, Pair, Task
from distxfer.data._forms import Unusable
from distxfer.data._hub import Copy, copy_of, hub_tasks, left_out_notes
from distxfer.errors import InputError

ABOUT = hub_tasks()["tatoeba"].ABOUT
(DATASET,) = hub_tasks()["tatoeba"].datasets
SOURCE = "eng"
BLANK = "pairs with a blank side"


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task, including English."""
    return (SOURCE, *DATASET.codes)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task; target sentences have the ids of their translations, which are among all source sentences.

    Each language has an English side of its own, so ids begin with the language.
    """
    needs_english(data, source, "task")
    copy = copy_of(DATASET, data, [("test", target) for target in targets], "task")
    left_out: Counter[str] = Counter()
    sides = {target: pairs(copy, target, "task", left_out) for target in targets}
    test = {target: tuple(pair.target for pair in language_pairs) for target, language_pairs in sides.items()}
    english = tuple(pair.source for language_pairs in sides.values() for pair in language_pairs)
    splits = {"train": {}, "test": {source: english, **test}}
    notes = (*copy.notes, *left_out_notes(data.name, BLANK, left_out))
    issues = tuple(Issue(key, "test", BLANK, n, n + len(test[key])) for key, n in left_out.items())
    return Task(data.name, (), splits, task_type=ABOUT.task_type, notes=notes, issues=issues)


def needs_english(data: Data, source: str, section: str) -> None:
    """Raise InputError if the source is not English, with which all other languages are paired."""
    if source != SOURCE:
        raise InputError(
            f"`{data.name}` pairs every language with English, so the source `{source}` has no translations in it."
            f" Set `task.source={SOURCE}`, or `{section}=flores`, whose languages are all parallel."
        )


def pairs(copy: Copy, target: str, section: str, left_out: Counter[str]) -> tuple[Pair, ...]:
    """Return the complete pairs of a language, and count those with a blank side; raises InputError if none is complete."""
    complete = []
    for place, row in enumerate(copy.rows("test", target)):
        try:
            english, translation = (row.text(column).strip() for column in ("sentence2", "sentence1"))
            row.check_encodable(english, translation)
        except Unusable:
            left_out[target] += 1
        else:
            key = f"{DATASET.codes[target]}-{place}"
            complete.append(Pair(Example(key, SOURCE, english), Example(key, target, translation)))
    if not complete:
        raise copy.missing("test", target, section)
    return tuple(complete)
