"""Labels of points in a scatter plot that do not overlap."""

import numpy as np
import pandas as pd

# Offsets of a label from its point, in pixels; to the left it ends there.
CORNERS = ((7, -7), (7, 9), (-7, -7), (-7, 9))
_ACROSS, _DOWN = np.array(CORNERS).T
_PLOT = 300  # pixels of the smallest plot
_CHARACTER, _LINE = 6, 11  # pixels of text
_RADIUS = 5  # pixels from a point's centre to its edge


def placed(plot: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return the points (`method`, `code`, `name`, `x`, `y`) with labels where they fit, beside the points of the baseline.

    A label covers no point and no other label of its method. Names are tried first, then codes; `label` is empty where
    neither fits. `corner` is the place in `CORNERS`.
    """
    if plot.empty:
        return plot.assign(label="", corner=0)
    x, y = plot["x"].to_numpy(), plot["y"].to_numpy()
    left, top = (x - x.min()) / (np.ptp(x) or 1.0) * _PLOT, (y.max() - y) / (np.ptp(y) or 1.0) * _PLOT
    methods, names, codes = (plot[column].to_numpy(object) for column in ("method", "name", "code"))
    centres = np.column_stack([left, top])
    labels: dict[int, tuple[str, int]] = {}
    for method in dict.fromkeys(methods):
        shown = centres[(methods == method) | (methods == baseline)]
        boxes = np.hstack([shown - _RADIUS, shown + _RADIUS])
        for texts in (names, codes):
            for place in np.flatnonzero(methods == method).tolist():
                if place in labels:
                    continue
                length = _CHARACTER * len(texts[place])
                starts = left[place] + _ACROSS - np.where(_ACROSS > 0, 0, length)
                middles = top[place] + _DOWN
                tops = np.column_stack([starts, middles - _LINE / 2])
                bottoms = np.column_stack([starts + length, middles + _LINE / 2])
                covers = (tops[:, None] < boxes[:, 2:]).all(axis=2) & (boxes[:, :2] < bottoms[:, None]).all(axis=2)
                fits = ~np.any(covers, axis=1) & (starts >= -30) & (starts <= _PLOT + 30 - length)
                if fits.any():
                    corner = int(fits.argmax())
                    labels[place] = texts[place], corner
                    boxes = np.vstack([boxes, [*tops[corner], *bottoms[corner]]])
    placed_labels = [labels.get(place, ("", 0)) for place in range(len(plot))]
    return plot.assign(label=[text for text, _ in placed_labels], corner=[corner for _, corner in placed_labels])
