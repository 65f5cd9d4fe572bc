"""Reads and checks the data of a new language, and writes it as a task folder."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from distxfer.analysis.known_scores import known_task_type
from distxfer.config.recipe import Recipe
from distxfer.data import (
    SPLITS,
    SUFFIXES,
    Data,
    Example,
    Output,
    ParallelText,
    Tags,
    Task,
    leaks,
    load_parallel,
    load_task,
    read_dictionary,
    task_languages,
    task_names,
    task_type_named,
)
from distxfer.errors import InputError
from distxfer.interventions import Languages
from distxfer.language_facts import text_lines
from distxfer.runs.measurements import FEWEST
from distxfer.runs.prepare import parallel_of


@dataclass(frozen=True)
class LanguageFiles:
    """The user's files in a language, and related languages whose distances stand in for its own."""

    labelled: Path | None = None
    few_shot: Path | None = None
    text: Path | None = None
    parallel: Path | None = None
    dictionary: Path | None = None
    relatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class LanguageData:
    """The amount of data in a language: labelled sentences for testing and training, texts, sentence pairs, words.

    `task_type` is the type of the task, `columns` maps fields to columns of its files, `notes` report defects of the data.
    """

    tests: int
    shots: int
    texts: int
    pairs: int
    words: int
    task_type: str
    notes: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def output(self) -> Output:
        """The output of a model for this task type: per text, per word, or a span."""
        return task_type_named(self.task_type).output

    def count(self, kind: str) -> int:
        """Return the number of `pairs`, `texts`, `words` or `shots`."""
        return {"pairs": self.pairs, "texts": self.texts, "words": self.words, "shots": self.shots}[kind]


def write_language_data(folder: Path, key: str, source: str, recipe: Recipe, files: LanguageFiles) -> LanguageData:
    """Write the data of a language into `folder`, in the format of `task=` and `parallel=`, and return its amounts.

    `data/` has the source's labelled text from the recipe's task, and the labelled and unlabelled text of the language;
    `parallel/` and `dictionary/` have the rest.

    Raises InputError for an unreadable file, a label that the task does not have, or a language without test sentences.
    """
    task_type = known_task_type(recipe)
    if task_type_named(task_type).output == "state":
        raise InputError(
            f"`task` is `{recipe.task.name}`, of type `{task_type}`, which has no labels, but the baseline `plain` trains on"
            " labels. Choose a task with labels; for this one, use `distxfer train` with an intervention and"
            " `phase.finetune.task=false`."
        )
    in_task = key in task_languages(recipe.task.data)
    if not in_task and files.labelled is None:
        raise InputError(
            f"The task `{recipe.task.name}` has no data for `{key}`, so there is nothing to test on. Give labelled sentences"
            " with `--labelled`."
        )
    base = load_task(recipe.task.data, source, (key,) if in_task else ())
    data = folder / "data"
    columns = {} if recipe.task.name in task_names() else recipe.task.columns  # those of the user's own task
    _write_source(data / source, base, source, columns)
    copies = _write_target(data / key, base, key, files, columns)
    with _naming(
        {path: str(original) for path, original in copies.items()} | {data / source / "train.jsonl": base.name}
    ):
        copy = Data(str(data), type="" if base.task_type == Task.task_type else base.task_type, columns=columns)
        task = replace(load_task(copy, source, (key,), target_labels=files.few_shot is not None), name=base.name)
    _check(task, source, key)
    pairs = _pairs(folder / "parallel", key, source, recipe, files)
    dictionary = read_dictionary(files.dictionary) if files.dictionary else {}
    if dictionary:
        _write_dictionary(folder / "dictionary" / f"{key}.txt", dictionary)
    tests, shots = task.examples("test", key), task.examples("train", key)
    return LanguageData(
        tests=len(tests),
        shots=len(shots),
        texts=len(task.unlabelled.get(key, ())),
        pairs=len(pairs.train[key]) + len(pairs.held_out[key]) if pairs else 0,
        words=len(dictionary),
        task_type=task.task_type,
        notes=(*task.notes, *((*pairs.notes, *leaks(task, pairs)) if pairs else ())),
        columns=columns,
    )


def _write_source(folder: Path, base: Task, source: str, columns: Mapping[str, str]) -> None:
    """Write the source's data; without unlabelled text, its training text is used for mining."""
    for split in SPLITS:
        if examples := base.examples(split, source):
            _write(folder / f"{split}.jsonl", _records(base, examples), columns)
    texts = [_text(example) for example in base.unlabelled.get(source, ())]
    if not texts:  # both texts of pairs, separately, since mining compares single texts
        pairs = ((example.text, example.text_pair) for example in base.examples("train", source))
        texts = [{"text": text} for text in dict.fromkeys(chain.from_iterable(pairs)) if text is not None]
    _write_unlabelled(folder, texts, columns)


def _write_target(
    folder: Path, base: Task, key: str, files: LanguageFiles, columns: Mapping[str, str]
) -> dict[Path, Path]:
    """Write the data of the language, and return written file -> the user's file that it copies."""
    copies = {}
    for path, name in ((files.labelled, "test"), (files.few_shot, "train")):
        if path is not None:
            if path.suffix not in SUFFIXES:
                raise InputError(
                    f"`{path}` has none of the supported formats: {', '.join(SUFFIXES)}. Convert it to one of these."
                )
            copies[folder / f"{name}{path.suffix}"] = path
            _copy(path, folder / f"{name}{path.suffix}")
    if files.labelled is None:
        _write(folder / "test.jsonl", _records(base, base.examples("test", key)), columns)
    texts = [_text(example) for example in base.unlabelled.get(key, ())]
    texts += [{"text": line} for line in text_lines(files.text)] if files.text else []
    if texts:
        _write_unlabelled(folder, texts, columns)
    return copies


def _write_unlabelled(folder: Path, texts: Sequence[Mapping[str, str]], columns: Mapping[str, str]) -> None:
    pair = {"text_pair": None} if "text_pair" in columns else {}  # a configured column must be in every row
    records = ({"id": str(place), **pair, **text} for place, text in enumerate(texts))
    _write(folder / "unlabelled.jsonl", records, columns)


def _records(task: Task, examples: Iterable[Example]) -> Iterator[dict[str, Any]]:
    """Yield labelled examples as rows of a user's own task."""
    for example in examples:
        match example.label:
            case int():
                yield {"id": example.id, **_text(example), "label": task.labels[example.label]}
            case Tags():
                words = [example.text[start:end] for start, end in example.label.spans]
                yield {"id": example.id, "words": words, "tags": [task.labels[tag] for tag in example.label.tags]}
            case tuple():
                yield {
                    "id": example.id,
                    "question": example.text,
                    "context": example.text_pair,
                    "answers": {
                        "text": [answer.text for answer in example.label],
                        "answer_start": [answer.start for answer in example.label],
                    },
                }
            case _:
                raise InputError(
                    f"The example `{example.id}` of `{example.language}` in the task `{task.name}` has no label, so it can"
                    " be used neither for training nor for testing. Choose a task with labels."
                )


def _text(example: Example) -> dict[str, str]:
    pair = {} if example.text_pair is None else {"text_pair": example.text_pair}
    return {"text": example.text, **pair}


def _write(path: Path, records: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ({columns.get(name, name): value for name, value in record.items()} for record in records)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_dictionary(path: Path, dictionary: Mapping[str, Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{word}\t{text}\n" for word, translations in dictionary.items() for text in translations)


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(path, to)
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}. Check the path and its permissions.") from error


@contextmanager
def _naming(names: Mapping[Path, str]) -> Iterator[None]:
    """Replace the paths of copies in error messages by the names of the originals."""
    try:
        yield
    except InputError as error:
        text = str(error)
        for path, name in names.items():
            text = text.replace(str(path), name)
        raise InputError(text) from error


def _check(task: Task, source: str, key: str) -> None:
    tests, has_questions = task.examples("test", key), task_type_named(task.task_type).output == "span"
    if len(tests) < FEWEST:
        raise InputError(
            f"There are {len(tests)} labelled {'questions' if has_questions else 'sentences'} of `{key}` to test on; expected"
            f" at least {FEWEST}, and some hundred to detect a usual gain."
        )
    if has_questions:
        _check_texts(tests, key)
    paired = task.examples("test", source)[0].text_pair is not None
    odd = next((example for example in tests if (example.text_pair is not None) != paired), None)
    if odd is not None:
        raise InputError(
            f"The labelled sentence `{odd.id}` of `{key}` has {'no' if paired else 'a'} `text_pair`, and those of the task"
            f" `{task.name}` have {'one' if paired else 'none'}. Give what the task gives."
        )


def _check_texts(questions: Sequence[Example], key: str) -> None:
    """Raise InputError for questions on too few texts, or on texts of so uneven sizes that the interval would be too short.

    If all questions on a text are alike, n questions are worth n^2 / sum n_t^2 texts. The false-positive rate is 5 to 7 % if
    that is half of the texts, and 11 to 43 % if it is a third or less.
    """
    counts = Counter(question.text_pair for question in questions)
    if len(counts) < FEWEST:
        raise InputError(
            f"The {len(questions)} questions of `{key}` to test on are on {len(counts)} text{'s' * (len(counts) > 1)}; expected"
            f" questions on at least {FEWEST}, since questions on one text are dependent."
        )
    effective = len(questions) ** 2 / sum(count**2 for count in counts.values())
    if effective < len(counts) / 2:
        raise InputError(
            f"The {len(questions)} questions of `{key}` to test on are so unevenly distributed over {len(counts)} texts, with"
            f" {max(counts.values())} on one, that they are worth {effective:.1f} texts; expected at least half of the texts."
            " Give about as many questions on each text."
        )


def _pairs(folder: Path, key: str, source: str, recipe: Recipe, files: LanguageFiles) -> ParallelText | None:
    """Write the user's pairs, or else those of the recipe's corpus, and return them as they are read; None without any."""
    folder.mkdir()
    path = folder / f"{key}.tsv"
    if files.parallel is not None:
        _copy(files.parallel, path)
    else:
        corpus = parallel_of(recipe, Languages(source, (key,)))
        pairs = [*corpus.train.get(key, ()), *corpus.held_out.get(key, ())] if corpus else []
        if not pairs:
            return None
        lines = ("\t".join(" ".join(side.text.split()) for side in (pair.source, pair.target)) + "\n" for pair in pairs)
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
    name = str(files.parallel or recipe.parallel.name)
    with _naming({path: name}):
        return replace(load_parallel(str(folder), source, (key,)), name=name)
