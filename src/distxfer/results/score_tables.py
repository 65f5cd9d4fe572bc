"""Tables of scores: one row per model, task, method, seed, language and metric."""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from distxfer.errors import InputError, did_you_mean
from distxfer.languages import canonical

LARGEST = 1e100  # beyond this a number is none that was measured, and its square none at all
_LONGEST_SEED = 20  # characters; seeds have at most 64 bits


@dataclass(frozen=True)
class Score:
    """The score of one run in one language; `value` is None if missing."""

    model: str
    task: str
    method: str
    seed: str
    language: str
    metric: str
    value: float | None

    @property
    def cell(self) -> tuple[str, ...]:
        """All columns but the value: unique in a table."""
        return self.model, self.task, self.method, self.seed, self.language, self.metric


COLUMNS = tuple(field.name for field in fields(Score))


def read_scores(path: Path) -> tuple[Score, ...]:
    """Read a table of scores: CSV (or TSV, by suffix) in UTF-8 with the columns of `Score`, in any order.

    Other columns are ignored. An empty value, `NaN` or `NA`, is a missing score. Language codes may have any form that
    `canonical` accepts; all strings are kept as they are, so `nan` and `no` are languages.

    Raises InputError for a missing file or column, an invalid number, an unknown language, or duplicate rows; the message names
    file and line.
    """
    if not path.is_file():
        raise InputError(
            f"The table `{path}` is not a file. Give the path of a CSV file with the columns {', '.join(COLUMNS)}."
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
        delimiter = "\t" if path.suffix == ".tsv" else ","
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table `{path}` cannot be read ({error}). Save it as CSV in UTF-8.") from error
    header = [name.strip() for name in rows[0]] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(
            f"The table `{path}` has no column `{missing[0]}`.{did_you_mean(missing[0], header)} "
            f"Expected: {', '.join(COLUMNS)}; found: {', '.join(header) or 'nothing'}."
        )
    places = [header.index(name) for name in COLUMNS]
    keys: dict[str, str] = {}
    scores = []
    for number, row in enumerate(rows[1:], start=2):
        if any(cell.strip() for cell in row):
            if len(row) != len(header):
                raise InputError(f"`{path}:{number}` has {len(row)} cells where the first line has {len(header)}.")
            scores.append(_score(f"{path}:{number}", [row[place].strip() for place in places], keys))
    if not scores:
        raise InputError(f"The table `{path}` has no scores. Put one line below the header for each score.")
    twice = [cell for cell, times in Counter(score.cell for score in scores).items() if times > 1]
    if twice:
        raise InputError(
            f"The table `{path}` has two lines for {_named(twice[0])}. Keep one of them, or tell the runs apart by their seed."
        )
    return tuple(scores)


def _score(place: str, texts: Sequence[str], keys: dict[str, str]) -> Score:
    *names, value = texts
    model, task, method, seed, language, metric = names
    if not method:
        raise InputError(f"`{place}` has no method. Name the method that the score is of.")
    if len(seed) > _LONGEST_SEED:
        raise InputError(f"`{place}` has a seed of {len(seed):,} characters; expected {_LONGEST_SEED} at most.")
    if language not in keys:
        try:
            keys[language] = canonical(language)
        except InputError as error:
            raise InputError(f"`{place}`: {error}") from error
    return Score(model, task, method, seed, keys[language], metric, _value(place, value))


def _value(place: str, text: str) -> float | None:
    if text.lower() in {"", "nan", "na"}:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise InputError(f"`{place}` has the value `{text}`; expected a number, or nothing where the score is missing.")
    if abs(value) > LARGEST:
        raise InputError(f"`{place}` has the value `{text}`; expected a score of at most {LARGEST:g}.")
    return value


def _named(cell: Sequence[str]) -> str:
    return ", ".join(f"{name} `{value}`" for name, value in zip(COLUMNS, cell, strict=False))
