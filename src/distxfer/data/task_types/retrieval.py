"""Retrieval of a sentence's translation among all source sentences; nothing is learnt from labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast, final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from distxfer.data._examples import Example, Task
from distxfer.data._task_type import Batch, Prediction, Reading, TaskType
from distxfer.errors import InputError
from distxfer.measure import accuracy

_ROWS = 1024  # sentences compared with all others at once


@final
class Retrieval(TaskType):
    """Source and target sentences with the same id translate each other. Accuracy.

    The prediction for a target sentence is the id of the nearest source sentence, by cosine of the last layer's pooled
    states, among those whose ids occur in the target language. A sentence without a translation counts as not found. The
    source scores 1 by definition, so the transfer gap is the share of translations not found. There is no head and no
    loss: phases have `task=false`.
    """

    output = "state"
    per = "example"
    metrics = ("accuracy",)

    def check(self, task: Task, source: str) -> None:
        """Raise InputError for a repeated id, and for a target that shares no id with the source."""
        for split, languages in task.splits.items():
            source_ids = {example.id for example in languages.get(source, ())}
            for language, examples in languages.items():
                counts = Counter(example.id for example in examples)
                where = f"in `{split}` of `{language}` in the task `{task.name}`"
                if counts and counts.keys().isdisjoint(source_ids):
                    raise InputError(
                        f"No sentence {where} has the id of a sentence in `{source}`, so none has a translation. Give"
                        " translations the same id."
                    )
                if (duplicate := max(counts, key=counts.__getitem__, default="")) and counts[duplicate] > 1:
                    raise InputError(
                        f"The id `{duplicate}` occurs {counts[duplicate]} times {where}. Give each sentence a distinct id,"
                        " shared only with its translations."
                    )

    def readings(self, output: Tensor, batch: Batch | None) -> Sequence[Reading]:
        """Return the pooled state of each text, (d,)."""
        return list(output.float())

    def predictions(
        self,
        task: Task,
        examples: Mapping[str, Sequence[Example]],
        readings: Mapping[str, Sequence[Sequence[Reading]]],
        source: str,
    ) -> Mapping[str, Sequence[Prediction]]:
        """Return the id of the nearest source sentence; the first one of a tie."""
        places = {example.id: place for place, example in enumerate(examples[source])}
        states = {
            language: normalize(torch.stack([cast(Tensor, window) for (window,) in windows]), dim=-1)
            for language, windows in readings.items()
        }
        predictions = {source: [Prediction(example.id, example.id) for example in examples[source]]}
        for language, language_examples in examples.items():
            if language != source:
                candidates = [example.id for example in language_examples if example.id in places]
                nearest = _nearest(states[language], states[source][[places[key] for key in candidates]])
                predictions[language] = [
                    Prediction(example.id, candidates[place])
                    for example, place in zip(language_examples, nearest, strict=True)
                ]
        return predictions

    def scores(self, task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return the share of sentences whose translation is retrieved."""
        return {
            "accuracy": accuracy([example.id for example in examples], [example.prediction for example in predictions])
        }

    def collapsed(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> bool:
        """Return False: the source's score is 1 by definition."""
        return False


def _nearest(rows: Tensor, among: Tensor) -> list[int]:
    """Return for each row the index of the largest inner product with a row of `among`."""
    return [place for part in torch.split(rows, _ROWS) for place in (part @ among.T).argmax(dim=1).tolist()]


TASK_TYPE = Retrieval()
