"""Labels of points in a scatter plot that do not overlap."""

import numpy as np
import pandas as pd

CORNERS = (
    (7, -7),
    (7, 9),
    (-7, -7),
    (-7, 9),
)  # offsets of a label from its point, in pixels; to the left it ends there
_PLOT = 300  # pixels of the smallest plot
_CHARACTER, _LINE = 6, 11  # pixels of text
_RADIUS = 5  # pixels from a point's centre to its edge


def placed(plot: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return the points (`method`, `code`, `name`, `x`, `y`) with labels where they fit, beside the points of the baseline.

    A label covers no point and no other label of its method. Names are tried first, then codes; `label` is empty where
    neither fits. `corner` is the place in `CORNERS`.
    """
    plot = plot.assign(label="", corner=0)
    if plot.empty:
        return plot
    width, height = (np.ptp(plot[axis]) or 1.0 for axis in ("x", "y"))
    left = (plot["x"] - plot["x"].min()) / width * _PLOT
    top = (plot["y"].max() - plot["y"]) / height * _PLOT
    for method, rows in plot.groupby("method", sort=False):
        shown = plot["method"].isin([method, baseline])
        centres = np.column_stack([left[shown], top[shown]])
        boxes = np.hstack([centres - _RADIUS, centres + _RADIUS])
        for column in ("name", "code"):
            for place, text in rows[column].items():
                for corner, (dx, dy) in enumerate(CORNERS):
                    length = _CHARACTER * len(text)
                    start, middle = left[place] + dx - (0 if dx > 0 else length), top[place] + dy
                    box = np.array([start, middle - _LINE / 2, start + length, middle + _LINE / 2])
                    covers = (box[:2] < boxes[:, 2:]).all(axis=1) & (boxes[:, :2] < box[2:]).all(axis=1)
                    if not plot.at[place, "label"] and -30 <= start <= _PLOT + 30 - length and not covers.any():
                        plot.loc[place, ["label", "corner"]] = text, corner
                        boxes = np.vstack([boxes, box])
    return plot
