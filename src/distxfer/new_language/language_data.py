"""What there is of a new language: read, checked, and laid down as a task of one's own."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distxfer.analysis.known_scores import task_kind
from distxfer.config.recipe import Recipe
from distxfer.data import (
    SPLITS,
    SUFFIXES,
    Answer,
    Data,
    Example,
    Output,
    ParallelText,
    Tags,
    Task,
    kind_named,
    leaks,
    load_parallel,
    load_task,
    read_dictionary,
    task_languages,
    task_names,
)
from distxfer.errors import InputError
from distxfer.interventions import Languages
from distxfer.language_facts import text_lines
from distxfer.runs.prepare import parallel_of

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

    `kind` is that of the task, `columns` which column of its files holds a field. `notes` say what is wrong with it.
    """

    tests: int
    shots: int
    texts: int
    pairs: int
    words: int
    kind: str
    notes: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def output(self) -> Output:
        """What a model says of a text of this kind of task: one thing, one a word, or where in it something stands."""
        return kind_named(self.kind).output

    def count(self, what: str) -> int:
        """Return how many `pairs`, `texts` or `words` there are."""
        return {"pairs": self.pairs, "texts": self.texts, "words": self.words}[what]


def lay_down(folder: Path, key: str, source: str, recipe: Recipe, given: Given) -> Has:
    """Write the data of a language into `folder`, in files as `task=` and `parallel=` read them, and return what they are.

    `data/` has the source's labelled text, of the recipe's task, and what there is in the language; `parallel/` and
    `dictionary/` the rest.

    Raises InputError for a file that cannot be read, a label that the task does not have, or a language without a test.
    """
    _check_kind(recipe)
    known = key in task_languages(recipe.task.data)
    if not known and given.labelled is None:
        raise InputError(
            f"The task `{recipe.task.name}` has no data for `{key}`, so there is nothing to test on. Give labelled sentences"
            " with `--labelled`."
        )
    base = load_task(recipe.task.data, source, (key,) if known else ())
    data, columns = folder / "data", _columns(recipe)
    _write_source(data / source, base, source, columns)
    own = _write_target(data / key, base, key, given, columns)
    with _naming({path: str(given_as) for path, given_as in own.items()} | {data / source / "train.jsonl": base.name}):
        lies = Data(str(data), kind="" if base.kind == Task.kind else base.kind, columns=columns)
        task = replace(load_task(lies, source, (key,), target_labels=given.few_shot is not None), name=base.name)
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
        columns=columns,
    )


def _check_kind(recipe: Recipe) -> None:
    """Raise InputError for a task without labels, before anything of it is read."""
    kind = task_kind(recipe)
    if kind_named(kind).output == "state":
        raise InputError(
            f"`task` is `{recipe.task.name}`, of the kind `{kind}`, which has no labels, and `plain` fine-tuning, with which"
            " every recipe is compared here, trains on labels alone. Choose a task with labels; for this one, train an"
            " intervention with `phase.finetune.task=false` by `distxfer train`."
        )


def _columns(recipe: Recipe) -> Mapping[str, str]:
    """Return the columns of a task of the user's own, whose files those of the language are like."""
    return {} if recipe.task.name in task_names() else recipe.task.columns


def _write_source(folder: Path, base: Task, source: str, columns: Mapping[str, str]) -> None:
    """Write the source's text; without unlabelled text of its own, that which it trains on is text to mine in."""
    for split in SPLITS:
        if examples := base.examples(split, source):
            _write(folder / f"{split}.jsonl", _records(base, examples), columns)
    texts = [_text(one) for one in base.unlabelled.get(source, ())] or [
        {"text": text} for text in _single(base.examples("train", source))
    ]
    _write_unlabelled(folder, texts, columns)


def _single(examples: Sequence[Example]) -> Iterable[str]:
    """Return every text once, those of pairs one by one: what is mined in the language are single texts as well."""
    return dict.fromkeys(text for one in examples for text in (one.text, one.text_pair) if text is not None)


def _write_target(folder: Path, base: Task, key: str, given: Given, columns: Mapping[str, str]) -> dict[Path, Path]:
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
        _write(folder / "test.jsonl", _records(base, base.examples("test", key)), columns)
    texts = [_text(one) for one in base.unlabelled.get(key, ())]
    texts += [{"text": line} for line in text_lines(given.text)] if given.text else []
    if texts:
        _write_unlabelled(folder, texts, columns)
    return copies


def _write_unlabelled(folder: Path, texts: Sequence[Mapping[str, str]], columns: Mapping[str, str]) -> None:
    pair = {"text_pair": None} if "text_pair" in columns else {}  # a column that is named is there in every row
    records = ({"id": str(place), **pair, **one} for place, one in enumerate(texts))
    _write(folder / "unlabelled.jsonl", records, columns)


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
                    f"The example `{one.id}` of `{one.language}` in the task `{task.name}` has no label, so it can be neither"
                    " trained nor tested on. Choose a task with labels."
                )


def _answers(answers: tuple[Answer, ...]) -> dict[str, Any]:
    return {"text": [one.text for one in answers], "answer_start": [one.start for one in answers]}


def _text(example: Example) -> dict[str, str]:
    pair = {} if example.text_pair is None else {"text_pair": example.text_pair}
    return {"text": example.text, **pair}


def _write(path: Path, records: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ({columns.get(name, name): value for name, value in one.items()} for one in records)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in rows)


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
    tests, asked = task.examples("test", key), kind_named(task.kind).output == "span"
    if len(tests) < FEWEST:
        raise InputError(
            f"There are {len(tests)} labelled {'questions' if asked else 'sentences'} of `{key}` to test on; expected at least"
            f" {FEWEST}, and some hundred to see a usual gain."
        )
    if asked:
        _check_texts(tests, key)
    paired = task.examples("test", source)[0].text_pair is not None
    odd = next((one for one in tests if (one.text_pair is not None) != paired), None)
    if odd is not None:
        raise InputError(
            f"The labelled sentence `{odd.id}` of `{key}` has {'no' if paired else 'a'} `text_pair`, and those of the task"
            f" `{task.name}` have {'one' if paired else 'none'}. Give what the task gives."
        )


def _check_texts(questions: Sequence[Example], key: str) -> None:
    """Refuse questions on too few texts, or so unevenly on them that the interval over texts would be too short.

    The n questions are worth n^2 / sum n_t^2 texts if those on one text are all alike. Without a difference, one is found in 5
    to 7 % of cases where that is half of the texts, in 11 to 43 % where it is a third or less.
    """
    counts = Counter(one.text_pair for one in questions)
    if len(counts) < FEWEST:
        raise InputError(
            f"The {len(questions)} questions of `{key}` to test on are on {len(counts)} text{'s' * (len(counts) > 1)}; expected"
            f" questions on at least {FEWEST}, for those on one text go together."
        )
    worth = len(questions) ** 2 / sum(one**2 for one in counts.values())
    if worth < len(counts) / 2:
        raise InputError(
            f"The {len(questions)} questions of `{key}` to test on lie so unevenly on {len(counts)} texts, {max(counts.values())}"
            f" of them on one, that they are worth {worth:.1f} texts; expected at least half of the texts. Give about as many on"
            " each: leave some out where most are."
        )


def _pairs(folder: Path, key: str, source: str, recipe: Recipe, given: Given) -> ParallelText | None:
    """Write the pairs that there are, the user's or else those of the recipe's corpus, and return them as they are read."""
    folder.mkdir()
    path = folder / f"{key}.tsv"
    if given.parallel is not None:
        _copy(given.parallel, path)
    else:
        found = parallel_of(recipe, Languages(source, (key,)))
        pairs = [*found.train.get(key, ()), *found.held_out.get(key, ())] if found else []
        if not pairs:
            return None
        lines = (f"{_one_line(one.source.text)}\t{_one_line(one.target.text)}\n" for one in pairs)
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
    name = str(given.parallel or recipe.parallel.name)
    with _naming({path: name}):
        return replace(load_parallel(str(folder), source, (key,)), name=name)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _words(folder: Path, key: str, given: Given) -> int:
    """Copy the dictionary, if there is one, and return how many words of the source it has."""
    if given.dictionary is None:
        return 0
    words = len(read_dictionary(given.dictionary))
    _copy(given.dictionary, folder / f"{key}.txt")
    return words
