"""Entities as IOB2 tags of words (`B-LOC`, `I-LOC`, `O`); compared by F1 over whole entities."""

from collections.abc import Sequence
from typing import final

from distxfer.data._examples import Example, Task
from distxfer.data._kind import Prediction
from distxfer.data._word_labels import WordLabels, words_of
from distxfer.errors import InputError
from distxfer.measure import accuracy, entity_scores


@final
class Entities(WordLabels):
    """Named entities and other chunks: F1, precision and recall over whole entities (see `entity_scores`), accuracy of tags."""

    metrics = ("f1", "precision", "recall", "accuracy")

    def check(self, task: Task, source: str) -> None:
        """Raise InputError for a label that is no IOB2 tag."""
        super().check(task, source)
        for label in task.labels:
            if label != "O" and (label[:2] not in ("B-", "I-") or not label[2:]):
                raise InputError(
                    f"The task `{task.name}` has the tag `{label}`; the kind `entities` expects IOB2: `O`, or `B-` or `I-`"
                    " and a type, as in `B-LOC`. Convert the tags, or take the kind `tokens`, which scores words one by one."
                )

    def scores(self, task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return F1, precision and recall of the entities of all texts together, and accuracy over their words."""
        found = entity_scores(
            [(one.label or "").split() for one in predictions], [one.prediction.split() for one in predictions]
        )
        words = accuracy(*words_of(predictions))
        return {"f1": found.f1, "precision": found.precision, "recall": found.recall, "accuracy": words}


KIND = Entities()
