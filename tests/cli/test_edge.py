"""The edge of the command line: what no verb has a message for, streams that take no more, words that are no text."""

import os
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

from distxfer import __version__, cli

COMMAND = [sys.executable, "-m", "distxfer"]


def run(*words, stdout=subprocess.PIPE, **environment):
    """Run the command line in a process of its own."""
    return subprocess.run(
        [*COMMAND, *words], stdout=stdout, stderr=subprocess.PIPE, env={**os.environ, **environment}, timeout=120
    )


def test_a_fault_is_one_line_with_its_place(monkeypatch, capsys):
    def broken(words):
        raise IndexError("list index out of range")

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.setattr(sys, "argv", ["distxfer", "ls"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    error = capsys.readouterr().err
    assert stop.value.code == 1
    assert error.count("\n") == 1
    assert error.startswith("Error: IndexError: list index out of range (")
    assert error.endswith(
        f"This is a bug in distxfer {__version__}. Please report this line and the output of the same command with"
        " `--debug`.\n"
    )
    monkeypatch.setattr(sys, "argv", ["distxfer", "ls", "--debug"])
    with pytest.raises(IndexError):
        cli.main()


def test_the_place_of_a_fault_is_in_the_package(monkeypatch):
    monkeypatch.setattr("distxfer.config.recipe.recipe_path", None)
    with pytest.raises(TypeError) as caught:
        cli._recipes.recipe_of(["recipe=plain"])
    assert " (config/recipe.py:" in cli._fault(caught.value)


class OutOfMemoryError(RuntimeError):
    """As `torch.OutOfMemoryError`, which the edge knows by its name."""


def allocate_too_much(*_, **__):
    torch.empty(2**50)


def run_out_on_a_device(*_, **__):
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")


STEP = "Lower `phase.finetune.batch_size` and raise `phase.finetune.accumulation`, or set `model.gradient_checkpointing=true`."


ALL = (
    "Lower `task.max_length`, or `phase.NAME.batch_size` (and raise `phase.NAME.accumulation`), set"
    " `model.gradient_checkpointing=true`, or use a smaller model."
)
LESS = "Lower `task.max_length`, set `model.precision=bf16`, or use a smaller model."


@pytest.mark.parametrize("fails", [allocate_too_much, run_out_on_a_device])
@pytest.mark.parametrize(
    ("place", "activity", "advice", "options"),
    [
        ("training._loop.PhaseLoop._step", " in step 0 of the phase `finetune`", STEP, []),
        ("training._loop.PhaseLoop.gradients", " in step 0 of the phase `finetune`", STEP, ["--dry-run"]),
        ("runs.run.snapshot", " in measuring before training", LESS, []),
        ("runs.run.prepare", "", ALL, []),
    ],
)
def test_memory_that_runs_out_is_one_line_with_what_to_set(
    tiny_settings, tmp_path, monkeypatch, fails, place, activity, advice, options
):
    monkeypatch.setattr(f"distxfer.{place}", fails)
    words = ["train", "recipe=plain", *tiny_settings, "task.targets=deu", "--results", str(tmp_path), *options]
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert done.exit_code == 1
    error = done.stderr[done.stderr.find("Error: ") :]
    assert error.startswith(f"Error: Memory ran out{activity} (")
    assert error.endswith(f"). {advice}\n")
    assert error.count("\n") == 1
    assert ("CUDA out of memory. Tried to allocate 2.00 GiB)" if fails is run_out_on_a_device else "allocate") in error


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_standard_output_that_is_full():
    with open("/dev/full", "w") as full:
        done = run("ls", "distances", stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "Error: `standard output` cannot be written: No space left on device. Free some space, or choose another folder.\n"
    )


@pytest.mark.parametrize("words", [["ls", "languages"], ["ls", "distances", "--json"]])
def test_standard_output_that_nobody_reads(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = run(*words, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_standard_output_that_is_closed():
    done = subprocess.run(["sh", "-c", f"{sys.executable} -m distxfer ls distances >&- 2>&-"], timeout=120)
    assert done.returncode == 0


def test_a_narrow_encoding_escapes():
    done = run("ls", "languages", "--json", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    wrong = run("show", "recipe=Türkçe", PYTHONIOENCODING="ascii")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(rb"Error: There is no recipe `T\xfcrk\xe7e`.")


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("model=a\0b", "model=a\\x00b"),
        (b"recipe=\xff".decode("utf-8", "surrogateescape"), "recipe=\\udcff"),
    ],
)
def test_words_that_are_no_text(cli, word, shown):
    done = cli("show", "recipe=plain", word)
    assert done.exit_code == 2
    assert done.stderr == (
        f"Error: `{shown}` holds NUL or bytes that are no text in the encoding of this shell (utf-8). Give text, in a UTF-8"
        " locale where it is not ASCII.\n"
    )
