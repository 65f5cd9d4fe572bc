"""The contribution of single settings in a factorial design."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from distxfer.errors import InputError

Levels = Sequence[Sequence[Hashable | None]]
Changes = Mapping[int, tuple[Hashable, Hashable]]


@dataclass(frozen=True)
class Contrast:
    """How each cell of a design counts in an effect: `weights` sum to 0; `matches` is how many comparisons they average."""

    weights: npt.NDArray[np.float64]
    matches: int

    def of(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return sum_c w_c y_c, of shape (seeds, languages), for scores (cells, seeds, languages); `crossed` tests it."""
        return np.tensordot(self.weights, np.asarray(scores, dtype=np.float64), axes=1)


def contrast(levels: Levels, changes: Changes) -> Contrast:
    r"""Return the effect of changing one axis, or the interaction of several, with all other axes held.

    `levels[c][k]` is the value of axis k in cell c (a cell is a method: one combination of settings), None where the
    axis does not apply (the temperature of a loss that is not there). `changes` has, for each axis k that changes, its
    value v_k and its reference r_k. A match is one cell for every combination of v and r over these axes, such that no
    two of them differ in any other axis that applies to both. The weight of cell c is

        w_c = 1/M sum over the M matches that hold c of (-1)^(number of changed axes at their reference in c),

    so one axis gives the mean of y(v) - y(r), and two the mean of [y(v,v) - y(r,v)] - [y(v,r) - y(r,r)]. In a full
    factorial design these are the main effects and interactions of ordinary least squares. Cells without a match have
    weight 0. Without any match all weights are 0.

    Shape: (cells, axes). Invariant, but for the order of the weights, under permutation of the cells.

    Raises: InputError for an axis that is not there, or a value that equals its reference.

    Reference: Montgomery 2017, "Design and Analysis of Experiments", chapter 6 (contrasts of factorial designs).
    """
    axes = len(levels[0]) if levels else 0
    for axis, (value, reference) in changes.items():
        if not 0 <= axis < axes:
            raise InputError(f"The axis {axis} is not there; expected 0 to {axes - 1}: give each cell a level for it.")
        if value == reference:
            raise InputError(f"The axis {axis} is to change from `{value}` to itself; expected two values.")
    held = [axis for axis in range(axes) if axis not in changes]
    corners = list(product((0, 1), repeat=len(changes)))
    at = [
        [
            cell
            for cell, cell_levels in enumerate(levels)
            if all(cell_levels[axis] == pair[side] for (axis, pair), side in zip(changes.items(), corner, strict=True))
        ]
        for corner in corners
    ]
    weights, matches = np.zeros(len(levels)), 0
    for match in _matches(at, levels, held, ()):
        matches += 1
        for cell, corner in zip(match, corners, strict=True):
            weights[cell] += (-1) ** sum(corner)
    return Contrast(weights / max(1, matches), matches)


def _matches(
    at: Sequence[Sequence[int]], levels: Levels, held: Sequence[int], chosen: tuple[int, ...]
) -> Iterator[tuple[int, ...]]:
    """Yield every choice of one cell per corner whose levels agree on the axes that are held."""
    if len(chosen) == len(at):
        yield chosen
        return
    for cell in at[len(chosen)]:
        if all(_agree(levels[cell], levels[earlier], held) for earlier in chosen):
            yield from _matches(at, levels, held, (*chosen, cell))


def _agree(a: Sequence[Hashable | None], b: Sequence[Hashable | None], axes: Sequence[int]) -> bool:
    return all(a[axis] == b[axis] or a[axis] is None or b[axis] is None for axis in axes)
