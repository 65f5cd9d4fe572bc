"""The command line: its verbs, and how they end.

Tables go to stdout, progress and notices to stderr. Exit 0: done; 2: the input is wrong, in one clear message; 130:
interrupted, and the same command goes on; 1: anything else. What needs torch is imported inside the verbs.
"""

import errno
import functools
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from distxfer import __version__
from distxfer._console import say, write
from distxfer.cli._compare import compare
from distxfer.cli._measure import language, measure
from distxfer.cli._new_language import new_language
from distxfer.cli._publish import publish
from distxfer.cli._recipes import cp, env, ls, show, train, validate
from distxfer.cli._report import report
from distxfer.cli._sweep import sweep
from distxfer.errors import InputError, RunError

app = typer.Typer(
    help="Better cross-lingual transfer to typologically distant languages, measured honestly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    app()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let what ends a job (a batch system's SIGTERM, a closed terminal) stop a verb as Ctrl-C does."""
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _guarded(verb: Callable[..., None]) -> Callable[..., None]:
    """Return the verb as a command: bad input and broken guards become one message, Ctrl-C a resumable stop."""

    @functools.wraps(verb)  # keeps the signature, which typer reads
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            with _stoppable():
                verb(*arguments, **options)
        except InputError as error:
            say(f"Error: {error}")
            raise typer.Exit(2) from error
        except RunError as error:
            say(f"Error: {error}")
            raise typer.Exit(1) from error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            say(f"Error: `{str(error.filename)[:60]}...` is longer than a path can be. Give a shorter one.")
            raise typer.Exit(2) from error
        except KeyboardInterrupt:
            say("Interrupted. The same command goes on from the last checkpoint.")
            raise typer.Exit(130) from None

    return guarded


def _version(wanted: bool) -> None:
    if wanted:
        write(f"distxfer {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Better cross-lingual transfer to typologically distant languages, measured honestly."""


for _verb in (ls, show, cp, validate, train, measure, sweep, compare, report, publish, language, new_language, env):
    app.command(name=_verb.__name__.replace("_", "-"))(_guarded(_verb))
