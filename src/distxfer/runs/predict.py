"""Predictions of a finished run's model on new text."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from distxfer.data import Collator, Example, Tags, Task, TaskType, task_type_named
from distxfer.errors import InputError
from distxfer.runs.saved_model import saved_model
from distxfer.runs.scoring import read_examples
from distxfer.training import Processes

_LANGUAGE = "und"  # of texts whose language nobody has to name


@dataclass(frozen=True)
class Predicted:
    """A text, or pair of texts, with the label that the model predicts: a class, or one label per word with blanks between.

    `probabilities` are those of all classes by name, from the softmax of the head; empty unless the task has classes.
    """

    text: str
    text_pair: str | None
    label: str
    probabilities: Mapping[str, float] = field(default_factory=dict)


def predict(run: str | Path, texts: str | Iterable[str | tuple[str, str]]) -> list[Predicted]:
    """Return the predictions of a finished run's model on new texts, in order.

    `run` is the run's folder, such as `results/plain/0123abcd-s0`, or one that `distxfer merge` wrote. A text is a string, or
    a pair of strings for a task with pairs (a question and its context, for question answering). The model predicts with its
    own head, pooling and `task.max_length`; longer texts are treated as in the run. For tasks that label words, words are
    separated by blanks.

    Raises InputError for another folder, a model that was removed or damaged or has no trained head, a text that is blank,
    or a task without labels (retrieval).
    """
    model = saved_model(Path(run).expanduser())
    if model is None:
        raise InputError(f"`{run}` is not the folder of a finished run. Give one such as `results/plain/0123abcd-s0`.")
    if not model.task_type:
        raise InputError(f"The models that were merged into `{run}` have no head, so it predicts no labels.")
    task_type = task_type_named(model.task_type)
    if task_type.output == "state":
        raise InputError(
            f"The run `{run}` is of a task without labels, so its model predicts none. Choose another run."
        )
    examples = [
        _example(number, text, task_type) for number, text in enumerate([texts] if isinstance(texts, str) else texts)
    ]
    processes = Processes(precision=model.recipe["model"].get("precision", "auto"))
    labels = model.labels()
    encoder = model.load(labels, processes.device)
    collate = Collator(encoder.tokenizer, model.max_length, encoder.device, task_type)
    readings = {_LANGUAGE: read_examples(encoder, collate, examples, processes)}
    task = Task(name="", labels=labels, splits={})
    predictions = task_type.predictions(task, {_LANGUAGE: examples}, readings, _LANGUAGE)[_LANGUAGE] if examples else []
    return [
        Predicted(example.text, example.text_pair, prediction.prediction, prediction.probabilities)
        for example, prediction in zip(examples, predictions, strict=True)
    ]


def _example(number: int, text: str | tuple[str, str], task_type: TaskType) -> Example:
    first, second = (text, None) if isinstance(text, str) else text
    if not first.strip() or (second is not None and not second.strip()):
        raise InputError(f"Text {number + 1} is blank, so there is nothing to predict. Leave it out.")
    if (second is None) != (task_type.output != "span") and task_type.output in ("span", "token"):
        expected = "a pair: a question and its context" if task_type.output == "span" else "a single text"
        raise InputError(f"Text {number + 1} should be {expected}, as in the run's task.")
    spans = tuple(word.span() for word in re.finditer(r"\S+", first)) if task_type.output == "token" else ()
    label = Tags(spans, (0,) * len(spans)) if spans else None  # only the places of the words count
    return Example(str(number), _LANGUAGE, first, second, label)
