"""Tables of languages that the user provides: distances and covariates."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from distxfer.errors import InputError, did_you_mean
from distxfer.languages.codes import canonical


@dataclass(frozen=True)
class Matrix:
    """The cells of a table of distances by source and target key, and the file they come from."""

    path: Path
    provenance: str
    cells: Mapping[tuple[str, str], float]

    def cell(self, source: str, target: str) -> float:
        """Return the distance in row `source` and column `target`, or else the one in row `target`, column `source`."""
        for pair in ((source, target), (target, source)):
            if pair in self.cells:
                return self.cells[pair]
        listed = {key for pair in self.cells for key in pair}
        hints = "".join(did_you_mean(key, listed) for key in (source, target) if key not in listed)
        raise InputError(
            f"`{self.path}` has no distance between `{source}` and `{target}`.{hints} "
            f"Add one in row `{source}`, column `{target}`."
        )


def read_matrix(path: Path) -> Matrix:
    """Read a table of distances: CSV in UTF-8, codes in the first row and column, distances of at least 0 in the cells.

    Codes may have any form that `canonical` accepts; rows and columns need not list the same languages; an empty cell
    is an unknown distance. The provenance is the file's name and the start of the SHA-256 of its bytes.

    Raises InputError for a missing file, an unknown or repeated code, a row of the wrong length, or a cell that is not a
    number of at least 0; the message names file, row and column, counted from 1.
    """
    if not path.is_file():
        raise InputError(f"Distance table `{path}` is not a file. Give the path of a CSV file as `distance.matrix`.")
    data = path.read_bytes()
    rows = _rows(data, f"Distance table `{path}`")
    if len(rows) < 2:
        raise InputError(
            f"Distance table `{path}` is empty. Put codes in its first row and column, distances in the cells."
        )
    (top, header), *body = rows.items()
    columns = _keys({(top, j): text for j, text in enumerate(header[1:], start=2)}, path)
    names = _keys({(i, 1): line[0] for i, line in body}, path)
    cells: dict[tuple[str, str], float] = {}
    for (i, line), row in zip(body, names, strict=True):
        _check_width(line, header, i, path)
        for j, (text, column) in enumerate(zip(line[1:], columns, strict=True), start=2):
            if text.strip():
                cells[row, column] = _number(text.strip(), f"`{path}`, row {i} (`{row}`), column {j} (`{column}`)")
    return Matrix(path, f"{path.name} sha256:{sha256(data).hexdigest()[:8]}", cells)


def read_covariates(path: Path) -> dict[str, dict[str, float]]:
    """Read numbers that describe languages, such as sizes of pretraining text: CSV, a row per language, a column per covariate.

    Returns covariate -> language key -> value. Raises InputError for a missing or unreadable file, an unknown or repeated code,
    no or repeated covariates, a row of the wrong length, and a cell that is not a finite number; the message names row and
    column, counted from 1.
    """
    if not path.is_file():
        raise InputError(f"`{path}` is not a file. Give a CSV file with a row per language as `--covariates`.")
    rows = _rows(path.read_bytes(), f"`{path}`")
    (_, header), *body = rows.items() if rows else [(1, [""])]
    names = [name.strip() for name in header[1:]]
    if not body or not names or not all(names) or len(set(names)) < len(names):
        raise InputError(
            f"`{path}` needs a header with a different name for each covariate, after a first column of language codes, and a"
            " row per language."
        )
    languages = _keys({(i, 1): line[0] for i, line in body}, path)
    values: dict[str, dict[str, float]] = {name: {} for name in names}
    for (i, line), language in zip(body, languages, strict=True):
        _check_width(line, header, i, path)
        for j, (name, text) in enumerate(zip(names, line[1:], strict=True), start=2):
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise InputError(
                    f"`{path}`, row {i} (`{language}`), column {j} (`{name}`): `{text.strip()}` is not a finite number."
                )
            values[name][language] = value
    return values


def _rows(data: bytes, name: str) -> dict[int, list[str]]:
    """Return the rows of a CSV file by number, from 1, without blank ones; `name` is the file's in messages."""
    try:
        lines = list(csv.reader(data.decode("utf-8-sig").splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{name} cannot be read ({error}). Save it as CSV in UTF-8.") from None
    return {number: line for number, line in enumerate(lines, start=1) if any(text.strip() for text in line)}


def _check_width(line: list[str], header: list[str], row: int, path: Path) -> None:
    if len(line) != len(header):
        raise InputError(
            f"`{path}`, row {row}: {len(line)} cells, but the first row has {len(header)}. Make them equal."
        )


def _keys(texts: Mapping[tuple[int, int], str], path: Path) -> list[str]:
    """Return the language keys of a header, each at its (row, column)."""
    keys: list[str] = []
    for (i, j), text in texts.items():
        try:
            key = canonical(text.strip())
        except InputError as error:
            raise InputError(f"`{path}`, row {i}, column {j}: {error}") from None
        if key in keys:
            raise InputError(
                f"`{path}`, row {i}, column {j}: `{text.strip()}` is `{key}`, listed before. Remove one of them."
            )
        keys.append(key)
    return keys


def _number(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{place}: `{text}` is not a distance. Give a number of at least 0, or leave the cell empty.")
    return value
