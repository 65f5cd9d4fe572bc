"""What of the data an encoder does not read: counted by language and part, said, and kept in the result."""

import json
import shutil
from dataclasses import replace

import pytest

from distxfer.checkpoints.measure import measure
from distxfer.config.recipe import load_recipe
from distxfer.data import Answer, Example, Issue, Tags, issue_lines, issues, load_task, task_type_named
from distxfer.encoders import load_tokenizer, model_folder
from distxfer.reports.run import run_table
from distxfer.runs.run import train, validate

LONG = "cat dog bird tree rose leaf red big old new"  # ten tokens, twelve with the special ones


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return load_tokenizer(tiny)


def count(kind, examples, tokenizer, max_length=6, split="test"):
    result, _ = issues(task_type_named(kind), {(split, "eng"): examples}, tokenizer, max_length)
    return {issue.what: (issue.n, issue.of) for issue in result}


def texts(*words, pair=None):
    return [Example(str(place), "eng", text, pair, 0) for place, text in enumerate(words)]


def test_texts_that_are_cut_are_counted_and_those_that_are_then_the_same(tokenizer):
    assert count(
        "classification", texts(f"{LONG} two", LONG, "cat dog bird tree", "cat dog bird tree the"), tokenizer
    ) == {
        "cut": (3, 4),
        "same_tokens": (3, 4),
    }


def test_a_text_that_just_fits_is_not_cut(tokenizer):
    assert count("classification", texts("cat dog bird tree"), tokenizer) == {}
    assert count("classification", texts("cat dog bird tree rose"), tokenizer) == {"cut": (1, 1)}


def test_a_pair_is_cut_with_both_its_texts(tokenizer):
    assert count("classification", texts("cat dog", pair="bird tree"), tokenizer, 6) == {"cut": (1, 1)}
    assert count("classification", texts("cat dog", pair="bird tree"), tokenizer, 7) == {}


def test_texts_without_a_known_token_are_counted(tokenizer):
    assert count("classification", texts("xyz", "cat xyz", "\u200b"), tokenizer)["no_known_token"] == (2, 3)


def test_punctuation_and_digits_make_no_text_of_unknown_words_known():
    """The bundled tokenizer knows blanks and digits, and no letter of Cherokee."""
    tokenizer = load_tokenizer(model_folder("bundled/multilingual-e5-small"))
    there = texts("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ, 12.", "ᏣᎳᎩ cat", "1, 2, 3!", "cat")
    assert count("classification", there, tokenizer, 64)["no_known_token"] == (1, 4)


def test_texts_that_differ_in_normalisation_alone_are_counted_and_exact_repeats_are_not(tokenizer):
    composed, decomposed = "caf\u00e9 cat", "cafe\u0301 cat"
    result = count("classification", texts(composed, decomposed, composed, "dog", "dog"), tokenizer)
    assert result["same_in_nfc"] == (1, 5)


def tagged(text, *spans):
    return [Example("1", "eng", text, label=Tags(spans, (0,) * len(spans)))]


def test_words_without_a_token_and_words_that_are_cut_are_counted(tokenizer):
    result = count("token_classification", tagged("cat \u3000 dog", (0, 3), (4, 5), (6, 9)), tokenizer)
    assert result == {"words_without_token": (1, 3)}
    # One word with blanks in it, of more tokens than a window has.
    result = count(
        "token_classification", tagged(f"{LONG} the", (0, len(LONG)), (len(LONG) + 1, len(LONG) + 4)), tokenizer
    )
    assert result == {"words_cut": (1, 2), "cut_when_measured": (1, 1)}


def test_a_word_text_that_is_cut_into_windows_is_cut_for_the_measures_alone(tokenizer):
    spans = [(place, place + 3) for place in range(0, 16, 4)]
    assert count("token_classification", tagged("cat dog cat dog the the", *spans), tokenizer) == {
        "cut_when_measured": (1, 1)
    }
    assert count("token_classification", tagged("cat dog cat dog the the", *spans), tokenizer, split="train") == {}
    assert count("token_classification", tagged("cat dog cat dog the the", *spans), tokenizer, split="unlabelled") == {
        "cut": (1, 1)
    }


def test_questions_that_are_cut_are_counted(tokenizer):
    rows = [Example("1", "eng", "cat dog bird tree", LONG, (Answer("cat", 0),))]
    assert count("question_answering", rows, tokenizer, 6, "train") == {"questions_cut": (1, 1)}
    assert count("question_answering", rows, tokenizer, 8, "train") == {}


def test_a_part_that_is_trained_on_is_looked_at_by_samples(tokenizer):
    rows = [Example(str(place), "eng", LONG if place % 2 else "cat", None, 0) for place in range(30_001)]
    cut, of = count("classification", rows, tokenizer, split="train")["cut"]
    assert of == 10_000
    assert 4700 < cut < 5300
    assert count("classification", rows, tokenizer, split="test")["cut"] == (15_000, 30_001)


@pytest.mark.parametrize(("n", "advised"), [(1, False), (200, True)])
def test_another_encoder_is_advised_where_many_texts_have_no_known_letter(n, advised):
    (line,) = issue_lines([Issue("zho", "unlabelled", "no_known_token", n, 929)], 32, 0, 512)
    assert line.startswith(f"Texts in which the encoder knows no letter: zho unlabelled {n} of 929.")
    assert ("Choose another encoder" in line) == advised


def test_lines_name_the_worst_parts_first_and_no_more_than_eight():
    issues = [Issue(f"l{number}", "test", "cut", number, 10) for number in range(1, 11)]
    assert list(issue_lines(issues, 32, 87, 512)) == [
        "Texts cut off at `task.max_length` = 32 tokens: l10 test 10 of 10, l9 test 9 of 10, l8 test 8 of 10, l7 test 7 of 10,"
        " l6 test 6 of 10, l5 test 5 of 10, l4 test 4 of 10, l3 test 3 of 10, and 2 more parts (`data_issues` of"
        " `validate --json`). Raise it to 87 to read them whole, or shorten the texts."
    ]


@pytest.mark.parametrize(
    ("pair", "length", "advice"),
    [
        ("", 6, "Raise it to 12 to read them whole, or shorten the texts."),
        (LONG, 6, "Raise it to 16, the most that the encoder reads, or shorten the texts."),
        (LONG, 16, "The encoder reads no more: shorten the texts."),
    ],
)
def test_the_notice_on_cut_texts_names_the_length_that_they_need(tokenizer, pair, length, advice):
    part = {("test", "eng"): texts("cat", LONG, "cat dog", pair=pair or None)}
    cut, longest = issues(task_type_named("classification"), part, tokenizer, length)
    assert next(issue_lines(cut, length, longest, 16)).endswith(f" 3. {advice}")


@pytest.fixture
def long_texts(task_folder, parallel_folder, tmp_path):
    """The task with German tests that are longer, and parallel text of which one Japanese side is."""
    for language in ("eng", "deu", "jpn"):
        for split in ("train", "test") if language == "eng" else ("test",):
            rows = [json.loads(line) for line in (task_folder / language / f"{split}.jsonl").read_text().splitlines()]
            for row in rows if language == "deu" else ():
                row["text"] = f"{'katze hund vogel ' * 4}{row['text']}"
            path = tmp_path / "task" / language / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    for language in ("deu", "jpn"):
        lines = (parallel_folder / f"{language}.tsv").read_text().splitlines()
        if language == "jpn":
            lines[0] += " neko" * 12
        (pairs / f"{language}.tsv").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def test_a_run_says_and_keeps_what_was_cut(long_texts, tiny, tmp_path):
    words = [
        f"model={tiny}", f"task={long_texts / 'task'}", f"parallel={long_texts / 'pairs'}", "task.targets=deu,jpn",
        "task.max_length=10", "phase.finetune.epochs=1", "intervention.align.weight=0.1", "intervention.align.layers=4",
    ]  # fmt: skip
    prepared = validate(load_recipe("plain", words))
    cut = {(issue.language, issue.split): (issue.n, issue.of) for issue in prepared.issues if issue.what == "cut"}
    assert cut[("deu", "test")] == (24, 24)
    assert sum(n for (language, split), (n, _) in cut.items() if split in ("parallel", "held_out")) == 1
    line = next(note for note in prepared.notes if note.startswith("Texts cut off"))
    assert line.startswith("Texts cut off at `task.max_length` = 10 tokens: deu test 24 of 24, jpn ")
    expected = []
    result = train(load_recipe("plain", words), tmp_path / "results", notice=expected.append)
    assert line in expected
    assert {"language": "deu", "split": "test", "what": "cut", "n": 24, "of": 24} in result.data["data_issues"]
    table = run_table(result)
    assert [(row["language"], row["cut off"]) for row in table.records()] == [("eng", ""), ("deu", "100%"), ("jpn", "")]
    assert "cut off: test texts of more than 10 tokens." in table.notes
    assert f"Of the data: {line}" in (result.folder / "model" / "README.md").read_text()


def test_the_table_of_a_run_has_dashes_with_reasons_and_says_what_is_cut(tiny_settings, task_folder, tmp_path):
    task = shutil.copytree(task_folder, tmp_path / "task")
    path = task / "deu" / "test.jsonl"
    rows = [json.loads(line) | {"text": "hund"} for line in path.read_text().splitlines()]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = [*tiny_settings, f"task={task}", "task.targets=deu", "phase.finetune.steps=2"]
    result = train(load_recipe("plain", words), tmp_path / "results")
    table = run_table(result)
    assert [row["drift"] is None for row in table.records()] == [False, True]
    note = result.data["undefined"][0]
    assert note.startswith("No drift for deu at layer 0-4: the self-similarity of `x` is 0: its rows are all the same")
    assert note in table.notes
    length = result.data["recipe"]["task"]["max_length"]
    for key, note in {
        "questions_cut": f"cut off: questions of the test of more than half of {length} tokens.",
        "words_cut": f"cut off: words of the test of more than {length} tokens.",
    }.items():
        cut = {"language": "deu", "split": "test", "what": key, "n": 6, "of": 24}
        first = cut | {"what": "cut_when_measured", "n": 24}
        table = run_table(replace(result, data=result.data | {"data_issues": [cut, cut | {"split": "dev"}, first]}))
        assert [row["cut off"] for row in table.records()] == ["", "25%"]
        assert note in table.notes
        assert (
            f"drift covers only the first {length} tokens of these shares of the test texts: deu 100%." in table.notes
        )


def test_a_run_that_cuts_nothing_has_no_column_for_it(tiny_settings, tmp_path):
    expected = []
    words = [*tiny_settings, "task.targets=deu", "phase.finetune.epochs=1"]
    result = train(load_recipe("plain", words), tmp_path, notice=expected.append)
    assert "cut off" not in run_table(result).columns
    assert not [note for note in expected if "cut off" in note]
    assert [issue for issue in result.data["data_issues"] if issue["what"] == "cut"] == []


def test_measure_says_what_is_cut(tiny, tuned, seven):
    expected = []
    measure(str(tiny), str(tuned), [f"task={seven}", "parallel=", "task.max_length=4"], notice=expected.append)
    assert any(note.startswith("Texts cut off at `task.max_length` = 4 tokens: ") for note in expected)


def test_counting_leaves_the_task_as_it_is(task_folder, tokenizer):
    task = load_task(str(task_folder), "eng", ("deu",))
    before = task.fingerprint()
    issues(task_type_named("classification"), {("test", "deu"): task.examples("test", "deu")}, tokenizer, 6)
    assert task.fingerprint() == before


def test_what_was_left_out_is_counted_in_the_task_and_in_the_run(task_folder, tiny, tmp_path):
    """By the readers of files: pairs of Moses that are blank on one side."""
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    (pairs / "a.en-de.en").write_text("cat\n\ndog\nbird\ntree\n")
    (pairs / "a.en-de.de").write_text("katze\nhund\nhund\nvogel\nbaum\n")
    words = [f"model={tiny}", f"task={task_folder}", f"parallel={pairs}", "task.targets=deu"]
    prepared = validate(load_recipe("plain", words))
    assert Issue("deu", "parallel", "lines that are blank on one side or both", 1, 5) in prepared.issues
    assert [note for note in prepared.notes if "blank on one side" in note] == [
        "`a.en-de.de`: 1 line that is blank on one side or both left out."
    ]


def test_repeats_are_found_in_nfc(tmp_path):
    for path, texts_of_part in (
        ("eng/train", ["caf\u00e9", "dog"]),
        ("eng/test", ["cafe\u0301"]),
        ("deu/test", ["hund"]),
    ):
        file = tmp_path / f"{path}.jsonl"
        file.parent.mkdir(exist_ok=True)
        rows = [{"text": text, "label": str(place)} for place, text in enumerate(texts_of_part)]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    notes = load_task(str(tmp_path), "eng", ("deu",)).notes
    assert "`eng/test.jsonl` repeats 1 training text of `eng/train.jsonl` (first: line 1)." in notes


def test_validate_has_the_counts_as_json(cli, tiny_settings):
    shown = cli("validate", "--json", "recipe=plain", *tiny_settings, "task.targets=deu", "task.max_length=4")
    issues_shown = json.loads(shown.stdout)["data_issues"]
    assert {(row["language"], row["split"]) for row in issues_shown if row["what"] == "cut"} >= {
        ("eng", "train"),
        ("deu", "test"),
    }
