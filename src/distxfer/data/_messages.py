"""The interface messages of Home Assistant, from the extract in this package or from a wheel that the user has."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from distxfer.data._examples import Data, Example, Pair, ParallelText, Task
from distxfer.data._message_files import EXTRACT, read_extract, read_wheel
from distxfer.data._message_parts import ROLES, Message, Messages, choose

_REASONS = {
    "missing": "without a translation",
    "untranslated": "with the same text as in English, untranslated",
    "shared": "whose text another part has in some language",
}


def load_messages(data: Data) -> Messages:
    """Return the messages in the file that `folder` names, a wheel or an extract; without one, in the package's extract.

    Raises InputError for a file that cannot be read.
    """
    path = Path(data.folder).expanduser() if data.folder else EXTRACT
    return _load(path, path.stat().st_mtime_ns if path.exists() else 0)


def message_task(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task of a message's role.

    The text without labels is of other components in the source than in the targets, so no two of them translate each
    other.
    """
    loaded = load_messages(data)

    def part(name: str, languages: Iterable[str]) -> dict[str, tuple[Example, ...]]:
        return {language: _examples(loaded, name, language) for language in languages}

    return Task(
        name=data.name,
        labels=ROLES,
        splits={
            "train": part("train", (source, *targets) if target_labels else [source]),
            "dev": part("dev", (source, *targets)),
            "test": part("test", (source, *targets)),
        },
        unlabelled=part("source_text", [source]) | part("target_text", targets),
        notes=_notes(loaded, (source, *targets)),
    )


def message_pairs(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the messages of the `parallel` part for training, and those of the `test` part for measuring alignment."""
    loaded = load_messages(data)
    targets = tuple(target for target in targets if target in loaded.languages)

    def pairs(part: str, target: str) -> tuple[Pair, ...]:
        return tuple(
            Pair(
                Example(message.id, source, message.texts[source]),
                Example(message.id, target, message.texts[target]),
            )
            for message in loaded.messages
            if message.part == part and source in message.texts and target in message.texts
        )

    train, held_out = ({target: pairs(part, target) for target in targets} for part in ("parallel", "test"))
    return ParallelText(data.name, train, held_out, _notes(loaded, (source, *targets)))


def from_extract(content: Mapping[str, Any]) -> Messages:
    """Return the messages in the content of an extract."""
    texts: Mapping[str, list[str | None]] = content["texts"]
    messages = (
        Message(name, part, role, {language: text for language, column in texts.items() if (text := column[place])})
        for place, (name, part, role) in enumerate(content["messages"])
    )
    return Messages(tuple(messages), tuple(texts), content["near_duplicates"], content["left_out"])


def extract_of(messages: Messages) -> dict[str, Any]:
    """Return the content of an extract: columns of text, which compress better than rows."""
    return {
        "near_duplicates": messages.near_duplicates,
        "left_out": messages.left_out,
        "messages": [[message.id, message.part, message.role] for message in messages.messages],
        "texts": {
            language: [message.texts.get(language) for message in messages.messages] for language in messages.languages
        },
    }


@lru_cache(maxsize=3)
def _load(path: Path, changed: int) -> Messages:
    """Return the messages in a file. `changed` is its modification time: a changed file is read again."""
    return read_extract(path, from_extract) if path.suffix == EXTRACT.suffix else choose(read_wheel(path))


def _examples(messages: Messages, part: str, language: str) -> tuple[Example, ...]:
    return tuple(
        Example(
            message.id, language, message.texts[language], None, ROLES.index(message.role) if message.role else None
        )
        for message in messages.messages
        if message.part == part and language in message.texts
    )


def _notes(messages: Messages, languages: Iterable[str]) -> tuple[str, ...]:
    """Return notes on the messages left out in these languages, with counts."""
    notes = []
    for reason, counts in messages.left_out.items():
        if by_language := ", ".join(f"{language} {counts[language]}" for language in languages if language in counts):
            notes.append(f"Messages {_REASONS[reason]}, left out: {by_language}.")
    return tuple(notes)
