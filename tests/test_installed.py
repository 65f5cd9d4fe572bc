"""Other packages: imported where they are needed and no sooner, and searched for entry points when they have changed."""

import json
import os
import subprocess
import sys
from importlib import metadata

from distxfer._installed import entry_points, version

# Statements of one process, in order, each with the packages that it must not import.
STATEMENTS = {
    "import distxfer.languages": "torch scipy lang2vec pandas",
    "import distxfer.measure; distxfer.measure.holm([0.1])": "torch",
    "import distxfer.sweeps.ray_engine": "ray torch",
    "from distxfer.analysis.ablation import ablate\n"
    "from distxfer.analysis.compare import compare, compare_methods\n"
    "from distxfer.analysis.one_seed import compare_runs\n"
    "from distxfer.results.collect import collect\n"
    "from distxfer.results.tables import read_measurements\n"
    "from distxfer.measure import contrast, correlate, crossed, holm, interval, slope_over_seeds, two_way_bootstrap\n"
    "from distxfer.reports.ablation import ablation_tables\n"
    "from distxfer.reports.comparison import comparison_tables, one_seed_table": "torch transformers peft",
    "import distxfer.runs.run, distxfer.encoders._load": "peft",  # it is for adapters alone
    "distxfer.measure.cka": "peft",
}


def test_each_module_imports_only_what_it_needs():
    code = ["import json, sys", "loaded = []"]
    for statement, packages in STATEMENTS.items():
        code += [statement, f"loaded.append([name for name in {packages.split()!r} if name in sys.modules])"]
    code.append("print(json.dumps(loaded))")
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert json.loads(done.stdout) == [[]] * len(STATEMENTS)


def test_packages_are_searched_again_only_where_a_folder_has_changed(tmp_path, monkeypatch):
    searches = []
    monkeypatch.setattr(metadata, "entry_points", lambda group: searches.append(group) or ())
    monkeypatch.setattr(metadata, "version", lambda package: searches.append(package) or "1")
    monkeypatch.syspath_prepend(tmp_path)
    os.utime(tmp_path, (0, 0))
    for _ in range(3):
        assert (entry_points("distxfer.tasks"), version("torch")) == ({}, "1")
    assert searches == ["distxfer.tasks", "torch"]
    (tmp_path / "package-1.dist-info").mkdir()
    assert (entry_points("distxfer.tasks"), version("torch")) == ({}, "1")
    assert searches == ["distxfer.tasks", "torch"] * 2


def test_a_package_that_is_not_installed_has_no_version():
    assert version("no-such-package") is None
