"""The task `xquad`: which span of a text answers a question? Trained on SQuAD, tested on translations of its dev part."""

from dataclasses import replace

from distxfer.data._examples import Data, Issue, Task
from distxfer.data._hub import hub_tasks
from distxfer.errors import counted

ABOUT = hub_tasks()["xquad"].ABOUT
languages = hub_tasks()["xquad"].languages


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task; the same questions, with the same ids, in every language.

    Dev is that of SQuAD without the texts of XQuAD, so that settings chosen on dev have not seen test texts.
    """
    task = hub_tasks()["xquad"].load(data, source, targets, target_labels=target_labels)
    dev, test = task.examples("dev", source), task.examples("test", source)
    ids = {example.id for examples in task.splits["test"].values() for example in examples}
    # Also by id, since copies of a text may differ in white space.
    tested = {example.text_pair for example in test} | {example.text_pair for example in dev if example.id in ids}
    unseen = tuple(example for example in dev if example.text_pair not in tested)
    splits = {**task.splits, "dev": {source: unseen} if unseen else {}}
    left_out = len(dev) - len(unseen)
    if not left_out:
        return replace(task, splits=splits)
    questions = counted(left_out, "questions")
    note = f"`{data.name}`: {questions} left out of dev, which the test asks too, or on the same text."
    issue = Issue(source, "dev", "test questions, or on their texts", left_out, len(dev))
    return replace(task, splits=splits, notes=(*task.notes, note), issues=(*task.issues, issue))
