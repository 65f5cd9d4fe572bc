"""The built-in tasks and corpora of the hub: read from folders with exactly its layout and columns, and from its cache."""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import say, sentences
from distxfer.config.recipe import load_recipe
from distxfer.data import (
    Answer,
    Data,
    Example,
    Tags,
    load_parallel,
    load_task,
    parallel_languages,
    parallel_names,
    task_languages,
    task_names,
    task_type_of,
)
from distxfer.languages import canonical
from distxfer.runs.run import train
from helpers import message
from hub_layouts import FILES, HUB, PART, XNLI, nli, squad, topic, write

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def data(tmp_path: Path, name: str) -> Data:
    return Data(name, folder=str(write(tmp_path / name, FILES[name])))


def spans(*spans_: tuple[int, int], tags: tuple[int, ...]) -> Tags:
    return Tags(spans_, tags)


# The task, its source and targets, and an example of its test that says the most.
READ = {
    "xnli": ("eng", ("zho", "swa"), Example("0", "zho", "他唱歌", "他很安静", 2)),
    "americasnli": ("eng", ("grn", "quy"), Example("0", "grn", "j", "k", 2)),
    "pawsx": ("eng", ("jpn",), Example("7", "jpn", "え", "お", 1)),
    "sib200": ("eng", ("zho_Hant", "nqo"), Example("9", "zho_Hant", "丁", None, 2)),
    "massive": ("eng", ("nor", "zho_Hant"), Example("1", "nor", "test nb", None, 2)),
    "wikiann": ("eng", ("gsw",), Example("0", "gsw", "z Bärn", None, spans((0, 1), (2, 6), tags=(0, 5)))),
    "udpos": ("eng", ("tgl",), Example("0", "tgl", "Kumain ako", None, spans((0, 6), (7, 10), tags=(15, 10)))),
    "masakhaner": ("hau", ("swa",), Example("0", "swa", "Dodoma", None, spans((0, 6), tags=(5,)))),
    "xquad": (
        "eng", ("deu",), Example("x1", "deu", "Hauptstadt?", "Die Hauptstadt ist Paris.", (Answer("Paris", 19),)),
    ),
    "tatoeba": ("eng", ("deu", "swa"), Example("deu-0", "deu", "d0 .")),
    "flores": ("eng", ("zho", "twi"), Example("0", "zho", "devtest 0 cmn_Hans")),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_task_is_read_as_it_lies_on_the_hub(tmp_path, name):
    source, targets, expected = READ[name]
    task = load_task(data(tmp_path, name), source, targets)
    assert (task.name, task.task_type) == (name, task_names()[name].task_type)
    assert task.examples("test", expected.language)[0] == expected
    assert set(task.splits["test"]) == {source, *targets}
    assert set(task.splits["train"]) == ({source} if task.task_type != "retrieval" else set())
    task_type_of(task).check(task, source)


def test_the_labels_stand_in_the_order_of_the_hub(tmp_path):
    def labels(name: str) -> tuple[str, ...]:
        return load_task(data(tmp_path, name), *READ[name][:2]).labels

    assert labels("xnli") == labels("americasnli") == ("entailment", "neutral", "contradiction")
    assert labels("pawsx") == ("different", "paraphrase")
    assert labels("wikiann") == ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
    assert labels("masakhaner") == (*labels("wikiann"), "B-DATE", "I-DATE")
    assert (len(labels("udpos")), labels("udpos")[7], labels("udpos")[15]) == (17, "NOUN", "VERB")
    assert (len(labels("massive")), len(labels("sib200"))) == (60, 7)


def test_every_language_is_a_key_of_its_own_and_none_needs_the_hub_to_be_listed():
    for name in HUB:
        keys = task_languages(name)
        assert list(keys) == sorted({canonical(key) for key in keys})
    assert [len(task_languages(name)) for name in HUB] == [10, 222, 20, 51, 7, 205, 111, 33, 173, 15, 12]
    assert [len(parallel_languages(name)) for name in ("flores", "opus100", "tatoeba")] == [222, 99, 111]
    for name, about in {**task_names(), **parallel_names()}.items():
        assert about.source or name not in HUB
        assert about.needs or name == "messages"  # which comes with the package
        assert all((about.size, about.licence, about.citation)), name


def test_what_is_read_of_the_targets_in_training(tmp_path):
    lies = data(tmp_path, "sib200")
    task = load_task(lies, "eng", ("zho_Hant",))
    assert set(task.splits["train"]) == {"eng"}
    assert task.unlabelled["zho_Hant"] == (Example("5", "zho_Hant", "甲"), Example("6", "zho_Hant", "乙"))
    labelled = load_task(lies, "eng", ("zho_Hant",), target_labels=True)
    assert [example.label for example in labelled.examples("train", "zho_Hant")] == [6, 4]
    assert load_task(data(tmp_path, "xnli"), "eng", ("zho",)).unlabelled == {}


def test_what_is_left_out_is_counted(tmp_path):
    task = load_task(data(tmp_path, "pawsx"), "eng", ("jpn",))
    assert task.notes == (
        "`pawsx`: 1 row was left out of dev (jpn 1): `NS` in the place of a sentence.",
        "`pawsx`: 1 row was left out of dev (jpn 1): no text.",
        "`pawsx` has no dev part in: jpn.",
    )
    (empty, without) = load_task(data(tmp_path, "udpos"), "eng", ("tgl",)).notes
    assert "1 row was left out of test (eng 1): no words." in empty
    assert without == "`udpos` has no dev part in: tgl."


def test_dev_of_xquad_has_no_question_on_a_text_that_is_tested_on(tmp_path):
    task = load_task(data(tmp_path, "xquad"), "eng", ("deu",))
    assert [example.id for example in task.examples("dev", "eng")] == ["d1"]
    assert task.examples("train", "eng")[0].label == (Answer("Rome", 0),)
    assert len(task.examples("test", "deu")) == 1
    assert task.notes[0].endswith("(deu 1): an answer that does not stand in the text where it should.")
    assert task.notes[-1] == "`xquad`: 2 questions left out of dev, which the test asks too, or on the same text."


def test_dev_of_xquad_leaves_a_tested_text_out_by_its_questions_too(tmp_path):
    """Where the two copies of the text differ by a blank."""
    spaced = [{**row, "context": f"{row['context']} "} for row in FILES["xquad"][f"xquad.en/validation{PART}"]]
    folder = write(tmp_path / "xquad", {**FILES["xquad"], f"xquad.en/validation{PART}": spaced})
    task = load_task(Data("xquad", folder=str(folder)), "eng", ("deu",))
    assert [example.id for example in task.examples("dev", "eng")] == ["d1"]


def test_each_language_of_tatoeba_has_an_english_side_of_its_own(tmp_path):
    task = load_task(data(tmp_path, "tatoeba"), "eng", ("deu", "swa"))
    english = {example.id: example.text for example in task.examples("test", "eng")}
    assert len(english) == 21
    assert english["deu-3"] == "e3 ."
    assert (english["swh-0"], task.examples("test", "swa")[0].text) == ("hello", "habari")
    assert "pairs every language with English" in message(load_task, data(tmp_path, "tatoeba"), "deu", ("swa",))


def test_a_source_must_have_text_to_train_on(tmp_path):
    assert message(load_task, data(tmp_path, "americasnli"), "grn", ("quy",)) == (
        "The task `americasnli` has no training text in `grn`. Its source may be: eng, spa."
    )
    assert "no training text in `deu`" in message(load_task, data(tmp_path, "xquad"), "deu", ("eng",))


# Corpora.


def texts(pairs) -> list[tuple[str, str]]:
    assert all(pair.source.id == pair.target.id for pair in pairs)
    return [(pair.source.text, pair.target.text) for pair in pairs]


def test_flores_trains_on_dev_and_measures_on_devtest_between_any_two_languages(tmp_path):
    text = load_parallel(data(tmp_path, "flores"), "zho_Hant", ("zho", "eng", "zho_Hant"))
    assert texts(text.train["eng"]) == [("dev 0 cmn_Hant", "dev 0 eng_Latn"), ("dev 1 cmn_Hant", "dev 1 eng_Latn")]
    assert texts(text.held_out["zho"])[0] == ("devtest 0 cmn_Hant", "devtest 0 cmn_Hans")
    assert set(text.train) == {"eng", "zho"}


def test_opus_is_read_lazily_and_without_pairs_that_are_none(tmp_path):
    text = load_parallel(data(tmp_path, "opus100"), "eng", ("jpn", "dzo"))
    assert texts(text.train["jpn"]) == [("One.", "一。"), ("Four.", "四。")]
    assert text.train["jpn"][1].source.id == "train-3"
    assert texts(text.held_out["jpn"]) == [("Test.", "試験。")]
    assert (len(text.train["dzo"]) + len(text.held_out["dzo"]), bool(text.held_out["dzo"])) == (50, True)
    assert text.notes == ("`opus100`: pairs with a blank side, or twice the same one, left out: jpn 2.",)
    assert "pairs every language with English" in message(load_parallel, data(tmp_path, "opus100"), "jpn", ("dzo",))


def test_sentences_that_have_no_translation_are_counted(tmp_path):
    folder = data(tmp_path, "flores").folder
    rows = [{"id": key, "text": text} for key, text in ((0, "a"), (0, "b"), (1, " "), (7, "c"))]
    write(Path(folder), {"dev/cmn_Hans.jsonl": rows})
    text = load_parallel(Data("flores", folder=folder), "eng", ("zho",))
    assert texts(text.train["zho"]) == [("dev 0 eng_Latn", "a")]
    # One without text, one with the id of another; 7 has no English, and the English 1 no Chinese.
    assert text.notes == ("`flores`: sentences without text, a translation or an id of their own, left out: zho 4.",)
    (Path(folder) / "dev/eng_Latn.jsonl").unlink()
    assert "the dev part of `eng`" in message(load_parallel, Data("flores", folder=folder), "eng", ("zho",))


def test_blank_sides_of_tatoeba_are_counted_by_task_and_corpus(tmp_path):
    folder = data(tmp_path, "tatoeba").folder
    rows = [
        {"sentence1": first, "sentence2": second} for first, second in (("a", "b"), ("", "c"), ("d", None), ("e", "e"))
    ]
    write(Path(folder), {"test/deu-eng.jsonl.gz": rows})
    task, text = (
        load_task(Data("tatoeba", folder=folder), "eng", ("deu",)),
        load_parallel(Data("tatoeba", folder=folder), "eng", ("deu",)),
    )
    assert [example.id for example in task.examples("test", "deu")] == ["deu-0", "deu-3"]
    assert task.notes == text.notes == ("`tatoeba`: pairs with a blank side, left out: deu 2.",)


def test_tatoeba_holds_a_fixed_fifth_out(tmp_path):
    text = load_parallel(data(tmp_path, "tatoeba"), "eng", ("deu",))
    assert len(text.train["deu"]) + len(text.held_out["deu"]) == 20
    assert text.held_out["deu"]
    assert ("e0 .", "d0 .") in texts([*text.train["deu"], *text.held_out["deu"]])


# What can be wrong with a copy.


def test_a_copy_that_lacks_something_is_refused_in_words(tmp_path):
    folder = write(tmp_path / "xnli", {**XNLI, f"fr/test{PART}": [{"premise": "a", "hypotesis": "b", "label": 1}]})
    lies = Data("xnli", folder=str(folder))
    assert message(load_task, lies, "eng", ("deu",)) == (
        f"`{folder}` has no row in `de/test-*.parquet`, the test part of `deu` in `facebook/xnli`. Leave the language out, or"
        " complete the copy, on the hub or in `task.folder`."
    )
    wrong = message(load_task, lies, "eng", ("fra",))
    assert "has no column `hypothesis`, only: premise, hypotesis, label." in wrong
    write(folder, {f"fr/test{PART}": nli(("a", "b", 3))})
    wrong = message(load_task, lies, "eng", ("fra",))
    assert f"`{folder}/fr/test{PART}:1` has 3 in `label`; expected a label, 0 to 2 or one of: entailment" in wrong
    (folder / f"fr/test{PART}").write_bytes(b"no parquet")
    assert "cannot be read as Parquet" in message(load_task, lies, "eng", ("fra",))
    assert "`task.folder` is `nowhere`, which is not a folder" in message(
        load_task, Data("xnli", folder="nowhere"), "eng", ()
    )


def test_a_compressed_file_that_is_damaged_or_holds_no_objects_is_refused(tmp_path):
    lies = data(tmp_path, "massive")
    path = Path(lies.folder) / "test/nb.json.gz"
    compressed = gzip.compress(b"".join(b'{"id": "%d"}\n' % number for number in range(999)))
    flipped = compressed[:200] + bytes(255 - byte for byte in compressed[200:300]) + compressed[300:]
    for content in (compressed[:-9], flipped, b"no gzip", gzip.compress(b'{"id": "\xff"}')):
        path.write_bytes(content)
        assert message(load_task, lies, "eng", ("nor",)).startswith(f"`{path}")
    path.write_bytes(gzip.compress(b"[1]\n"))
    assert f"`{path}:1` is '[1]'; expected a JSON object" in message(load_task, lies, "eng", ("nor",))
    path.write_bytes(gzip.compress(b'\n{"id": "1", "label": "alarm_set", "text": "a"}\n{\n'))
    assert f"`{path}:3` is not valid JSON" in message(load_task, lies, "eng", ("nor",))


def test_a_byte_order_mark_and_blank_lines_do_not_matter(tmp_path):
    lies = data(tmp_path, "massive")
    path = Path(lies.folder) / "test/nb.json.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + gzip.decompress(path.read_bytes()).replace(b"\n", b"\r\n\n")))
    assert [example.id for example in load_task(lies, "eng", ("nor",)).examples("test", "nor")] == ["1", "4"]


@pytest.mark.parametrize(
    ("name", "file", "row", "says"),
    [
        ("wikiann", f"als/test{PART}", {"tokens": ["z", None], "ner_tags": [0, 5]}, "expected a list of texts"),
        ("wikiann", f"als/test{PART}", {"tokens": ["z"], "ner_tags": [0, 5]}, "expected a list of 1 tag"),
        ("wikiann", f"als/test{PART}", {"tokens": ["z"], "ner_tags": [7]}, "expected a label, 0 to 6"),
        ("wikiann", f"als/test{PART}", {"tokens": None, "ner_tags": None}, "expected a list of texts"),
        ("sib200", "test/zho_Hant.parquet", topic(None, "health", "丁"), "expected a whole number or a text"),
        ("sib200", "test/zho_Hant.parquet", topic(9, None, "丁"), "expected a label, 0 to 6"),
        ("sib200", "test/zho_Hant.parquet", topic(9, "health", 3), "expected a text"),
        ("xquad", f"xquad.de/validation{PART}", {**squad("x", "c", "q", "c", 0), "answers": None}, "expected a table"),
        (
            "xquad",
            f"xquad.de/validation{PART}",
            {**squad("x", "c", "q", "c", 0), "answers": {"text": ["c"], "answer_start": [None]}},
            "expected a table",
        ),
        ("opus100", f"en-ja/train{PART}", {"translation": {"en": 3, "ja": "三"}}, "expected a table of two texts"),
        ("opus100", f"en-ja/train{PART}", {"translation": {"en": "a", "de": "b"}}, "expected a table of two texts"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_by_its_place(tmp_path, name, file, row, says):
    lies = data(tmp_path, name)
    write(Path(lies.folder), {file: [row]})
    source, targets, *_ = READ.get(name, ("eng", ("jpn",)))
    error_message = message(load_task if name in READ else load_parallel, lies, source, targets)
    assert error_message.startswith(f"`{lies.folder}/{file}:1` has ")
    assert says in error_message


def test_an_answer_before_the_text_begins_is_none(tmp_path):
    lies = data(tmp_path, "xquad")
    write(
        Path(lies.folder),
        {f"xquad.de/validation{PART}": [squad("x1", "a b", "q", "a", 0), squad("x2", "a b", "q", "b", -1)]},
    )
    assert [example.id for example in load_task(lies, "eng", ("deu",)).examples("test", "deu")] == ["x1"]


# The hub's own cache: the real client, without a network.


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the hub's client, to be filled, and a client that may not reach the hub."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def fill(repository: str, commit: str, files: dict[str, list[dict]], ref: str = "") -> None:
        root = folder / f"datasets--{repository.replace('/', '--')}"
        write(root / "snapshots" / commit, files)
        if ref:
            (root / "refs").mkdir()
            (root / "refs" / ref).write_text(commit)

    return fill


def test_a_warm_cache_at_the_pinned_commit_needs_no_hub(cache):
    cache("facebook/xnli", task_names()["xnli"].revision, XNLI)
    task = load_task("xnli", "eng", ("swa", "zho"))
    assert task.examples("test", "swa")[0] == Example("0", "swa", "aliimba", "alikuwa kimya", 2)
    assert task.notes == ("`xnli` has no dev part in: swa.",)
    cache("openlanguagedata/flores_plus", parallel_names()["flores"].revision, FILES["flores"])
    assert texts(load_parallel("flores", "eng", ("zho",)).held_out["zho"])[1] == (
        "devtest 1 eng_Latn",
        "devtest 1 cmn_Hans",
    )


def test_another_revision_is_read_when_the_recipe_asks_for_it_and_said(cache):
    cache("facebook/xnli", COMMIT, XNLI)
    task = load_task(Data("xnli", revision=COMMIT), "eng", ("zho",))
    assert task.notes == (
        f"`facebook/xnli` was read at the commit {COMMIT}: `task.revision` is `{COMMIT}`. Set"
        f" `task.revision={COMMIT}` to pin it.",
    )


def test_a_copy_on_disk_has_no_revision(tmp_path):
    for name, section, load in (("xnli", "task", load_task), ("flores", "parallel", load_parallel)):
        lies = data(tmp_path, name)
        assert load(lies, "eng", ("zho",))
        assert message(load, replace(lies, revision=COMMIT), "eng", ("zho",)) == (
            f"`{section}.revision` is `{COMMIT}`, which has no effect together with `{section}.folder` = `{lies.folder}`: a"
            " local copy is read as it is. Remove one of the two."
        )


def test_a_dataset_without_a_pin_says_which_commit_it_was_read_at(cache):
    cache("facebook/xnli", task_names()["xnli"].revision, XNLI)
    cache("nala-cub/americas_nli", COMMIT, FILES["americasnli"], ref="main")
    task = load_task("americasnli", "eng", ("grn",))
    assert task.examples("test", "grn")[0].text == "j"
    assert task.notes[0] == (
        f"`nala-cub/americas_nli` was read at the commit {COMMIT}: distxfer pins no commit of it."
        f" Set `task.revision={COMMIT}` to pin it."
    )


@pytest.mark.usefixtures("cache")
def test_without_hub_and_cache_the_message_says_what_to_do():
    wrong = message(load_task, "xnli", "eng", ("zho",))
    assert wrong.startswith(
        "`facebook/xnli`, revision `b8dd5d7af51114dbda02c0e3f6133f332186418e`, cannot be downloaded from the Hugging Face hub: "
    )
    assert wrong.endswith("set `task.folder=DIR` to a copy of the repository, or HF_HOME to a cache that holds it.")
    assert "`parallel.folder=DIR`" in message(load_parallel, "opus100", "eng", ("jpn",))


# From a recipe to scores.


def test_a_run_on_the_layout_of_xnli(tmp_path, tiny_settings):
    def rows(n: int, seed: int, language: str) -> list[dict]:
        result = sentences(n, seed)
        pairs = zip(result, result[1:] + result[:1], strict=True)
        return nli(*((say(first, language), say(second, language), int(a == b)) for (first, a), (second, b) in pairs))

    parts = [
        ("en", "eng", "train", 24),
        ("en", "eng", "validation", 8),
        ("en", "eng", "test", 12),
        ("de", "deu", "test", 12),
    ]
    folder = write(
        tmp_path / "xnli",
        {f"{code}/{split}{PART}": rows(n, 3, language) for code, language, split, n in parts},
    )
    settings = ["task=xnli", f"task.folder={folder}", "task.targets=deu", "parallel=", "phase.finetune.epochs=1"]
    result = train(load_recipe("plain", [*tiny_settings, *settings]), tmp_path / "results")
    scores = {
        (score["language"], score["split"]): score for score in result.data["scores"] if score["metric"] == "accuracy"
    }
    assert {key: score["n"] for key, score in scores.items()} == {
        ("eng", "dev"): 8,
        ("eng", "test"): 12,
        ("deu", "test"): 12,
    }
