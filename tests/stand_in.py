"""A Python that stands in for the one that trains: what the tests of sweeps start instead of `train`, which is slow."""

import json
import sys
import time
from pathlib import Path

from distxfer.results.result import ARITHMETIC
from distxfer.sweeps.grid import plan_sweep
from fake_runs import FAR, result

PATIENCE = 240  # seconds until a machine that is busy with other work gets there
_SCORES = dict.fromkeys(FAR, 0.5)
RESULT = json.dumps(
    result("plain", "0123abcd", 0, _SCORES, provenance__arithmetic=ARITHMETIC)
)  # as of a run that is done


class StandIn:
    """A Python that does not train: `does` says what becomes of the runs of a sweep, `events` what happened."""

    def __init__(self, folder: Path, settings: list[str]) -> None:
        self.folder, self.settings, self.results = folder, settings, folder / "results"
        self.python = folder / "python"
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent / "fake_train.py"}" "$@"\n')
        self.python.chmod(0o755)
        (folder / "result.json").write_text(RESULT)

    def does(self, *words: str, **by_seed: str) -> list[str]:
        """Set what the runs of these words do, `seed1="fail"`: that with the seed 1; return all words of the sweep."""
        words = (*self.settings, *words)
        runs = {
            " ".join(run.words): {"folder": str(run.folder), "do": by_seed.get(f"seed{run.seed}", "work")}
            for run in plan_sweep(words, self.results).runs
        }
        (self.folder / "runs.json").write_text(json.dumps(runs))
        return list(words)

    def events(self, kind: str = "start") -> list[dict]:
        path = self.folder / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def seeds(self, kind: str = "start") -> list[str]:
        return [event["words"].rpartition("seed=")[2] for event in self.events(kind)]


def statuses(outcomes) -> list[tuple[str, int, str]]:
    return [(one.run.recipe.name, one.run.seed, one.status) for one in outcomes]


def until(is_so) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
