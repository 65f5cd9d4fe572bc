"""The command line: its verbs and exit codes.

Tables go to stdout, progress and notices to stderr. Exit code 0: success; 2: invalid input, with one message; 130:
interrupted, and the same command resumes `train`, `sweep` and `new-language`; 1: any other failure. Verbs import what needs
torch when they run.
"""

import functools
import inspect
import io
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from distxfer import __version__
from distxfer._console import STDOUT, notice, say, write
from distxfer.cli._compare import compare
from distxfer.cli._languages import language, measure, new_language
from distxfer.cli._matrix import matrix
from distxfer.cli._options import SettingsCommand
from distxfer.cli._recipes import cp, env, ls, show, train, validate
from distxfer.cli._runs import merge, predict, publish, report
from distxfer.cli._sweep import sweep
from distxfer.errors import InputError, RenamedWarning, RunError, brief, is_out_of_memory, out_of_memory, unreadable

_DEBUG = "--debug"
_RESUMING = ("train", "sweep", "new_language")

app = typer.Typer(
    help="Better cross-lingual transfer to typologically distant languages, measured honestly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; `--debug` may stand anywhere. An error that no verb handles becomes one line."""
    _open_streams()
    try:
        app([word for word in sys.argv[1:] if word != _DEBUG])
    except KeyboardInterrupt:  # while the command line is parsed, or modules are imported
        say("Interrupted.")
        raise SystemExit(130) from None
    except Exception as error:  # an error that nothing handles is a bug
        if _DEBUG in sys.argv[1:]:
            raise
        say(_fault(error))
        raise SystemExit(1) from None
    finally:
        _close_stdout()


def _open_streams() -> None:
    """Make all text printable in any encoding, and replace closed streams by the null device."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115  as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _close_stdout() -> None:
    """Flush stdout; report a failure here, before the interpreter does."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # the reader of the pipe has closed it
            error.filename = STDOUT
            say(f"Error: {unreadable(error)[0]}")
        raise SystemExit(1) from None


def _fault(error: Exception) -> str:
    """Return one line about an unexpected error: type, message, place, and how to report it."""
    package = str(Path(__file__).parents[1])
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(package) and Path(frame.filename) != Path(__file__)]
    last = (ours or list(frames))[-1]
    place = f"{Path(last.filename).relative_to(package) if ours else last.filename}:{last.lineno}"
    message = (str(error).splitlines() or [""])[0][:300]
    return brief(
        f"Error: {type(error).__name__}{': ' * bool(message)}{message} ({place}). This is a bug in distxfer {__version__}. Please"
        " report this line and the output of the same command with `--debug`."
    )


@contextmanager
def _stoppable() -> Iterator[None]:
    """Treat SIGTERM (of a batch system) and SIGHUP (of a closed terminal) like Ctrl-C."""
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _renames_noticed() -> Iterator[None]:
    """Print each RenamedWarning once, as a line without its place in the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RenamedWarning)
        show, seen = warnings.showwarning, set()

        def shown(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if not issubclass(category, RenamedWarning):
                show(message, category, *place, **options)
            elif str(message) not in seen:
                seen.add(str(message))
                notice(f"Warning: {message}")

        warnings.showwarning = shown
        yield


def _guarded(verb: Callable[..., None]) -> Callable[..., None]:
    """Return the verb as a command: errors become one message and an exit code, Ctrl-C a resumable stop."""

    @functools.wraps(verb)  # keeps the signature, which typer reads
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            _check_text([*arguments, *options.values()])
            with _stoppable(), _renames_noticed():
                verb(*arguments, **options)
        except (InputError, RunError) as error:
            say(f"Error: {error}")
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from error
        except BrokenPipeError as error:
            raise typer.Exit(1) from error
        except OSError as error:
            if _DEBUG in sys.argv[1:]:
                traceback.print_exception(error)
            message, full = unreadable(error)
            say(f"Error: {brief(message)}")
            raise typer.Exit(1 if full else 2) from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or _DEBUG in sys.argv[1:]:
                raise
            say(f"Error: {brief(out_of_memory(error))}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            resumes = verb.__name__ in _RESUMING
            say("Interrupted." + " The same command resumes from the last checkpoint." * resumes)
            raise typer.Exit(130) from None

    return guarded


def _check_text(values: Iterable[object]) -> None:
    """Raise InputError for a word of the command line that is not text or contains NUL."""
    for value in values:
        if isinstance(value, list | tuple):
            _check_text(value)
        elif isinstance(value, str | Path) and re.search("[\0\ud800-\udfff]", str(value)):
            raise InputError(
                f"`{value}` holds NUL or bytes that are no text in the encoding of this shell"
                f" ({sys.getfilesystemencoding()}). Give text, in a UTF-8 locale where it is not ASCII."
            )


def _version(requested: bool) -> None:
    if requested:
        write(f"distxfer {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option(_DEBUG, help="Show the traceback of an unexpected error; works after the verb, too.")
    ] = False,
) -> None:
    """Better cross-lingual transfer to typologically distant languages, measured honestly."""


_VERBS = (
    ls, show, cp, validate, train, predict, measure, merge, sweep, compare, matrix, report, publish, language, new_language, env,
)  # fmt: skip
for _verb in _VERBS:
    _takes_settings = bool({"overrides", "axes"} & {*inspect.signature(_verb).parameters})
    app.command(_verb.__name__.replace("_", "-"), cls=SettingsCommand if _takes_settings else None)(_guarded(_verb))
