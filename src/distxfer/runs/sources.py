"""The labelled text of several source languages: which of it a run may read, and how it is mixed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from distxfer.data import Example, Picked, Task
from distxfer.errors import InputError, listed
from distxfer.interventions import Languages
from distxfer.training import stream_seed


def with_labels_of_sources(task: Task, languages: Languages, *, keep_targets: bool) -> Task:
    """Return a task that was loaded with the labels of all languages without those of its targets, unless `keep_targets`.

    A note names the classes that a source lacks. Raises InputError for a source without labelled training text.
    """
    train = {
        language: examples
        for language, examples in task.splits.get("train", {}).items()
        if keep_targets or language in languages.sources
    }
    if missing := [source for source in languages.sources if not train.get(source)]:
        raise InputError(
            f"The task `{task.name}` has no labelled training text of {listed(f'`{source}`' for source in missing)}."
            " Remove it from `task.source`."
        )
    notes = []
    if task.task_type == "classification":
        classes = {source: {example.label for example in train[source]} for source in languages.sources}
        for source, labels in classes.items():
            if lacking := [task.labels[label] for label in range(len(task.labels)) if label not in labels]:
                notes.append(f"The training text of `{source}` has no example of {listed(lacking)}.")
    return replace(task, splits={**task.splits, "train": train}, notes=(*task.notes, *notes))


def mixed_sizes(available: Sequence[int], mixing: str | float, budget: int = 0) -> list[int]:
    r"""Return how many texts each of several sources has in training.

    With :math:`n_l` labelled texts of source l, its share is :math:`n_l^{1/T} / \sum_k n_k^{1/T}`, with temperature T: 1 for
    `proportional`, infinite for `uniform`, or the number `mixing`, at least 1. The sizes are the shares of `budget`, or, if
    it is 0, of all texts, rounded by the largest remainders, so that their sum is exact.

    Source: Arivazhagan et al. 2019, "Massively Multilingual Neural Machine Translation in the Wild", section 4.
    """
    exponent = {"proportional": 1.0, "uniform": 0.0}.get(str(mixing)) if isinstance(mixing, str) else 1 / mixing
    assert exponent is not None
    shares = np.asarray(available, dtype=float) ** exponent
    exact = (budget or sum(available)) * shares / shares.sum()
    sizes = np.floor(exact + 1e-9)
    remainders = np.argsort(sizes - exact, kind="stable")
    sizes[remainders[: round(exact.sum() - sizes.sum())]] += 1
    return [int(size) for size in sizes]


def mixed(
    examples: Mapping[str, Sequence[Example]], mixing: str | float, budget: int, seed: int
) -> list[Sequence[Example]]:
    """Return the training text of each source: all of it, or as much as `mixed_sizes` says.

    A part is drawn anew with each seed, first from the items that no source before it has, by their ids. A source with fewer
    texts than its size repeats them.

    Raises InputError for a budget below the number of sources.
    """
    if mixing == "proportional" and not budget:
        return list(examples.values())
    sizes = mixed_sizes([*map(len, examples.values())], mixing, budget)
    if min(sizes) < 1:
        raise InputError(f"`task.budget` is `{budget}`, too small for `task.source` = `{listed(examples)}`. Raise it.")
    parts: list[Sequence[Example]] = []
    drawn: set[str] = set()
    for (source, texts), size in zip(examples.items(), sizes, strict=True):
        copies, rest = divmod(size, len(texts))
        order = np.random.default_rng(stream_seed(seed, "sources", source)).permutation(len(texts))
        unseen_first = order[np.argsort([texts[int(place)].id in drawn for place in order], kind="stable")]
        places = np.sort(np.concatenate([*[order] * copies, unseen_first[:rest]]))
        drawn |= {texts[int(place)].id for place in places}
        parts.append(Picked(texts, places))
    return parts
