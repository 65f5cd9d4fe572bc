"""What is measured between two checkpoints, against numbers worked out by other means; and what cannot be, and why."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model
from pyarrow import parquet
from safetensors.torch import load_file, save_file
from scipy import stats
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from conftest import LABELS, LAYERS, TARGETS, WORDS, perturbed, save_tiny, texts_of
from distxfer import InputError, distance, load_recipe, train
from distxfer.checkpoints.measure import measure
from distxfer.encoders import Encoder, load_encoder
from distxfer.languages import DISTANCES, lineage
from distxfer.measure import cka, decompose, holm
from distxfer.reports.measure import measure_tables


@pytest.fixture(scope="module")
def headless(tiny, tmp_path_factory) -> Path:
    return perturbed(tiny, tmp_path_factory.mktemp("headless"), None)


# What is measured


def test_drift_is_that_of_the_definition(measurement, tiny, tuned, seven):
    """Sentence by sentence with plain transformers, no batch, no padding."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    models = [AutoModel.from_pretrained(folder).eval() for folder in (tiny, tuned)]
    for language in ("eng", "jpn", "kor"):
        old, new = (
            torch.stack([
                torch.stack([hidden[0].mean(dim=0) for hidden in model(
                    **tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states])
                for text, _ in texts_of(language)
            ], dim=1)
            for model in models
        )  # fmt: skip
        expected = 1 - cka(old.detach(), new.detach())
        assert list(measurement.drift(language)) == list(range(LAYERS + 1))
        assert torch.tensor(list(measurement.drift(language).values())) == pytest.approx(expected.numpy(), abs=1e-5)
    assert min(measurement.drift("deu").values()) > 1e-3


def test_a_model_has_not_drifted_from_itself_at_all(tiny, tuned, seven, tmp_path):
    """Exactly 0 in every layer, wherever the copy lies; published code loads the tuned model as its own reference."""
    copy = shutil.copytree(tuned, tmp_path / "copy")
    for after in (tuned, copy):
        rows = measure(str(tuned), str(after), [f"task={seven}", "parallel="]).rows
        drift = [row for row in rows if row.measure.startswith("drift")]
        assert {row.value for row in drift} == {0.0}
        assert len(drift) == 2 * (1 + len(TARGETS)) * (LAYERS + 1)


def test_scores_are_those_of_the_checkpoints_own_head(measurement, tuned, seven):
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    model = AutoModelForSequenceClassification.from_pretrained(tuned).eval()
    for language in ("eng", *TARGETS):
        right = [
            model.config.id2label[int(model(**tokenizer(text, return_tensors="pt")).logits.argmax())] == label
            for text, label in texts_of(language)
        ]
        assert measurement.scores[language] == pytest.approx(sum(right) / len(right))
        expected = (measurement.scores[language] - measurement.scores["eng"]) / measurement.scores["eng"]
        assert measurement.transfer[language] == pytest.approx(expected)


@pytest.mark.parametrize(("method", "oracle"), [("spearman", stats.spearmanr), ("pearson", stats.pearsonr)])
@pytest.mark.parametrize("diagonal", [False, True])
def test_correlations_are_over_the_targets_and_the_source_where_asked(tiny, tuned, seven, method, oracle, diagonal):
    measured = measure(str(tiny), str(tuned), [f"task={seven}", "parallel="], method=method, diagonal=diagonal)
    over = ["eng", *TARGETS] if diagonal else list(TARGETS)
    mean = {key: sum(value for layer, value in measured.drift(key).items() if layer) / LAYERS for key in over}
    for name in DISTANCES:
        far = [distance("eng", key, name, imputed=True).value for key in over]
        for layer in (*range(1, LAYERS + 1), None):
            relation = measured.relation(f"correlation_drift_{name}", layer)
            drift = [mean[key] if layer is None else measured.drift(key)[layer] for key in over]
            assert relation.found.r == pytest.approx(oracle(drift, far).statistic)
            assert (relation.found.n, relation.found.method) == (len(over), method)
        transfer = [measured.transfer[key] for key in over]
        relation = measured.relation(f"correlation_transfer_{name}")
        assert relation.found.r == pytest.approx(oracle(transfer, far).statistic)
    relation = measured.relation("correlation_drift_transfer", 2)
    assert relation.found.r == pytest.approx(oracle([measured.drift(key)[2] for key in over], transfer).statistic)
    assert relation.found.n_groups == len(over) - 1 - diagonal  # German and French (and English) are one family


def test_transfer_is_decomposed_over_distance_script_and_tokens(measurement, tuned):
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    covariates = {
        "distance": {key: distance("eng", key, imputed=True).value for key in TARGETS},
        "script": {key: float(key in ("jpn", "kor")) for key in TARGETS},
        "tokens": {key: sum(len(tokenizer(text)["input_ids"]) for text, _ in texts_of(key)) / 24 for key in TARGETS},
    }
    transfer = {key: measurement.transfer[key] for key in TARGETS}
    groups = {key: lineage(key) for key in TARGETS}
    assert measurement.decomposition == decompose(transfer, covariates, groups=groups)
    title = measure_tables(measurement)[-1].title
    assert title.startswith(f"Predictors of transfer: R² = {measurement.decomposition.r_squared:.2f} (adjusted ")
    shares = {
        record["measure"]: record["value"]
        for record in measurement.records()
        if record["measure"].startswith("decomposition")
    }
    assert sum(shares.values()) == pytest.approx(2 * shares["decomposition"])  # the parts sum to R^2


def test_no_decomposition_of_few_languages_or_of_what_is_the_same_everywhere(tiny, tuned, seven):
    few = measure(str(tiny), str(tuned), [f"task={seven}", "parallel=", "task.targets=deu,fin,jpn,kor"])
    assert few.decomposition is None
    (note,) = [note for note in few.notes if note.startswith("No decomposition of transfer: ")]
    assert "4 languages" in note
    latin = measure(str(tiny), str(tuned), [f"task={seven}", "parallel=", "task.targets=deu,fin,fra,tur"])
    assert "`script` is the same for all targets: no part of the decomposition." in latin.notes


def test_holm_is_over_all_cells_of_a_table(measurement):
    for start, cells in (("correlation_drift_", 6 * (LAYERS + 1)), ("correlation_transfer_", 6)):
        table = [
            relation
            for relation in measurement.relations
            if relation.measure.startswith(start)
            and relation.measure != "correlation_drift_transfer"
            and relation.found.p is not None
        ]
        assert len(table) in (cells, 0), "a p value is there for all six, or there are too few families for any"
        assert [comparison.p_holm for comparison in table] == holm([comparison_row.found.p for comparison_row in table])


def test_biased_is_the_papers(tiny, tuned, seven, measurement):
    biased = measure(str(tiny), str(tuned), [f"task={seven}", "parallel=", "model.pooling=cls"], unbiased=False)
    encoders = [load_encoder("x", folder, LABELS, seed=0, pooling="cls") for folder in (tiny, tuned)]
    texts = [text for text, _ in texts_of("fra")]
    x, y = (
        encoder.states([encoder.tokenizer(texts, padding=True, return_tensors="pt")])[0][2].double()
        for encoder in encoders
    )
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    expected = 1 - (x.T @ y).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())
    assert biased.drift("fra")[2] == pytest.approx(float(expected), abs=1e-5)
    assert biased.drift("fra")[2] != pytest.approx(measurement.drift("fra")[2], abs=1e-3)


def test_the_largest_dimensions_share_before_and_after(measurement, tiny, seven):
    encoder = load_encoder("x", tiny, LABELS, seed=0)
    texts = [text for text, _ in texts_of("tur")]
    states, _ = encoder.states([encoder.tokenizer(texts, padding=True, return_tensors="pt")])
    variance = states[3].double().var(dim=0)
    shares = {
        row.moment: row.value
        for row in measurement.rows
        if (row.measure, row.layer, row.language) == ("top_dimension_share", 3, "tur")
    }
    assert shares["before"] == pytest.approx(float(variance.max() / variance.sum()), rel=1e-4)
    assert set(shares) == {"before", "after"}
    assert shares["after"] != shares["before"]


def test_similarity_retrieval_and_drift_are_what_a_run_finds(
    tmp_path, tiny, tiny_settings, task_folder, parallel_folder
):
    """The model of a run, measured against the one it started from, gives the rows of the run."""
    similarity = "measure.similarity=cka,procrustes,svcca"
    result = train(load_recipe("plain", [*tiny_settings, similarity]), tmp_path)
    settings = [f"task={task_folder}", f"parallel={parallel_folder}", "task.max_length=32", similarity]
    measured = measure(str(tiny), str(result.folder / "model"), settings)
    for row in parquet.read_table(result.folder / "measurements.parquet").to_pylist():
        if row["measure"].startswith(("drift", "probe")) and row["moment"] == "before":
            continue
        place = [row[key] for key in ("measure", "layer", "language", "moment")]
        (matching,) = [row for row in measured.rows if [row.measure, row.layer, row.language, row.moment] == place]
        assert (matching.value, matching.n) == (pytest.approx(row["value"], abs=1e-6, nan_ok=True), row["n"])
    values = {(row.measure, row.layer, row.language): row for row in measured.rows if row.moment == "after"}
    assert values["similarity_cka", 2, "jpn"].value == 1 - measured.drift("jpn")[2]
    assert 0 < values["similarity_procrustes", 2, "jpn"].value < 1
    assert len([row for row in measured.rows if row.measure == "similarity_svcca"]) == 3 * (LAYERS + 1)
    directions = [note for note in measured.notes if note.startswith("No `similarity_svcca` for ")]
    assert [direction in result.data["undefined"] for direction in directions] == [True] * len(directions) != []
    assert measure_tables(measured)[2].columns == ("language", "name", "n", "cka", "procrustes", "svcca")
    assert measured.scores == {language: result.score(language) for language in ("eng", "deu", "jpn")}
    assert any(note.startswith("parallel text: ") and "(domain unknown), " in note for note in measured.notes)
    table = measure_tables(measured)[1]
    assert table.title.startswith("Translations found, last layer")
    kinds = [f"retrieval_{kind}_forward" for kind in ("weak", "strong", "csls")]
    for row in table.rows:
        values = {
            (row_after.measure, row_after.moment): row_after
            for row_after in measured.rows
            if (row_after.language, row_after.layer) == (row[0], LAYERS)
        }
        assert row[2:4] == (values[kinds[0], "after"].n, 1 / values[kinds[0], "after"].n)
        assert list(row[4:]) == [values[kind, moment].value for kind in kinds for moment in ("before", "after")]
    assert [row[0] for row in table.rows] == ["deu", "jpn"]


def test_a_second_time_nothing_is_encoded(tiny, tuned, seven, measurement, monkeypatch):
    monkeypatch.setattr(Encoder, "states", lambda *_: pytest.fail("a forward pass"))
    again = measure(str(tiny), str(tuned), [f"task={seven}", "parallel="])
    assert (again.rows, again.scores, again.relations) == (measurement.rows, measurement.scores, measurement.relations)


def test_adapters_are_merged(tiny, seven, tmp_path):
    encoder = load_encoder(str(tiny), tiny, LABELS, seed=0)
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=4, target_modules=["query", "value"], modules_to_save=encoder.head_modules()
    )
    encoder.adapt(config)
    with torch.no_grad():
        for name, weights in encoder.model.named_parameters():
            if "lora_" in name:
                weights.normal_(std=0.3, generator=torch.Generator().manual_seed(2))
    encoder.save(tmp_path / "adapters")
    encoder.model.merge_and_unload().save_pretrained(tmp_path / "merged")
    encoder.tokenizer.save_pretrained(tmp_path / "merged")
    settings = [f"task={seven}", "parallel="]
    moved, unmoved = (
        measure(str(folder), str(tmp_path / "adapters"), settings) for folder in (tiny, tmp_path / "merged")
    )
    assert moved.drift("eng")[0] == 0
    assert min(value for layer, value in moved.drift("eng").items() if layer) > 1e-3
    assert max(map(abs, unmoved.drift("eng").values())) < 1e-9
    assert not moved.scores
    (tmp_path / "adapters" / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError) as error:
        measure(str(tiny), str(tmp_path / "adapters"), settings)
    assert str(error.value) == (
        f"`after`: The adapters in `{tmp_path / 'adapters'}` have no `adapter_model.safetensors`."
        " Save them again with `save_pretrained`."
    )


def adapters(tiny, folder, config, **saved):
    """Adapters as PEFT saves them for the tiny encoder, with some of their weights replaced."""
    model = get_peft_model(AutoModelForSequenceClassification.from_pretrained(tiny), config)
    model.save_pretrained(folder)
    path = folder / "adapter_model.safetensors"
    save_file(saved.get("weights", lambda weights: weights)(load_file(path)), path, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("weights", "place"),
    [
        (
            lambda all_: {key.replace("bert.", "roberta."): tensor for key, tensor in all_.items()},
            "is nothing in the file and [",
        ),
        (lambda all_: {key: torch.cat([tensor, tensor], -1) for key, tensor in all_.items()}, "] in the file and ["),
        (
            lambda all_: {key: tensor for key, tensor in all_.items() if ".layer.0." not in key},
            "is nothing in the file and [",
        ),
        (
            lambda all_: {key.replace(".layer.0.", ".layer.9."): tensor for key, tensor in all_.items()},
            "is nothing in the file",
        ),
    ],
)
def test_adapters_of_another_model_are_refused(tiny, seven, tmp_path, weights, place):
    """PEFT leaves out what does not fit, and what is left is the encoder as it was: a drift of 0 that means nothing."""
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=2, target_modules=["query"])
    folder = adapters(tiny, tmp_path / "adapters", config, weights=weights)
    with pytest.raises(InputError) as error:
        measure(str(tiny), str(folder), [f"task={seven}", "parallel="])
    assert str(error.value).startswith(
        f"`after`: The adapters in `{folder}` do not fit `{tiny}`: `base_model.model.bert."
    )
    assert place in str(error.value)


def test_prompts_are_refused(tiny, seven, tmp_path):
    config = PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=2)
    folder = adapters(tiny, tmp_path / "adapters", config)
    with pytest.raises(InputError) as error:
        measure(str(tiny), str(folder), [f"task={seven}", "parallel="])
    assert str(error.value) == (
        f"`after`: The adapters in `{folder}` are prompts, which cannot be merged into the weights. Give LoRA or IA3"
        " adapters."
    )


# What cannot be measured is said


def test_a_language_without_a_known_script_is_left_out_of_the_decomposition(tiny, tuned, seven, tmp_path):
    larger = shutil.copytree(seven, tmp_path / "more")
    shutil.copytree(larger / "deu", larger / "ang")  # Old English, of which CLDR knows no script
    shutil.copytree(larger / "fra", larger / "ita")
    measured = measure(str(tiny), str(tuned), [f"task={larger}", "parallel=", "distance=genetic"])
    assert "No usual script is known of ang: left out of the decomposition." in measured.notes
    assert measured.decomposition.n == 7


def test_without_a_head_for_the_labels_there_is_no_transfer(tiny, headless, seven, tmp_path):
    relabelled = perturbed(tiny, tmp_path, ("plant", "mineral"))  # the same labels in another order are reordered
    for after in (headless, relabelled):
        measured = measure(str(tiny), str(after), [f"task={seven}", "parallel="])
        assert (measured.scores, measured.transfer) == ({}, {})
        assert not [relation for relation in measured.relations if "transfer" in relation.measure]
        assert (
            f"`after` has no head for exactly the labels of `{seven}` (animal, plant): no scores, no transfer."
            in measured.notes
        )
        assert measure_tables(measured)[0].columns[:4] == ("language", "name", "syntactic", "n")


def test_few_sentences_and_few_languages_have_their_reasons(tiny, tuned, seven, tmp_path, cli):
    small = shutil.copytree(seven, tmp_path / "small")
    path = small / "deu" / "test.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    test_file = small / "fin" / "test.jsonl"
    test_file.write_text(
        "".join(f"{json.dumps(json.loads(line) | {'text': 'hund'})}\n" for line in test_file.read_text().splitlines())
    )
    words = [f"before={tiny}", f"after={tuned}", f"task={small}", "parallel=", "task.targets=deu,fin,jpn"]
    shown = cli("measure", *words)
    assert shown.exit_code == 0
    assert "No drift for deu at layer 0-4: fewer than 4 test sentences." in shown.stdout
    assert "No drift for fin at layer 0-4: the self-similarity of `x` is 0: its rows are all the same" in shown.stdout
    records = json.loads(cli("measure", "--json", *words).stdout)
    drift = [record for record in records if record["measure"] == "drift_cka" and record["language"] in ("deu", "fin")]
    assert {row["value"] for row in drift} == {None}
    assert {(row["language"], row["n"]) for row in drift} == {("deu", 3), ("fin", 24)}
    related = [record for record in records if record["measure"] == "correlation_drift_syntactic"]
    assert {(row["n"], row["value"], row["p"], row["p_holm"]) for row in related} == {(1, None, None, None)}
    assert all("at least 4 languages are needed" in row["reason"] for row in related)


def test_a_language_without_a_distance_is_left_out_of_its_correlations(tiny, tuned, seven, tmp_path):
    larger = shutil.copytree(seven, tmp_path / "more")
    shutil.copytree(larger / "deu", larger / "swg")  # Swabian: URIEL knows its family and place, not its syntax
    settings = [f"task={larger}", "parallel=", "distance.imputed=false"]
    measured = measure(str(tiny), str(tuned), settings)
    expected_tokens = {
        name: [key for key in (*TARGETS, "swg") if key in measured.distances[name]] for name in ("syntactic", "genetic")
    }
    assert "swg" not in expected_tokens["syntactic"]
    assert "swg" in expected_tokens["genetic"]
    assert measured.relation("correlation_drift_syntactic", 1).found.n == len(expected_tokens["syntactic"])
    assert measured.relation("correlation_drift_genetic", 1).found.n == len(expected_tokens["genetic"])
    assert any(
        note.startswith("No syntactic distance for") and "swg: left out of its correlations." in note
        for note in measured.notes
    )
    assert measured.ordered[0] == "eng"
    assert set(measured.ordered[-1:]) <= set(measured.sizes) - set(expected_tokens["syntactic"])


def test_a_head_that_learnt_nothing_is_said(tiny, tuned, seven, tmp_path):
    always = shutil.copytree(tuned, tmp_path / "always")
    model = AutoModelForSequenceClassification.from_pretrained(always)
    with torch.no_grad():
        model.classifier.bias += torch.tensor([-1e3, 1e3])
    model.save_pretrained(always)
    measured = measure(str(tiny), str(always), [f"task={seven}", "parallel="])
    assert (
        "COLLAPSED: the source's accuracy is within noise of the majority class: there is nothing to transfer."
        in measured.notes
    )
    assert set(measured.transfer.values()) == {0.0}  # the same sentences in every language
    wrong = shutil.copytree(seven, tmp_path / "wrong")
    (wrong / "eng" / "test.jsonl").write_text((seven / "eng" / "test.jsonl").read_text().replace("plant", "animal"))
    measured = measure(str(tiny), str(always), [f"task={wrong}", "parallel="])
    assert "The source's accuracy is 0: relative transfer is not defined." in measured.notes
    assert measured.scores["eng"] == 0
    assert not measured.transfer
    assert not [relation for relation in measured.relations if "transfer" in relation.measure]


def test_your_own_distances_are_one_more(tiny, tuned, seven, tmp_path):
    matrix = tmp_path / "own.csv"
    far = dict(zip(TARGETS, (0.6, 0.5, 0.4, 0.3, 0.2, 0.1), strict=True))
    matrix.write_text(f",{','.join(far)}\neng,{','.join(map(str, far.values()))}\n")
    measured = measure(str(tiny), str(tuned), [f"task={seven}", "parallel=", f"distance.matrix={matrix}"])
    assert measured.distance == "matrix"
    assert measured.distances["matrix"] == {"eng": 0.0, **far}
    assert measured.ordered == ("eng", *TARGETS[::-1])
    drift = [measured.drift(key)[1] for key in TARGETS]
    expected = stats.spearmanr(drift, list(far.values())).statistic
    assert measured.relation("correlation_drift_matrix", 1).found.r == pytest.approx(expected)
    matrix.write_text("eng,deu\n")
    with pytest.raises(InputError):
        measure(str(tiny), str(tuned), [f"task={seven}", "parallel=", f"distance.matrix={matrix}"])


def test_other_tokenizers_are_said(tiny, tmp_path, seven):
    other_model = save_tiny(tmp_path / "other", "distilbert")
    words = [f"task={seven}", "parallel="]
    tokenizer = json.loads((other_model / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["more"] = vocabulary.pop(WORDS["deu"][0])
    measured = measure(str(tiny), str(other_model), words)
    assert not [note for note in measured.notes if "tokenizers" in note]
    (other_model / "tokenizer.json").write_text(json.dumps(tokenizer))
    measured = measure(str(tiny), str(other_model), words)
    assert "The two checkpoints have different tokenizers: each read the same sentences with its own." in measured.notes
