"""The task and parallel text `messages`: labels by key, parts that share nothing, the same from a wheel as from an extract."""

import hashlib
import io
import json
import tracemalloc
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from distxfer import load_recipe
from distxfer.data import Data, load_parallel, load_task, parallel_languages, task_languages
from distxfer.data._message_files import EXTRACT
from distxfer.data._message_parts import PARTS, part_of, role_of
from distxfer.data._messages import load_messages
from distxfer.data._near_duplicates import NearDuplicates
from distxfer.languages import canonical
from helpers import given, message
from studies.messages import extract, surface_cues

ROLES = ("action", "field", "name", "problem", "prompt")
TARGETS = tuple(language for language in task_languages("messages") if language != "eng")


@pytest.fixture(scope="module")
def task():
    return load_task("messages", "eng", TARGETS, target_labels=True)


@pytest.fixture(scope="module")
def pairs():
    return load_parallel("messages", "eng", TARGETS)


@pytest.fixture(scope="module")
def by_part(task, pairs):
    """Part -> every example that is read of it, in every language, with the English of unlabelled text in others."""
    parts = {
        split: [example for part in languages.values() for example in part] for split, languages in task.splits.items()
    }
    parts["parallel"] = [text for part in pairs.train.values() for pair in part for text in (pair.source, pair.target)]
    parts["source_text"] = list(task.unlabelled["eng"])
    parts["target_text"] = [example for target in TARGETS for example in task.unlabelled[target]]
    parts["target_text"] += load_task("messages", "deu", ("eng",)).unlabelled["eng"]
    return parts


def disjoint(sets):
    return sum(map(len, sets)) == len(set().union(*sets))


# Of the package's extract


def test_sizes_and_labels(task, pairs):
    assert task.labels == ROLES
    counts = {
        split: [Counter(task.labels[example.label] for example in task.examples(split, "eng"))[role] for role in ROLES]
        for split in task.splits
    }
    assert counts == {
        "train": [450, 450, 450, 450, 349], "dev": [80, 80, 80, 80, 59], "test": [250, 250, 250, 250, 205],
    }  # fmt: skip
    assert len(task.unlabelled["eng"]) == 1000
    assert len({example.id for target in TARGETS for example in task.unlabelled[target]}) <= 1500
    assert [len(pairs.train[target]) for target in ("ces", "kor", "heb", "slv")] == [1927, 1946, 458, 265]


def test_every_language_has_200_test_messages_and_20_of_each_role(task):
    assert len(TARGETS) == 31
    assert parallel_languages("messages") == task_languages("messages")
    assert [canonical(language) for language in TARGETS] == list(TARGETS)
    assert {"srp_Latn", "zho", "zho_Hant", "nor", "heb", "kor", "gle"} < set(TARGETS)
    for language in ("eng", *TARGETS):
        roles = Counter(example.label for example in task.examples("test", language))
        assert roles.total() >= 200
        assert len(roles) == 5
        assert min(roles.values()) >= 20


def test_the_split_is_the_one_it_always_was(task):
    assert task.fingerprint()[:16] == "e4204a6bf4460300"


def test_an_item_is_in_one_part_whatever_the_language(by_part):
    names = {part: {example.id for example in examples} for part, examples in by_part.items()}
    components = {part: {name.partition(":")[0] for name in ids} for part, ids in names.items()}
    keys = {part: {name.partition(":")[2] for name in ids} for part, ids in names.items()}
    for sets in (names, components, keys):
        assert disjoint(sets.values())
    assert all(part_of(component) == part for part in components for component in components[part])


def test_a_text_is_in_one_part_whatever_the_language(by_part):
    assert disjoint([{example.text.lower() for example in examples} for examples in by_part.values()])


def test_no_two_english_texts_are_near_duplicates():
    """By counts of trigrams in a matrix: |A & B| is a product of rows, |A | B| = |A| + |B| - |A & B|."""
    texts = [entry.texts["eng"] for entry in load_messages(Data("messages")).messages]
    assert len(texts) > 8000
    table = CountVectorizer(analyzer="char", ngram_range=(3, 3), binary=True, dtype=np.int32).fit_transform(texts)
    sizes = np.asarray(table.sum(axis=1)).ravel()
    highest = 0.0
    for start in range(0, len(texts), 500):
        shared = (table[start : start + 500] @ table.T).toarray()
        jaccard = shared / (sizes[start : start + 500, None] + sizes - shared)
        jaccard[np.arange(len(shared)), np.arange(start, start + len(shared))] = 0
        highest = max(highest, jaccard.max())
    assert 0.5 < highest <= 0.6


def test_translations_share_the_id_and_differ_from_the_english(task, pairs):
    english = {example.id: example for example in task.examples("test", "eng")}
    for target in TARGETS:
        examples = task.examples("test", target)
        assert all(example.label == english[example.id].label for example in examples)
        assert all(example.text.lower() != english[example.id].text.lower() for example in examples)
        assert [pair.target.id for pair in pairs.held_out[target]] == [example.id for example in examples]
        for pair in (*pairs.train[target], *pairs.held_out[target]):
            assert pair.source.id == pair.target.id
            assert (pair.source.label, pair.target.label) == (None, None)


def test_text_without_labels_translates_nothing_in_another_language(task):
    for source, target in (("eng", "deu"), ("deu", "eng"), ("jpn", "kor")):
        unlabelled = load_task("messages", source, (target,)).unlabelled
        ids = [{example.id for example in unlabelled[language]} for language in (source, target)]
        assert all(len(names) > 500 for names in ids)
        assert disjoint(ids)
    assert {role_of(example.id.partition(":")[2]) for example in task.unlabelled["deu"]} == {"", *ROLES}
    assert {example.label for example in task.unlabelled["deu"]} == {None}


def test_labels_of_some_messages(task):
    labels = {example.text: task.labels[example.label] for example in task.examples("test", "eng")}
    expected = {
        "Publishes a message to an MQTT topic.": "action", "Skip update": "action", "Select country": "field",
        "The delay between sending commands.": "field", "Grid voltage": "name", "Wi-Fi guest network": "name",
        "Invalid discovery prefix": "problem", "Cover travel time": "prompt", "Authorize LG Netcast TV": "prompt",
    }  # fmt: skip
    assert {text: labels[text] for text in expected} == expected


def test_the_notes_count_what_is_left_out(task):
    missing, untranslated, shared = load_task("messages", "eng", ("heb", "deu")).notes
    assert missing.startswith("Messages without a translation, left out: heb ")
    assert untranslated.startswith("Messages with the same text as in English, untranslated, left out: heb ")
    assert shared.startswith("Messages whose text another part has in some language, left out: heb ")
    loaded = load_messages(Data("messages"))
    for language in ("heb", "deu"):
        texts = sum(language in entry.texts for entry in loaded.messages)
        assert texts + sum(counts[language] for counts in loaded.left_out.values()) == len(loaded.messages)


def test_the_table_of_the_study_is_that_of_the_task(task, pairs):
    lines = (Path(__file__).parents[2] / "studies" / "messages" / "table.md").read_text(encoding="utf-8").splitlines()
    header, _, *rows, _ = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    table = {row[0]: dict(zip(header[1:], map(float, row[1:]), strict=True)) for row in rows}
    assert set(table) == {"eng", *TARGETS}
    scores = surface_cues.surface_scores(task)
    for language, row in table.items():
        assert [row[split] for split in task.splits] == [len(task.examples(split, language)) for split in task.splits]
        assert row["pairs"] == len(pairs.train.get(language, ()))
        assert row["accuracy"] == pytest.approx(scores[language][0], abs=0.0051)
    assert 0.35 < np.mean([scores[target][0] for target in TARGETS]) < scores["eng"][0] < 0.5


def test_the_corpus_is_chosen_unasked():
    recipe = load_recipe("plain", ["task=messages", f"task.folder={EXTRACT}"])
    assert (recipe.parallel.name, recipe.parallel.folder) == ("messages", str(EXTRACT))


# How they are chosen


@pytest.mark.parametrize(
    ("key", "role"),
    [
        ("services::set_vacation::name", "action"),
        ("services::set_vacation::description", "action"),
        ("services::set_vacation::fields::start::name", "field"),
        ("services::set_vacation::sections::more::name", ""),
        ("config::step::user::data::host", "field"),
        ("options::step::init::data_description::host", "field"),
        ("config_subentries::plane::step::user::data::name", "field"),
        ("config::step::user::sections::more::data::host", ""),
        ("entity::sensor::battery::name", "name"),
        ("entity::sensor::battery::state::low", ""),
        ("config::error::cannot_connect", "problem"),
        ("config::abort::already_configured", "problem"),
        ("config::abort::reauth_successful", ""),
        ("config::abort::existing_instance_updated", ""),
        ("exceptions::timeout::message", "problem"),
        ("config::step::user::title", "prompt"),
        ("config_subentries::plane::step::user::description", "prompt"),
        ("issues::deprecated::title", ""),
        ("title", ""),
    ],
)
def test_the_key_says_the_role(key, role):
    assert role_of(key) == role


def jaccard(one, other):
    sets = [{text.lower()[place : place + 3] for place in range(max(1, len(text) - 2))} for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@given(st.lists(st.text("abAB", min_size=1, max_size=9), min_size=2, max_size=30), st.sampled_from([0.3, 0.5, 0.6]))
def test_near_duplicates_are_those_of_every_comparison(texts, threshold):
    index = NearDuplicates(texts, threshold)
    for place, text in enumerate(texts):
        assert (text in index) == any(jaccard(text, earlier) > threshold for earlier in texts[:place])
        index.add(text)


# Of a wheel


KEYS = {
    "action": "services::{}::name", "field": "config::step::{}::data::a", "name": "entity::sensor::{}::name",
    "problem": "config::error::{}", "prompt": "config::step::{}::title", "": "entity::sensor::{}::state::on",
}  # fmt: skip


def words(name, language):
    """Six words that no other name has."""
    digest = hashlib.sha256(f"{language} {name}".encode()).digest()
    return " ".join(hashlib.sha256(digest[place : place + 2]).hexdigest()[:7] for place in range(6)) + f" {language}"


def tables(components=100, **special):
    """Language -> component -> key -> text, in three languages."""
    texts = {language: defaultdict(dict) for language in ("en", "ja", "zh-Hant")}
    for component in map("component{}".format, range(components)):
        for place, pattern in enumerate([*KEYS.values()] * 2):
            for language, table in texts.items():
                name = f"{component}_{place}"
                table[component][pattern.format(name)] = words(name, language)
    return texts


def nested(table):
    tree = {}
    for key, text in table.items():
        *path, last = key.split("::")
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
        branch[last] = text
    return tree


def wheel(path, texts, **others):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for language, by_component in texts.items():
            for component, table in by_component.items():
                name = f"homeassistant/components/{component}/translations/{language}.json"
                archive.writestr(name, json.dumps(nested(table)))
        archive.writestr("homeassistant/__init__.py", "raise RuntimeError('executed')")
        for name, content in others.items():
            archive.writestr(name, content)
    return path


def in_part(part, place=0):
    return [name for name in map("component{}".format, range(100)) if part_of(name) == part][place]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return wheel(tmp_path_factory.mktemp("wheel") / "homeassistant-0-py3-none-any.whl", tables())


def data(path):
    return Data("messages", folder=str(path))


def texts_of(path, languages=("jpn", "zho_Hant")):
    """Part -> language -> id -> text."""
    found = defaultdict(lambda: defaultdict(dict))
    for entry in load_messages(data(path)).messages:
        for language, text in entry.texts.items():
            found[entry.part][language][entry.id] = text
    return found


def test_a_wheel_and_the_extract_made_of_it_are_the_same_task(small, tmp_path):
    files = [tmp_path / name for name in ("a.json.xz", "b.json.xz")]
    for file in files:
        extract.main(str(small), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert task_languages(data(small)) == task_languages(data(files[0])) == ("eng", "jpn", "zho_Hant")
    for source, target in (("eng", "jpn"), ("zho_Hant", "eng")):
        tasks = [load_task(data(path), source, (target,), target_labels=True) for path in (small, files[0])]
        texts = [load_parallel(data(path), source, (target,)) for path in (small, files[0])]
        for of_wheel, of_extract in (tasks, texts):
            assert of_wheel.fingerprint() == of_extract.fingerprint()
            assert of_wheel.notes == of_extract.notes


def test_parts_take_all_messages_of_their_components_below_their_bounds(small):
    found = texts_of(small)
    for part, languages in found.items():
        members = [name for name in map("component{}".format, range(100)) if part_of(name) == part]
        assert len(languages["eng"]) == len(members) * (10 if PARTS[part].labelled else 12)
    for name, text in found["test"]["jpn"].items():
        assert text == words(next(step for step in name.split("::") if "_" in step), "ja")


def test_what_two_parts_would_share_stays_in_one(tmp_path):
    texts = tables()
    first, second = in_part("test"), in_part("train")
    shared_key, near, translation, twice = (KEYS["problem"].format(name) for name in ("key", "near", "same", "twice"))
    for language, table in texts.items():
        table[first][shared_key], table[second][shared_key] = words("k1", language), words("k2", language)
        table[first][near], table[second][near + "2"] = words("n", language), words("n", language) + "s"
        table[first][translation] = words("t1", language)
        table[second][translation + "2"] = words("t2", language) if language != "ja" else words("t1", language)
        table[first][twice] = table[in_part("test", 1)][KEYS["name"].format("twice")] = words("both", language)
    found = texts_of(wheel(tmp_path / "w.whl", texts))
    test, train = found["test"]["eng"], found["train"]["eng"]
    assert (f"{first}:{shared_key}" in test) != (f"{second}:{shared_key}" in train)
    assert (f"{first}:{near}" in test) != (f"{second}:{near}2" in train)
    assert f"{second}:{translation}2" in train
    assert f"{first}:{translation}" in found["test"]["jpn"]
    assert f"{second}:{translation}2" not in found["train"]["jpn"]
    assert words("both", "en") not in test.values()  # under keys of two roles


def test_what_is_no_plain_translated_text_is_left_out(tmp_path):
    texts = tables()
    component = in_part("test")
    plain, *others = (KEYS["problem"].format(name) for name in ("plain", "filled", "lines", "address", "short", "long"))
    for table in texts.values():
        bad = ["No {device} there", "One\ntwo", "See https://example.org now", "No", "long " * 40]
        table[component].update({plain: "Cannot Connect Here", **dict(zip(others, bad, strict=True))})
    texts["ja"][component][plain] = "cannot connect here"
    texts["zh-Hant"][component][plain] = " "
    path = wheel(tmp_path / "w.whl", texts)
    found = texts_of(path)["test"]
    assert {key for key in (plain, *others) if f"{component}:{key}" in found["eng"]} == {plain}
    assert f"{component}:{plain}" not in found["jpn"].keys() | found["zho_Hant"].keys()
    assert load_task(data(path), "eng", ("jpn", "zho_Hant")).notes == (
        "Messages without a translation, left out: zho_Hant 1.",
        "Messages with the same text as in English, untranslated, left out: jpn 1.",
    )


def test_regional_translations_and_languages_with_few_messages_are_left_out(small, tmp_path):
    texts = tables()
    texts["pt-BR"] = texts["es-419"] = texts["en-GB"] = texts["ja"]
    few = {component: table for component, table in texts["ja"].items() if part_of(component) != "test"}
    texts["sw"] = few
    path = wheel(tmp_path / "w.whl", texts)
    assert task_languages(data(path)) == ("eng", "jpn", "zho_Hant")
    role = KEYS["prompt"].partition("{}")[2]
    texts["ja"] = {c: {k: t for k, t in table.items() if not k.endswith(role)} for c, table in texts["ja"].items()}
    assert task_languages(data(wheel(tmp_path / "v.whl", texts))) == ("eng", "zho_Hant")


# Complaints


def test_a_file_that_is_not_there(tmp_path):
    error = message(task_languages, data(tmp_path / "none.whl"))
    assert error == (
        f"`{tmp_path}/none.whl` is not a file. Set `task.folder` (`parallel.folder`) to the path of the wheel"
        " `homeassistant`. Run: pip download --no-deps"
        " --only-binary=:all: --python-version 3.14.2 homeassistant==2026.11.0."
    )
    assert message(task_languages, data(tmp_path)).startswith(f"`{tmp_path}` is not a file.")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04cut", None])
def test_a_file_that_is_no_archive_or_cut_off(small, content, tmp_path):
    path = tmp_path / "broken.whl"
    path.write_bytes(small.read_bytes()[: small.stat().st_size // 2] if content is None else content)
    assert message(task_languages, data(path)).startswith(f"`{path}` cannot be read (")


def test_a_damaged_member(small, tmp_path):
    path = tmp_path / "broken.whl"
    content = bytearray(small.read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        place = next(entry.header_offset for entry in archive.infolist() if entry.filename.endswith("ja.json"))
    content[place + 90 : place + 130] = bytes(40)
    path.write_bytes(content)
    assert message(task_languages, data(path)).startswith(f"`{path}` cannot be read (")


def test_a_wheel_of_something_else(tmp_path):
    path = wheel(tmp_path / "w.whl", {"ja": tables()["ja"]})
    assert message(task_languages, data(path)).startswith(
        f"`{path}` has no `homeassistant/components/NAME/translations/en.json`. Expected the wheel `homeassistant`."
    )


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 3}', '{"a": ["b"]}', "[" * 100_000, b"\xff"])
def test_translations_that_are_damaged_are_named(content, tmp_path):
    name = "homeassistant/components/abode/translations/en.json"
    path = wheel(tmp_path / "w.whl", {}, **{name: content})
    assert message(task_languages, data(path)).startswith(f"`{path}:{name}` is not a file of translations (")


def test_a_member_that_is_too_large_is_not_read_whole(tmp_path):
    name = "homeassistant/components/abode/translations/en.json"
    path = wheel(tmp_path / "w.whl", {}, **{name: bytes(2**26)})
    tracemalloc.start()
    assert message(task_languages, data(path)).startswith(f"`{path}:{name}` is larger than 16 MiB. Expected the wheel")
    assert tracemalloc.get_traced_memory()[1] < 0.7 * 2**26
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_an_extract_that_is_damaged(content, tmp_path):
    path = tmp_path / "x.json.xz"
    path.write_bytes(EXTRACT.read_bytes()[:1000] if content is None else content)
    assert message(task_languages, data(path)).startswith(f"`{path}` is not an extract of messages (")
