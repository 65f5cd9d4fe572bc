"""What the benchmarks share: their results as committed JSON, and the tables of docs/performance.md made from it.

`python benchmarks/record.py` writes the tables anew below the line of docs/performance.md that says so.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distxfer._markdown import markdown
from distxfer.reports.tables import Table
from distxfer.results.result import ARITHMETIC, provenance

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BELOW = "<!-- Below this line: python benchmarks/record.py -->\n"


def write(name: str, threads: int, tables: Sequence[Table], measured: Mapping[str, Any]) -> None:
    """Print the tables, and write them to `results/NAME.json` with what was `measured` in every round."""
    record = {
        "machine": _machine(),
        "threads": threads,
        "date": datetime.now(UTC).date().isoformat(),
        "arithmetic": ARITHMETIC,
        **{
            key: value
            for key, value in provenance({}).items()
            if key in ("git_commit", "git_dirty", "packages", "python")
        },
        "tables": [{"title": table.title, "columns": table.columns, "rows": table.rows} for table in tables],
        "measured": measured,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for table in tables:
        print(table.text(), flush=True)


def page_tables() -> str:
    """Return the part of docs/performance.md that is made from `results/*.json`."""
    parts = []
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        machine, packages = record["machine"], record["packages"]
        about = {
            "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['gigabytes']} GB",
            "threads": record["threads"],
            "date": record["date"],
            "commit": f"{record.get('git_commit', '')[:10]}{' (changed)' * record.get('git_dirty', False)}",
            "torch, transformers": f"{packages['torch']}, {packages['transformers']}",
            "file": f"benchmarks/results/{path.name}",
        }
        parts.append(f"## {path.stem}\n\n{_markdown(tuple(about), [tuple(about.values())])}")
        parts += [f"**{table['title']}**\n\n{_markdown(table['columns'], table['rows'])}" for table in record["tables"]]
    return "".join(f"\n{part}" for part in parts)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [["–" if cell is None else markdown(str(cell)) for cell in line] for line in (columns, *rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], ["---"] * len(columns), *lines[1:]))


def _machine() -> dict[str, Any]:
    """Return the processor, its cores that this process may use, and the memory; no names of hosts or users."""
    processor = platform.processor() or platform.machine()
    flags: set[str] = set()
    information = Path("/proc/cpuinfo")
    if information.exists():
        entries = dict(line.split("\t", 1) for line in information.read_text().splitlines() if "\t" in line)
        values = {key.strip(): value.strip(" \t:") for key, value in entries.items()}
        processor, flags = values.get("model name", processor), set(values.get("flags", "").split())
    fast = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return {
        "processor": f"{processor} ({', '.join(fast)})" if fast else processor,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gigabytes": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
    }


if __name__ == "__main__":
    above, _, _ = PAGE.read_text(encoding="utf-8").partition(BELOW)
    PAGE.write_text(above + BELOW + page_tables(), encoding="utf-8")
