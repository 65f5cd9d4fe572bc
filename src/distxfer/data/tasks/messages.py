"""The task `messages`: the role of an interface message."""

from distxfer.data._examples import About, Data, Task
from distxfer.data._messages import load_messages, message_task

ABOUT = About(
    "the role (of 5) of an interface message: action, field, name, problem or prompt; in 32 languages, offline",
    size="2,149 to train, 379 dev, 1,205 to test in English; 424 to 1,205 to test in the others",
    licence="Apache-2.0",
    citation="The Home Assistant Authors, Home Assistant 2026.11.0, translations",
    keys=("folder",),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages with at least 200 test messages, and 20 of each role."""
    return load_messages(data).languages


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task: training labels in the source only (or in all languages), the same test messages as far as translated.

    Raises InputError for a wheel that cannot be read.
    """
    return message_task(data, source, targets, target_labels=target_labels)
