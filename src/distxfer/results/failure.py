"""What is left of a run that failed: `failed.json` in its folder, until it succeeds."""

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from distxfer._durable import atomic_file

_FILE = "failed.json"


@dataclass(frozen=True)
class Failure:
    """How a run failed: why, with which exit code, of which command, when (ISO 8601) and on which machine."""

    reason: str
    exit_code: int
    command: Sequence[str]
    ended: str
    host: str


def read_failure(folder: Path) -> Failure | None:
    """Return how the run in this folder failed, or None where it did not; a file that cannot be read says nothing."""
    try:
        return Failure(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def write_failure(folder: Path, reason: str, exit_code: int, command: Sequence[str]) -> None:
    """Write that the run in this folder failed, here and now, aside and renamed: it is there whole, or not at all."""
    ended = datetime.now(UTC).isoformat(timespec="milliseconds")
    failure = Failure(reason, exit_code, list(command), ended, socket.gethostname())
    with atomic_file(folder / _FILE) as aside:
        aside.write_text(json.dumps(asdict(failure), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def forget_failure(folder: Path) -> None:
    """Remove `failed.json`: the run has succeeded after all."""
    (folder / _FILE).unlink(missing_ok=True)
