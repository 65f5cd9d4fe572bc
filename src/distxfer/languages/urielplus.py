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

from distxfer._cache import cache_folder, publish
from distxfer.errors import InputError, RunError
from distxfer.languages.uriel import TYPOLOGICAL, Vectors

SUFFIX = "@uriel+"
# All databases that the package can merge in except APiCS and eWAVE, which describe creoles and English dialects by their
# own features, and Glottolog's dialects, which have no features.
_DATABASES = ("UPDATED_SAPHON", "BDPROTO", "GRAMBANK")
_FORMAT = 2  # of the file in the cache


@cache
def vectors(name: str) -> Vectors:
    """Return the vectors of a distance, under one of URIEL's names; the tables are created first if necessary.

    Raises InputError if the package is not installed, RunError if its databases cannot be read.
    """
    package, version = _package()
    provenance = f"URIEL+@{version} with {', '.join(_DATABASES)}"
    member = {"genetic": "families", "geographic": "geographic"}.get(name, "typological")
    with np.load(_built(package, version), allow_pickle=False) as archive:
        rows = {str(code): row for row, code in enumerate(archive[f"{member}_codes"])}
        values = archive[member]
        features = [str(feature) for feature in archive["features"]]
    if name == "genetic":
        values = values == 1  # -1 marks a language that is not in the tree
        return Vectors(rows, values, values, provenance)
    if member == "typological" and name != "featural":
        values = values[:, [feature.startswith(TYPOLOGICAL[name]) for feature in features]]
    return Vectors(rows, values, values >= 0, provenance)


def _built(package: Path, version: str) -> Path:
    """Return the file in the cache with the tables of URIEL+, created first if necessary."""

    def build(folder: Path) -> None:
        copy = folder / "package"
        for path in sorted(package.rglob("*")):
            place = copy / "urielplus" / path.relative_to(package)
            # only files of the package itself
            if path.suffix in {".py", ".csv", ".json"} or path.match("original_uriel/*.npz"):
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
        _run(copy, folder / "tables.npz", version)
        shutil.rmtree(copy)

    target = cache_folder() / "distances" / f"urielplus-{version}-{_FORMAT}"
    return publish(target, build) / "tables.npz"


def _run(copy: Path, out: Path, version: str) -> None:
    worker = str(Path(__file__).with_name("urielplus_worker.py"))
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


def _package() -> tuple[Path, str]:
    """Return the folder and the version of the package, which is not imported."""
    try:
        package = distribution("urielplus")
    except PackageNotFoundError:
        raise InputError(
            'Package `urielplus` holds the URIEL+ data and is not installed. Run `pip install "distxfer[urielplus]"`.'
        ) from None
    return Path(str(package.locate_file("urielplus"))), package.version
