"""Safety: names are shown as they are and put nothing outside its folder; no pickle, no link, no weights from elsewhere."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from markdown_it import MarkdownIt
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from conftest import LABELS
from distxfer import load_recipe
from distxfer._markdown import markdown, markdown_code
from distxfer.checkpoints.measure import measure
from distxfer.encoders import fingerprint, load_encoder, model_folder
from distxfer.publishing import publication
from distxfer.reports.tables import Table, markdown_text
from distxfer.sweeps.engines import Job, carry_out
from finished_runs import write_run
from helpers import message

HOSTILE = [
    "a|b", "`a", "``` <img src=x onerror=alert(1)>", "<script>alert(1)</script>", "_a_ *b* __c__ **d** ~~e~~", "a\\|b", "a\\",
    "[x](javascript:alert(1))", "![x](http://example.org)", "[x]: http://example.org", "# a", "- a", "> a", "&lt;b&gt; &amp;",
    "100 % of $x$ & #1 ~ ^ {}", "a\nb", "`` ` <b>", "`a` ``b`` <i>", "drift_reg", "---", "1 < 2 <b", "a\\`<b>`",
]  # fmt: skip


class Shown(HTMLParser):
    """What a browser shows of a page, and with which elements."""

    def __init__(self, page: str):
        super().__init__()
        self.text, self.tags = "", set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


def rendered(text: str) -> Shown:
    return Shown(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


def without_code(text: str) -> str:
    """A text without the backticks that make code of what they enclose."""
    return re.sub(
        r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", lambda code: code[2].strip() or code[2], re.sub(r"\s+", " ", text)
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_a_name_as_it_is(name):
    line = rendered(markdown(name))
    assert line.text.strip() == without_code(name)
    assert line.tags <= {"p", "code"}
    code = rendered(markdown_code(name))
    assert (code.text.strip(), code.tags) == (re.sub(r"\s+", " ", name), {"p", "code"})
    table = rendered(markdown_text([Table(("0", name), [(name, "z")], title=name, notes=(name,))]))
    assert table.tags <= {"p", "strong", "code", "table", "thead", "tbody", "tr", "th", "td"}
    assert table.text.count("z\n") == 1
    letters = re.sub(r"[\s`]", "", table.text)
    assert letters.count(re.sub(r"[\s`]", "", name)) == 4


def test_no_dollar_begins_a_formula():
    assert markdown(r"$\input{x}$ and 5$") == r"\$\\input{x}\$ and 5\$"


# Names of recipes


@pytest.mark.parametrize("file", ["...toml", "..toml", ".hidden.toml", "a\\b.toml", "a\nb.toml"])
def test_a_recipe_whose_name_would_put_its_runs_elsewhere_is_refused(tmp_path, file):
    path = tmp_path / file
    path.write_text("seed = 1\n")
    assert message(load_recipe, str(path)) == (
        f"The recipe file {str(path)!a} has the name {path.stem!a}, which cannot name the folder of its runs."
        " Rename the file: no leading dot, no backslash, only printable characters."
    )


# Weights


def moved_away(folder: Path, elsewhere: Path, name: str) -> Path:
    """Move a model's weights elsewhere, with an index that names them."""
    (folder / "model.safetensors").rename(elsewhere)
    weight_map = dict.fromkeys(["embeddings.word_embeddings.weight"], name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return elsewhere


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    return shutil.copytree(tiny, tmp_path / "copy")


def outside(path: Path, folder: Path, place: Path) -> str:
    return f"The weights `{path}` lie outside of the model folder `{folder}`, at `{place}`. Put the file itself into the folder."


@pytest.mark.parametrize("form", ["relative", "absolute", "link"])
def test_weights_outside_of_the_model_folder_are_refused(copy, tmp_path, form):
    place = tmp_path / "elsewhere.safetensors"
    if form == "link":
        (copy / "model.safetensors").rename(place)
        path = copy / "model.safetensors"
        path.symlink_to(place)
    else:
        name = "../elsewhere.safetensors" if form == "relative" else str(place)
        moved_away(copy, place, name)
        shutil.copy(place, copy / "other.safetensors")
        path = copy / name
    assert message(model_folder, str(copy)) == outside(path, copy, place)


def test_the_links_of_the_hubs_cache_are_inside(copy, tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blob = snapshot.parents[1] / "blobs" / "4567"
    blob.parent.mkdir(parents=True)
    shutil.copytree(copy, snapshot)
    (snapshot / "model.safetensors").rename(blob)
    (snapshot / "model.safetensors").symlink_to("../../blobs/4567")
    link = tmp_path / "mine"
    link.symlink_to(snapshot)
    for folder in (snapshot, link):
        assert model_folder(str(folder)) == folder
        assert fingerprint(folder) == fingerprint(copy)


def test_every_shard_is_in_the_fingerprint(copy):
    (copy / "parts").mkdir()
    shard = moved_away(copy, copy / "parts" / "1.safetensors", "parts/1.safetensors")
    before = fingerprint(copy)
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert fingerprint(copy) != before
    shard.unlink()
    shutil.copy(copy / "config.json", copy / "other.safetensors")
    assert message(model_folder, str(copy)) == (
        f"The model folder `{copy}` does not load: No such file or directory: {shard}."
    )


def test_a_model_whose_shards_lie_in_a_folder_of_its_own_loads(copy):
    (copy / "parts").mkdir()
    names = load_file(copy / "model.safetensors")
    moved_away(copy, copy / "parts" / "1.safetensors", "parts/1.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "parts/1.safetensors")}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    encoder = load_encoder(str(copy), model_folder(str(copy)), LABELS, seed=0)
    stored = names[next(name for name in names if name.endswith("word_embeddings.weight"))]
    assert torch.equal(encoder.base.get_input_embeddings().weight, stored)


def test_a_model_with_an_adapters_configuration_is_refused(copy):
    (copy / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    assert "Keep a whole model and adapters in folders of their own." in message(model_folder, str(copy))


class Opened(Exception):
    """A pickle was opened."""


class Trap:
    def __reduce__(self):
        return exec, ("from test_safety import Opened; raise Opened",)


def test_no_pickle_is_opened(tiny, seven, tmp_path, monkeypatch):
    """Neither those of adapters, in their folder or in that of the second ones, nor what a trainer leaves beside a model."""
    encoder = load_encoder(str(tiny), tiny, LABELS, seed=0)
    adapted = get_peft_model(encoder.model, LoraConfig(r=2, target_modules=["query"]))
    adapted.add_adapter("adapter_2", LoraConfig(r=2, target_modules=["value"]))
    folder = tmp_path / "adapters"
    adapted.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(tiny)}))
    beside = shutil.copytree(tiny, tmp_path / "model")
    for name in ("optimizer.pt", "training_args.bin", "pytorch_model.bin", "states.npy"):
        torch.save(Trap(), beside / name)
        torch.save(Trap(), folder / name)
    words = [f"task={seven}", "parallel=", "task.targets=deu"]
    assert measure(str(beside), str(folder), words).rows
    for place in (folder / "adapter_2", folder):
        (place / "adapter_model.safetensors").unlink()
        torch.save(Trap(), place / "adapter_model.bin")
        assert (
            f"The adapters in `{place}` have no `adapter_model.safetensors`. Save them again with `save_pretrained`."
            in message(measure, str(beside), str(folder), words)
        )


# Publishing


@pytest.mark.parametrize(
    "name", ["measurements.parquet", "model", "model/config.json", "model/more.json", "model/more"]
)
def test_publish_follows_no_link(tmp_path, tiny, name):
    run = write_run(tmp_path / "results", identity="0123abcd")
    shutil.copytree(tiny, run / "model")
    path, secret = run / name, tmp_path / "secret"
    if path.exists():
        path.rename(secret)
    else:
        secret.mkdir() if name == "model/more" else secret.write_text("{}")
    path.symlink_to(secret)
    assert message(publication, run, "me/model") == (
        f"`{path}` is a link to `{secret}`, not a file of the run. Remove the link, or replace it with a copy of the file."
    )


# Orphans


def test_a_run_ends_with_the_sweep_that_started_it():
    """The process that stands for a sweep is killed; the one that it started ends by itself."""
    child = (
        "from distxfer.sweeps.engines import end_with_parent; import time;"
        " end_with_parent(); print('on', flush=True); time.sleep(60)"
    )
    parent = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], env={{**os.environ, 'DISTXFER_PARENT': str(os.getpid())}})\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "on\n"
        started = time.monotonic()
        os.kill(process.pid, signal.SIGKILL)
        assert process.stdout.read() == ""  # ends when nobody is left who could write
        assert time.monotonic() - started < 50


def test_what_a_sweep_starts_knows_whose_it_is(tmp_path):
    program = "import os; print(os.environ['DISTXFER_PARENT'], os.getppid())"
    carry_out(Job(("-c", program), tmp_path, tmp_path / "run"), {})
    parent, real = (tmp_path / "run" / "train.log").read_text().splitlines()[1].split()
    assert parent == real == str(os.getpid())
