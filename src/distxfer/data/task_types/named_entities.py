"""Named entities as IOB2 tags of words (`B-LOC`, `I-LOC`, `O`), scored by F1 over whole entities."""

from collections.abc import Sequence
from typing import final

from distxfer.data._examples import Example, Task
from distxfer.data._task_type import Prediction
from distxfer.data._word_labels import WordLabels, words_of
from distxfer.errors import InputError
from distxfer.measure import accuracy, class_ratios, entities, entity_counts, entity_scores


@final
class NamedEntities(WordLabels):
    """Named entities and other chunks: F1, precision and recall over whole entities (see `entity_scores`), accuracy of tags.

    `macro_f1` is the mean F1 over the entity types that occur in labels or predictions; 0 if none does.
    """

    metrics = ("f1", "precision", "recall", "accuracy", "macro_f1")

    def check(self, task: Task, source: str) -> None:
        """Raise InputError for a label that is not an IOB2 tag."""
        super().check(task, source)
        for label in task.labels:
            if label != "O" and (label[:2] not in ("B-", "I-") or not label[2:]):
                raise InputError(
                    f"The task `{task.name}` has the tag `{label}`; the task type `named_entities` expects IOB2: `O`, or `B-`"
                    " or `I-` and a type, as in `B-LOC`. Convert the tags, or use `token_classification`, which scores each word."
                )

    def scores(self, task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return F1, precision and recall over the entities of all texts, accuracy over words, and macro F1."""
        tags = (
            [(prediction.label or "").split() for prediction in predictions],
            [prediction.prediction.split() for prediction in predictions],
        )
        scores = entity_scores(*tags)
        types = sorted({name for side in tags for text in side for name, _, _ in entities(text)})
        macro = class_ratios(entity_counts(*tags, types), "macro_f1").score
        return {
            "f1": scores.f1,
            "precision": scores.precision,
            "recall": scores.recall,
            "accuracy": accuracy(*words_of(predictions)),
            "macro_f1": float(macro) if types else 0.0,
        }


TASK_TYPE = NamedEntities()
