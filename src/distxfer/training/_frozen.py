"""The states below the lowest layer that trains: computed once for each training text, and not again in each step."""

from collections.abc import Mapping, Sequence, Set

import torch
from torch import Tensor

from distxfer.data import Batch, Collator, Example
from distxfer.encoders import Encoder, LowerStates, evaluating
from distxfer.errors import InputError

_BYTES = 1024**3  # of states in memory; those of more texts are computed in each step
_TOLERANCE = 1e-3  # relative, of the last layer; rounding gives 1e-6

_Text = tuple[str, str | None]  # a text, and the second text of a pair


def frozen_layer(encoder: Encoder, trains: Set[str]) -> int:
    """Return the uppermost layer that does not depend on the parameters in `trains`; 0 is the embeddings' output."""
    places = {encoder.place(name) for name in trains}
    if "embeddings" in places:
        return 0
    return min((place for place in places if isinstance(place, int)), default=encoder.layers + 1) - 1


def check_skips(encoder: Encoder, layer: int, inputs: Mapping[str, Tensor]) -> None:
    """Raise InputError for an encoder that does not go on from the states of a layer, since blocks share more than those."""
    refusal = InputError(
        f"`cache_frozen` lets blocks go on from the states of layer {layer}, and those of a"
        f" `{encoder.base.config.model_type}` need more than these. Set it to false, or choose another encoder."
    )
    try:
        with evaluating(encoder.model), torch.no_grad():
            expected = encoder.encode(inputs).pooled(-1)
            difference = encoder.encode(inputs, lower=encoder.lower_states(inputs, layer)).pooled(-1) - expected
    except Exception as error:  # an architecture's code may raise anything; the cause is kept
        raise refusal from error
    if not difference.norm() <= _TOLERANCE * expected.norm():
        raise refusal


class FrozenStates:
    """The states of the uppermost frozen layer, without dropout: of the training texts in memory, of others computed.

    The texts are encoded in batches that depend on them alone, so that a resumed run has the same states, bit for bit.
    """

    def __init__(self, encoder: Encoder, layer: int, examples: Sequence[Example], collate: Collator) -> None:
        self.layer = layer
        self._encoder, self._examples, self._collate = encoder, examples, collate
        self._states: dict[_Text, Tensor] | None = None  # (tokens, d) of each text

    def of_task(self, batch: Batch) -> LowerStates:
        """Return the states of training texts."""
        if self._states is None:
            self._states = self._computed()
        texts = [(example.text, example.text_pair) for example in batch.examples]
        missing = [row for row, text in enumerate(texts) if text not in self._states]
        computed = (
            self.of_text({name: tensor[missing] for name, tensor in batch.inputs.items()}).states if missing else ()
        )
        by_row = dict(zip(missing, computed, strict=True))
        rows = [by_row[row] if row in by_row else self._states[text] for row, text in enumerate(texts)]
        padded = rows[0].new_zeros(len(rows), batch.inputs["attention_mask"].shape[1], rows[0].shape[1])
        for row, states in enumerate(rows):
            padded[row, : len(states)] = states
        return LowerStates(self.layer, padded)

    def of_text(self, inputs: Mapping[str, Tensor]) -> LowerStates:
        """Return the states of any text, computed anew."""
        return self._encoder.lower_states(inputs, self.layer)

    def _computed(self) -> dict[_Text, Tensor]:
        states: dict[_Text, Tensor] = {}
        room = _BYTES
        for rows in self._collate.batches(self._examples):
            batch = self._collate([self._examples[row] for row in rows])
            lengths = batch.inputs["attention_mask"].sum(dim=1).tolist()
            computed = self.of_text(batch.inputs).states
            for example, length, padded in zip(batch.examples, lengths, computed, strict=True):
                states[example.text, example.text_pair] = text = padded[:length].clone()
                room -= text.nbytes
            if room < 0:
                break
        return states
