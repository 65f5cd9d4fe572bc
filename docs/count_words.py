"""Count the words of prose in README.md, LOG.md, CHANGELOG.md and docs/, without code blocks, tables, images and comments."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (*(ROOT / name for name in ("README.md", "LOG.md", "CHANGELOG.md")), *sorted((ROOT / "docs").rglob("*.md")))


def prose(text: str) -> int:
    """Return the number of words outside code blocks, tables, images, comments and link addresses."""
    text = re.sub(r"^(```|~~~).*?^\1|<!--.*?-->|^\|.*?$|!\[.*?\]\(.*?\)", "", text, flags=re.DOTALL | re.MULTILINE)
    return len(re.sub(r"\]\(.*?\)", "]", text).split())


if __name__ == "__main__":
    counts = {page: prose(page.read_text(encoding="utf-8")) for page in PAGES if "api" not in page.parts}
    sys.stdout.writelines(f"{count:6} {page.relative_to(ROOT)}\n" for page, count in counts.items())
    sys.stdout.write(f"{sum(counts.values()):6} in all\n")
