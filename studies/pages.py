"""Generated tables in written pages."""

from pathlib import Path


def put(page: Path, text: str, name: str = "results") -> None:
    """Put generated text between the marks `<!-- NAME: start -->` and `<!-- NAME: end -->` of a page."""
    start, end = marks(name)
    before, found_start, following = page.read_text(encoding="utf-8").partition(start)
    _, found_end, after = following.partition(end)
    if not found_start or not found_end:
        raise SystemExit(f"`{page}` has no place for results: {start.strip()} and {end.strip()}.")
    page.write_text(f"{before}{start}{text}{end}{after}", encoding="utf-8")


def marks(name: str = "results") -> tuple[str, str]:
    """Return the marks between which a page has a generated table."""
    return f"<!-- {name}: start -->\n", f"<!-- {name}: end -->\n"
