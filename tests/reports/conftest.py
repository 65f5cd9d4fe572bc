"""Finished runs of three methods, and the content of their report."""

from pathlib import Path

import pytest

from distxfer.reports.page.facts import facts_of
from distxfer.results.collect import collect
from finished_runs import METHODS, three_methods


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    return three_methods(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def facts(runs):
    return facts_of(collect(METHODS, runs), words=METHODS)
