"""Labels that files give as numbers: read by the names in the file's schema or in the dataset card, never by position."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from conftest import save_tiny
from distxfer.data import Data, load_task
from distxfer.encoders import load_encoder
from distxfer.errors import InputError

TEXT = {"dtype": "string", "_type": "Value"}
SENTENCES = [("the sea is calm", "good"), ("the sea is wild", "bad"), ("a fine boat", "good"), ("a broken boat", "bad")]
WORDS = [(["Kofi", "lives", "in", "Accra"], ["B-PER", "O", "O", "B-LOC"]), (["Ama", "sings"], ["B-PER", "O"])]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
OTHER_TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def class_label(names):
    return {"names": list(names), "_type": "ClassLabel"}


def write_parquet(path, columns, features=None):
    """Write a table as `datasets` does: the features as JSON under `huggingface` in the metadata of the schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


def classified(folder, orders):
    """Write the four sentences for each language with its labels as numbers in its own order; None: without names."""
    for language, names in orders.items():
        for split in ("train", "test"):
            numbers = [(names or ("good", "bad")).index(label) for _, label in SENTENCES]
            columns = {"text": [text for text, _ in SENTENCES], "label": numbers}
            features = {"text": TEXT, "label": class_label(names)} if names else None
            write_parquet(folder / language / f"{split}.parquet", columns, features)
    return folder


def tagged(folder, orders, wrap):
    for language, names in orders.items():
        for split in ("train", "test"):
            columns = {
                "words": [words for words, _ in WORDS],
                "tags": [[names.index(tag) for tag in tags] for _, tags in WORDS],
            }
            features = {"words": {"feature": TEXT, "_type": "Sequence"}, "tags": wrap(class_label(names))}
            write_parquet(folder / language / f"{split}.parquet", columns, features)
    return folder


def labels_of(task, language):
    return [task.labels[example.label] for example in task.examples("test", language)]


def read(folder, **settings):
    return load_task(Data(str(folder), **settings), "eng", ("deu",))


def complains(error_message, folder, **settings):
    with pytest.raises(InputError, match=f"^{re.escape(error_message)}$"):
        read(folder, **settings)


@pytest.mark.parametrize("names", [("bad", "good"), ("good", "bad")])
def test_classes_are_read_by_their_names_whatever_their_order(tmp_path, names):
    task = read(classified(tmp_path, {"eng": ("good", "bad"), "deu": names}))
    assert task.labels == ("bad", "good")
    assert labels_of(task, "eng") == labels_of(task, "deu") == ["good", "bad", "good", "bad"]
    expected = "`deu/test.parquet` numbers its labels differently from `eng/train.parquet`; both are read by name."
    assert [note for note in task.notes if "numbers" in note] == [expected] * (names[0] == "bad")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda label: {"feature": label, "length": -1, "_type": "Sequence"},
        lambda label: {"feature": label, "_type": "List"},
        lambda label: {"feature": label, "_type": "LargeList"},
        lambda label: [label],
    ],
)
def test_tags_are_read_by_their_names(tmp_path, wrap):
    task = read(tagged(tmp_path, {"eng": TAGS, "deu": OTHER_TAGS}, wrap), type="named_entities")
    for language in ("eng", "deu"):
        tags = [[task.labels[tag] for tag in example.label.tags] for example in task.examples("test", language)]
        assert tags == [tags for _, tags in WORDS]


def test_names_that_are_numbers_are_names(tmp_path):
    """Stars from 1 to 2, which `datasets` numbers from 0."""
    columns = {"text": ["a", "b"], "label": [0, 1]}
    for language in ("eng", "deu"):
        for split in ("train", "test"):
            write_parquet(
                tmp_path / language / f"{split}.parquet", columns, {"text": TEXT, "label": class_label(["1", "2"])}
            )
    task = read(tmp_path)
    assert task.labels == ("1", "2")
    assert labels_of(task, "deu") == ["1", "2"]


def test_dictionaries_of_arrow_are_read_by_their_values(tmp_path):
    for language, values in (("eng", ["good", "bad"]), ("deu", ["bad", "good"])):
        for split in ("train", "test"):
            numbers = pa.array([values.index(label) for _, label in SENTENCES], pa.int32())
            labels = pa.DictionaryArray.from_arrays(numbers, pa.array(values))
            write_parquet(
                tmp_path / language / f"{split}.parquet", {"text": [text for text, _ in SENTENCES], "label": labels}
            )
    task = read(tmp_path)
    assert labels_of(task, "eng") == labels_of(task, "deu") == ["good", "bad", "good", "bad"]


@pytest.mark.parametrize(
    ("legends", "label", "labels"),
    [
        ({"eng": ("good", "bad"), "deu": None}, "0", "bad, good"),
        ({"eng": None, "deu": ("good", "bad")}, "good", "0, 1"),
    ],
)
def test_names_in_one_language_and_numbers_in_another_are_refused(tmp_path, legends, label, labels):
    folder = classified(tmp_path, legends)
    train, test = folder / "eng" / "train.parquet", folder / "deu" / "test.parquet"
    complains(
        f"`{test}:1` has the label `{label}`, which `{train}` does not have. One file has names and the other"
        f" numbers, without a mapping between them. Use names in both. Expected one of: {labels}.",
        folder,
    )


@pytest.mark.parametrize("number", [2, -2])
def test_a_number_without_a_name_is_refused(tmp_path, number):
    folder = classified(tmp_path, {"eng": ("good", "bad"), "deu": ("good", "bad")})
    features = {"text": TEXT, "label": class_label(["good", "bad"])}
    path = write_parquet(folder / "deu" / "test.parquet", {"text": ["a", "b"], "label": [0, number]}, features)
    complains(f"`{path}:2` has the label `{number}`, but the file names 2 labels: 0 is good, 1 is bad.", folder)


WITHHELD = "`datasets` writes -1 for a withheld label, as in a test set without labels: use a part that has labels."


@pytest.mark.parametrize("names", [None, ("good", "bad")])
def test_withheld_labels_are_said_to_be_withheld(tmp_path, names):
    folder = classified(tmp_path, {"eng": names, "deu": names})
    features = names and {"text": TEXT, "label": class_label(names)}
    path = write_parquet(folder / "deu" / "test.parquet", {"text": ["a", "b"], "label": [-1, -1]}, features)
    with pytest.raises(InputError, match=re.escape(f"`{path}:1` has the label `-1`")) as caught:
        read(folder)
    assert WITHHELD in str(caught.value)


def test_withheld_tags_are_said_to_be_withheld(tmp_path):
    folder = tagged(tmp_path, {"eng": TAGS, "deu": TAGS}, lambda label: {"feature": label, "_type": "List"})
    features = {"words": [TEXT], "tags": [class_label(TAGS)]}
    path = write_parquet(folder / "deu" / "test.parquet", {"words": [["Ama", "sings"]], "tags": [[-1, -1]]}, features)
    complains(f"`{path}:1` has the label `-1`. {WITHHELD}", folder, type="named_entities")


def test_a_label_of_minus_one_is_a_label_where_training_has_it(tmp_path):
    for path in ("eng/train", "eng/test", "deu/test"):
        write_parquet(tmp_path / f"{path}.parquet", {"text": ["a", "b", "c"], "label": [-1, 0, 1]})
    assert labels_of(read(tmp_path), "deu") == ["-1", "0", "1"]


def test_a_schema_that_cannot_be_read_is_refused(tmp_path):
    folder = classified(tmp_path, {"eng": ("good", "bad"), "deu": ("good", "bad")})
    path = folder / "deu" / "test.parquet"
    pq.write_table(pa.table({"text": ["a"], "label": [0]}).replace_schema_metadata({"huggingface": "{"}), path)
    with pytest.raises(InputError, match=re.escape(f"`{path}` has label names in its schema that cannot be read (")):
        read(folder)


CARD = """\
---
language: [en, de]
dataset_info:
- config_name: en
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': good
          '1': bad
- config_name: de
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': bad
          '1': good
---
# A task
"""


PATHS = ("eng/train", "eng/test", "deu/test")


def write_rows(folder, files):
    for path, rows in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / f"{path}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def numbered(folder, german=("good", "bad"), *, named=False):
    """Write the four sentences with numbers under `label`, in an order for each language; `named`: names, too."""
    orders = {"eng": ("good", "bad"), "deu": german}
    for path in PATHS:
        rows = [{"text": text, "label": orders[path[:3]].index(name), "label_text": name} for text, name in SENTENCES]
        write_rows(folder, {path: rows if named else [{**row, "label_text": None} for row in rows]})
    return folder


def numbered_csv(folder, german):
    for language, names in {"eng": ("good", "bad"), "deu": german}.items():
        (folder / language).mkdir()
        for split in ("train", "test"):
            rows = "".join(f"{text},{names.index(label)}\n" for text, label in SENTENCES)
            (folder / language / f"{split}.csv").write_text(f"text,label\n{rows}")
    return folder


@pytest.mark.parametrize("write", [numbered, numbered_csv])
def test_the_names_in_a_card_are_those_of_the_configuration_of_a_language(tmp_path, write):
    folder = write(tmp_path, ("bad", "good"))
    (folder / "README.md").write_text(CARD)
    task = read(folder)
    assert labels_of(task, "eng") == labels_of(task, "deu") == ["good", "bad", "good", "bad"]


def test_names_that_configurations_do_not_agree_on_are_refused(tmp_path):
    folder = numbered(tmp_path, ("bad", "good"))
    (folder / "README.md").write_text(CARD.replace("config_name: de", "config_name: fr"))
    complains(
        f"`{folder / 'deu' / 'test.jsonl'}:1` has the label `1`, whose name differs between the configurations of the"
        f" dataset card, none of which is named after the file's language or folder. Write label names into the file.",
        folder,
    )


def test_the_names_of_tags_in_dataset_infos(tmp_path):
    rows = [{"words": words, "tags": [OTHER_TAGS.index(tag) for tag in tags]} for words, tags in WORDS]
    write_rows(tmp_path, dict.fromkeys(PATHS, rows))
    features = {"words": [TEXT], "tags": {"feature": class_label(OTHER_TAGS), "_type": "Sequence"}}
    (tmp_path / "dataset_infos.json").write_text(json.dumps({"default": {"features": features}}))
    task = read(tmp_path, type="named_entities")
    assert [task.labels[tag] for tag in task.examples("test", "deu")[0].label.tags] == ["B-PER", "O", "O", "B-LOC"]


@pytest.mark.parametrize(
    "card", ["# A task\n", "---\nlicense: mit\n---\n", "---\ndataset_info:\n  features: []\n---\n", ""]
)
def test_a_card_without_names_changes_nothing(tmp_path, card):
    folder = numbered(tmp_path)
    (folder / "README.md").write_text(card)
    assert read(folder).labels == ("0", "1")


@pytest.mark.parametrize(
    "card", ["---\nA task\n---\n", "---\n- a\n---\n", "---\na: b: c\n---\n", "---\na: [\n---\ndataset_info: 1\n"]
)
def test_a_readme_that_is_not_a_card_gives_no_names(tmp_path, card):
    folder = numbered(tmp_path)
    (folder / "README.md").write_text(card)
    assert read(folder).labels == ("0", "1")
    (folder / "dataset_infos.json").write_text(
        json.dumps({"default": {"features": {"label": class_label(("good", "bad"))}}})
    )
    assert labels_of(read(folder), "deu") == ["good", "bad", "good", "bad"]


@pytest.mark.parametrize(
    "info", ["dataset_info: [", "dataset_info: soon", "a: [\n'dataset_info': 1", "dataset_info: [{features: [1]}]"]
)
def test_names_in_a_card_that_cannot_be_read_are_refused(tmp_path, info):
    folder = numbered(tmp_path)
    (folder / "README.md").write_text(f"---\n{info}\n---\n# A task\n")
    with pytest.raises(InputError, match=re.escape(f"The dataset card `{folder / 'README.md'}` cannot be read: ")):
        read(folder)


def card_of(legends):
    """Return a dataset card with the legend of `label` in each configuration."""
    lines = ["---", "dataset_info:"]
    for configuration, legend in legends.items():
        lines += [
            f"- config_name: {configuration}",
            "  features:",
            "  - name: label",
            "    dtype:",
            "      class_label:",
        ]
        lines += ["        names:", *(f"          '{number}': {name}" for number, name in legend.items())]
    return "\n".join([*lines, "---", ""])


def own_csv(folder, train, test, legends):
    """Write CSV of these labels for training in English and tests in English and German, and a card."""
    (folder / "README.md").write_text(card_of(legends))
    for path, labels in (("eng/train", train), ("eng/test", train), ("deu/test", test)):
        (folder / path).parent.mkdir(exist_ok=True)
        rows = "".join(f"text {number},{label}\n" for number, label in enumerate(labels))
        (folder / f"{path}.csv").write_text("text,label\n" + rows)
    return folder


STARS = {"default": dict(enumerate("12345"))}
POLAR = {"default": {0: "'-1'", 1: "'0'", 2: "'1'"}}
ORDERS = {"eng": {0: "good", 1: "bad"}, "deu": {0: "bad", 1: "good"}}


@pytest.mark.parametrize(
    ("legends", "train", "test", "names"),
    [
        (STARS, "01234", "01234", "12345"),
        (STARS, "01234", "123", "234"),  # the file of the source can only be read as numbers
        (STARS, "12345", "123", "123"),  # and here as names
        (POLAR, "012", "01", ["-1", "0"]),
        (POLAR, ["-1", "0", "1"], "01", "01"),
        (ORDERS, ["0.0", "1.0"], ["0.0", "1.0"], ["bad", "good"]),
        (ORDERS, [" 0 ", "+1"], [" 0 ", "+1"], ["bad", "good"]),
        (ORDERS, [" good ", "bad"], ["bad", " good"], ["bad", "good"]),
        ({"default": {1: "good", 2: "bad", 3: "ugly"}}, "12", "12", ["good", "bad"]),
        ({"default": {0: "no", 1: "yes"}}, "01", "01", ["no", "yes"]),  # YAML 1.1 has these as False and True
    ],
)
def test_a_column_of_csv_holds_numbers_or_names(tmp_path, legends, train, test, names):
    assert labels_of(read(own_csv(tmp_path, train, test, legends)), "deu") == list(names)


def test_a_column_that_can_be_read_in_both_ways_is_refused(tmp_path):
    folder = own_csv(tmp_path, "01", "01", {"eng": {0: 1, 1: 0}, "deu": {0: 0, 1: 1}})
    complains(
        f"`{folder / 'eng' / 'train.csv'}` has `0` in `label`, which by the dataset card is either the label name `0` or the"
        " number of the label `1`."
        ' Write the file as JSON lines, where 0 is a number and "0" a name.',
        folder,
    )


def test_numbers_in_one_file_and_names_that_are_numbers_in_another_are_refused(tmp_path):
    folder = own_csv(tmp_path, "01234", "12345", STARS)
    complains(
        f"`{folder / 'eng' / 'train.csv'}` has the label number `0` in `label`, but `{folder / 'deu' / 'test.csv'}` has the"
        " label name `5`. Write all labels as names, or all as numbers.",
        folder,
    )


@pytest.mark.parametrize(("train", "test"), [("0 1 0", "good bad bad"), ("good bad good", "0 1 1")])
def test_a_file_of_names_alone_beside_one_of_numbers(tmp_path, train, test):
    task = read(own_csv(tmp_path, train.split(), test.split(), {"default": {0: "good", 1: "bad"}}))
    assert labels_of(task, "deu") == ["good", "bad", "bad"]


def test_a_column_of_numbers_and_names_is_refused(tmp_path):
    folder = own_csv(tmp_path, ["0", "bad"], "01", {"default": {0: "good", 1: "bad"}})
    complains(
        f"`{folder / 'eng' / 'train.csv'}` has the label number `0` in `label`, but `{folder / 'eng' / 'train.csv'}` has the"
        " label name `bad`. Write all labels as names, or all as numbers.",
        folder,
    )


@pytest.mark.parametrize("label", ["7.0", "+7", "ugly", "9" * 5000])
def test_what_is_no_number_of_the_legend_is_refused(tmp_path, label):
    folder = own_csv(tmp_path, ["0", "1", label], "01", {"default": {0: "good", 1: "bad"}})
    shown = label if len(label) < 60 else f"{label[:60]} ..."
    complains(
        f"`{folder / 'eng' / 'train.csv'}:4` has the label `{shown}`, but the file names 2 labels: 0 is good, 1 is bad.",
        folder,
    )


def test_a_number_that_is_no_key_of_the_legend_is_refused(tmp_path):
    folder = own_csv(tmp_path, "012", "12", {"default": {1: "good", 2: "bad"}})
    complains(
        f"`{folder / 'eng' / 'train.csv'}:2` has the label `0`, but the file names 2 labels: 1 is good, 2 is bad.",
        folder,
    )


@pytest.mark.parametrize(("labels", "names"), [([0, 1], ["1", "0"]), (["0", "1"], ["0", "1"])])
def test_json_tells_numbers_from_names(tmp_path, labels, names):
    (tmp_path / "README.md").write_text(card_of({"default": {0: 1, 1: 0}}))
    write_rows(tmp_path, {path: [{"text": "a", "label": label} for label in labels] for path in PATHS})
    assert labels_of(read(tmp_path), "deu") == names


def test_names_beside_numbers_that_differ_between_files_are_refused(tmp_path):
    folder = numbered(tmp_path, ("bad", "good"), named=True)
    complains(
        f"`{folder / 'deu' / 'test.jsonl'}` has the number `1` in `label` for the label that `label_text` calls `good`, but"
        f" `{folder / 'eng' / 'train.jsonl'}` has `0`. Set `task.columns.label` to `label_text`.",
        folder,
    )
    task = read(folder, columns={"label": "label_text"})
    assert labels_of(task, "eng") == labels_of(task, "deu") == ["good", "bad", "good", "bad"]


def test_names_beside_numbers_that_agree_change_nothing(tmp_path):
    assert read(numbered(tmp_path, named=True)).labels == ("0", "1")


def test_a_key_that_repeats_in_a_row_is_refused(tmp_path):
    folder = numbered(tmp_path, named=True)
    path = folder / "deu" / "test.jsonl"
    path.write_text('{"text": "a", "label": 0}\n{"text": "b", "label": 0, "label": 1}\n')
    complains(f"`{path}:2` is not valid JSON: the key `label` occurs twice in one object.", folder)


def test_the_names_of_another_language_s_configuration_are_said(tmp_path):
    task = read(own_csv(tmp_path, "01", "01", {"eng": {0: "good", 1: "bad"}}))
    expected = (
        "`deu/test.csv`: its label names are those of the configuration `eng` in `README.md`, which has none for `deu`."
    )
    assert [note for note in task.notes if "configuration" in note] == [expected]


def test_one_name_of_two_numbers_is_refused(tmp_path):
    folder = own_csv(tmp_path, "01", "01", {"default": {0: "good", 1: "good"}})
    with pytest.raises(InputError, match="cannot be read: two labels have the same name or the same number"):
        read(folder)


@pytest.mark.parametrize(
    ("infos", "why"),
    [
        ("[1, 2]", "expected an object with a key for each configuration"),
        ('{"a": 1}', "the label names are not in the format of `datasets`"),
    ],
)
def test_dataset_infos_of_another_layout_are_refused(tmp_path, infos, why):
    folder = numbered(tmp_path, named=True)
    path = folder / "dataset_infos.json"
    path.write_text(infos)
    complains(f"The dataset card `{path}` cannot be read: {why}. Repair it, or move it away.", folder)


def hub_copy(folder, repository_path, names, column="ner_tags"):
    """Write parts of a dataset in the layout of `wikiann`, with the tags in this order."""
    for split in ("train", "validation", "test"):
        columns = {
            "tokens": [words for words, _ in WORDS],
            column: [[names.index(tag) for tag in tags] for _, tags in WORDS],
        }
        features = {"tokens": [TEXT], column: {"feature": class_label(names), "_type": "Sequence"}}
        write_parquet(folder / repository_path / f"{split}-00000-of-00001.parquet", columns, features)


def test_the_hub_s_tags_are_read_by_their_names(tmp_path):
    hub_copy(tmp_path, "en", ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"))
    hub_copy(tmp_path, "sw", ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"))
    task = load_task(Data("wikiann", folder=str(tmp_path)), "eng", ("swa",))
    for language in ("eng", "swa"):
        assert [task.labels[tag] for tag in task.examples("test", language)[0].label.tags] == [
            "B-PER",
            "O",
            "O",
            "B-LOC",
        ]
    assert "`wikiann`: the files of swa number their labels in another order; read by name." in task.notes


def nli_copy(folder, code, names, labels):
    for split in ("train", "validation", "test"):
        columns = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": labels}
        schema = {"premise": TEXT, "hypothesis": TEXT, "label": class_label(names)} if names else None
        write_parquet(folder / code / f"{split}-00000-of-00001.parquet", columns, schema)


NLI = ("entailment", "neutral", "contradiction")


@pytest.mark.parametrize(
    ("names", "numbers", "labels"),
    [
        (NLI[::-1], [2, 0], ["entailment", "contradiction"]),
        (None, [1, 0], ["neutral", "entailment"]),  # in the order of the task
    ],
)
def test_the_hub_s_classes_are_read_by_their_names(tmp_path, names, numbers, labels):
    nli_copy(tmp_path, "en", names and NLI, [0, 2])
    nli_copy(tmp_path, "de", names, numbers)
    assert labels_of(load_task(Data("xnli", folder=str(tmp_path)), "eng", ("deu",)), "deu") == labels


@pytest.mark.parametrize(
    ("names", "number", "error_message"),
    [
        (("yes", "perhaps", "no"), 0, "has 'yes' in `label`; expected a label, 0 to 2 or one of: entailment, neutral"),
        (NLI, -1, f"has the label `-1`. {WITHHELD}"),
    ],
)
def test_names_that_a_task_of_the_hub_does_not_know_are_refused(tmp_path, names, number, error_message):
    nli_copy(tmp_path, "en", NLI, [0, 2])
    nli_copy(tmp_path, "de", names, [number, number])
    with pytest.raises(InputError, match=re.escape(error_message)):
        load_task(Data("xnli", folder=str(tmp_path)), "eng", ("deu",))


def test_numbers_as_names_are_those_numbers(tmp_path):
    """PAWS-X names its classes `0` and `1`; another order of these is one, too."""
    for code, names, labels in (("en", ("0", "1"), [0, 1]), ("de", ("1", "0"), [1, 0])):
        for split in ("train", "validation", "test"):
            columns = {"id": [1, 2], "sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": labels}
            write_parquet(tmp_path / code / f"{split}-0.parquet", columns, {"label": class_label(names)})
    task = load_task(Data("pawsx", folder=str(tmp_path)), "eng", ("deu",))
    assert labels_of(task, "eng") == labels_of(task, "deu") == ["different", "paraphrase"]


@pytest.mark.parametrize(
    ("architecture", "output"),
    [("bert", "text"), ("bert", "token"), ("xlm-roberta", "text"), ("modernbert", "token"), ("llama", "text")],
)
def test_a_checkpoint_s_head_goes_by_the_names_of_its_labels(tmp_path, architecture, output):
    auto = {"text": AutoModelForSequenceClassification, "token": AutoModelForTokenClassification}[output]
    folder = save_tiny(tmp_path / "base", architecture)
    names = {"id2label": dict(enumerate("cab")), "label2id": {name: place for place, name in enumerate("cab")}}
    model = auto.from_pretrained(folder, num_labels=3, **names)
    model.save_pretrained(tmp_path / "tuned")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "tuned")

    def outputs(*labels):
        encoder = load_encoder("tuned", tmp_path / "tuned", labels, seed=0, output=output)
        return encoder, encoder.outputs(
            dict(encoder.tokenizer(["cat dog", "the old tree"], return_tensors="pt", padding=True))
        )

    (as_saved, expected), (sorted_by_name, actual) = outputs("c", "a", "b"), outputs("a", "b", "c")
    assert as_saved.head_is_loaded
    assert sorted_by_name.head_is_loaded
    assert torch.equal(actual, expected[..., [1, 2, 0]])
    for other_labels in (("a", "b", "d"), ("a", "b"), ("a", "a", "b")):
        assert not outputs(*other_labels)[0].head_is_loaded
