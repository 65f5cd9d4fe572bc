"""A reference without a second model: the pretrained states of all the run's texts, cached on disk."""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distxfer.data import Example
from distxfer.encoders import Encoded, Encoder, Reference, StateCache
from distxfer.errors import RunError
from distxfer.interventions import BoundIntervention
from distxfer.training._objective import TrainingData
from distxfer.training._processes import Processes

_BATCH = 64
_WINDOW = 64 * _BATCH  # texts that are sorted by length together


class CachedReference:
    """The pretrained encoder's pooled states of the run's own texts: computed once, then read from disk.

    They are those of `data.examples`, and of the pairs and target text that bound terms draw and ask the reference
    for; 4 * (layers + 1) * d bytes per text, in the cache of hidden states. No parameter is copied: before the first
    step the encoder is the pretrained one.
    """

    def __init__(
        self,
        encoder: Encoder,
        data: TrainingData,
        bounds: Mapping[str, BoundIntervention],
        processes: Processes,
        cache: StateCache,
    ) -> None:
        self.forwards = 0
        self._encoder, self._material, self._processes, self._cache = encoder, data, processes, cache
        self._bounds = [bound for bound in bounds.values() if "reference" in bound.needs]
        # Shares all parameters, so it is valid until the first step: until `fill`.
        self._pretrained: Reference | None = encoder.reference(lambda _: False)
        self._rows: dict[bytes, int] = {}
        self._states: npt.NDArray[np.float32] | None = None

    @property
    def is_filled(self) -> bool:
        """Whether the states have been computed or loaded."""
        return self._pretrained is None

    def fill(self) -> None:
        """Compute the states of all texts, or load those of an earlier run; the processes share the work.

        Call it before the first step. Raises InputError where the cache cannot be written, or is not shared by all
        processes.
        """
        digest = hashlib.sha256(f"reference {self._processes.precision}".encode())
        for batch in self._batches():
            for example in batch:
                self._rows[_key(example)] = len(self._rows)
                digest.update(_key(example))
        name, shape = digest.hexdigest(), (len(self._rows), self._encoder.layers + 1, self._encoder.hidden_size)
        is_main = self._processes.is_main
        if not self._processes.broadcast(is_main and self._cache.has_rows(name)):
            if is_main:
                self._cache.notice(f"Encoding {len(self._rows)} texts for the reference.")
            parts = self._encoded()
            if is_main:
                self._cache.write_rows(name, shape, parts)
            deque(
                parts, maxlen=0
            )  # the other processes, or this one where another run has written the states meanwhile
        self._processes.wait()
        self._states, self._pretrained = self._cache.rows(name), None

    def states(self, keys: Sequence[Example], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the pooled states (layers + 1, n, d) of the `n` texts in `keys`.

        Raises RunError for a text that is not one of the run's own.
        """
        if self._pretrained is not None:  # an estimate of the time, which does not depend on the values
            shape = self._encoder.layers + 1, len(keys), self._encoder.hidden_size
            return torch.randn(shape, device=self._processes.device)
        unknown = next((example for example in keys if _key(example) not in self._rows), None)
        if unknown is not None:
            raise RunError(
                f"A term asks for the pretrained states of `{unknown.text[:40]}`, which is not among the run's own texts, and"
                " `model.reference` = `cached` has only those. Set it to `live`."
            )
        assert self._states is not None
        pooled = torch.from_numpy(np.asarray(self._states)[[self._rows[_key(example)] for example in keys]])
        return pooled.transpose(0, 1).contiguous().to(self._processes.device)

    def encode(self, inputs: Mapping[str, Tensor]) -> Encoded:
        """Raise RunError: there is no encoder. A term that declares this need is refused before training."""
        raise RunError(
            "A term asks for the pretrained states of every token, and `model.reference` = `cached` has pooled ones only."
            " Set it to `live`, and add `pretrained` to the `needs` of the term's `BoundIntervention`."
        )

    def _encoded(self) -> Iterator[Tensor]:
        """Yield the states (n, layers + 1, d) batch by batch; every process yields those of all processes."""
        assert self._pretrained is not None
        batches = self._batches()
        while turn := list(islice(batches, self._processes.size)):
            states = []
            for batch in self._processes.shard(turn):
                with self._processes.autocast():
                    encoded = self._pretrained.encode(self._material.collate(batch).inputs)
                states.append(encoded.pooled_layers().transpose(0, 1).float().cpu())
            self.forwards += len(states)
            yield from self._processes.gather(states)

    def _batches(self) -> Iterator[list[Example]]:
        """Yield batches of texts of similar length, each text once, in the same order each time."""
        texts = self._distinct_texts()
        while window := list(islice(texts, _WINDOW)):
            window.sort(key=lambda example: len(example.text) + len(example.text_pair or ""))
            yield from (window[low : low + _BATCH] for low in range(0, len(window), _BATCH))

    def _distinct_texts(self) -> Iterator[Example]:
        seen: set[bytes] = set()  # not the examples, of which there may be millions
        for example in self._texts():
            if (key := _key(example)) not in seen:
                seen.add(key)
                yield example

    def _texts(self) -> Iterator[Example]:
        yield from self._material.examples
        for bound in self._bounds:
            for language in bound.languages:
                if "pairs" in bound.needs:
                    yield from chain.from_iterable(
                        (pair.source, pair.target) for pair in self._material.pairs[language]
                    )
                if "target_text" in bound.needs:
                    yield from self._material.texts[language]


def _key(example: Example) -> bytes:
    """Return a key of 16 bytes for a text of any length."""
    return hashlib.blake2b(repr((example.text, example.text_pair)).encode(), digest_size=16).digest()
