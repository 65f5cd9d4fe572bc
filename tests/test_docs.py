"""README is short and has pictures, the prose stays within its bound, and links between pages lead somewhere."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COUNT = runpy.run_path(str(ROOT / "docs" / "count_words.py"))
PAGES = [page for page in (*COUNT["PAGES"], ROOT / "CONTRIBUTING.md") if "api" not in page.parts]


def test_readme_is_short_and_has_pictures():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]{20,}\]\((docs/images/[^)]+)\)", text)
    assert len(text.split()) <= 1200
    assert len(pictures) >= 3
    assert sum(path.stat().st_size for path in (ROOT / "docs" / "images").iterdir()) < 600_000


def test_prose_within_20_000_words():
    assert sum(COUNT["prose"](page.read_text(encoding="utf-8")) for page in PAGES[:-1]) <= 20_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^()\s]+)\)", page.read_text(encoding="utf-8")):
        path = target.partition("#")[0]
        assert not path or ":" in path or (page.parent / path).exists(), target


def test_the_tables_of_performance_are_those_of_the_benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    record = runpy.run_path(str(ROOT / "benchmarks" / "record.py"))
    page = record["PAGE"].read_text(encoding="utf-8")
    assert page.partition(record["BELOW"])[2] == record["page_tables"]()
