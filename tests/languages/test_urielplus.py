"""URIEL+: its package is read once, in a process of its own, and must leave no trace outside the cache.

The first test here that needs the tables makes them, which takes about 20 seconds.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from itertools import combinations
from pathlib import Path

import pytest

from distxfer.languages import DISTANCES, Relative, distance, distances, relatives, weights
from helpers import message

try:
    PACKAGE = Path(str(distribution("urielplus").locate_file("urielplus")))
except PackageNotFoundError:
    PACKAGE = None
needs_package = pytest.mark.skipif(PACKAGE is None, reason='`pip install "distxfer[urielplus]"` for URIEL+')
PROVENANCE = "URIEL+@1.3.2 with UPDATED_SAPHON, BDPROTO, GRAMBANK"
OWN = " give your own table as `distance.matrix`."

# What `URIELPlus.new_distance` of urielplus 1.3.2 itself gives, after the same databases and rounded to 4 digits by it.
ITS_OWN = {
    "syntactic": {("eng", "jpn"): 0.6200, ("eng", "cmn"): 0.5574, ("eng", "yrl"): 0.6679},
    "phonological": {("eng", "deu"): 0.3613, ("jpn", "kor"): 0.6410, ("eng", "yrl"): 0.5641, ("eng", "eus"): 0.3125},
    "inventory": {("eng", "cmn"): 0.5926, ("spa", "tpi"): 0.6074, ("eng", "yrl"): 0.5578, ("eng", "eus"): 0.6041},
    "featural": {("eng", "jpn"): 0.6088, ("eng", "arb"): 0.6073, ("eng", "yrl"): 0.6288, ("spa", "tpi"): 0.6095},
    "genetic": {("eng", "deu"): 0.6996, ("eng", "jpn"): 1.0, ("eng", "hat"): 0.9037, ("eng", "nno"): 0.6987},
    "geographic": {("eng", "jpn"): 0.3453, ("jpn", "kor"): 0.0317, ("eng", "arb"): 0.1832, ("eng", "eus"): 0.0446},
}

# Patches what says where a package is, before anything asks; `given` is the folder of a fake one, or empty for none.
FAKE = """
import importlib.metadata, sys
from pathlib import Path
real, given = importlib.metadata.distribution, sys.argv[1]
def distribution(name):
    if name != "urielplus":
        return real(name)
    if not given:
        raise importlib.metadata.PackageNotFoundError(name)
    return type("Fake", (), {"version": "9.9", "locate_file": lambda self, path: Path(given) / path})()
importlib.metadata.distribution = distribution
from distxfer.languages import distance
try:
    distance("eng", "jpn", "syntactic@uriel+")
except Exception as error:
    print(type(error).__name__, error, sep=": ")
"""

# Answers from a fresh process, which also says what happened to its modules and its logging.
FIRST_USE = """
import json, logging, sys
before = [logging.root.level, len(logging.root.handlers)]
from distxfer.languages import distance
value = distance("eng", "jpn", "syntactic@uriel+").value
after = [logging.root.level, len(logging.root.handlers)]
print(json.dumps([value, before == after, sorted({"urielplus", "pandas"} & set(sys.modules))]))
"""


def python(code, *args, **environment):
    """Run code in a fresh process; return what it writes to stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def state(folder):
    """Return every file of a folder with its size and the time of its last change."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def first_use(tmp_path_factory):
    """The cache after a first use, what that use printed, and the package's files before and after."""
    cache = tmp_path_factory.mktemp("uriel") / "cache"
    before = state(PACKAGE)
    printed = python(FIRST_USE, DISTXFER_CACHE=str(cache))
    return cache, printed, before, state(PACKAGE)


@pytest.fixture
def tables(first_use, monkeypatch):
    """Use the tables that the first use made."""
    monkeypatch.setenv("DISTXFER_CACHE", str(first_use[0]))


@needs_package
def test_the_first_use_leaves_no_trace_outside_the_cache(first_use):
    cache, (out, err), before, after = first_use
    assert after == before
    assert len(before) > 10
    value, logging_is_untouched, imported = json.loads(out)
    assert err == ""
    assert (round(value, 4), logging_is_untouched, imported) == (0.62, True, [])
    assert [path.name for path in (cache / "distances").iterdir() if path.is_dir()] == ["urielplus-1.3.2-2"]
    assert {path.name for path in (cache / "distances/urielplus-1.3.2-2").iterdir()} == {"tables.npz", "manifest.json"}


@needs_package
@pytest.mark.parametrize("name", DISTANCES)
def test_distances_are_those_that_the_package_gives(tables, name):
    for (a, b), value in ITS_OWN[name].items():
        answer = distance(a, b, f"{name}@uriel+")
        assert answer.value == pytest.approx(value, abs=5.1e-5)
        assert (answer.name, answer.imputed, answer.provenance) == (f"{name}@uriel+", False, PROVENANCE)


@needs_package
def test_n_shared_says_what_an_answer_rests_on(tables):
    counts = {name: distance("eng", "deu", f"{name}@uriel+").n_shared for name in DISTANCES}
    assert counts["featural"] == counts["syntactic"] + counts["phonological"] + counts["inventory"] == 263
    assert distance("eng", "jpn", "featural@uriel+").n_shared == 436 > 182 + 21 + 158  # German has no morphology there
    assert (counts["syntactic"], counts["genetic"], counts["geographic"]) == (84, 5, 1)
    assert distance("eng", "jpn", "genetic@uriel+").n_shared == 0
    assert distance("eng", "jpn", "syntactic@uriel+").n_shared == 182 > distance("eng", "jpn").n_shared


@needs_package
@pytest.mark.parametrize("name", ["syntactic", "genetic", "geographic", "featural"])
def test_distances_are_symmetric_in_the_unit_interval_and_0_at_home(tables, name):
    keys = ["eng", "deu", "rus", "ara", "jpn", "kor", "tur", "hin", "swa", "ind"]
    for a, b in combinations(keys, 2):
        there, back = (distance(*pair, f"{name}@uriel+").value for pair in ((a, b), (b, a)))
        assert there == back
        assert 0 <= there <= 1
    assert [distance(key, key, f"{name}@uriel+").value for key in keys] == [0] * len(keys)


@needs_package
def test_it_can_be_named_wherever_a_distance_can(tables):
    between = distances("en", ["de", "ja", "ko"]).by("syntactic@uriel+")
    assert between == distances("eng", ["deu", "jpn", "kor"], "syntactic@uriel+")
    assert between.by("syntactic") == distances("eng", ["deu", "jpn", "kor"])
    assert between.by("shuffled").entries["deu"].provenance.startswith(f"{PROVENANCE}, syntactic@uriel+ distance of ")
    assert weights(between.values, "rank")["deu"] < weights(between.values, "rank")["jpn"]
    assert relatives("ajp", "syntactic@uriel+")[0] == Relative("acy", 7)
    assert distance("eng", "zho_Hant", "syntactic@uriel+").value == distance("eng", "cmn", "syntactic@uriel+").value


@needs_package
@pytest.mark.parametrize(
    ("args", "text"),
    [
        (
            ("eng", "ara", "inventory@uriel+"),
            f"`ara` (Arabic) has no inventory data in {PROVENANCE}. Choose one of its nearest covered relatives "
            f"(`ayl`, `mlt`, `ary`), or{OWN}",
        ),
        (
            ("eng", "eus", "genetic@uriel+"),  # to which the package itself gives 0.9776
            f"`eus` (Basque) has no genetic data in {PROVENANCE}, and no families by which to find relatives. "
            f"G{OWN[2:]}",
        ),
        (
            ("aah", "aeb", "syntactic@uriel+"),
            f"`aah` and `aeb` share 1 syntactic features in {PROVENANCE}, and an angle needs 2. "
            f"Choose another distance, or{OWN}",
        ),
    ],
)
def test_no_data_is_an_error_that_names_what_else_there_is(tables, args, text):
    assert message(distance, *args) == text


def test_what_it_does_not_offer_is_an_error():
    assert message(distance, "eng", "jpn", "featural@uriel+", imputed=True) == (
        "`featural@uriel+` has no predicted features, since the package `urielplus` does not include any. Set"
        " `distance.imputed=false`, or name the distance `featural`."
    )
    options = "Choose from: featural, genetic, geographic, inventory, phonological, syntactic."
    assert message(distance, "eng", "jpn", "syntax@uriel+") == (
        f"URIEL+ distance `syntax` is not known. Did you mean `syntactic`? {options}"
    )
    assert message(distances("eng", ["deu", "jpn"]).by, "shuffled@uriel+") == (
        f"URIEL+ distance `shuffled` is not known. {options}"
    )
    assert message(distance, "eng", "jpn", "syntactic@grambank").startswith(
        "Distance `syntactic@grambank` is not known."
    )


def test_without_the_package_the_error_says_how_to_install_it():
    assert python(FAKE, "") == (
        "InputError: Package `urielplus` holds the URIEL+ data and is not installed. "
        'Run `pip install "distxfer[urielplus]"`.\n',
        "",
    )


def test_a_package_that_fails_is_reported_and_leaves_nothing_half_built(tmp_path):
    package = tmp_path / "site" / "urielplus"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "urielplus.py").write_text("print('noise')\nraise MemoryError('too little')\n")
    out, err = python(FAKE, str(tmp_path / "site"), DISTXFER_CACHE=str(tmp_path / "cache"))
    assert out == (
        "RunError: The databases of `urielplus` 9.9 could not be read: MemoryError: too little. "
        'Expected version 1.3.2 and 1.6 GB of free memory. Run `pip install "distxfer[urielplus]"`.\n'
    )
    assert err == ""
    assert [path.suffix for path in (tmp_path / "cache/distances").iterdir()] == [".lock"]
    assert sorted(path.name for path in package.iterdir()) == ["__init__.py", "urielplus.py"]
