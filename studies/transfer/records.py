"""The compact files of finished runs: one row of `runs.csv`, the predicted classes, and drift and retrieval by language.

`TASK/items.parquet` has the test items of a task once: language, id, label, and whether the item has a twin. The predictions of
a run, `TASK/METHOD-sSEED.parquet`, are in the same order.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock
from scipy import sparse

from distxfer import InputError, read_result
from distxfer._durable import atomic_file, file_digest
from distxfer.data import load_parallel, load_task, parallel_languages
from distxfer.results.tables import read_measurements, read_predictions
from studies.transfer.protocol import ROOT, Protocol, Registration, Run

RESULTS = ROOT / "results" / "transfer"
KEYS = ["task", "method", "seed"]
ITEM = ["language", "id", "label"]


def is_finished(run: Run, registered: str, results: Path = RESULTS) -> bool:
    """Return whether a run is recorded under the registered hash."""
    return bool(
        (read_runs(results)[[*KEYS, "protocol"]] == [run.task, run.method, run.seed, registered]).all(axis=1).any()
    )


def read_runs(results: Path = RESULTS) -> pd.DataFrame:
    """Return the recorded runs."""
    path = results / "runs.csv"
    return _read_csv(path) if path.exists() else pd.DataFrame(columns=[*KEYS, "protocol"])


def record(
    run: Run, folder: Path, twins: Callable[[], pd.Series], registration: Registration, results: Path = RESULTS
) -> None:
    """Add a finished run, which counts once its row is in `runs.csv`; `twins` returns the flags by language and id."""
    result, predictions = read_result(folder), read_predictions(folder)
    if result is None:
        raise InputError(f"`{folder}` holds no finished run.")
    predictions = predictions.rename(columns={"example_id": "id", "prediction": "predicted"})
    path = predictions_file(run, results)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(results / ".lock"):
        items = path.with_name("items.parquet")
        if not items.exists():
            flags = twins().reindex(pd.MultiIndex.from_frame(predictions[ITEM[:2]])).to_numpy(dtype=bool)
            _write(items, predictions[ITEM].astype({"language": "category", "label": "category"}).assign(twin=flags))
        if not predictions[ITEM].equals(read_items(run.task, results)[ITEM]):
            raise InputError(
                f"The test items of `{folder}` are not those of `{items}`: the data of the task have changed."
            )
        _write(path, predictions[["predicted"]].astype("category"))
        keys = {"task": run.task, "method": run.method, "seed": run.seed}
        _append(results / "measurements.csv", _measurements(folder).assign(**keys))
        cost, made = result.cost, result.provenance
        row = keys | {
            "status": result.status, "recipe": result.id, "arithmetic": result.arithmetic, "seconds": round(cost["seconds"]),
            "steps": cost["steps"], "started": f"{datetime.fromisoformat(made['started']).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "commit": made.get("git_commit", ""), "dirty": made.get("git_dirty", ""), "protocol": registration.hash,
            "predictions": file_digest(path),
        }  # fmt: skip
        _append(results / "runs.csv", pd.DataFrame([row]))


def predictions_file(run: Run, results: Path = RESULTS) -> Path:
    """Return the file of a run's predicted classes."""
    return results / run.task / f"{run.method}-s{run.seed}.parquet"


def read_items(task: str, results: Path = RESULTS) -> pd.DataFrame:
    """Return the test items of a task: `language`, `id`, `label` and `twin`."""
    items: pd.DataFrame = pd.read_parquet(results / task / "items.parquet")
    return items.astype({"language": str, "label": str})


def read_right(run: Run, digest: str, items: pd.DataFrame, results: Path = RESULTS) -> npt.NDArray[np.bool_]:
    """Return whether a run predicts the label of each item; raises InputError for a file that the run did not write."""
    path = predictions_file(run, results)
    if not path.exists() or file_digest(path) != digest:
        raise InputError(
            f"`{path}` is not what the run wrote. Restore it from git, or remove the run's row in `runs.csv`."
        )
    predicted = pd.read_parquet(path)["predicted"]
    return (predicted.astype(str) == items["label"]).to_numpy()


def read_twins(protocol: Protocol, task: str) -> pd.Series:
    """Return for each test item of a task, by language and id, whether what training may read has a twin of it.

    That is a text of the same language in the training part (any language's labels), the unlabelled text or the pairs.
    """
    targets = protocol.targets(task)
    data = load_task(task, protocol.source, targets, target_labels=True)
    corpora = [
        load_parallel(name, protocol.source, tuple(code for code in targets if code in parallel_languages(name)))
        for name in protocol.task[task].corpora
    ]
    flags = {}
    for language in (protocol.source, *targets):
        read = {example.text for example in (*data.examples("train", language), *data.unlabelled.get(language, ()))}
        for target, pairs in ((target, pairs) for corpus in corpora for target, pairs in corpus.train.items()):
            if language == protocol.source:
                read |= {pair.source.text for pair in pairs}
            elif language == target:
                read |= {pair.target.text for pair in pairs}
        tests = data.examples("test", language)
        has_twin = word_twins([example.text for example in tests], read)
        flags |= {(language, example.id): flag for example, flag in zip(tests, has_twin, strict=True)}
    return pd.Series(flags)


def word_twins(texts: Sequence[str], others: Collection[str]) -> npt.NDArray[np.bool_]:
    """Return whether each text shares half of its distinct words with one of the others: Jaccard of at least .5.

    Words are parted by blanks, in lower case; so without blanks only equal texts are twins.
    """
    sets = [set(text.lower().split()) for text in (*texts, *others)]
    sizes = np.array([*map(len, sets)])
    _, columns = np.unique([word for words in sets for word in words], return_inverse=True)
    has_word = sparse.csr_array((np.ones(len(columns)), columns, np.cumsum([0, *sizes])))
    shared = (has_word[: len(texts)] @ has_word[len(texts) :].T).tocoo()
    union = sizes[: len(texts)][shared.row] + sizes[len(texts) :][shared.col] - shared.data
    return np.isin(np.arange(len(texts)), shared.row[2 * shared.data >= union])


def _measurements(folder: Path) -> pd.DataFrame:
    """Return by language the drift after training (mean over blocks) and retrieval at the last layer, before and after."""
    rows = read_measurements(folder / "measurements.parquet").query("layer > 0")
    drift = rows.query("measure == 'drift_cka' and moment == 'after'").groupby("language")["value"].mean()
    retrieval = rows[(rows["measure"] == "retrieval_weak_forward") & (rows["layer"] == rows["layer"].max())]
    before, after = (
        retrieval[retrieval["moment"] == moment].set_index("language")["value"] for moment in ("before", "after")
    )
    columns = {"drift": drift, "retrieval_before": before, "retrieval_after": after}
    return pd.DataFrame(columns).round(4).rename_axis("language").reset_index()


def _append(path: Path, rows: pd.DataFrame) -> None:
    """Add the rows of a run to a CSV file, in place of its earlier ones."""
    rows = rows[[*KEYS, *rows.columns.difference(KEYS, sort=False)]]
    if path.exists():
        table = _read_csv(path)
        rows = pd.concat([table[~(table[KEYS] == rows[KEYS].iloc[0]).all(axis=1)], rows])
    with atomic_file(path) as aside:
        rows.to_csv(aside, index=False)


def _read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=[""])  # `nan` is a language


def _write(path: Path, table: pd.DataFrame) -> None:
    with atomic_file(path) as aside:
        table.to_parquet(aside, compression="zstd", index=False)
