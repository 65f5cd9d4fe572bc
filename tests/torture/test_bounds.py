"""What would take all memory or all day: refused, with what was found and what was expected."""

import io
import json
import shutil
import tarfile
import zipfile

import pyarrow as pa
import pytest
from mutations import answer
from pyarrow import parquet

from distxfer.config.recipe import load_recipe
from distxfer.data import load_parallel, load_task
from distxfer.data._cldr_files import read_annotations
from distxfer.results.tables import read_measurements
from distxfer.sweeps.axes import _read_study
from helpers import message

CLDR = (
    "Expected the tarball of the npm package `cldr-annotations-full`, or a release of CLDR as a folder or a .zip file."
)


@pytest.mark.parametrize("layer", [10**9, -1, 1_001])
def test_a_layer_that_no_encoder_has(tmp_path, layer):
    path = tmp_path / "measurements.parquet"
    row = {"measure": "drift", "layer": layer, "language": "deu", "value": 0.5, "n": 10, "moment": "after"}
    parquet.write_table(pa.Table.from_pylist([row]), path)
    assert message(read_measurements, path) == (
        f"`{path}` has `{layer}` in row 0 of the column `layer`; expected a whole number from 0 to 1,000. Give the"
        " `measurements.parquet` of a run."
    )


def test_a_column_that_nobody_asked_for(tmp_path):
    path = tmp_path / "measurements.parquet"
    row = {"measure": "drift", "layer": 1, "language": "deu", "value": 0.5, "n": 10, "moment": "after"}
    table = pa.Table.from_pylist([row])
    parquet.write_table(table.append_column("when", pa.array([2**62], pa.timestamp("us"))), path)
    assert len(read_measurements(path)) == 1


@pytest.mark.parametrize(
    "inside",
    [
        '<tu><tuv xml:lang="en" x="{}"/></tu>',
        '<tu><tuv xml:lang="en"><seg>{}</seg></tuv></tu>',
        "<!-- {} -->",
    ],
)
def test_a_unit_of_tmx_without_end(tmp_path, inside):
    path = tmp_path / "en-de.tmx"
    path.write_text("<tmx><body>" + inside.format("x" * (2**24 + 2**18)) + "</body></tmx>")
    assert message(load_parallel, str(tmp_path), "eng", ("deu",)) == (
        f"`{path}` has more than 16 MiB without the end of a unit (`</tu>`), far more than a sentence. Check how the file"
        " was made."
    )


def test_entities_that_multiply(tmp_path):
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    unit = '<tu><tuv xml:lang="en"><seg>&e9;</seg></tuv><tuv xml:lang="de"><seg>x</seg></tuv></tu>'
    (tmp_path / "en-de.tmx").write_text(f'<!DOCTYPE tmx [<!ENTITY e0 "ha">{entities}]><tmx><body>{unit}</body></tmx>')
    said = message(load_parallel, str(tmp_path), "eng", ("deu",))
    assert said.startswith(f"`{tmp_path / 'en-de.tmx'}:1` is not valid XML: limit on input amplification factor")


def test_elements_inside_each_other(tmp_path):
    deep = "<b>" * 50_000 + "one" + "</b>" * 50_000
    unit = f'<tu><tuv xml:lang="en"><seg>{deep}</seg></tuv><tuv xml:lang="de"><seg>x</seg></tuv></tu>'
    (tmp_path / "en-de.tmx").write_text(f"<tmx><body>{unit}</body></tmx>")
    said = message(load_parallel, str(tmp_path), "eng", ("deu",))
    assert said.startswith(f"`{tmp_path / 'en-de.tmx'}` cannot be read in unit 1: maximum recursion depth exceeded")


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_an_archive_of_many_files(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("distxfer.data._cldr_files._MOST", 50)
    path = tmp_path / f"many.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(51):
                archive.writestr(f"{number}", "")
    else:
        with tarfile.open(path, "w:gz") as archive:
            for number in range(51):
                archive.addfile(tarfile.TarInfo(f"{number}"))
    assert message(read_annotations, path) == (
        f"`{path}` has more than 50 files, far more than any release of CLDR. {CLDR}"
    )


def test_a_tarball_with_a_name_of_gigabytes(tmp_path):
    path = tmp_path / "name.tgz"
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**33
    with tarfile.open(path, "w:gz") as archive:
        archive.fileobj.write(member.tobuf(tarfile.GNU_FORMAT) + bytes(2**16))
    assert message(read_annotations, path).startswith(f"`{path}` cannot be read (")


def test_a_file_of_gigabytes_in_an_archive(tmp_path):
    path = tmp_path / "bomb.tgz"
    member = tarfile.TarInfo("annotations/de.xml")
    member.size = 2**26
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(bytes(2**26)))
    assert message(read_annotations, path).startswith(f"`{path}:annotations/de.xml` is larger than 32 MiB")


def write(folder, labels):
    """Write a task whose source has these labels, and a target with another one."""
    for part, own in {"eng/train": labels, "eng/test": labels[:2], "deu/test": ["odd"]}.items():
        path = folder / f"{part}.jsonl"
        path.parent.mkdir(exist_ok=True)
        rows = [{"id": str(n), "text": f"t {n}", "label": label} for n, label in enumerate(own)]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_one_label_that_is_not_among_20000(tmp_path):
    write(tmp_path, [f"label{n}" for n in range(20_000)])
    said = message(load_task, str(tmp_path), "eng", ("deu",))
    assert said.startswith(f"`{tmp_path}/deu/test.jsonl:1` has the label `odd`, which `{tmp_path}/eng/train.jsonl`")
    assert said.endswith(", ... (20,000 in all).")
    assert len(said) < 1200


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("distxfer.data._files._LONGEST", 1000)
    write(tmp_path, ["a", "b", "odd"])
    path = tmp_path / "eng" / "train.jsonl"
    path.write_text(json.dumps({"id": "1", "text": "x" * 1000, "label": "a"}))
    assert message(load_task, str(tmp_path), "eng", ("deu",)) == (
        f"`{path}:1` is longer than 1,000 bytes. Put each text on its own line."
    )


def test_a_text_of_many_megabytes_is_read(tmp_path):
    write(tmp_path, ["a", "b", "odd"])
    rows = [{"id": str(n), "text": "x" * 2**22, "label": "ab"[n]} for n in range(2)]
    (tmp_path / "eng" / "test.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert answer(lambda: load_task(str(tmp_path), "eng", ("deu",))) == "read"


def test_a_number_of_more_digits_than_python_reads(tmp_path):
    recipe, study = tmp_path / "mine.toml", tmp_path / "study.toml"
    for path in (recipe, study):
        path.write_text(f"seed = {'9' * 5000}")
    said = "cannot be read: Exceeds the limit (4300 digits) for integer string conversion"
    assert message(load_recipe, str(recipe), []).startswith(f"`{recipe}` {said}")
    assert message(_read_study, study).startswith(f"The study file `{study}` {said}")


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_file_of_a_model_that_its_library_refuses_in_any_way(cli, tiny, task_folder, tmp_path, name):
    model = shutil.copytree(tiny, tmp_path / "model")
    for text in (
        '{"model": {"type": "WordLevel", "vocab": {}, "unk_token": 3}}',
        "[]",
        "{",
        "[" * 5000,
        '{"model_type": []}',
    ):
        (model / name).write_text(text)
        done = cli("validate", "recipe=plain", f"model={model}", f"task={task_folder}", "parallel=")
        assert done.exit_code == 2, done.output
        assert done.stderr.count("Error: ") == 1


def test_a_key_of_a_thousand_tables(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("a." * 1000 + "a = 1")
    assert message(load_recipe, str(path), []) == (f"`{'a.' * 21}...` nests more than 20 tables. No key is that deep.")
