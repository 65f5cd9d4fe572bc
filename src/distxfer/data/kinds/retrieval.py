"""Finding the translation of a sentence among all sentences of the source; nothing is learnt from labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast, final

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import BatchEncoding

from distxfer.data._examples import Example, Task
from distxfer.data._kind import Batch, Kind, Prediction, Reading
from distxfer.errors import InputError
from distxfer.measure import accuracy

_ROWS = 1024  # sentences that are compared with all others at a time


@final
class Retrieval(Kind):
    """Sentences of source and target that have one id translate each other. Accuracy.

    The prediction for a sentence of a target is the id of the source's sentence that is nearest to it, by cosine of the
    last layer's pooled states, among those whose ids that language has; one without a translation there is not found. The
    source's own are themselves: it scores 1 by definition, so that the gap is the share that is not found. There is no head
    and no loss: phases have `task=false`.
    """

    output = "state"
    per = "example"
    metrics = ("accuracy",)

    def check(self, task: Task, source: str) -> None:
        """Raise InputError for an id that occurs twice, or a target none of whose sentences translates one of the source's."""
        for split, languages in task.splits.items():
            known = {one.id for one in languages.get(source, ())}
            for language, examples in languages.items():
                counts = Counter(one.id for one in examples)
                where = f"in `{split}` of `{language}` in the task `{task.name}`"
                if counts and counts.keys().isdisjoint(known):
                    raise InputError(
                        f"No sentence {where} has the id of one in `{source}`, so none has a translation. Give"
                        " translations the same id."
                    )
                if (most := max(counts, key=counts.__getitem__, default="")) and counts[most] > 1:
                    raise InputError(
                        f"The id `{most}` occurs {counts[most]} times {where}. Give each sentence one of its own, which its"
                        " translations share."
                    )

    def targets(self, examples: Sequence[Example], encoding: BatchEncoding) -> Tensor | None:
        """Return None: there is nothing to learn."""
        return None

    def loss(self, output: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Raise InputError."""
        raise InputError("A task of the kind `retrieval` has no loss on labels. Say `task=false` in every phase.")

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
        """Return the id of the nearest sentence of the source; the first of those that are equally near."""
        places = {one.id: place for place, one in enumerate(examples[source])}
        states = {language: normalize(_stacked(those), dim=-1) for language, those in readings.items()}
        found = {source: [Prediction(one.id, one.id) for one in examples[source]]}
        for language, those in examples.items():
            if language != source:
                among = [one.id for one in those if one.id in places]
                nearest = _nearest(states[language], states[source][[places[key] for key in among]])
                found[language] = [Prediction(one.id, among[place]) for one, place in zip(those, nearest, strict=True)]
        return found

    def scores(self, task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return the share of sentences whose translation is found."""
        return {"accuracy": accuracy([one.id for one in examples], [one.prediction for one in predictions])}

    def collapsed(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> bool:
        """Return False: the source's score says nothing of what was learnt."""
        return False


def _stacked(readings: Sequence[Sequence[Reading]]) -> Tensor:
    return torch.stack([cast(Tensor, windows[0]) for windows in readings])


def _nearest(rows: Tensor, among: Tensor) -> list[int]:
    """Return for each row the place of the largest inner product."""
    return [place for part in torch.split(rows, _ROWS) for place in (part @ among.T).argmax(dim=1).tolist()]


KIND = Retrieval()
