"""The registered study: the gate, the compact files, the outcome and its bounds, the tables."""

import re
import subprocess
import tomllib
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import balanced_accuracy_score
from statsmodels.stats.multitest import multipletests

from distxfer import InputError
from distxfer.analysis.significance import families_of
from distxfer.languages import distances
from distxfer.measure import crossed
from fake_runs import run as finished_run
from helpers import given
from studies.messages.surface_cues import shares_words
from studies.pages import marks
from studies.transfer import outcome, study, tables
from studies.transfer.protocol import (
    CODE,
    DEFAULTS,
    STUDY,
    Protocol,
    Registration,
    Run,
    protocol_hash,
    read_protocol,
    registration,
    run_hash,
)
from studies.transfer.records import (
    is_finished,
    measurements_file,
    predictions_file,
    read_drift,
    read_items,
    read_right,
    read_runs,
    record,
    word_twins,
)
from studies.transfer.relations import relations_table
from studies.transfer.runs import Runs

TOML = """
alpha = 0.05
source = "eng"
seeds = [0, 1, 2]
settings = ["diagnostics.states=0"]
[task.emoji]
fewest_items = 20
corpora = []
[method.plain]
recipe = "recipes/plain.toml"
given = "english"
tasks = ["emoji"]
[method.better]
recipe = "recipes/plain.toml"
given = "english"
settings = ["diagnostics.states=1"]
tasks = ["emoji"]
[method.untrained]
recipe = "recipes/plain.toml"
given = "english"
seeds = [7]
tasks = ["emoji"]
[[contrast]]
name = "it helps"
task = "emoji"
method = "better"
refuted_below = 1.0
[[contrast]]
name = "it is not trained yet"
task = "emoji"
method = "untrained"
refuted_below = 1.0
"""
FILES = {f"{STUDY}/protocol.toml": TOML, f"{STUDY}/PROTOCOL.md": "# Protocol\n", "recipes/plain.toml": "# plain\n"}
FILES |= dict.fromkeys((*DEFAULTS, *CODE), "")
REGISTERED = Registration("a" * 64, "b" * 40, "2026-11-30T22:00:00+00:00")
seeds = st.integers(0, 2**32 - 1)


def git(folder, *words):
    user = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(["git", *user, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with the registered files, in no repository yet."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for path, text in FILES.items():
        (tmp_path / "checkout" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "checkout" / path).write_text(text)
    return tmp_path / "checkout"


def test_a_protocol_is_registered_once_every_file_is_committed(checkout):
    with pytest.raises(
        InputError, match=r"is no git checkout with a commit .* nothing shows that the protocol was regist"
    ):
        registration(checkout)
    git(checkout, "init")
    git(checkout, "add", "studies")
    git(checkout, "commit", "-m", "protocol")
    with pytest.raises(InputError, match=r"recipes/_defaults.toml, recipes/_families.toml, recipes/plain.toml"):
        registration(checkout)
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "recipes")
    registered = registration(checkout)
    assert (registered.commit, registered.date) == tuple(git(checkout, "log", "-1", "--format=%H %cI").split())
    (checkout / "other").write_text("of another matter")
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "other")
    assert registration(checkout) == registered
    (checkout / "recipes/plain.toml").write_text("# changed\n")
    for _ in ("changed", "staged"):
        with pytest.raises(InputError, match=r"not registered: .*present content of recipes/plain.toml\. Commit"):
            registration(checkout)
        git(checkout, "add", ".")
    git(checkout, "commit", "-m", "changed")
    assert registration(checkout).hash != registered.hash
    (checkout / "src").mkdir()
    (checkout / "src/loss.py").write_text("")
    git(checkout, "add", ".")
    with pytest.raises(InputError, match=r"present content of src/loss\.py"):
        registration(checkout)


def test_a_run_stays_valid_while_nothing_of_it_changes(checkout):
    def hashes(text=TOML):
        changed = Protocol.model_validate(tomllib.loads(text))
        return {run: run_hash(changed, run, checkout) for run in changed.runs()}

    first = hashes()
    plain, better = Run(0, "emoji", "plain"), Run(0, "emoji", "better")
    assert len({*first.values()}) == len(first)
    later = hashes(TOML.replace("diagnostics.states=1", "diagnostics.states=2"))
    assert (later[plain] == first[plain], later[better] == first[better]) == (True, False)
    (checkout / "recipes/plain.toml").write_text("# changed\n")
    assert {*hashes().values()}.isdisjoint(first.values())


def test_the_hash_is_of_paths_and_contents(checkout):
    contents = {path: text.encode() for path, text in FILES.items()}
    joined = b"".join(f"{path}\0{len(contents[path])}\0".encode() + contents[path] for path in sorted(contents))
    assert protocol_hash(checkout) == sha256(joined).hexdigest()
    (checkout / "README.md").write_text("no part of it")
    assert protocol_hash(checkout) == sha256(joined).hexdigest()


def test_without_registration_nothing_is_trained_or_printed(monkeypatch, capsys):
    def refuse():
        raise InputError("The protocol is not registered.")

    monkeypatch.setattr(study, "registration", refuse)
    monkeypatch.setattr(study, "PAGE", None)
    for words in ([], ["--tables"]):
        monkeypatch.setattr("sys.argv", ["study", *words])
        with pytest.raises(SystemExit) as stopped:
            study.main()
        assert stopped.value.code == 2
        assert capsys.readouterr().err == "The protocol is not registered.\n"


def test_the_protocol_of_the_checkout_lists_runs_of_recipes_that_exist():
    protocol = read_protocol()
    assert len(protocol_hash()) == 64
    assert protocol.runs()[0].seed == protocol.seeds[0]
    for contrast in protocol.contrast:
        for name in (contrast.method, contrast.baseline):
            assert contrast.task in protocol.method[name].tasks
    assert not {"eng", "deu", "jpn", "tur", "hin", "hun"} & {
        code for task in protocol.task for code in protocol.targets(task)
    }


def test_a_contrast_names_methods_of_its_task():
    changed = tomllib.loads(TOML.replace('method = "better"', 'method = "beter"'))
    with pytest.raises(ValueError, match="names `beter` on `emoji`, which is no method and task of the protocol"):
        Protocol.model_validate(changed)


def protocol() -> Protocol:
    return Protocol.model_validate(tomllib.loads(TOML))


def rows(language, labels, predictions):
    """Predictions of a run in one language, as `predictions.parquet` has them."""
    ids = [f"item-{number}" for number in range(len(labels))]
    return pd.DataFrame({"language": language, "example_id": ids, "label": labels, "prediction": predictions})


def finish(folder, seed, predictions, **changes):
    """Write a finished run with these predictions and return its folder."""
    provenance = {"provenance.started": "2026-11-30T23:30:00+01:00"}
    dev = {"split": "dev", "language": "eng", "metric": "accuracy", "value": 0.5, "n": 4}
    changes = {"cost": {"seconds": 12.34, "steps": 5}, "scores": [dev], **provenance, **changes}
    made = finished_run(folder, "plain", "aaaa0000", seed, {}, **changes)
    predictions.to_parquet(made / "predictions.parquet")
    measured = [
        ("drift_cka", 0, "fra", 9.0, 4, "after"), ("drift_cka", 1, "fra", 0.1, 4, "after"),
        ("drift_cka", 2, "fra", 0.2, 4, "after"), ("retrieval_weak_forward", 1, "fra", 0.5, 4, "after"),
        ("retrieval_weak_forward", 2, "fra", 0.7, 4, "after"), ("retrieval_weak_forward", 2, "fra", 0.6, 4, "before"),
    ]  # fmt: skip
    columns = ["measure", "layer", "language", "value", "n", "moment"]
    pd.DataFrame(measured, columns=columns).to_parquet(made / "measurements.parquet")
    return made


def facts_of(flags):
    table = pd.DataFrame({"language": "fra", "id": [f"item-{number}" for number in range(len(flags))]})
    return lambda: table.assign(twin=flags, tokens=7).set_index(["language", "id"])


def test_compact_files_keep_what_tests_need(tmp_path):
    results, run = tmp_path / "results", Run(0, "emoji", "plain")
    predictions = rows("fra", ["a", "b", "b"], ["a", "a", "b"])
    made = finish(tmp_path, 0, predictions)
    record(run, made, facts_of([True, False, False]), "protocol", "inputs", results)
    (row,) = read_runs(results).to_dict("records")
    assert (row["task"], row["method"], row["seed"], row["status"], row["steps"]) == ("emoji", "plain", 0, "done", 5)
    assert row["source_dev"] == 0.5
    assert (row["started"], row["seconds"], row["protocol"]) == ("2026-11-30T22:30:00Z", 12, "protocol")
    items = read_items("emoji", results)
    assert items.to_dict("list") == {
        "language": ["fra"] * 3, "id": ["item-0", "item-1", "item-2"], "label": ["a", "b", "b"],
        "twin": [True, False, False], "tokens": [7] * 3,
    }  # fmt: skip
    assert read_right(run, row["predictions"], items, results).tolist() == [True, False, True]
    assert read_drift(run, results).to_dict() == {"fra": pytest.approx(0.15)}
    measured = pd.read_parquet(measurements_file(run, results)).set_index("layer")
    assert measured.loc[2, ["retrieval_before", "retrieval_after"]].tolist() == pytest.approx([0.6, 0.7])
    assert is_finished(run, "inputs", results)
    assert not is_finished(run, "other inputs", results)
    record(run, made, facts_of([]), "later", "c" * 64, results)  # in place of the first
    assert read_runs(results)["protocol"].tolist() == ["later"]
    with pytest.raises(InputError, match="the data of the task have changed"):
        record(
            Run(1, "emoji", "plain"),
            finish(tmp_path, 1, predictions[::-1]),
            facts_of([]),
            "protocol",
            "inputs",
            results,
        )
    predictions_file(run, results).write_bytes(b"damaged")
    with pytest.raises(InputError, match="is not what the run wrote"):
        read_right(run, row["predictions"], items, results)


def test_a_run_is_trained_once(tmp_path, monkeypatch):
    results, run, commands = tmp_path / "results", Run(1, "emoji", "better"), []

    def trained(command, **options):
        commands.append(command)
        finish(Path(command[-1]), 1, rows("fra", ["a"], ["a"]))
        return SimpleNamespace(returncode=0)

    for module, name, value in (
        (study, "registration", lambda: REGISTERED),
        (study, "read_facts", lambda protocol, task: facts_of([False])()),
        (study.subprocess, "run", trained),
    ):
        monkeypatch.setattr(module, name, value)
    lock = results / ".runs" / f"{run_hash(protocol(), run)[:8]}-emoji-better-s1.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        assert study.train(protocol(), run, REGISTERED, results)
    assert not commands  # another process is at it
    assert study.train(protocol(), run, REGISTERED, results)
    assert study.train(protocol(), run, REGISTERED, results)
    (command,) = commands
    assert {"recipe=recipes/plain.toml", "task=emoji", "seed=1", "diagnostics.states=1"} <= set(command)
    assert "diagnostics.states=0" not in command
    assert [path for path in (results / ".runs").iterdir() if path.is_dir()] == []


def simulated(seed, languages=3, classes=3, size=60, runs=3):
    """Items of several languages, and the answers of some runs: labels, predicted labels (runs, items)."""
    random = np.random.default_rng(seed)
    codes = ("fra", "kor", "zho", "fin", "ara", "vie")[:languages]
    items = pd.DataFrame(
        [(code, f"item-{number}") for code in codes for number in range(size)], columns=["language", "id"]
    )
    labels = random.choice(classes, len(items), p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    return items.assign(label=labels), random.integers(0, classes, (runs, len(items)))


@given(seeds)
def test_the_outcome_is_balanced_accuracy(seed):
    items, predicted = simulated(seed)
    right = predicted == items["label"].to_numpy()
    scores = outcome.scores(outcome.weighted(items, 1), right)
    for code, rows_of_language in items.groupby("language"):
        places = rows_of_language.index
        expected = [balanced_accuracy_score(items["label"][places], answers[places]) for answers in predicted]
        assert scores[code].tolist() == pytest.approx(expected)
        shared = [label for label, n in items["label"][places].value_counts().items() if n >= 12]
        kept = places[items["label"][places].isin(shared)]
        weighted = outcome.weighted(items, 12)
        assert set(weighted.index[weighted["language"] == code]) == set(kept)
        recall = [[right[run, kept[items["label"][kept] == label]].mean() for label in shared] for run in range(3)]
        assert outcome.scores(weighted, right[:, weighted.index])[code].tolist() == pytest.approx(
            np.mean(recall, axis=1)
        )


@given(seeds)
def test_with_one_class_the_test_is_that_of_accuracy(seed):
    items, predicted = simulated(seed, languages=5)
    differences = (predicted > 1).astype(float) - (predicted[::-1] > 0)
    items = outcome.weighted(items.assign(label="one"), 1)
    languages = tuple(items["language"].unique())
    cube = differences.reshape(3, 5, 60)
    expected = crossed(cube.mean(axis=2), families=families_of(languages), items=cube)
    result = outcome.tested(items, differences, languages)
    for name in ("effect", "low", "high", "p", "item_share", "n_items", "n_families"):
        assert getattr(result, name) == pytest.approx(getattr(expected, name)), name


@given(seeds)
def test_the_variance_of_the_items_is_that_of_a_stratified_mean(seed):
    items, predicted = simulated(seed)
    differences = predicted - predicted[::-1, ::-1]
    variances = outcome.sampling_variances(outcome.weighted(items, 1), differences)
    for code, rows_of_language in items.groupby("language"):
        means = differences[:, rows_of_language.index].mean(axis=0)
        parts = [means[rows_of_language["label"] == label] for label in rows_of_language["label"].unique()]
        expected = sum(part.var() / len(part) for part in parts) / len(parts) ** 2
        assert variances[code] == pytest.approx(expected * 60 / 59)


def test_texts_of_a_template_are_one_unit():
    items = pd.DataFrame({"language": "fra", "id": ["x-0", "x-1", "y-0", "y-1"], "label": "one"})
    variances = outcome.sampling_variances(outcome.weighted(items, 1), [[1, 1, 0, 0]], templates=True)
    assert variances["fra"] == pytest.approx(2 * (0.25**2 + 0.25**2))  # where items would give 4/3 * 4 * 0.125^2


def test_the_bound_of_one_language_is_that_of_the_t_test():
    gains = np.array([0.01, -0.02, 0.015, 0.004, 0.0])
    (bound,) = outcome.lower_bounds(pd.DataFrame({"eng": gains}))
    expected = stats.ttest_1samp(gains, 0, alternative="greater").confidence_interval(0.95).low
    assert bound == pytest.approx(expected)


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("spread", [1, 2])
def test_bounds_of_all_languages_hold_together(shared, spread):
    random = np.random.default_rng(0)
    held = 0
    deviations = np.where(np.arange(20) < 4, spread, 1)  # some languages vary more between seeds
    for _ in range(1000):
        of_seed, of_cell = random.normal(size=(5, 1)), random.normal(size=(5, 20))
        table = pd.DataFrame((np.sqrt(shared) * of_seed + np.sqrt(1 - shared) * of_cell) * deviations)
        held += outcome.lower_bounds(table).max() <= 0
    assert held >= (
        935 if spread == 1 else 900
    )  # of 950 expected, less two standard errors; unequal ones hold less exactly


def test_holm_counts_every_registered_contrast_of_a_group():
    p = [0.01, 0.04, None, 0.03, 0.2]
    tests = [None if value is None else SimpleNamespace(p=value) for value in p]
    expected = [*multipletests([0.01, 0.04, 1.0], method="holm")[1], *multipletests([0.03, 0.2], method="holm")[1]]
    assert outcome.corrected(["a", "a", "a", "b", "b"], tests) == pytest.approx(expected)


@given(st.lists(st.text("ab ", min_size=1, max_size=9), min_size=1), st.lists(st.text("abB ", max_size=9), min_size=1))
def test_twins_share_half_of_their_words(texts, others):
    texts = [f"{text}c" for text in texts]  # no text of a task is empty
    sets = [set(text.lower().split()) for text in others if text.strip()]
    assert word_twins(texts, others).tolist() == [shares_words(text, sets) for text in texts]


def test_the_page_is_of_the_registered_runs(tmp_path):
    study_protocol = protocol()
    targets, labels = study_protocol.targets("emoji"), ["a"] * 30 + ["b"] * 60 + ["c"] * 10

    def predicted(language, wrong):
        return rows(language, labels, ["b"] * wrong + labels[wrong:])

    codes = ("eng", *targets)
    items = [(code, f"item-{number}", number >= 60, 7) for code in codes for number in range(100)]
    facts = pd.DataFrame(items, columns=["language", "id", "twin", "tokens"]).set_index(["language", "id"])
    for seed in range(3):
        for method, wrong in (("plain", 15), ("better", 9)):
            answers = pd.concat([predicted(code, wrong + seed + place % 2) for place, code in enumerate(codes)])
            made = finish(tmp_path / method, seed, answers.reset_index(drop=True))
            run = Run(seed, "emoji", method)
            record(run, made, lambda: facts, REGISTERED.hash, run_hash(study_protocol, run), tmp_path)
    other = finish(tmp_path / "other", 7, answers.reset_index(drop=True))
    record(Run(7, "emoji", "plain"), other, lambda: facts, "d" * 64, "other inputs", tmp_path)
    page, summary, evidence = tables.pages(study_protocol, REGISTERED, tmp_path)
    assert f"Protocol `{REGISTERED.hash}`, registered by the commit `{REGISTERED.commit}` of {REGISTERED.date}" in page
    assert "Finished: 6 of 7 runs" in page
    assert "With other settings than the protocol, and left out: `emoji`, `plain`, seed 7." in page
    # the class `c` is too small; of the others 6 of 30 items more are right, which is 10 points of the mean of two classes
    assert "990 test items, and 110 of classes with fewer than 20 in a language" in page
    (helps,) = [line for line in page.splitlines() if line.startswith("| it helps")]
    assert "| +10.0 " in helps
    (stable,) = [line for line in page.splitlines() if line.startswith("| emoji | better - plain")]
    assert "| +10.0 | +0.0 | +10.0 | +10.0 | +10.0 to +10.0 | " in stable  # all of it is in one class
    (line,) = [line for line in summary.splitlines() if line.startswith("| it helps")]
    assert line.startswith("| it helps | emoji | better - plain | 3 | +10.0 ")
    (effect,) = tomllib.loads(evidence)["effect"]
    assert (effect["recipe"], effect["task"], effect["effect"], effect["shown"]) == ("plain", "emoji", 10.0, True)
    (absent,) = [line for line in page.splitlines() if line.startswith("| it is not trained yet")]
    assert " | no | " not in absent


def test_drift_and_lost_transfer_that_grow_with_distance_are_seen(tmp_path):
    study_protocol = read_protocol()
    targets = study_protocol.targets("messages")
    by_distance = distances("eng", targets, imputed=True).values
    ranks = pd.Series(by_distance).rank(method="first").astype(int)
    items = pd.DataFrame([(code, f"item-{n}", "a", False, 7) for code in ("eng", *targets) for n in range(40)])
    items = items.set_axis(["language", "id", "label", "twin", "tokens"], axis=1)
    wrong = items["language"].map(ranks).fillna(0).to_numpy()
    right = np.tile(np.arange(40), len(targets) + 1) >= wrong
    runs = Runs(
        study_protocol, "messages", items, {"plain": dict.fromkeys(range(10, 15), right), "teacher": {10: right}}
    )
    drift = pd.DataFrame({"language": [*targets], "layer": 1, "drift_after": [-float(ranks[code]) for code in targets]})
    for seed in range(10, 15):
        path = measurements_file(Run(seed, "messages", "plain"), tmp_path)
        path.parent.mkdir(exist_ok=True)
        drift.to_parquet(path)
    table = relations_table(study_protocol, {"messages": runs}, tmp_path)
    answers = {(row["correlation of"], row["answer"]) for row in table.records()}
    assert answers == {
        ("drift, distance", "no"), ("drift, lost", "no"), ("lost, distance", "yes"),
        ("lost, distance, beyond script, tokens", "yes"), ("gain of `teacher`, distance", ""),
    }  # fmt: skip
    (first,) = [row for row in table.records() if row["correlation of"] == "drift, lost"]
    assert (first["languages"], first["rho"]) == (27, "-1.000")


def test_the_pages_say_what_the_committed_runs_say():
    """`python -m studies.transfer.study --tables` was run after the last run was added."""
    text = tables.PAGE.read_text(encoding="utf-8")
    match = re.search(r"Protocol `(\w+)`, registered by the commit `(\w+)` of (\S+)\. ", text)
    registered = Registration(*match.groups())
    assert registered.hash == protocol_hash()
    start, end = marks("transfer")
    summary = tables.SUMMARY.read_text(encoding="utf-8").partition(start)[2].partition(end)[0]
    evidence = tables.EVIDENCE.read_text(encoding="utf-8")
    assert (text, summary, evidence) == tables.pages(read_protocol(), registered)
