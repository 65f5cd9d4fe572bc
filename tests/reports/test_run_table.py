"""The table of one run."""

import pandas as pd
import pytest

from distxfer.reports.run import run_table
from distxfer.results.result import read_result
from finished_runs import write_run


@pytest.fixture
def notes(tmp_path):
    """Return a function: the notes of a run that gives a `share` of the Japanese texts one class, where `labels` have it."""

    def read(share: float, labels: float) -> str:
        run = write_run(tmp_path, targets=("deu", "jpn"))
        rows = [
            {"language": language, "example_id": str(number), "label": "ab"[number % 2], "prediction": "ab"[number % 2]}
            for language in ("eng", "deu")
            for number in range(100)
        ] + [
            {
                "language": "jpn", "example_id": str(number), "label": "a" if number < 100 * labels else "b",
                "prediction": "a" if number < 100 * share else "b",
            }
            for number in range(100)
        ]  # fmt: skip
        pd.DataFrame(rows).to_parquet(run / "predictions.parquet")
        data = (run / "result.json").read_text(encoding="utf-8")
        summary = '"summary": {"source": 0.8, "target_mean": 0.5, "near_mean": 0.6, "far_mean": 0.4, "gap": 0.3,'
        summary += ' "distance_slope": null, "near": ["deu"], "far": ["jpn"],'
        (run / "result.json").write_text(data.replace('"summary": {', summary), encoding="utf-8")
        return "\n".join(run_table(read_result(run)).notes)

    return read


def test_a_language_in_which_one_class_is_predicted_is_named(notes):
    assert "One class for nearly all texts, which is no transfer: jpn 97 % `a`." in notes(0.97, 0.5)


@pytest.mark.parametrize(("share", "labels"), [(0.9, 0.5), (0.97, 0.9)])
def test_a_frequent_class_is_not(notes, share, labels):
    assert "One class" not in notes(share, labels)
