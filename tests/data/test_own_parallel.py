"""Parallel text of your own as Moses pairs and as TMX; `test_own_data.py` has TSV."""

import re

import pytest

from distxfer.data import Data, load_parallel, parallel_languages
from distxfer.errors import InputError

PAIRS = [(f"sentence {n}", f"sentensi {n}") for n in range(60)]
HEAD = '<?xml version="1.0" encoding="{encoding}"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx version="1.4"><header/><body>\n'


def moses(folder, stem, source, target, pairs=PAIRS):
    folder.mkdir(parents=True, exist_ok=True)
    for code, side in ((source, 0), (target, 1)):
        (folder / f"{stem}.{code}").write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")


def tmx(path, units, encoding="utf-8"):
    """Write a TMX file of units, each a list of (language, what is in `seg`)."""
    lines = [
        "<tu>" + "".join(f'<tuv xml:lang="{code}"><seg>{text}</seg></tuv>' for code, text in unit) + "</tu>\n"
        for unit in units
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD.format(encoding=encoding) + "".join(lines) + "</body></tmx>\n", encoding=encoding)
    return path


def load(folder, source="eng", targets=("swa",), pattern=""):
    return load_parallel(Data(str(folder), pattern=pattern), source, targets)


def texts(corpus, target="swa"):
    """The pairs of a target, held out or not, in the order of the file."""
    pairs = [*corpus.train[target], *corpus.held_out[target]]
    return [(pair.source.text, pair.target.text) for pair in sorted(pairs, key=lambda pair: int(pair.source.id))]


def complains(error_message, *arguments, **options):
    with pytest.raises(InputError, match=f"^{re.escape(error_message)}$"):
        load(*arguments, **options)


@pytest.mark.parametrize(
    ("stem", "source", "target", "key"),
    [
        ("GNOME.en-sw", "en", "sw", "swa"),
        ("bible-uedin.v1.de-en", "en", "de", "deu"),  # OPUS has the codes of a pair in alphabetical order
        ("eng_Latn-zho_Hant", "eng_Latn", "zho_Hant", "zho_Hant"),
        ("TED.en-zh_TW", "en", "zh_TW", "zho_Hant"),
        ("x.pt-BR-en", "en", "pt-BR", "por"),
    ],
)
def test_moses_pairs(tmp_path, stem, source, target, key):
    moses(tmp_path, stem, source, target)
    for name in ("README", "LICENSE.txt", f"{stem}.ids", "notes.txt"):
        (tmp_path / name).write_text("no text")
    assert set(parallel_languages(str(tmp_path))) == {"eng", key}
    task = load(tmp_path, targets=(key, "jpn"))
    assert list(task.train) == list(task.held_out) == [key]
    assert texts(task, key) == PAIRS
    assert 2 <= len(task.held_out[key]) <= 30
    assert task.notes == ()
    (first,) = [pair for part in (task.train, task.held_out) for pair in part[key] if pair.source.id == "1"]
    assert (first.source.language, first.target.language, first.target.id) == ("eng", key, "1")


def test_the_source_may_be_either_side(tmp_path):
    moses(tmp_path, "GNOME.en-sw", "en", "sw")
    assert texts(load(tmp_path, "swa", ("eng",)), "eng") == [pair[::-1] for pair in PAIRS]
    assert load(tmp_path, "deu", ("swa", "eng")).train == {}


def test_lines_that_are_blank_are_counted(tmp_path):
    moses(
        tmp_path, "GNOME.en-sw", "en", "sw", [("a", "b"), ("", "c"), ("d", " "), ("", ""), ("null", "nan"), ("a", "b")]
    )
    task = load(tmp_path)
    assert texts(task) == [("a", "b"), ("null", "nan"), ("a", "b")]
    assert task.notes == (
        "`GNOME.en-sw.sw`: 3 lines that are blank on one side or both left out.",
        "`GNOME.en-sw.sw` repeats 1 of its own pairs (first: 6, as 1); they are kept.",
    )


def test_moses_files_of_unequal_length(tmp_path):
    moses(tmp_path, "GNOME.en-sw", "en", "sw")
    with (tmp_path / "GNOME.en-sw.sw").open("a") as stream:
        stream.write("one\nmore")
    english, swahili = tmp_path / "GNOME.en-sw.en", tmp_path / "GNOME.en-sw.sw"
    expected = "but line n of one must translate line n of the other. Give files of the same length."
    complains(f"`{english}` has 60 lines and `{swahili}` has more, {expected}", tmp_path)
    swahili.write_bytes("moja\nmbili \xe9\n".encode("latin-1"))
    expected = "is not UTF-8 text (invalid continuation byte at byte 6 of the line). Save the file as UTF-8."
    complains(f"`{swahili}:2` {expected}", tmp_path)
    swahili.unlink()
    complains(f"`{english}` has no other side: `{swahili}` does not exist.", tmp_path)


def test_two_corpora_of_one_language_and_a_pattern(tmp_path):
    for name in ("GNOME", "KDE4"):
        moses(tmp_path / "opus", f"{name}.en-sw", "en", "sw", [(f"{name} {n}", "x") for n in range(3)])
    expected = (
        f"`{tmp_path}/opus/GNOME.en-sw.sw` and `{tmp_path}/opus/KDE4.en-sw.sw` are both the language `swa`. Keep one."
    )
    complains(expected, tmp_path / "opus")
    assert texts(load(tmp_path, pattern="opus/KDE4.*.{language}"))[0] == ("KDE4 0", "x")


# TMX


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("sw", "utf-8"),
        ("sw", "utf-16"),
        ("swh_Latn", "utf-8"),
        ("en-sw", "utf-8"),
        ("sw-en", "utf-8"),
        ("GNOME.en-sw", "utf-8"),
    ],
)
def test_tmx(tmp_path, name, encoding):
    units = [[("en-US", source), ("de", "ein Satz"), ("SW", target)] for source, target in PAIRS]
    tmx(tmp_path / f"{name}.tmx", units, encoding)
    assert "swa" in parallel_languages(str(tmp_path))
    task = load(tmp_path)
    assert texts(task) == PAIRS
    assert task.notes == ()


def test_a_folder_without_parallel_text(tmp_path):
    (tmp_path / "sw.txt").write_text("a\tb\n")
    expected = "expected files such as `{}/deu.tsv`, `en-de.tmx`, or two such as `GNOME.en-de.en` and `GNOME.en-de.de`."
    complains(f"`{tmp_path}` has no files of parallel text; {expected.format(tmp_path)}", tmp_path)


def test_what_stands_in_a_unit(tmp_path):
    """Entities and line ends are text, the codes of another format are not; the rest is counted."""
    path = tmx(
        tmp_path / "sw.tmx",
        [
            [
                ("en", 'a &amp;\n <bpt i="1">&lt;b></bpt>bold<ept i="1">&lt;/b></ept> <hi>word</hi><ph>\\n</ph>!'),
                ("sw", "b"),
            ],
            [("en", "without")],
            [("en", "with none of it"), ("de", "ohne"), ("unknowable", "?")],
            [("en", " "), ("sw", "c")],
            [("en", "d"), ("sw", "e"), ("sw", "f")],
            [("en", "no"), ("sw", "nan")],
        ],
    )
    text = path.read_text().replace('<tuv xml:lang="en"><seg>no', '<tuv lang="EN"><seg>no')
    path.write_text(text.replace("<tmx ", '<tmx xmlns="http://www.lisa.org/tmx14" '))
    task = load(tmp_path)
    assert texts(task) == [("a & bold word!", "b"), ("d", "e"), ("no", "nan")]
    assert task.notes == (
        "`sw.tmx`: 1 further sentence in `swa` of units that have several left out.",
        "`sw.tmx`: 1 unit that is blank on one side or both left out.",
        "`sw.tmx`: 2 units without one of the languages left out.",
    )


def test_languages_with_a_region_are_no_pair(tmp_path):
    tmx(tmp_path / "zh-TW.tmx", [[("en", "a"), ("zh-Hant", "b")]])
    tmx(tmp_path / "en-zh.tmx", [[("en", "a"), ("zh-CN", "c")]])
    task = load(tmp_path, targets=("zho_Hant", "zho"))
    assert (texts(task, "zho_Hant"), texts(task, "zho")) == ([("a", "b")], [("a", "c")])


def test_tmx_that_is_none(tmp_path):
    path = tmx(tmp_path / "sw.tmx", [[("en", "a"), ("sw", "b & c")]])
    with pytest.raises(
        InputError, match=f"^{re.escape(f'`{path}:4` is not valid XML: not well-formed (invalid token) at column ')}"
    ):
        load(tmp_path)
    path = tmx(tmp_path / "sw.tmx", [[("en", "a"), ("de", "b")]])
    complains(f"`{path}` has no sentence pairs of `eng` and `swa`.", tmp_path)
    path.write_text('<?xml version="1.0" encoding="klingon"?>\n<tmx/>')
    with pytest.raises(InputError, match=f"^{re.escape(f'`{path}')}"):
        load(tmp_path)


def test_nothing_is_fetched_from_elsewhere(tmp_path):
    (tmp_path / "secret").write_text("secret")
    path = tmx(tmp_path / "sw.tmx", [[("en", "&other;"), ("sw", "b")]])
    inside = f'<!DOCTYPE tmx [<!ENTITY other SYSTEM "file://{tmp_path}/secret">]>'
    path.write_text(path.read_text().replace('<!DOCTYPE tmx SYSTEM "tmx14.dtd">', inside))
    with pytest.raises(InputError, match=f"^{re.escape(f'`{path}:4` is not valid XML: undefined entity &other;')}"):
        load(tmp_path)


def test_files_by_a_pattern(tmp_path):
    for code, target in (("sw", "b"), ("de", "c")):
        tmx(tmp_path / f"{code}-docs" / "memory.tmx", [[("en", "a"), (code, target)]])
    task = load(tmp_path, targets=("swa", "deu"), pattern="{language}-docs/*.tmx")
    assert (texts(task), texts(task, "deu")) == ([("a", "b")], [("a", "c")])
    expected = "must be a path below the folder that contains `{language}`, such as `en-{language}.tmx` (`*` matches anything)."
    complains(f"`parallel.pattern` is `*.tmx`, but {expected}", tmp_path, pattern="*.tmx")
    (tmp_path / "sw.txt").write_text("no pairs")
    for suffix in ("tsv", "txt"):
        expected = f"`{tmp_path}` has no files of parallel text that match `parallel.pattern` = `{{language}}.{suffix}`; expected"
        with pytest.raises(InputError, match=f"^{re.escape(expected)}"):
            load(tmp_path, pattern=f"{{language}}.{suffix}")
