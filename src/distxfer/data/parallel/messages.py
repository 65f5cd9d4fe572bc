"""In-domain parallel text: the interface messages in the `parallel` part of the task `messages`, without labels."""

from distxfer.data._examples import About, Data, ParallelText
from distxfer.data._messages import load_messages, message_pairs

ABOUT = About(
    "interface messages of components that the task `messages` neither trains on nor tests on; offline",
    task_type="",
    size="265 to 1,948 pairs a language",
    licence="Apache-2.0",
    citation="The Home Assistant Authors, Home Assistant 2026.11.0, translations",
    keys=("folder",),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the corpus."""
    return load_messages(data).languages


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the messages of the `parallel` part for training, and those of the `test` part for measuring alignment.

    Raises InputError for a wheel that cannot be read.
    """
    return message_pairs(data, source, targets)
