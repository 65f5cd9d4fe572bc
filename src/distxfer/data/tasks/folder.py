"""A task of your own: `{language}/{split}.jsonl`, one object a line with `id`, `text` (and `text_pair`) and `label`."""

from collections.abc import Callable
from pathlib import Path

from distxfer.data._examples import SPLITS, About, Data, Example, Task
from distxfer.data._files import language_paths, records
from distxfer.errors import InputError, did_you_mean

ABOUT = About("your own: FOLDER/{language}/{train,dev,test}.jsonl with id, text (text_pair), label")


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages that have a `test.jsonl` in the folder."""
    return tuple(
        key
        for key, path in language_paths(Path(data.name).expanduser(), "*/").items()
        if (path / "test.jsonl").is_file()
    )


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task in a folder; the label set is that of the source's `train.jsonl`.

    Raises InputError, with file and line, for a missing file, field or text, a repeated id, or an unknown label.
    """
    folders = language_paths(Path(data.name).expanduser(), "*/")
    train_path = folders[source] / "train.jsonl"
    if not train_path.is_file():
        raise InputError(f"`{train_path}` does not exist, but the source `{source}` needs labelled text to train on.")
    labels = _label_set(train_path)

    def label_index(place: str, record: dict[str, object]) -> int:
        label = _label(place, record)
        if label not in labels:
            raise InputError(
                f"`{place}` has the label `{label}`, which `{train_path}` does not have.{did_you_mean(label, labels)}"
                f" Expected one of: {', '.join(labels)}."
            )
        return labels.index(label)

    splits: dict[str, dict[str, tuple[Example, ...]]] = {split: {} for split in SPLITS}
    unlabelled: dict[str, tuple[Example, ...]] = {}
    for language in (source, *targets):
        for split in SPLITS:
            path = folders[language] / f"{split}.jsonl"
            if path.is_file() and (split != "train" or language == source or target_labels):
                splits[split][language] = _examples(path, language, label_index)
        if (path := folders[language] / "unlabelled.jsonl").is_file():
            unlabelled[language] = _examples(path, language, None)
        if not splits["test"].get(language):
            raise InputError(
                f"`{folders[language] / 'test.jsonl'}` is missing or empty, but `{language}` is to be scored."
            )
    return Task(name=data.name, labels=labels, splits=splits, unlabelled=unlabelled)


def _examples(
    path: Path, language: str, label_index: Callable[[str, dict[str, object]], int] | None
) -> tuple[Example, ...]:
    examples: dict[str, Example] = {}
    for place, record in records(path):
        key = str(_field(place, record, "id"))
        if key in examples:
            raise InputError(f"`{place}` repeats the id `{key}`. Give each example of a file an id of its own.")
        text, text_pair = _field(place, record, "text"), record.get("text_pair")
        if not isinstance(text, str) or not text.strip() or not isinstance(text_pair, str | None):
            raise InputError(f"`{place}` has no text in `text` (or something else than text in `text_pair`).")
        if any("\ud800" <= letter <= "\udfff" for letter in text + (text_pair or "")):
            raise InputError(
                f"`{place}` holds half of a character (a lone surrogate such as \\ud83d). Write the whole one."
            )
        examples[key] = Example(key, language, text, text_pair, label_index(place, record) if label_index else None)
    return tuple(examples.values())


def _label_set(path: Path) -> tuple[str, ...]:
    labels = {_label(place, record) for place, record in records(path)}
    if len(labels) < 2:
        raise InputError(f"`{path}` has {len(labels)} different labels, but classification needs at least 2.")
    return tuple(sorted(labels, key=lambda label: (len(label) if label.isdigit() else 0, label)))


def _label(place: str, record: dict[str, object]) -> str:
    label = _field(place, record, "label")
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise InputError(f"`{place}` has the label {label!r}, but a label is a text or a whole number.")
    return str(label)


def _field(place: str, record: dict[str, object], name: str) -> object:
    if name not in record:
        raise InputError(f"`{place}` has no `{name}`, only: {', '.join(record)}.{did_you_mean(name, record)}")
    return record[name]
