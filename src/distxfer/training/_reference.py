"""What drift is measured from without a second model: pretrained states of all the run's texts, looked up on the disk."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distxfer.data import Example
from distxfer.encoders import Encoded, Encoder, Reference, StateCache
from distxfer.errors import RunError
from distxfer.interventions import Bound
from distxfer.training._objective import TrainingData
from distxfer.training._processes import Processes

_BATCH = 64
_WINDOW = 64 * _BATCH  # texts that are sorted by length together


class CachedReference:
    """The pooled states of the run's own texts by the pretrained encoder: computed once, then read from the disk.

    They are those of `data.examples`, and of the pairs and target text that bound terms draw and ask the reference
    for; 4 * (layers + 1) * d bytes a text, in the cache of hidden states. No parameter is copied: before the first step
    the encoder is the pretrained one itself.
    """

    def __init__(
        self, encoder: Encoder, data: TrainingData, bounds: Mapping[str, Bound], processes: Processes, cache: StateCache
    ) -> None:
        self.forwards = 0
        self._encoder, self._material, self._processes, self._cache = encoder, data, processes, cache
        self._bounds = [bound for bound in bounds.values() if "reference" in bound.needs]
        # Shares all parameters, so that it is good as long as none has moved: until `fill`.
        self._pretrained: Reference | None = encoder.reference(lambda _: False)
        self._rows: dict[bytes, int] = {}
        self._states: npt.NDArray[np.float32] | None = None

    @property
    def is_filled(self) -> bool:
        """Whether the states have been computed or found."""
        return self._pretrained is None

    def fill(self) -> None:
        """Compute the states of all texts, or find those of an earlier run; the processes share the work.

        To be called before the first step. Raises InputError where the cache cannot be written, or is not one for all
        processes.
        """
        digest = hashlib.sha256(f"reference {self._processes.precision}".encode())
        for batch in self._batches():
            for one in batch:
                self._rows[_key(one)] = len(self._rows)
                digest.update(_key(one))
        name, shape = digest.hexdigest(), (len(self._rows), self._encoder.layers + 1, self._encoder.hidden_size)
        is_main = self._processes.is_main
        if not self._processes.broadcast(is_main and self._cache.has_rows(name)):
            if is_main:
                self._cache.notice(f"Encoding {len(self._rows)} texts for the reference.")
            parts = self._encoded()
            if is_main:
                self._cache.write_rows(name, shape, parts)
            for _ in parts:  # in the other processes, and where another run has written them meanwhile
                pass
        self._processes.wait()
        self._states, self._pretrained = self._cache.rows(name), None

    def states(self, keys: Sequence[Example], inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the pooled states (layers + 1, n, d) of `n` texts, which `keys` are.

        Raises RunError for a text that is none of the run's own.
        """
        if self._pretrained is not None:  # an estimate, which looks at no value: nothing is kept before a run
            shape = self._encoder.layers + 1, len(keys), self._encoder.hidden_size
            return torch.randn(shape, device=self._processes.device)
        unknown = next((one for one in keys if _key(one) not in self._rows), None)
        if unknown is not None:
            raise RunError(
                f"A term asks for the pretrained states of `{unknown.text[:40]}`, which is no text that the run has from the"
                " beginning, and `model.reference` = `cached` has those alone. Set it to `live`."
            )
        assert self._states is not None
        found = torch.from_numpy(np.asarray(self._states)[[self._rows[_key(one)] for one in keys]])
        return found.transpose(0, 1).contiguous().to(self._processes.device)

    def encode(self, inputs: Mapping[str, Tensor]) -> Encoded:
        """Raise RunError: there is nothing that could encode; a term that `needs` it is refused before."""
        raise RunError(
            "A term asks for the pretrained states of every token, and `model.reference` = `cached` has pooled ones alone."
            " Set it to `live`; and let the term's `Bound` say that it `needs` `pretrained`."
        )

    def _encoded(self) -> Iterator[Tensor]:
        """Yield the states (n, layers + 1, d) of one batch after the other; every process yields those of all."""
        assert self._pretrained is not None
        batches = self._batches()
        while turn := list(islice(batches, self._processes.size)):
            mine = []
            for batch in self._processes.shard(turn):
                with self._processes.autocast():
                    encoded = self._pretrained.encode(self._material.collate(batch).inputs)
                mine.append(encoded.pooled_layers().transpose(0, 1).float().cpu())
            self.forwards += len(mine)
            yield from self._processes.gather(mine)

    def _batches(self) -> Iterator[list[Example]]:
        """Yield every text once, with others of about its length, in the same order each time."""
        texts = self._texts()
        while window := list(islice(texts, _WINDOW)):
            window.sort(key=lambda one: len(one.text) + len(one.text_pair or ""))
            yield from (window[low : low + _BATCH] for low in range(0, len(window), _BATCH))

    def _texts(self) -> Iterator[Example]:
        seen: set[bytes] = set()
        for one in self._all_texts():
            if (key := _key(one)) not in seen:
                seen.add(key)
                yield one

    def _all_texts(self) -> Iterator[Example]:
        yield from self._material.examples
        for bound in self._bounds:
            for language in bound.languages:
                if "pairs" in bound.needs:
                    yield from (one for pair in self._material.pairs[language] for one in (pair.source, pair.target))
                if "target_text" in bound.needs:
                    yield from self._material.texts[language]


def _key(one: Example) -> bytes:
    """Return what stands for a text in memory: 16 bytes, however long it is."""
    return hashlib.blake2b(repr((one.text, one.text_pair)).encode(), digest_size=16).digest()
