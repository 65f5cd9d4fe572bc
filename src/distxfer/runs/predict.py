"""Predictions of a finished run's model on new text."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from transformers import AutoConfig

from distxfer._durable import check_folder
from distxfer.config.settings import TaskSettings
from distxfer.data import Collator, Example, Tags, Task, TaskType, load_task, task_type_named
from distxfer.encoders import Encoder, adapter_base, load_encoder, model_folder
from distxfer.errors import InputError
from distxfer.results.result import Result, read_result
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

    `run` is the run's folder, such as `results/plain/0123abcd-s0`. A text is a string, or a pair of strings for a task with
    pairs (a question and its context, for question answering). The model predicts with its own head, pooling and
    `task.max_length`; longer texts are treated as in the run. For tasks that label words, words are separated by blanks.

    Raises InputError for a folder without a finished run, a model that was removed or damaged, a text that is blank, or a
    task without labels (retrieval).
    """
    folder = Path(run).expanduser() / "model"
    result = read_result(folder.parent)
    if result is None:
        raise InputError(f"`{run}` is not the folder of a finished run. Give one such as `results/plain/0123abcd-s0`.")
    task_type = task_type_named(result.task_type)
    if task_type.output == "state":
        raise InputError(
            f"The run `{run}` is of a task without labels, so its model predicts none. Choose another run."
        )
    if not folder.is_dir():
        raise InputError(f"The run `{run}` has no `model` any more. `distxfer train` with `--again` trains it anew.")
    check_folder(folder)
    examples = [
        _example(number, text, task_type) for number, text in enumerate([texts] if isinstance(texts, str) else texts)
    ]
    processes = Processes(precision=result.recipe["model"].get("precision", "auto"))
    labels, encoder = _load(result, folder, task_type, processes)
    collate = Collator(encoder.tokenizer, int(result.recipe["task"]["max_length"]), encoder.device, task_type)
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


def _load(result: Result, folder: Path, task_type: TaskType, processes: Processes) -> tuple[tuple[str, ...], Encoder]:
    """Return the names of the labels in order, and the encoder with the head that the run has trained."""
    recipe = result.recipe
    model, base = recipe["model"], adapter_base(str(folder))
    if base == str(folder):
        names, location = AutoConfig.from_pretrained(folder).id2label, folder
        labels = tuple(str(names[number]) for number in sorted(names))
    else:  # adapters are saved without the names of their head's labels
        location = model_folder(base, model["revision"])
        labels = load_task(TaskSettings(**recipe["task"]).data, result.source, ()).labels
    encoder = load_encoder(
        base,
        location,
        labels,
        seed=0,
        output=task_type.output,
        pooling=model["pooling"],
        head=model.get("head", "architecture"),
        device=processes.device,
    )
    if location == folder:
        return labels, encoder
    from distxfer.encoders import merge_adapters  # needs PEFT

    return labels, merge_adapters(encoder, folder)
