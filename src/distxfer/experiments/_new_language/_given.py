"""What there is of a new language: read, checked, and laid down as a task of one's own."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distxfer.data import (
    SPLITS,
    Answer,
    Data,
    Example,
    ParallelText,
    Tags,
    Task,
    load_parallel,
    load_task,
    read_dictionary,
    task_languages,
)
from distxfer.data._checks import leaks
from distxfer.data._tables import SUFFIXES
from distxfer.errors import InputError
from distxfer.experiments._language import text_lines
from distxfer.experiments._recipes._recipe import Recipe
from distxfer.experiments._runs._prepare import parallel_of
from distxfer.interventions import Languages

FEWEST = 4  # test sentences: with fewer there is no drift, and no difference that could be shown


@dataclass(frozen=True)
class Given:
    """The files that a user has of a language, and related languages to take its distances from."""

    labelled: Path | None = None
    few_shot: Path | None = None
    text: Path | None = None
    parallel: Path | None = None
    dictionary: Path | None = None
    relatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Has:
    """What there is of a language: labelled sentences to test on and to train on, texts, sentence pairs, words.

    `kind` is that of the task. `notes` say what is wrong with it.
    """

    tests: int
    shots: int
    texts: int
    pairs: int
    words: int
    kind: str
    notes: tuple[str, ...]

    def count(self, what: str) -> int:
        """Return how many `pairs`, `texts` or `words` there are."""
        return {"pairs": self.pairs, "texts": self.texts, "words": self.words}[what]


def lay_down(folder: Path, key: str, source: str, recipe: Recipe, given: Given) -> Has:
    """Write the data of a language into `folder`, in files as `task=` and `parallel=` read them, and return what they are.

    `data/` has the source's labelled text, of the recipe's task, and what there is in the language; `parallel/` and
    `dictionary/` the rest.

    Raises InputError for a file that cannot be read, a label that the task does not have, or a language without a test.
    """
    known = key in task_languages(recipe.task.data)
    if not known and given.labelled is None:
        raise InputError(
            f"The task `{recipe.task.name}` has no data for `{key}`, so there is nothing to test on. Give labelled sentences"
            " with `--labelled`."
        )
    base = load_task(recipe.task.data, source, (key,) if known else ())
    data = folder / "data"
    _write_source(data / source, base, source)
    own = _write_target(data / key, base, key, given)
    with _naming({path: str(given_as) for path, given_as in own.items()} | {data / source / "train.jsonl": base.name}):
        task = load_task(_data(data, base), source, (key,), target_labels=given.few_shot is not None)
    _check(task, source, key)
    pairs = _pairs(folder / "parallel", key, source, recipe, given)
    words = _words(folder / "dictionary", key, given)
    tests, shots = task.examples("test", key), task.examples("train", key)
    return Has(
        tests=len(tests),
        shots=len(shots),
        texts=len(task.unlabelled.get(key, ())),
        pairs=len(pairs.train[key]) + len(pairs.held_out[key]) if pairs else 0,
        words=words,
        kind=task.kind,
        notes=(*task.notes, *((*pairs.notes, *leaks(task, pairs)) if pairs else ())),
    )


def _data(folder: Path, base: Task) -> Data:
    return Data(str(folder), kind="" if base.kind == "classification" else base.kind)


def _write_source(folder: Path, base: Task, source: str) -> None:
    """Write the source's text; without unlabelled text of its own, that which it trains on is text to mine in."""
    for split in SPLITS:
        if examples := base.examples(split, source):
            _write(folder / f"{split}.jsonl", _records(base, examples))
    texts = base.unlabelled.get(source) or base.examples("train", source)
    _write(folder / "unlabelled.jsonl", ({"id": str(place), **_text(one)} for place, one in enumerate(texts)))


def _write_target(folder: Path, base: Task, key: str, given: Given) -> dict[Path, Path]:
    """Write what there is in the language, and return which of the user's files each written one is a copy of."""
    copies = {}
    for path, name in ((given.labelled, "test"), (given.few_shot, "train")):
        if path is not None:
            if path.suffix not in SUFFIXES:
                raise InputError(
                    f"`{path}` is of no format that is read: {', '.join(SUFFIXES)}. Convert it to one of these."
                )
            copies[folder / f"{name}{path.suffix}"] = path
            _copy(path, folder / f"{name}{path.suffix}")
    if given.labelled is None:
        _write(folder / "test.jsonl", _records(base, base.examples("test", key)))
    texts = [_text(one) for one in base.unlabelled.get(key, ())]
    texts += [{"text": line} for line in text_lines(given.text)] if given.text else []
    if texts:
        _write(folder / "unlabelled.jsonl", ({"id": str(place), **one} for place, one in enumerate(texts)))
    return copies


def _records(task: Task, examples: Iterable[Example]) -> Iterator[dict[str, Any]]:
    """Yield labelled examples as the rows of a task of one's own."""
    for one in examples:
        match one.label:
            case int():
                yield {"id": one.id, **_text(one), "label": task.labels[one.label]}
            case Tags():
                words = [one.text[start:end] for start, end in one.label.spans]
                yield {"id": one.id, "words": words, "tags": [task.labels[tag] for tag in one.label.tags]}
            case tuple():
                yield {"id": one.id, "question": one.text, "context": one.text_pair, "answers": _answers(one.label)}
            case _:
                raise InputError(
                    f"The task `{task.name}` is one of {task.kind}, without labels: nothing is trained on it that a new"
                    " language could gain from. Choose a task with labels."
                )


def _answers(answers: tuple[Answer, ...]) -> dict[str, Any]:
    return {"text": [one.text for one in answers], "answer_start": [one.start for one in answers]}


def _text(example: Example) -> dict[str, str]:
    pair = {} if example.text_pair is None else {"text_pair": example.text_pair}
    return {"text": example.text, **pair}


def _write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in records)


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(path, to)
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}. Check the path and its permissions.") from error


@contextmanager
def _naming(names: Mapping[Path, str]) -> Iterator[None]:
    """Let complaints about copies name what they are copies of."""
    try:
        yield
    except InputError as error:
        text = str(error)
        for path, name in names.items():
            text = text.replace(str(path), name)
        raise InputError(text) from error


def _check(task: Task, source: str, key: str) -> None:
    tests = task.examples("test", key)
    if len(tests) < FEWEST:
        raise InputError(
            f"There are {len(tests)} labelled sentences of `{key}` to test on; expected at least {FEWEST}, and some hundred"
            " to see a usual gain."
        )
    paired = task.examples("test", source)[0].text_pair is not None
    odd = next((one for one in tests if (one.text_pair is not None) != paired), None)
    if odd is not None:
        raise InputError(
            f"The labelled sentence `{odd.id}` of `{key}` has {'no' if paired else 'a'} `text_pair`, and those of the task"
            f" `{task.name}` have {'one' if paired else 'none'}. Give what the task gives."
        )


def _pairs(folder: Path, key: str, source: str, recipe: Recipe, given: Given) -> ParallelText | None:
    """Write the pairs that there are, the user's or else those of the recipe's corpus, and return them as they are read."""
    folder.mkdir()
    path = folder / f"{key}.tsv"
    if given.parallel is not None:
        _copy(given.parallel, path)
    else:
        # The corpus of the defaults is of another kind than most tasks: it counts where it is the task's own, or asked for.
        asked = recipe.parallel.name == recipe.task.name or recipe.values["parallel.name"].origin == "override"
        found = parallel_of(recipe, Languages(source, (key,))) if asked else None
        pairs = [*found.train.get(key, ()), *found.held_out.get(key, ())] if found else []
        if not pairs:
            return None
        lines = (f"{_one_line(one.source.text)}\t{_one_line(one.target.text)}\n" for one in pairs)
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
    with _naming({path: str(given.parallel)}):
        return load_parallel(str(folder), source, (key,))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _words(folder: Path, key: str, given: Given) -> int:
    """Copy the dictionary, if there is one, and return how many words of the source it has."""
    if given.dictionary is None:
        return 0
    words = len(read_dictionary(given.dictionary))
    _copy(given.dictionary, folder / f"{key}.txt")
    return words
