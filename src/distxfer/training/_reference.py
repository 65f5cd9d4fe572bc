"""A reference without a second model: the pretrained states of the run's texts, cached on disk."""

import hashlib
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, islice

import torch
from torch import Tensor

from distxfer.data import Example
from distxfer.encoders import Encoded, Encoder, Reference, StateCache, States
from distxfer.errors import InputError, RunError
from distxfer.interventions import BoundIntervention
from distxfer.training._objective import TrainingData
from distxfer.training._processes import Processes

_LIST = 4096  # texts that are one entry of the cache


class CachedReference:
    """The pretrained encoder's pooled states of the run's own texts: computed once, then read from disk.

    They are those of `data.examples`, and of the pairs and target text that bound terms draw and ask the reference
    for; 4 * (layers + 1) * d bytes per text, in the cache of hidden states. No parameter is copied: before the first
    step the encoder is the pretrained one. `may_stay_in_memory`: whether a cache that cannot be written is no error.

    `forwards` counts the passes that the states take, also where an earlier run has left them in the cache, so that the cost
    of a method does not depend on what ran before.
    """

    def __init__(
        self,
        encoder: Encoder,
        data: TrainingData,
        bounds: Mapping[str, BoundIntervention],
        processes: Processes,
        cache: Callable[[], StateCache],
        *,
        may_stay_in_memory: bool,
    ) -> None:
        self.forwards = 0
        self._encoder, self._material, self._processes, self._open_cache = encoder, data, processes, cache
        self._bounds = [bound for bound in bounds.values() if "reference" in bound.needs]
        self._may_stay_in_memory = may_stay_in_memory
        # Shares all parameters, so it is valid until the first step: until `fill`.
        self._pretrained: Reference | None = encoder.reference(lambda _: False)
        self._rows: dict[bytes, int] = {}  # the key of a text -> its number
        self._starts: list[int] = []  # the number of each list's first text
        self._lists: list[Tensor] = []  # (layers + 1, n, d) each

    @property
    def is_filled(self) -> bool:
        """Whether the states have been computed or loaded."""
        return self._pretrained is None

    def fill(self) -> None:
        """Compute the states of all texts, or load those of an earlier run; the processes share the work.

        Call it before the first step. Raises InputError where the cache cannot be written, or is not shared by all
        processes.
        """
        cache = self._open_cache()
        for texts in self._lists_of_texts():
            keys = [(example.text, example.text_pair) for example in texts]
            cached = cache.read(keys) if self._processes.is_main else None
            if not self._processes.broadcast(cached is not None):
                if not self._starts:
                    cache.notice("Encoding the run's texts for the reference.")
                encoded = self._encoded(texts)
                cached = cache.keep(keys, encoded) if self._processes.is_main else encoded
                if self._processes.broadcast(not cache.is_writable) and not self._may_stay_in_memory:
                    raise InputError(
                        f"`model.reference` = `cached` needs a cache, and `{cache.folder}` cannot be written. Set the"
                        " environment variable DISTXFER_CACHE to a folder that can, or `model.reference=live`."
                    )
            elif not self._processes.is_main and (cached := cache.read(keys)) is None:
                raise InputError(
                    f"`{cache.folder}`, where the main process has found hidden states, has none for another process. Set"
                    " the environment variable DISTXFER_CACHE to a folder that all processes share."
                )
            assert cached is not None
            self.forwards += len(self._processes.shard(self._material.collate.batches(texts)))
            self._starts.append(start := len(self._rows))
            self._rows.update((_key(example), start + row) for row, example in enumerate(texts))
            self._lists.append(cached.pooled)
        self._pretrained = None

    def states(self, keys: Sequence[Example], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the pooled states (layers + 1, n, d) of the `n` texts in `keys`.

        Raises RunError for a text that is not one of the run's own.
        """
        if self._pretrained is not None:  # an estimate of the time, which does not depend on the values
            shape = self._encoder.layers + 1, len(keys), self._encoder.hidden_size
            return torch.randn(shape, device=self._processes.device)
        return torch.stack([self._state(example) for example in keys], dim=1).to(self._processes.device)

    def _state(self, example: Example) -> Tensor:
        number = self._rows.get(_key(example))
        if number is None:
            raise RunError(
                f"A term asks for the pretrained states of `{example.text[:40]}`, which is not among the run's own texts, and"
                " `model.reference` = `cached` has only those. Set it to `live`."
            )
        place = bisect(self._starts, number) - 1
        return self._lists[place][:, number - self._starts[place]]

    def encode(self, inputs: Mapping[str, Tensor]) -> Encoded:
        """Raise RunError: there is no encoder. A term that declares this need is refused before training."""
        raise RunError(
            "A term asks for the pretrained states of every token, and `model.reference` = `cached` has pooled ones only."
            " Set it to `live`, and add `pretrained` to the `needs` of the term's `BoundIntervention`."
        )

    def _encoded(self, texts: Sequence[Example]) -> States:
        """Return the states of some texts, in batches of similar length that depend on nothing else."""
        assert self._pretrained is not None
        collate = self._material.collate
        batches = collate.batches(texts)
        own_states = []
        for rows in self._processes.shard(batches):
            with self._processes.autocast():
                encoded = self._pretrained.encode(collate([texts[row] for row in rows]).inputs)
            own_states.append((rows, encoded.pooled_layers().float().cpu()))
        pooled = torch.empty(self._encoder.layers + 1, len(texts), self._encoder.hidden_size)
        for rows, states in self._processes.gather(own_states):
            pooled[:, rows] = states
        return States(pooled)

    def _lists_of_texts(self) -> Iterator[list[Example]]:
        """Yield the distinct texts in lists of one language each, in the same order each time."""
        for _, texts in groupby(self._distinct_texts(), key=lambda example: example.language):
            while part := list(islice(texts, _LIST)):
                yield part

    def _distinct_texts(self) -> Iterator[Example]:
        seen: set[bytes] = set()  # not the examples, of which there may be millions
        for example in self._material.read_by(self._bounds):
            if (key := _key(example)) not in seen:
                seen.add(key)
                yield example


def _key(example: Example) -> bytes:
    """Return a key of 16 bytes for a text of any length."""
    return hashlib.blake2b(repr((example.text, example.text_pair)).encode(), digest_size=16).digest()
