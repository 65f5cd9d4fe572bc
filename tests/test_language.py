"""`distxfer language`: facts about a language before anything is trained."""

import json
import math
import shutil
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import statsmodels.api as sm

from conftest import say, sentences
from distxfer import load_recipe, measure
from distxfer.data import load_parallel, load_task
from distxfer.encoders import BUNDLED, load_tokenizer, model_folder
from distxfer.errors import InputError
from distxfer.language_facts import language_facts
from distxfer.languages import distance
from distxfer.results.result import read_result

pytestmark = pytest.mark.usefixtures("shared_tokenizers")

REFERENCE = Path(__file__).parents[1] / "results" / "emoji-with-flags" / "reference"


ANSWERS = {}  # by the words of the command, so that tests of one language share its facts


@pytest.fixture
def facts(cli):
    def ask(*words):
        if words not in ANSWERS:
            answer = cli("language", *words, "--results", str(REFERENCE), "--json")
            assert answer.exit_code == 0, answer.output
            ANSWERS[words] = json.loads(answer.stdout)
        return ANSWERS[words]

    return ask


def value(records, measure_, language=None):
    matching = [
        record for record in records if record["measure"] == measure_ and language in (None, record["language"])
    ]
    assert len(matching) == 1, matching
    return matching[0]


def test_a_language_that_nobody_has_measured(facts):
    records = facts("sw")
    assert {"measure", "layer", "language", "value", "n", "moment"} <= set(records[0])
    assert value(records, "name")["value"] == "Swahili"
    assert value(records, "script")["value"] == "Latn"
    assert value(records, "families")["value"].startswith("Atlantic-Congo > ")
    unlabelled = "no labelled test in `emoji` (`distxfer new-language swa --labelled FILE`)"
    assert value(records, "in_the_way")["value"] == unlabelled
    for name in ("syntactic", "phonological", "inventory", "genetic", "geographic", "featural"):
        row, expected = value(records, f"distance_{name}"), distance("eng", "swa", name, imputed=True)
        assert (row["value"], row["n"]) == (pytest.approx(expected.value), expected.n_shared)
        assert expected.provenance in row["note"]
    corpus = load_parallel("django", "eng", ("swa",))
    pairs = [*corpus.train["swa"], *corpus.held_out["swa"]]
    assert value(records, "pairs_django")["value"] == len(pairs)
    assert value(records, "pairs_emoji")["value"] == 0


def test_the_tokenizer_beside_the_source_and_a_near_and_a_far_language(facts):
    records = facts("sw")
    tokenizer = load_tokenizer(model_folder(BUNDLED))
    texts = [example.text for example in load_task("emoji", "eng", ("jpn",)).examples("test", "eng")]
    tokens = sum(len(tokenizer.tokenize(text)) for text in texts)
    assert value(records, "tokens_per_word", "eng")["value"] == pytest.approx(
        tokens / sum(len(text.split()) for text in texts)
    )
    assert value(records, "tokens_per_character", "eng")["value"] == pytest.approx(
        tokens / sum(len(text.replace(" ", "")) for text in texts)
    )
    roles = {record["language"]: record["note"] for record in records if record["measure"] == "tokens_per_character"}
    assert roles == {
        "swa": "this language", "eng": "the source", "jpn": "the farthest target of the task", "deu": "the nearest",
    }  # fmt: skip
    japanese = value(records, "tokens_per_word", "jpn")
    assert japanese["value"] is None
    assert "no blanks" in japanese["note"]


def test_the_expected_score_is_the_regression_on_distance(facts):
    records = facts("sw")
    runs = [read_result(path.parent) for path in sorted((REFERENCE / "plain").glob("*/result.json"))]
    targets = [distance["language"] for distance in runs[0].data["distances"]]
    x = np.array([distance("eng", code, imputed=True).value for code in targets])
    y = np.array([fmean(run.score(code) for run in runs) for code in targets])
    new = distance("eng", "swa", imputed=True).value
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    frame = fit.get_prediction([[1, new]]).summary_frame(alpha=0.05)
    row = value(records, "accuracy")
    assert row["value"] == pytest.approx(frame["mean"][0])
    assert (row["low"], row["high"]) == pytest.approx((frame["obs_ci_lower"][0], frame["obs_ci_upper"][0]))
    assert row["n"] == len(targets)
    assert "It is an extrapolation beyond all measured languages." in row["note"]
    left_out = fit.get_influence().resid_press
    assert value(records, "error_left_out")["value"] == pytest.approx(math.sqrt(np.mean(left_out**2)))
    of_mean = [y[i] - np.delete(y, i).mean() for i in range(len(y))]
    assert value(records, "error_left_out_mean")["value"] == pytest.approx(math.sqrt(np.mean(np.square(of_mean))))
    assert 0.8 <= value(records, "covered_left_out")["value"] <= 1


def test_the_smallest_gain(facts):
    records = facts("sw")
    gains = {record["note"]: record["value"] for record in records if record["measure"] == "smallest_gain"}
    assert len(gains) == 12
    runs = [read_result(path.parent) for path in (REFERENCE / "plain").glob("*/result.json")]
    languages = ["eng", *(distance["language"] for distance in runs[0].data["distances"])]
    spread = math.sqrt(fmean(np.var([run.score(code) for run in runs], ddof=1) for code in languages))
    accuracy = value(records, "accuracy")["value"]
    expected = measure.smallest_gain(300, 5, accuracy=accuracy, seed_sd=spread)
    assert gains[f"300 sentences, 5 seeds (which differ by {spread:.3f})"] == pytest.approx(expected)


def test_a_measured_language_has_its_score(facts):
    records = facts("ja")
    runs = [read_result(path.parent) for path in (REFERENCE / "plain").glob("*/result.json")]
    row = value(records, "accuracy")
    assert row["value"] == pytest.approx(fmean(run.score("jpn") for run in runs))
    assert row["note"] == "measured, the mean over seeds, on other data than `emoji` has now"


def test_runs_with_other_settings_or_damaged_ones_say_nothing(tmp_path, cli):
    results = tmp_path / "results"
    shutil.copytree(REFERENCE / "plain", results / "plain")
    alone = json.loads(cli("language", "nld", "--results", str(results), "--json").stdout)
    for seed in range(3):
        with_both = shutil.copytree(
            next((results / "plain").glob(f"0d6ba955-s{seed}")), results / "plain" / f"11111111-s{seed}"
        )
        data = json.loads((with_both / "result.json").read_text())
        data["id"] = "11111111"
        data["recipe"]["phase"]["finetune"]["epochs"] = 1
        for score in data["scores"]:
            score["value"] /= 2
        (with_both / "result.json").write_text(json.dumps(data))
    damaged = shutil.copytree(with_both, results / "plain" / "22222222-s0")
    (damaged / "result.json").write_text(json.dumps({**data, "recipe": {}}))
    beside = json.loads(cli("language", "nld", "--results", str(results), "--json").stdout)
    without, with_both = (value(records, "accuracy") for records in (alone, beside))
    assert with_both["note"] == without["note"].replace(
        "5 seeds,", "5 seeds of `plain/0d6ba955`, one of several settings,"
    )
    assert [row for row in beside if row["measure"] != "accuracy"] == [
        row for row in alone if row["measure"] != "accuracy"
    ]
    assert (with_both["value"], with_both["low"]) == (without["value"], without["low"])
    words = (
        "phase.finetune.epochs=1",
        "model.head=architecture",
        "model.head_start=random",
        "distance=genetic",
        "task.source=en",
        "parallel=django",
    )  # of these, one setting
    fewer = json.loads(cli("language", "nld", *words, "--results", str(results), "--json").stdout)
    assert "3 seeds of `plain/11111111`" in value(fewer, "accuracy")["note"]


def test_runs_on_the_data_of_now_come_before_older_ones(tmp_path, cli):
    """One run of now stands before five of the same settings on other data, and they are in no mean together."""
    results = tmp_path / "results"
    shutil.copytree(REFERENCE / "plain", results / "plain")
    new = shutil.copytree(results / "plain" / "0d6ba955-s0", results / "plain" / "33333333-s0")
    data = json.loads((new / "result.json").read_text())
    task = load_task("emoji", "eng", tuple(data["recipe"]["task"]["targets"]), target_labels=False)
    data["provenance"]["fingerprints"]["task"] = task.fingerprint()
    data |= {"id": "33333333", "scores": [{**score, "value": 0.25} for score in data["scores"]]}
    (new / "result.json").write_text(json.dumps(data))
    facts = json.loads(cli("language", "jpn", "--results", str(results), "--json").stdout)
    row = value(facts, "accuracy")
    assert (row["value"], row["n"]) == (0.25, 1)
    assert row["note"] == "measured, the mean over seeds of `plain/33333333`, one of several settings"


def test_your_own_text_and_pairs(facts, tmp_path):
    text, pairs = tmp_path / "text.txt", tmp_path / "pairs.tsv"
    text.write_text("ሰላም ለዓለም\n\nእንዴት ነህ\n", encoding="utf-8")
    pairs.write_text("Hello\tሰላም\nThanks\tአመሰግናለሁ\nHello\tሰላም\n", encoding="utf-8")
    without = facts("amh")
    assert value(without, "in_the_way")["value"] == (
        "no labelled test in `emoji` (`distxfer new-language amh --labelled FILE`); "
        "no text for testing the tokenizer (`--text`); no parallel text (`--parallel`): no alignment, only drift penalties,"
        " freezing and adapters"
    )
    records = facts("amh", "--text", str(text), "--parallel", str(pairs))
    assert value(records, "in_the_way")["value"] == (
        "no labelled test in `emoji` (`distxfer new-language amh --labelled FILE`)"
    )
    assert value(records, "tokens_per_word", "amh")["n"] == 4
    row = value(records, "pairs")
    assert (row["value"], row["note"]) == (3, f"{pairs}; 1 repeated line")
    assert value(facts("amh", "--parallel", str(pairs)), "tokens_per_word", "amh")["n"] == 3


def test_a_tokenizer_that_does_not_know_the_script(facts, tiny, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("cat dog ሰላም ለዓለም\n", encoding="utf-8")
    records = facts("amh", f"model={tiny}", "--text", str(text))
    assert value(records, "unknown_rate", "amh")["value"] == 0.5
    assert "the tokenizer does not know 50 % of the text" in value(records, "in_the_way")["value"]
    assert value(records, "accuracy")["value"] is None
    assert "no finished runs of `plain` on `emoji` with" in value(records, "accuracy")["note"]
    assert value(records, "smallest_gain")["value"] is None


def test_a_language_without_data(facts):
    records = facts("nqo")
    assert value(records, "distance_genetic")["value"] is None
    assert "has no genetic data" in value(records, "distance_genetic")["note"]
    assert value(records, "families")["value"] is None
    assert "its syntactic distance is based only on predicted features" in value(records, "in_the_way")["value"]
    observed = facts("nqo", "distance.imputed=false")
    assert "no syntactic distance" in value(observed, "in_the_way")["value"]
    assert value(observed, "accuracy")["note"] == "`nqo` has no syntactic distance to extrapolate by"


def test_a_matrix_of_your_own_is_what_counts(facts, tmp_path):
    matrix = tmp_path / "far.csv"
    matrix.write_text(",eng\nnqo,0.3\n" + "".join(f"{code},0.{i + 1}\n" for i, code in enumerate(["deu", "jpn"])))
    records = facts("nqo", f"distance.matrix={matrix}")
    assert value(records, "distance_matrix")["value"] == 0.3
    assert "distance" not in value(records, "in_the_way")["value"]  # though URIEL has nothing but predictions
    missing = facts("swa", f"distance.matrix={matrix}")
    assert value(missing, "distance_matrix")["value"] is None
    assert "has no distance between `eng` and `swa`" in value(missing, "distance_matrix")["note"]
    assert "no matrix distance" in value(missing, "in_the_way")["value"]


def test_a_score_without_errors_leaves_no_gain_to_show(facts, tmp_path, cli):
    for seed in (0, 1):
        run = shutil.copytree(next((REFERENCE / "plain").glob(f"*-s{seed}")), tmp_path / f"s{seed}")
        data = json.loads((run / "result.json").read_text())
        for score in data["scores"]:
            score["value"] = 1.0
        (run / "result.json").write_text(json.dumps(data))
    answer = cli("language", "deu", "--results", str(tmp_path), "--json")
    assert answer.exit_code == 0, answer.output
    row = value(json.loads(answer.stdout), "smallest_gain")
    assert row["value"] is None
    assert row["note"] == "with an expected score of 1.000, methods cannot be distinguished"


def test_the_table(cli):
    answer = cli("language", "swa", "--results", str(REFERENCE))
    assert answer.exit_code == 0
    for section in ("language", "distance", "tokenizer", "parallel", "expected", "smallest gain"):
        assert f"{section}\n" in answer.stdout
    assert "  accuracy: a line on the syntactic distance over the languages of `plain` on `emoji`" in answer.stdout


def test_bad_input(cli, tmp_path):
    def refused(*words):
        answer = cli("language", *words)
        assert answer.exit_code == 2, answer.output
        return answer.stderr

    assert refused("swahili").startswith("Error: Language code `swahili` is not known. Did you mean `swa`?")
    assert refused("swa", "task=nothing").startswith("Error: The task `nothing` is neither built in")
    assert "`modle`" in refused("swa", "modle=x")
    assert refused("swa", "distance=syntax").startswith("Error: Distance `syntax` is not known. Did you mean")
    assert refused("swa", "distance.matrix=none.csv").startswith("Error: Distance table `none.csv` is not a file.")
    empty, latin = tmp_path / "empty.txt", tmp_path / "latin.txt"
    empty.write_text("\n")
    latin.write_bytes(b"caf\xe9\n")
    assert refused("swa", "--text", str(empty)) == (
        f"Error: The text `{empty}` is empty. Give a UTF-8 file with one sentence per line.\n"
    )
    assert refused("swa", "--text", str(latin)).startswith(f"Error: `{latin}:1` is not UTF-8 text (")
    assert refused("swa", "--text", str(tmp_path / "none")).startswith(f"Error: `{tmp_path / 'none'}` cannot be read: ")
    empty.write_text("one column\n")
    assert refused("swa", "--parallel", str(empty)) == (
        f"Error: `{empty}:1` has 1 columns; expected a source sentence, one tab and its translation.\n"
    )


# --- the prediction ----------------------------------------------------------------------------------------------


def test_expected_score_covers_what_it_says():
    g = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        x = g.uniform(0, 0.5, size=13)
        y = 0.8 - 0.4 * x + g.normal(scale=0.05, size=13)
        new = g.uniform(0, 0.6)
        estimate = measure.expected_score(x, y, new)
        inside += estimate.low <= 0.8 - 0.4 * new + g.normal(scale=0.05) <= estimate.high
    assert 0.93 <= inside / 1000 <= 0.97


def test_expected_score_that_cannot_be():
    few = measure.expected_score([0.1, 0.2, 0.3, 0.4], [0.5] * 4, 0.2)
    assert (few.value, few.n) == (None, 4)
    assert few.reason == "4 languages are measured, and a line with an interval needs 5"
    assert measure.expected_score([0.1] * 6, range(6), 0.2).reason == "all measured languages are equally far"
    estimate = measure.expected_score([0.1, 0.1, 0.1, 0.1, 0.3], range(5), 0.2)
    assert estimate.reason == "without one language, all others are equally far"
    with pytest.raises(InputError) as caught:
        measure.expected_score([0.1, 0.2], [0.5], 0.2)
    assert str(caught.value) == (
        "`distances` has the shape (2,) and `scores` (1,); expected one finite number of each per language: "
        "leave out the languages that lack one."
    )


def test_candidates_are_ranked_as_sources(tmp_path, tiny_settings):
    """German texts that consist of Japanese words, of which those of Japanese are the nearest neighbours."""
    for language, vocabulary, n in (("eng", "eng", 40), ("jpn", "jpn", 30), ("deu", "jpn", 0)):
        (tmp_path / language).mkdir()
        for seed, (split, size) in enumerate({"train": n, "test": 20}.items()):
            rows = [{"text": say(words, vocabulary), "label": label} for words, label in sentences(size, seed)]
            if rows:
                lines = "".join(json.dumps(row) + "\n" for row in rows)
                (tmp_path / language / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    recipe = load_recipe("plain", [*tiny_settings, f"task={tmp_path}", "task.targets=all", "parallel="])
    facts = language_facts("deu", recipe, tmp_path / "none", candidates=["all"])
    ranked = [fact for fact in facts if fact.section == "sources"]
    assert [fact.language for fact in ranked] == ["jpn", "eng"]
    assert sum(fact.value for fact in ranked) == pytest.approx(1)
    assert ranked[0].value > 0.9
    assert [(fact.n, fact.note) for fact in ranked] == [(20, "30 labelled texts"), (20, "40 labelled texts")]
    assert [fact for fact in facts if fact.section != "sources"] == language_facts("deu", recipe, tmp_path / "none")
    with pytest.raises(InputError, match="no labelled training text of `deu`"):
        language_facts("jpn", recipe, tmp_path / "none", candidates=["eng", "deu"])
