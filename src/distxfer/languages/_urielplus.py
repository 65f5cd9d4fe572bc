"""Distances from URIEL+, whose package is run in isolation.

Importing `urielplus` configures the root logger, and using it writes into its own folder. So a copy of it is run once, in
a separate process, and its tables are kept in the cache: about 20 seconds and 1.6 GB of memory, the first time.

Source: Khan et al. 2025, "URIEL+: Enhancing Linguistic Inclusion and Usability in a Typological and Multilingual
Knowledge Base", COLING; the data are licensed CC BY-SA 4.0.
"""

import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distxfer._cache import cache_folder, publish
from distxfer.errors import InputError, RunError
from distxfer.languages import _uriel
from distxfer.languages._codes import macrolanguage
from distxfer.languages._kinship import no_data, row_of
from distxfer.languages._vectors import angular_distance

SUFFIX = "@uriel+"
# All databases that the package can merge in except APiCS and eWAVE, which describe creoles and English dialects by their
# own features, and Glottolog's dialects, which have no features.
_DATABASES = ("UPDATED_SAPHON", "BDPROTO", "GRAMBANK")
_FORMAT = 2  # of the file in the cache


def provenance() -> str:
    """Return the name and version of the data, and the databases merged in.

    Raises InputError if the package is not installed.
    """
    return f"URIEL+@{_package()[1]} with {', '.join(_DATABASES)}"


def between(source: str, target: str, name: str, imputed: bool) -> tuple[float, int]:
    """Return the distance between two keys under one of URIEL's names, and the number of shared features."""
    if imputed and name in _uriel.TYPOLOGICAL:
        raise InputError(
            f"`{name}{SUFFIX}` has no predicted features, since the package `urielplus` does not include any. "
            f"Set `distance.imputed=false`, or name the distance `{name}`."
        )
    rows, values, mask = _table(_built(), name)
    a, b = (_described(key, name, rows, mask) for key in (source, target))
    shared = mask[a] & mask[b]
    n_shared = int(shared.sum())
    if name == "genetic":  # membership is known for every family, so no mask is needed
        return angular_distance(values[a], values[b], source, target, name), n_shared
    if n_shared < 2:  # the angle between two positive numbers is always 0
        raise InputError(
            f"`{source}` and `{target}` share {n_shared} {name} features in {provenance()}, and an angle needs 2. "
            "Choose another distance, or give your own table as `distance.matrix`."
        )
    value = angular_distance(values[a][shared], values[b][shared], source, target, name)
    return value, 1 if name == "geographic" else n_shared


def covered(name: str) -> frozenset[str]:
    """Return the keys of the languages with data; for feature vectors, with the 2 features that an angle needs."""
    rows, _, mask = _table(_built(), name)
    fewest = 1 if name in {"genetic", "geographic"} else 2
    return frozenset(macrolanguage(code) for code, row in rows.items() if mask[row].sum() >= fewest)


def _described(key: str, name: str, rows: dict[str, int], mask: NDArray[np.bool_]) -> int:
    row = row_of(key, rows, mask)
    if row is not None and mask[row].any():
        return row
    raise no_data(key, name, provenance(), covered(name), ())


@cache
def _table(file: Path, name: str) -> tuple[dict[str, int], NDArray[np.generic], NDArray[np.bool_]]:
    """Return the rows of URIEL+'s ISO 639-3 codes, the features (by row) for a distance, and the mask of known values."""
    member = {"genetic": "families", "geographic": "geographic"}.get(name, "typological")
    with np.load(file, allow_pickle=False) as archive:
        rows = {str(code): row for row, code in enumerate(archive[f"{member}_codes"])}
        values = archive[member]
        features = [str(feature) for feature in archive["features"]]
    if name == "genetic":
        families = values == 1  # -1 marks a language that is not in the tree
        return rows, families, families
    if member == "typological" and name != "featural":
        values = values[:, [feature.startswith(_uriel.TYPOLOGICAL[name]) for feature in features]]
    return rows, values, values >= 0


def _built() -> Path:
    """Return the file in the cache with the tables of URIEL+, created first if necessary."""
    package, version = _package()

    def build(folder: Path) -> None:
        copy = folder / "package"
        for path in sorted(package.rglob("*")):
            place = copy / "urielplus" / path.relative_to(package)
            if path.suffix in {".py", ".csv", ".json"} or path.match(
                "original_uriel/*.npz"
            ):  # only files of the package itself
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
        _run(copy, folder / "tables.npz", version)
        shutil.rmtree(copy)

    target = cache_folder() / "distances" / f"urielplus-{version}-{_FORMAT}"
    return publish(target, build) / "tables.npz"


def _run(copy: Path, out: Path, version: str) -> None:
    worker = str(Path(__file__).with_name("_urielplus_worker.py"))
    # -B and -P: no compiled files, and no module of this folder may hide another one
    done = subprocess.run(
        [sys.executable, "-B", "-P", worker, str(copy), str(out), *_DATABASES],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        why = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise RunError(
            f"The databases of `urielplus` {version} could not be read: {why[0]}. "
            'Expected version 1.3.2 and 1.6 GB of free memory. Run `pip install "distxfer[urielplus]"`.'
        )


@cache
def _package() -> tuple[Path, str]:
    """Return the folder and the version of the package, which is not imported."""
    try:
        package = distribution("urielplus")
    except PackageNotFoundError:
        raise InputError(
            'Package `urielplus` holds the URIEL+ data and is not installed. Run `pip install "distxfer[urielplus]"`.'
        ) from None
    return Path(str(package.locate_file("urielplus"))), package.version
