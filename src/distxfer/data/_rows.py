"""Lazy sequences, whose items are made on access, so that texts need not be in memory."""

import tempfile
import weakref
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, islice
from typing import Any, Generic, Literal, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distxfer._cache import cache_folder
from distxfer.data._examples import Example, Pair
from distxfer.errors import InputError

T = TypeVar("T")
_BATCH = 512  # rows read from disk at once: about 50 kB of text, 0.1 ms
_IN_MEMORY = 2**23  # bytes up to which a table stays in memory, so that few tables hold a file open


class Lazy(Sequence[T]):
    """A sequence whose items, and slices, are made on access. Equal to another Lazy with equal items."""

    @abstractmethod
    def item(self, place: int) -> T:
        """Return the item at a non-negative index."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        places = range(len(self))[index]
        return self.item(places) if isinstance(places, int) else Picked(self, places)

    def __iter__(self) -> Iterator[T]:
        return map(self.item, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lazy):
            return NotImplemented
        return len(self) == len(other) and all(left == right for left, right in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # unhashable, like a list


class Picked(Lazy[T]):
    """The items at the given places, in that order."""

    def __init__(self, items: Sequence[T], places: Sequence[int] | npt.NDArray[np.intp]) -> None:
        self._whole, self._places = items, places

    def __len__(self) -> int:
        return len(self._places)

    def item(self, place: int) -> T:
        """Return the item at a place."""
        return self._whole[int(self._places[place])]


class Joined(Lazy[T]):
    """The concatenation of several sequences."""

    def __init__(self, parts: Iterable[Sequence[T]]) -> None:
        self._parts = tuple(parts)
        self._starts = [0, *accumulate(map(len, self._parts))]

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[T]:
        return (item for part in self._parts for item in part)

    def item(self, place: int) -> T:
        """Return the item at a place."""
        part = bisect_right(self._starts, place) - 1
        return self._parts[part][place - self._starts[part]]


class Sides(Lazy[Example]):
    """One side, `source` or `target`, of each pair."""

    def __init__(self, pairs: Sequence[Pair], side: Literal["source", "target"]) -> None:
        self._pairs, self._side = pairs, side

    def __len__(self) -> int:
        return len(self._pairs)

    def item(self, place: int) -> Example:
        """Return that side of a pair."""
        return cast(Example, getattr(self._pairs[place], self._side))


class Parts(Lazy[T]):
    """The concatenation of `cut(item)` over all items. Only the number of parts is stored: 8 bytes per item."""

    def __init__(self, items: Sequence[T], cut: Callable[[T], Sequence[T]]) -> None:
        """Cut all items once, to count their parts."""
        self._whole, self._cut = items, cut
        self._ends = np.cumsum(np.fromiter((len(cut(item)) for item in items), np.int64, len(items)))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __iter__(self) -> Iterator[T]:
        return (part for item in self._whole for part in self._cut(item))

    def item(self, place: int) -> T:
        """Return the part at a place; its item is cut again."""
        row = int(np.searchsorted(self._ends, place, side="right"))
        return self._cut(self._whole[row])[place - (int(self._ends[row - 1]) if row else 0)]


class Stored(Lazy[T], Generic[T]):
    """`make(*row)` for each row of an Arrow table, which is on disk if it is large.

    Its file is in the cache folder, since the folder for temporary files may be in memory. The file is anonymous where
    the system allows that, and disappears with the process.

    Raises InputError if the disk is full.
    """

    def __init__(self, rows: Iterable[Sequence[object]], schema: pa.Schema, make: Callable[..., T]) -> None:
        """Write all rows, each with a value for every column of `schema`."""
        folder = cache_folder()
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        self._make, self._length = make, 0
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(folder))  # noqa: SIM115 - lives as long as `self`
        weakref.finalize(self, self._file.close)
        try:
            self._write(rows, schema)
        except OSError as error:  # faults of the user's files are InputErrors already
            raise InputError(
                f"The data cannot be written to the cache folder `{folder}`: {error.strerror or error}. Free some space, or set"
                " the environment variable DISTXFER_CACHE to a folder with more."
            ) from error
        self._reader = pa.ipc.open_file(pa.PythonFile(self._file, "r"))
        self._last: tuple[int, Any] = (-1, None)

    def _write(self, rows: Iterable[Sequence[object]], schema: pa.Schema) -> None:
        remaining = iter(rows)
        with pa.ipc.new_file(pa.PythonFile(self._file, "w"), schema) as writer:
            while batch := list(islice(remaining, _BATCH)):
                columns = zip(*batch, strict=True)
                arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
                self._length += len(batch)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for number in range(self._reader.num_record_batches):
            columns = [column.to_pylist() for column in self._reader.get_batch(number).columns]
            yield from map(self._make, *columns)

    def item(self, place: int) -> T:
        """Return the item at a place."""
        return self._make(*self.row(place))

    def row(self, place: int) -> tuple[Any, ...]:
        """Return the values of a row."""
        number, row = divmod(place, _BATCH)
        last, batch = self._last
        if number != last:
            batch = self._reader.get_batch(number)
            self._last = (number, batch)
        return tuple(cast(Any, column)[row].as_py() for column in batch.columns)
