"""Labels of points in a scatter plot that do not overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt

_WIDTH, _HEIGHT = 300, 300  # pixels of the smallest plot
_CHARACTER, _LINE = 6, 11  # pixels of text
_POINT = 5  # pixels from a point's centre to its edge
ANCHORS = ((7, -7), (7, 9), (-7, -7), (-7, 9))  # offsets of a label, in pixels; to the left it ends there

Point = tuple[float, float]
_Box = tuple[float, float, float, float]


def place_all(
    points: Mapping[str, Mapping[str, Point]], baseline: str, names: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return method -> the labels of its points beside those of the baseline, on the axes of all methods; see `place`."""
    heights = [y for method_points in points.values() for _, y in method_points.values()]
    obstacles = [*points.get(baseline, {}).values()]
    return {
        method: place(method_points, names, obstacles, (min(heights), max(heights)))
        for method, method_points in points.items()
        if method_points
    }


def place(
    points: Mapping[str, Point], names: Mapping[str, str], obstacles: Sequence[Point], extent: Point
) -> dict[str, str]:
    """Return key -> the number of an anchor and `n` (name) or `k` (key), for each point whose label fits.

    A label covers no point, of these or the obstacles, and no other label. Names are tried first, then keys. `extent` is the
    smallest and the largest y of the plot; points with labels that fit nowhere have none.
    """
    xs = [x for x, _ in (*points.values(), *obstacles)]
    low, width = min(xs), (max(xs) - min(xs)) or 1.0
    height = (extent[1] - extent[0]) or 1.0

    def pixels(point: Point) -> Point:
        return (point[0] - low) / width * _WIDTH, (extent[1] - point[1]) / height * _HEIGHT

    boxes: list[_Box] = []
    for x, y in map(pixels, (*points.values(), *obstacles)):
        boxes.append((x - _POINT, y - _POINT, x + _POINT, y + _POINT))
    labels = {}
    for form in "nk":
        for key, point in points.items():
            if key in labels:
                continue
            x, y = pixels(point)
            length = _CHARACTER * len(names[key] if form == "n" else key)
            for number, (dx, dy) in enumerate(ANCHORS):
                start = x + dx if dx > 0 else x + dx - length
                box = (start, y + dy - _LINE / 2, start + length, y + dy + _LINE / 2)
                inside = box[0] >= -30 and box[2] <= _WIDTH + 30
                if inside and not any(_overlap(box, drawn_box) for drawn_box in boxes):
                    labels[key] = f"{number}{form}"
                    boxes.append(box)
                    break
    return labels


def marks(points: alt.Chart, label: str, **encoding: alt.SchemaBase) -> list[alt.Chart]:
    """Return the text marks of points whose labels the expression `label` gives, as `place` does."""
    labelled = points.transform_calculate(label=label).transform_calculate(
        text="slice(datum.label, 1) === 'n' ? datum.name : datum.k"
    )
    return [
        labelled.transform_filter(f"slice(datum.label, 0, 1) === '{number}'")
        .mark_text(dx=dx, dy=dy, align="left" if dx > 0 else "right", fontSize=10, aria=False)
        .encode(text="text:N", **encoding)
        for number, (dx, dy) in enumerate(ANCHORS)
    ]


def _overlap(first: _Box, second: _Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
