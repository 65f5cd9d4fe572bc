"""Methods as cells of a factorial design: the axes in which settings differ, and the effects on them."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from distxfer.analysis.scores import Full, Group, full
from distxfer.analysis.significance import Tested, corrected, families_of, ranked
from distxfer.errors import listed
from distxfer.measure import contrast, crossed, interval
from distxfer.results.collect import Method
from distxfer.results.settings import differing, has_table, setting_text, sortable, stands_for_presence

ABSENT = None  # the value of an intervention's key in a method that has no such intervention
_NO = "no such intervention"  # the same among the levels of a design, where None is an axis that does not apply
Level = Hashable | None


@dataclass(frozen=True)
class Axis:
    """A setting in which methods differ; `along` lists keys that only change with it, and so have no effect of their own.

    `reference` is the baseline's value, or that of the first method with the setting. None means no such intervention.
    """

    key: str
    along: tuple[str, ...]
    reference: Any
    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Effect(Tested):
    """The mean difference from one change, or the interaction of two, with all other axes held fixed.

    `changes` has (axis, value v, reference r): once for a main effect, y(v) - y(r), and twice for an interaction,
    [y(v,v) - y(r,v)] - [y(v,r) - y(r,r)]; `along` lists keys that change with them. `matches` counts the comparisons that it
    averages, each with all other axes held fixed; `alone` lists methods without a match, `dropped` the seeds and languages that
    some methods lack. `p_holm` is corrected over all main effects, or all interactions.
    """

    changes: tuple[tuple[str, Any, Any], ...]
    along: tuple[str, ...]
    matches: int
    alone: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return it as JSON data."""
        record = super().record()
        changes = [dict(zip(("axis", "value", "reference"), change, strict=True)) for change in record.pop("changes")]
        return (changes[0] if len(changes) == 1 else {"changes": changes}) | record


@dataclass(frozen=True)
class Response:
    """The mean target score at one value of a numeric axis, with its interval over seeds for fixed languages.

    It is the mean over `settings` combinations of the other axes, the same ones for each value.
    """

    axis: str
    value: Any
    mean: float
    low: float | None
    high: float | None
    n_seeds: int
    n_languages: int
    settings: int


@dataclass(frozen=True)
class Design:
    """`levels[c][k]` is the level of method c on axis k, None if the axis does not apply to it.

    `columns[key][c]` is the same for every differing key, including those that go along with an axis.
    """

    names: tuple[str, ...]
    group: Group
    axes: tuple[Axis, ...]
    levels: tuple[tuple[Level, ...], ...]
    columns: Mapping[str, Sequence[Level]]

    def along(self, axis: Axis, cells: Sequence[int]) -> tuple[str, ...]:
        """Return the keys that go along with an axis and vary among these cells."""
        return tuple(key for key in axis.along if len({self.columns[key][cell] for cell in cells} - {None}) > 1)

    def full(self, cells: Iterable[int]) -> Full:
        """Return the complete scores of the methods of these cells."""
        used = set(cells)
        scores = self.group.scores
        return full({name: scores[name] for cell, name in enumerate(self.names) if cell in used}, paired=True)


def design(methods: Sequence[Method], group: Group) -> Design:
    """Return the design of methods; the baseline of the group provides the reference value of each axis."""
    settings = [method.settings for method in methods]
    columns: dict[str, list[Level]] = {}
    for key in differing(settings):
        missing = _NO if stands_for_presence(key, settings) else None
        columns[key] = [table.get(key, _NO) if has_table(table, key) else missing for table in settings]
    owners = {key: _owner(key, columns) for key in columns}
    names = tuple(method.name for method in methods)
    first, axes = names.index(group.baseline), []
    for key in (key for key, owner in owners.items() if key == owner):
        applying = [level for level in columns[key] if level is not None]
        reference = applying[0] if columns[key][first] is None else columns[key][first]
        values = sorted(dict.fromkeys(map(_value, applying)), key=sortable)
        along = tuple(follower for follower, owner in owners.items() if owner == key != follower)
        axes.append(Axis(key, along, _value(reference), tuple(values)))
    levels = tuple(tuple(columns[axis.key][cell] for axis in axes) for cell in range(len(methods)))
    return Design(names, group, tuple(axes), levels, columns)


def _owner(key: str, columns: Mapping[str, Sequence[Level]]) -> str:
    """Return the axis that a key goes along with, or the key itself.

    A key goes along with another that applies wherever it does and determines its value: methods that differ in it also differ
    in the other. If two keys determine each other wherever they apply, the first is the axis.
    """
    keys = list(columns)
    applies = {key: {cell for cell, level in enumerate(column) if level is not None} for key, column in columns.items()}

    def tells(leader: str, follower: str) -> bool:
        pairs = {(columns[leader][cell], columns[follower][cell]) for cell in applies[follower]}
        return applies[follower] <= applies[leader] and len(pairs) == len({level for level, _ in pairs})

    for leader in sorted(keys, key=lambda name: (-len(applies[name]), keys.index(name))):
        earlier = keys.index(leader) < keys.index(key)
        if leader != key and tells(leader, key) and (earlier or not tells(key, leader)):
            return _owner(leader, columns)
    return key


def effects(grid: Design, size: int) -> tuple[tuple[Effect, ...], tuple[str, ...]]:
    """Return the effects of changing `size` axes at once, and a line for each change without matching methods.

    Only scores that all methods of an effect have in full count; the rest is in `dropped`.
    """
    rows, unmatched = [], []
    for chosen in combinations(range(len(grid.axes)), size):
        axes = [grid.axes[place] for place in chosen]
        options = [[(value, axis.reference) for value in axis.values if value != axis.reference] for axis in axes]
        for changes in product(*options):
            effect = _effect(grid, dict(zip(chosen, changes, strict=True)))
            if isinstance(effect, str):
                texts = [
                    f"{axis.key} {_text(value)} against {_text(reference)}"
                    for axis, (value, reference) in zip(axes, changes, strict=True)
                ]
                unmatched.append(f"{' and '.join(texts)} ({effect})")
            else:
                rows.append(effect)
    return tuple(corrected(rows)), tuple(unmatched)


def _effect(grid: Design, changes: Mapping[int, tuple[Any, Any]]) -> Effect | str:
    """Return the effect of some changes, or why it cannot be estimated."""
    levels = {axis: (_level(value), _level(reference)) for axis, (value, reference) in changes.items()}
    weighed = contrast(grid.levels, levels)
    used = [cell for cell, weight in enumerate(weighed.weights) if weight]
    if not used:
        return "no two methods differ in nothing else"
    full = grid.full(used)
    scores = np.array([full.scores[grid.names[cell]] for cell in used])
    if not scores.size:
        return "the methods have no seed or no language in common"
    weights = {grid.names[cell]: float(weighed.weights[cell]) for cell in used}
    items = grid.group.items
    test = crossed(
        np.tensordot(weighed.weights[used], scores, axes=1),
        families=families_of(full.languages),
        items=None if items is None else items.differences(weights, full.languages, full.seeds),
    )
    return Effect(
        changes=tuple((grid.axes[axis].key, *pair) for axis, pair in changes.items()),
        along=tuple(key for axis in changes for key in grid.along(grid.axes[axis], used)),
        matches=weighed.matches,
        test=ranked(test),
        alone=tuple(
            name
            for cell, name in enumerate(grid.names)
            if cell not in used and all(grid.levels[cell][axis] in pair for axis, pair in levels.items())
        ),
        dropped=full.dropped,
    )


def responses(grid: Design) -> tuple[tuple[Response, ...], tuple[str, ...]]:
    """Return the mean score at each value of each numeric axis, and lines on what is left out.

    It averages the combinations of other settings that exist with all values, or with as many as possible.
    """
    rows: list[Response] = []
    notes: list[str] = []
    for place, axis in enumerate(grid.axes):
        cells = [cell for cell, levels in enumerate(grid.levels) if _is_number(levels[place])]
        if len({grid.levels[cell][place] for cell in cells}) < 2:
            continue
        along = grid.along(axis, cells)
        if along:
            notes.append(f"no response to {axis.key}: {listed(along)} changes with it")
        else:
            responses_of_axis, left_out = _response(grid, place, cells)
            rows += responses_of_axis
            notes += left_out
    return tuple(rows), tuple(notes)


def _response(grid: Design, place: int, numeric: Sequence[int]) -> tuple[list[Response], list[str]]:
    axis = grid.axes[place]
    others = [(*levels[:place], *levels[place + 1 :]) for levels in grid.levels]
    settings: dict[tuple[Level, ...], dict[Any, int]] = {}
    for cell in numeric:
        settings.setdefault(others[cell], {})[grid.levels[cell][place]] = cell
    fullest = max(settings.values(), key=len)
    complete = {setting: cells for setting, cells in settings.items() if fullest.keys() <= cells.keys()}
    # For each setting the method without the axis's intervention; none if one setting has no such method.
    without = [
        [
            cell
            for cell, levels in enumerate(grid.levels)
            if levels[place] == _NO
            and all(a == b or a is None or b is None for a, b in zip(others[cell], setting, strict=True))
        ][:1]
        for setting in complete
    ]
    by_value: dict[Any, list[int]] = {ABSENT: [cell for (cell,) in without]} if all(without) else {}
    by_value |= {value: [cells[value] for cells in complete.values()] for value in sorted(fullest, key=sortable)}
    full = grid.full(cell for cells in by_value.values() for cell in cells)
    rows, notes = [], []
    for value, cells in by_value.items():
        table = np.mean([full.scores[grid.names[cell]] for cell in cells], axis=0)
        if table.size:
            rows.append(Response(axis.key, value, *interval(table), len(table), table.shape[1], len(complete)))
    absent = [_text(value) for value in axis.values if value not in by_value]
    if absent:
        notes.append(
            f"{axis.key}: no mean for {listed(absent)}: no other settings exist with this and all other values"
        )
    if full.dropped:
        notes.append(f"means over {axis.key} without {listed(full.dropped)}")
    return rows, notes


def _text(value: Any) -> str:
    return "absent" if value is ABSENT else setting_text(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _level(value: Any) -> Hashable:
    return _NO if value is ABSENT else value


def _value(level: Any) -> Any:
    return ABSENT if level == _NO else level
