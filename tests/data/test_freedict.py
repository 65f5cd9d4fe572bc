"""Dictionaries of FreeDict: an index and entries as dictd has them, written here by hand."""

import base64
import gzip

import hypothesis
import pytest
from hypothesis import strategies as st

from distxfer import load_recipe
from distxfer.data import read_dictionary, read_dictionary_folder
from distxfer.data._freedict import number_of
from distxfer.runs.prepare import prepare
from helpers import message

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def digits(number):
    return (digits(number // 64) if number >= 64 else "") + DIGITS[number % 64]


def write(folder, entries, name="freedict-eng-tur"):
    """Write headword -> entry as a dictionary and return its index."""
    content, rows = b"", []
    for headword, entry in entries.items():
        rows.append(f"{headword}\t{digits(len(content))}\t{digits(len(entry.encode()))}\n")
        content += entry.encode()
    index = folder / f"{name}.index"
    index.write_text("".join(rows), encoding="utf-8")
    packed = gzip.compress(content, mtime=0)
    # dictzip's random access table, an extra field of the header: its length, then "RA", length, version, chunks.
    extra = b"RA" + (8).to_bytes(2, "little") + b"".join(n.to_bytes(2, "little") for n in (1, 58315, 1, len(packed)))
    header = packed[:3] + b"\x04" + packed[4:10] + len(extra).to_bytes(2, "little") + extra
    index.with_suffix(".dict.dz").write_bytes(header + packed[10:])
    return index


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("hare /hˈɛə/ <n>\n\nsungura\n\n", {"hare": ["sungura"]}),
        ("kelpie , kelpy /kˈɛlpaɪ/\n1. peri\n2. at, peri.\n", {"kelpie": ["peri", "at"], "kelpy": ["peri", "at"]}),
        # Phrases after a full stop, and whatever follows them, are no translations; nor are explanations.
        ("rack /ɹˈak/\n1. yıkım, harabiyet. go to rack and ruin mahvolmak, dönmek.\n", {"rack": ["yıkım"]}),
        ("sail\n1. (den.) yelken; rüzgârla giden bir tekne, gemi\n", {"sail": ["yelken", "gemi"]}),
        # Examples, cross-references, notes and synonyms are indented; a domain may stand before a translation.
        (
            'acute /ɐkjˈuːt/ (´)\n [print] Akut <masc>, Akut-Zeichen <neut>\n      "no acute"  - kein Akut\n'
            "         Note: sign\n   Synonym: {acute accent}\n\n see: {grave}\n",
            {"acute": ["Akut", "Akut-Zeichen"]},
        ),
        ("logic <N>\n1. तर्क-शास्त्र{एक~शास्त्र}, ध्यान~का\n", {"logic": ["तर्क-शास्त्र", "ध्यान का"]}),
        ("teacher\nLehrer, Lehrer(in), Lehrkraft\n", {"teacher": ["Lehrer"]}),
        ("officious\nفضولي، متطفل\n", {"officious": ["فضولي", "متطفل"]}),
        ("go to bed /x/\nyatmak!\n", {"go to bed": ["yatmak"]}),
        ("trod, and/or, trodden\n1.  ezmek\n12.\tbasmak\n3.çiğnemek\n", {"trod": ["ezmek", "basmak", "çiğnemek"]}),
    ],
)
def test_translations_of_an_entry(tmp_path, entry, expected):
    assert read_dictionary(write(tmp_path, {"00databaseinfo": "about\nno word\n", "any": entry})) == expected


def test_headwords_are_those_of_the_entries_without_other_signs(tmp_path):
    """Those of the index are without capitals, hyphens and commas."""
    entries = {"southsouthwest": "South-southwest\nlodos\n", "andor": "and/or /x/\nve/veya\nya da\n"}
    assert read_dictionary(write(tmp_path, entries)) == {"South-southwest": ["lodos"]}


def test_entries_of_one_headword_are_joined_and_an_entry_of_two_is_read_once(tmp_path):
    index = write(tmp_path, {"cat": "cat <n>\nkedi\n", "cat ": "cat <n>\npisi, kedi\n"})
    index.write_text(index.read_text() + index.read_text().replace("cat", "puss"))
    packed = index.with_suffix(".dict.dz")
    index.with_suffix(".dict").write_bytes(gzip.decompress(packed.read_bytes()))
    assert read_dictionary(index) == {"cat": ["kedi", "pisi"]}
    packed.unlink()
    assert read_dictionary(index) == {"cat": ["kedi", "pisi"]}


def test_a_folder_of_freedict_and_of_files(tmp_path):
    write(tmp_path, {"cat": "cat\nkedi\n"})
    write(tmp_path, {"cat": "cat\npaka\n"}, "freedict-eng-swh")
    write(tmp_path, {"Katze": "Katze\nkedi\n"}, "freedict-deu-tur")
    write(tmp_path, {"cat": "cat\nKater\n"}, "freedict-eng-deu")
    (tmp_path / "deu.txt").write_text("cat Katze\n")
    assert read_dictionary_folder(tmp_path, ["tur", "swa", "deu"]) == {
        "tur": {"cat": ["kedi"]},
        "swa": {"cat": ["paka"]},
        "deu": {"cat": ["Katze"]},
    }
    assert read_dictionary_folder(tmp_path, ["tur"], source="deu") == {"tur": {"Katze": ["kedi"]}}


def test_a_runs_id_depends_on_the_dictionaries_of_its_languages_alone(tiny_settings, tmp_path):
    """Of those in dictd's format; whatever else is in the folder may be read."""

    def identity():
        setting = f"intervention.code_switch.dictionary={tmp_path}"
        return prepare(load_recipe("code_switch", [*tiny_settings, setting])).id

    ids = []
    for name, entry in (
        ("freedict-eng-deu", "cat\nKatze\n"), ("freedict-eng-jpn", "cat\nneko\n"),
        ("freedict-eng-jpn", "cat\nnya\n"),
    ):  # fmt: skip
        write(tmp_path, {"cat": entry}, name)
        ids.append(identity())
    for name in ("freedict-eng-tur", "freedict-tur-deu", "wn"):
        write(tmp_path, {"cat": "cat\nkedi\n"}, name)
        assert identity() == ids[-1]
    (tmp_path / "own.index").write_text("")  # without entries beside it
    assert len({*ids, identity()}) == 4


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("cat\tA", "`{index}:2` is 'cat\\tA'; expected a headword, an offset and a length"),
        ("cat\tA\tE-", "`{index}:2` is 'cat\\tA\\tE-'; expected a headword"),
        ("cat\t\tB", "`{index}:2` is 'cat\\t\\tB'; expected a headword"),
        ("cat\tB\tO", "`{index}:2` is the entry of bytes 1 to 15, but `{packed}` has 14 bytes."),
        ("cat\tA\tN", None),  # all but the line end
        ("cat\tA\tK", "`{index}:2` is the entry of bytes 0 to 10 of `{packed}`, which is not UTF-8 text"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, row, expected):
    index = write(tmp_path, {"dog": "dog\nköpeğü\n"})
    index.write_text(index.read_text() + row + "\n")
    if expected is None:
        assert read_dictionary(index) == {"dog": ["köpeğü"]}
    else:
        assert message(read_dictionary, index).startswith(
            expected.format(index=index, packed=index.with_suffix(".dict.dz"))
        )


def test_faulty_files_are_named(tmp_path):
    index = write(tmp_path, {"test": "test\n    n 1: trying something\n"})
    packed = index.with_suffix(".dict.dz")
    assert message(read_dictionary, index).startswith(f"`{index}` has no translations.")
    for content in (b"no gzip", packed.read_bytes()[:-9]):
        packed.write_bytes(content)
        assert message(read_dictionary, index).startswith(f"`{packed}` cannot be read: ")
    packed.unlink()
    missing = index.with_suffix(".dict")
    assert message(read_dictionary, index).startswith(f"`{missing}` cannot be read: No such file or directory.")


@hypothesis.given(st.integers(0, 2**63))
def test_numbers_in_base_64(number):
    assert number_of(digits(number)) == number
    # The library's base 64 has the same digits: three bytes are four of them.
    assert number_of(base64.b64encode(number.to_bytes(9)).decode()) == number


@pytest.mark.parametrize("text", ["", "A-", "A A", "=", "é"])
def test_other_characters_are_no_number(text):
    assert number_of(text) is None
