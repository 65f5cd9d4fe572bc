"""The parallel text of a run, as recorded in its result: name, pairs by language, and whether it is of the task's domain."""

from typing import Any

from distxfer.data import ParallelText, parallel_names

IN, OUT, UNKNOWN = "in-domain", "out-of-domain", "domain unknown"


def corpus_record(name: str, task: str, parallel: ParallelText | None) -> dict[str, Any] | None:
    """Return the key `parallel` of `result.json`: `name`, `domain`, and the pairs by language; None without parallel text.

    `pairs` counts training pairs, `held_out` pairs for measuring. A corpus with the task's name is in-domain; the domain
    of a user's own folder is unknown.
    """
    if parallel is None:
        return None
    domain = UNKNOWN if name not in parallel_names() else IN if name == task else OUT
    return {
        "name": name,
        "domain": domain,
        "pairs": {language: len(pairs) for language, pairs in parallel.train.items()},
        "held_out": {language: len(pairs) for language, pairs in parallel.held_out.items()},
    }
