"""The compact files of finished runs: one row of `runs.csv`, the predicted classes, drift and retrieval by language and layer.

`TASK/items.parquet` has the test items of a task once: language, id, label, number of tokens, and whether it has a twin. The
predictions of a run, `TASK/METHOD-sSEED.parquet`, are in the same order.
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
from distxfer.encoders import BUNDLED, load_tokenizer, model_folder
from distxfer.results.tables import read_measurements, read_predictions
from studies.transfer.protocol import ROOT, Protocol, Run

RESULTS = ROOT / "results" / "transfer"
KEYS = ["task", "method", "seed"]
ITEM = ["language", "id", "label"]


def is_finished(run: Run, inputs: str, results: Path = RESULTS) -> bool:
    """Return whether a run is recorded with these settings and recipe, as `run_hash` has them."""
    return bool((read_runs(results)[[*KEYS, "inputs"]] == [run.task, run.method, run.seed, inputs]).all(axis=1).any())


def read_runs(results: Path = RESULTS) -> pd.DataFrame:
    """Return the recorded runs."""
    path = results / "runs.csv"
    return (
        _read_csv(path)
        if path.exists()
        else pd.DataFrame(columns=[*KEYS, "inputs", "protocol", "status", "recipe", "arithmetic"])
    )


def read_drift(run: Run, results: Path = RESULTS) -> pd.Series:
    """Return the drift of each language from the pretrained encoder, the mean over blocks."""
    table = pd.read_parquet(measurements_file(run, results))
    return table.groupby("language")["drift_after"].mean()


def record(
    run: Run, folder: Path, facts: Callable[[], pd.DataFrame], protocol: str, inputs: str, results: Path = RESULTS
) -> None:
    """Add a finished run, which counts once its row is in `runs.csv`.

    `facts` returns those of `read_facts`; `protocol` and `inputs` are the hashes of the protocol and of the run.
    """
    result, predictions = read_result(folder), read_predictions(folder)
    if result is None:
        raise InputError(f"`{folder}` holds no finished run.")
    predictions = predictions.rename(columns={"example_id": "id", "prediction": "predicted"})
    path = predictions_file(run, results)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(results / ".lock"):
        items = path.with_name("items.parquet")
        if not items.exists():
            labelled = predictions[ITEM].astype({"language": "category", "label": "category"})
            of_items = facts().loc[pd.MultiIndex.from_frame(predictions[ITEM[:2]])].reset_index(drop=True)
            _write(items, labelled.join(of_items))
        if not predictions[ITEM].equals(read_items(run.task, results)[ITEM]):
            raise InputError(
                f"The test items of `{folder}` are not those of `{items}`: the data of the task have changed."
            )
        _write(path, predictions[["predicted"]].astype("category"))
        _write(measurements_file(run, results), _measurements(folder))
        cost, made = result.cost, result.provenance
        row = {
            "task": run.task, "method": run.method, "seed": run.seed,
            "status": result.status, "recipe": result.id, "arithmetic": result.arithmetic,
            "source_dev": round(result.score(result.source, "dev"), 6), "seconds": round(cost["seconds"]), "steps": cost["steps"],
            "started": f"{datetime.fromisoformat(made['started']).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "commit": made.get("git_commit", ""), "protocol": protocol, "inputs": inputs, "predictions": file_digest(path),
        }  # fmt: skip
        runs = read_runs(results)
        unchanged = runs[(runs[KEYS] != [run.task, run.method, run.seed]).any(axis=1)]
        with atomic_file(results / "runs.csv") as aside:
            pd.concat([unchanged, pd.DataFrame([row])]).to_csv(aside, index=False)


def predictions_file(run: Run, results: Path = RESULTS) -> Path:
    """Return the file of a run's predicted classes."""
    return results / run.task / f"{run.method}-s{run.seed}.parquet"


def measurements_file(run: Run, results: Path = RESULTS) -> Path:
    """Return the file of drift and retrieval by language and layer."""
    return results / run.task / f"{run.method}-s{run.seed}-measured.parquet"


def read_items(task: str, results: Path = RESULTS) -> pd.DataFrame:
    """Return the test items of a task: `language`, `id`, `label`, `twin` and `tokens`."""
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


def read_facts(protocol: Protocol, task: str) -> pd.DataFrame:
    """Return for each test item of a task, by language and id, `twin` and `tokens`.

    `twin`: whether what training may read has a twin of it, a text of the same language in the training part (any
    language's labels), the unlabelled text or the pairs. `tokens`: those of the bundled encoder.
    """
    tokenizer = load_tokenizer(model_folder(BUNDLED))
    targets = protocol.targets(task)
    data = load_task(task, protocol.source, targets, target_labels=True)
    corpora = [
        load_parallel(name, protocol.source, tuple(code for code in targets if code in parallel_languages(name)))
        for name in protocol.task[task].corpora
    ]
    facts = []
    for language in (protocol.source, *targets):
        read = {example.text for example in (*data.examples("train", language), *data.unlabelled.get(language, ()))}
        for target, pairs in ((target, pairs) for corpus in corpora for target, pairs in corpus.train.items()):
            if language == protocol.source:
                read |= {pair.source.text for pair in pairs}
            elif language == target:
                read |= {pair.target.text for pair in pairs}
        tests = data.examples("test", language)
        texts = [example.text for example in tests]
        tokens = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        columns = {"id": [example.id for example in tests], "twin": word_twins(texts, read), "tokens": tokens}
        facts.append(pd.DataFrame({"language": language, **columns}))
    return pd.concat(facts).set_index(["language", "id"])


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
    """Return by language and layer the drift after training, and retrieval before and after where the run has pairs."""
    rows = read_measurements(folder / "measurements.parquet").query("layer > 0")
    names = {"drift_cka": "drift", "retrieval_weak_forward": "retrieval"}
    rows = rows[rows["measure"].isin(names)]
    columns = rows["measure"].map(names) + "_" + rows["moment"]
    table = rows.assign(column=columns).pivot(index=["language", "layer"], columns="column", values="value")
    return table.drop(columns="drift_before", errors="ignore").astype("float32").reset_index()


def _read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=[""])  # `nan` is a language


def _write(path: Path, table: pd.DataFrame) -> None:
    with atomic_file(path) as aside:
        table.to_parquet(aside, compression="zstd", index=False)
