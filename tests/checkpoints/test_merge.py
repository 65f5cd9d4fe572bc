"""`merge`: weights of the merged model by hand, its predictions by plain transformers, and everything that it refuses."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from adapted import logits_of
from conftest import LAYERS, save_tiny
from distxfer import load_recipe, merge, predict, train
from distxfer.checkpoints.measure import measure
from helpers import message, same, weights
from own_tasks import row_of_answer, row_of_words, write

TEXTS = ["der hund", "katze sieht rot", "blume alt neu"]
ADVICE = "Merge models that were trained from the same one."


@pytest.fixture(scope="module")
def first(run):
    return run("plain")


@pytest.fixture(scope="module")
def second(run):
    return run("plain", "seed=1")


@pytest.fixture(scope="module")
def third(run):
    return run("plain", "seed=2")


@pytest.fixture(scope="module")
def aligned(run):
    """A run that trains no labels: its head is random."""
    return run("dist_align", "phase.finetune.task=false", "intervention.align.layers=3")


def merged(*results, to, **options):
    return load_file(
        merge([getattr(result, "folder", result) for result in results], to, **options) / "model.safetensors"
    )


def hidden(tensors):
    return {name: tensor for name, tensor in tensors.items() if name.startswith("bert.")}


# Weights


@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_model_merged_with_itself_is_itself(first, tmp_path, count):
    assert same(merged(*[first] * count, to=tmp_path / "out"), weights(first))


def test_a_weight_of_one_gives_that_model(first, second, tmp_path):
    assert same(merged(first, second, to=tmp_path / "one", weights=[1, 0]), weights(first))
    assert same(merged(first, second, to=tmp_path / "other", weights=[0, 1]), weights(second))


def test_weighted_sums_are_those_computed_by_hand(first, second, third, tmp_path):
    one, two, three = (weights(result) for result in (first, second, third))
    mean = merged(first, second, to=tmp_path / "mean")
    assert same(mean, {name: (one[name] + two[name]) / 2 for name in one})
    some = merged(first, second, third, to=tmp_path / "some", weights=[1.5, -0.75, 0.25])
    expected = {name: 1.5 * one[name] - 0.75 * two[name] + 0.25 * three[name] for name in one}
    torch.testing.assert_close(some, expected, rtol=1e-6, atol=1e-7)
    turned = merged(third, first, second, to=tmp_path / "turned", weights=[0.25, 1.5, -0.75])
    torch.testing.assert_close(turned, some, rtol=1e-6, atol=1e-7)


def test_task_arithmetic_adds_changes_to_the_pretrained_model(first, aligned, tiny, tmp_path):
    """The head is of the run that has trained one: neither the pretrained model nor the aligned one has."""
    pretrained = {f"bert.{name}": tensor for name, tensor in load_file(tiny / "model.safetensors").items()}
    one, two = weights(first), weights(aligned)
    both = merged(tiny, first, aligned, to=tmp_path / "both", weights=[-0.3, 0.8, 0.5])
    for name, tensor in hidden(both).items():
        start = pretrained[name]
        torch.testing.assert_close(
            tensor, start + 0.8 * (one[name] - start) + 0.5 * (two[name] - start), rtol=1e-5, atol=1e-7
        )
    head = [name for name in both if not name.startswith("bert.")]
    assert head == ["classifier.bias", "classifier.weight"]
    assert all(torch.equal(both[name], one[name]) for name in head)


def test_swapped_layers_are_those_of_their_model(first, second, third, tmp_path):
    taken = ["embeddings", "lower", 4]
    swapped = merged(first, second, to=tmp_path / "out", layers=taken, layers_from=third.folder)
    mean, donor = merged(first, second, to=tmp_path / "mean"), weights(third)
    places = ("bert.embeddings.", "bert.encoder.layer.0.", "bert.encoder.layer.3.")
    for name, tensor in swapped.items():
        assert torch.equal(tensor, donor[name] if name.startswith(places) else mean[name]), name
    record = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert record["layers"] == ["embeddings", 1, 4]
    assert record["layers_from"]["name"] == f"plain/{third.id}-s2"
    assert "alone: embeddings, 1, 4." in (tmp_path / "out" / "README.md").read_text()


def test_one_model_takes_layers_from_an_encoder_or_a_model_with_other_labels(first, tiny, tuned, tmp_path):
    pretrained = load_file(tiny / "model.safetensors")
    swapped = merged(first, to=tmp_path / "out", layers=["embeddings"], layers_from=str(tiny))
    for name, tensor in weights(first).items():
        own = pretrained[name.removeprefix("bert.")] if "embeddings" in name else tensor
        assert torch.equal(swapped[name], own)
    other = merged(first, to=tmp_path / "other", layers=["all"], layers_from=str(tuned))
    assert same(
        {name: tensor for name, tensor in other.items() if "layer." in name},
        {name: tensor for name, tensor in load_file(tuned / "model.safetensors").items() if "layer." in name},
    )


# The model


def test_the_merged_model_predicts_in_plain_transformers(first, second, tmp_path):
    folder = merge([first.folder, second.folder / "model"], tmp_path / "soup")
    plain = logits_of(AutoModelForTokenClassification.from_pretrained(folder), folder, TEXTS)
    names = AutoModelForTokenClassification.from_pretrained(folder).config.id2label
    assert [names[int(row.argmax())] for row in plain] == [prediction.label for prediction in predict(folder, TEXTS)]
    for row, prediction in zip(plain.softmax(-1), predict(folder, TEXTS), strict=True):
        shares = {names[place]: float(share) for place, share in enumerate(row)}
        assert prediction.probabilities == pytest.approx(shares, abs=1e-5)
    code = (folder / "README.md").read_text().split("```python\n")[1].split("\n```")[0]
    scope = {}
    exec(code.replace('"soup"', repr(str(folder))), scope)
    torch.testing.assert_close(scope["scores"](TEXTS), plain, atol=1e-5, rtol=1e-5)


def test_merges_can_be_merged_measured_and_trained(first, second, third, run, tiny, task_folder, tmp_path):
    pair = merge([first.folder, second.folder], tmp_path / "pair")
    all_three = merged(pair, third, to=tmp_path / "three", weights=[2 / 3, 1 / 3])
    expected = {
        name: sum(weights(result)[name].double() for result in (first, second, third)) / 3 for name in weights(first)
    }
    for name, tensor in all_three.items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-6, atol=1e-7)
    measured = measure(str(tiny), str(pair), [f"task={task_folder}", "parallel="])
    labels = {
        prediction.text: prediction.label for prediction in predict(pair, [row["text"] for row in rows(task_folder)])
    }
    right = [labels[row["text"]] == row["label"] for row in rows(task_folder)]
    assert measured.scores["deu"] == pytest.approx(sum(right) / len(right))
    assert run("plain", f"model={pair}", "phase.finetune.epochs=1", folder=tmp_path / "results").status in (
        "done",
        "collapsed",
    )


def rows(task_folder):
    return [json.loads(line) for line in (task_folder / "deu" / "test.jsonl").read_text().splitlines()]


def test_adapters_are_merged_with_their_model(run, first, tmp_path):
    lora = run("lora")
    folder = merge([lora.folder, lora.folder], tmp_path / "out")
    assert [vars(prediction) for prediction in predict(folder, TEXTS)] == [
        {**vars(prediction), "probabilities": pytest.approx(prediction.probabilities, abs=1e-5)}
        for prediction in predict(lora.folder, TEXTS)
    ]
    assert not (folder / "adapter_config.json").exists()


def test_text_classifiers_of_transformers_keep_their_class(run, tmp_path):
    own = run("plain", "model.head=architecture", "model.head_start=random")
    folder = merge([own.folder, own.folder], tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert same(load_file(folder / "model.safetensors"), weights(own))
    labels = [model.config.id2label[int(row.argmax())] for row in logits_of(model, folder, TEXTS)]
    assert [prediction.label for prediction in predict(folder, TEXTS)] == labels


@pytest.mark.parametrize(
    ("name", "row", "texts"),
    [("named_entities", row_of_words, TEXTS), ("question_answering", row_of_answer, [("der hund", "der hund rennt")])],
)
def test_heads_of_other_tasks(tmp_path, tiny, name, row, texts):
    settings = [
        f"model={tiny}",
        f"task={write(tmp_path / 'task', row)}",
        f"task.type={name}",
        "task.max_length=16",
        "parallel=",
    ]
    own = train(load_recipe("plain", [*settings, "phase.finetune.epochs=1"]), tmp_path / "results")
    folder = merge([own.folder, own.folder], tmp_path / "out")
    assert same(load_file(folder / "model.safetensors"), weights(own))
    assert predict(folder, texts) == predict(own.folder, texts)


def test_encoders_alone_have_no_head(tiny, aligned, tmp_path):
    folder = merge([tiny, aligned.folder], tmp_path / "out")
    assert not [name for name in load_file(folder / "model.safetensors") if "classifier" in name]
    assert (
        message(predict, folder, "a")
        == f"The models that were merged into `{folder}` have no head, so it predicts no labels."
    )


def test_the_record_names_models_by_run_and_fingerprint(first, second, tmp_path):
    folder = merge([first.folder, second.folder], tmp_path / "out", weights=[0.25, 0.75])
    record = json.loads((folder / "merge.json").read_text())
    assert [(model["name"], model["weight"]) for model in record["models"]] == [
        (f"plain/{first.id}-s0", 0.25), (f"plain/{first.id}-s1", 0.75),
    ]  # fmt: skip
    assert len({model["fingerprint"] for model in record["models"]}) == 2
    assert (record["layers"], record["layers_from"], record["task_type"]) == ([], None, "classification")
    assert f"| `plain/{first.id}-s1` | 0.75 |" in (folder / "README.md").read_text()
    assert str(tmp_path) not in (folder / "merge.json").read_text() + (folder / "README.md").read_text()


def test_the_verb(cli, first, second, third):
    results, names = str(first.folder.parents[1]), [f"plain/{result.folder.name}" for result in (first, second, third)]
    done = cli("merge", *names, "--out", "soup", "--weights", "-1,1,1", "--results", results)
    assert (done.exit_code, done.stdout) == (0, "soup\n")
    shown = cli("merge", *names, "--out", "shown", "--json", "--results", results)
    assert [model["name"] for model in json.loads(shown.stdout)["models"]] == names
    swapped = cli(
        "merge", names[0], "--out", "swap", "--layers", "1,upper", "--layers-from", names[1], "--results", results
    )
    assert swapped.exit_code == 0
    wrong = cli("merge", *names, "--out", "no", "--weights", "half,half")
    assert (wrong.exit_code, wrong.stderr) == (
        2, "Error: `weights` = `half,half` is no list of numbers. Give one per model, such as `0.5,0.5`.\n",
    )  # fmt: skip


# What is refused


def test_requests_that_do_not_fit_are_refused(first, second, tmp_path):
    pair, out = [first.folder, second.folder], tmp_path / "out"
    assert message(merge, pair[:1], out) == (
        "`models` names 1 model; expected two or more, or one and another in `layers_from`."
    )
    assert message(merge, pair, out, weights=[0.5, 0.25, 0.25]) == (
        "`weights` = `0.5,0.25,0.25` has 3 numbers; expected 2, one per model in their order."
    )
    assert message(merge, pair, out, weights=[0.5, 0.6]) == (
        "`weights` = `0.5,0.6` sum to 1.1; expected 1. Change one of them; it may be negative."
    )
    assert message(merge, pair, out, weights=[float("nan"), 1]).startswith(
        "`weights` = `nan,1` sum to nan; expected 1."
    )
    assert message(merge, pair, tmp_path) == f"`out` = `{tmp_path}` exists already. Give a new folder, or remove it."
    both = "`layers` and `layers_from` say which layers to take, and from which model. Give both or none."
    assert message(merge, pair, out, layers=[1]) == message(merge, pair, out, layers_from=first.folder) == both
    assert message(merge, pair, out, layers=[5], layers_from=first.folder) == (
        f"`layers` names layer `5`, but this encoder has layers 1 to {LAYERS}."
    )
    assert message(merge, pair, out, layers=["embedding"], layers_from=first.folder) == (
        "`layers` names `embedding`. Did you mean `embeddings`? Expected numbers from 1 to 4, or: embeddings, all, lower,"
        " middle, upper, lower_half, upper_half."
    )
    assert [*tmp_path.iterdir()] == []


def test_models_that_differ_are_refused(first, run, tiny, tuned, tmp_path):
    out, name = tmp_path / "out", f"plain/{first.id}-s0"
    deep = save_tiny(tmp_path / "deep", num_hidden_layers=2)
    assert (
        message(merge, [first.folder, deep], out)
        == f"`num_hidden_layers` is `4` in `{name}` and `2` in `deep`. {ADVICE}"
    )
    other = save_tiny(tmp_path / "other", "distilbert")
    assert (
        message(merge, [first.folder, other], out)
        == f"`model_type` is `bert` in `{name}` and `distilbert` in `other`. {ADVICE}"
    )
    wide = save_tiny(tmp_path / "wide", intermediate_size=64)
    assert message(merge, [first.folder, wide], out) == (
        f"`bert.encoder.layer.0.intermediate.dense.bias` is `[32]` in `{name}` and `[64]` in `wide`. {ADVICE}"
    )
    assert message(merge, [first.folder], out, layers=[1], layers_from=wide) == message(
        merge, [first.folder, wide], out
    )
    renamed = shutil.copytree(tiny, tmp_path / "renamed")
    file = renamed / "tokenizer.json"
    file.write_text(file.read_text().replace('"katze"', '"kater"'))
    assert message(merge, [first.folder, renamed], out) == f"`{name}` and `renamed` have different tokenizers. {ADVICE}"
    assert message(merge, [first.folder, tuned], out) == (
        f"`{tuned}` holds a `BertForSequenceClassification` outside of a run, so its head's task is not known. Give the folder of"
        " its run, or an encoder without a head."
    )
    assert not out.exists()


def test_heads_for_something_else_are_refused(first, run, task_folder, tiny, tmp_path):
    out, name, advice = tmp_path / "out", f"plain/{first.id}-s0", "Merge models of one task and pooling."
    renamed = tmp_path / "task"
    for path in task_folder.rglob("*.jsonl"):
        (renamed / path.parent.name).mkdir(parents=True, exist_ok=True)
        (renamed / path.parent.name / path.name).write_text(path.read_text().replace('"plant"', '"flower"'))
    few = ["phase.finetune.epochs=1"]
    labels = run("plain", f"task={renamed}", *few, folder=tmp_path / "results")
    assert message(merge, [first.folder, labels.folder], out) == (
        f"`labels` is `animal, plant` in `{name}` and `animal, flower` in `plain/{labels.id}-s0`. {advice}"
    )
    pooled = run("plain", "model.pooling=cls", *few, folder=tmp_path / "results")
    assert message(merge, [first.folder, pooled.folder], out) == (
        f"`model.pooling` is `mean` in `{name}` and `cls` in `plain/{pooled.id}-s0`. {advice}"
    )
    own = run("plain", "model.head=architecture", "model.head_start=random")
    assert message(merge, [first.folder, own.folder], out) == (
        f"`bert.pooler.dense.bias` is `missing` in `{name}` and `[16]` in `plain/{own.id}-s0`. {ADVICE}"
    )
    assert message(merge, [tiny, first.folder], out, weights=[1, 0]) == (
        "The `weights` of the models with a head sum to 0, so no head follows. Change them."
    )
    adapters = shutil.copytree(run("lora").folder / "model", tmp_path / "adapters")
    assert message(merge, [first.folder, adapters], out) == (
        f"`{adapters}` holds adapters outside of a run. Give the folder of their run."
    )
    assert not out.exists()


def test_damage_is_noticed(first, second, tmp_path):
    folder = merge([first.folder, second.folder], tmp_path / "soup")
    (folder / "merge.json").write_text("{}")
    assert message(predict, folder, "a") == (
        f"`{folder / 'merge.json'}` is no record of merged models: 'task_type'. Merge the models again."
    )
    damaged = shutil.copytree(first.folder, tmp_path / "damaged")
    file = damaged / "model" / "model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    assert f"`{file}` is not what the run wrote" in message(merge, [damaged, second.folder], tmp_path / "out")


def test_a_broken_configuration_is_named(first, tiny, tmp_path):
    broken = shutil.copytree(tiny, tmp_path / "broken")
    (broken / "config.json").write_text("{}")
    assert message(merge, [first.folder, broken], tmp_path / "out").startswith(
        f"`{broken / 'config.json'}` is not a model's configuration: "
    )


def test_nothing_stays_of_a_merge_that_fails(first, second, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("distxfer.checkpoints.merge._card", full)
    with pytest.raises(OSError, match="No space"):
        merge([first.folder, second.folder], tmp_path / "out")
    assert [*tmp_path.iterdir()] == []
