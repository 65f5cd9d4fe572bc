"""The record of a failed run: `failed.json` in its folder, until it succeeds."""

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
    """How a run failed: reason, exit code, command, time (ISO 8601) and machine."""

    reason: str
    exit_code: int
    command: Sequence[str]
    ended: str
    host: str


def read_failure(folder: Path) -> Failure | None:
    """Return how the run in this folder failed; None if it did not, or if the file cannot be read."""
    try:
        return Failure(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def write_failure(folder: Path, reason: str, exit_code: int, command: Sequence[str]) -> None:
    """Record atomically that the run in this folder failed, now and on this machine."""
    ended = datetime.now(UTC).isoformat(timespec="milliseconds")
    failure = Failure(reason, exit_code, list(command), ended, socket.gethostname())
    with atomic_file(folder / _FILE) as aside:
        aside.write_text(json.dumps(asdict(failure), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def forget_failure(folder: Path) -> None:
    """Remove `failed.json` after success."""
    (folder / _FILE).unlink(missing_ok=True)
