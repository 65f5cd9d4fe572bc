"""One label per word, such as its part of speech, scored by accuracy over words."""

from collections.abc import Sequence
from typing import final

from distxfer.data._examples import Example, Task
from distxfer.data._task_type import Prediction
from distxfer.data._word_labels import WordLabels, words_of
from distxfer.measure import accuracy, macro_f1


@final
class TokenClassification(WordLabels):
    """One of the task's labels for each word. Accuracy over all words and macro-averaged F1."""

    metrics = ("accuracy", "macro_f1")

    def scores(self, task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return accuracy and macro-averaged F1 over the words of all texts."""
        labels, predicted = ([task.labels.index(word) for word in words] for words in words_of(predictions))
        return {"accuracy": accuracy(labels, predicted), "macro_f1": macro_f1(labels, predicted, len(task.labels))}


TASK_TYPE = TokenClassification()
