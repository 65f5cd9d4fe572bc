"""Output of the command line: tables and JSON on stdout, progress and notices on stderr, from the main process only."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

STDOUT = "standard output"  # as messages call it
_STYLES = {"Error": "bold red", "Warning": "yellow", "Unverified": "yellow"}  # how a line on stderr begins


@contextmanager
def progress() -> Iterator[Callable[[str, int, int, float], None]]:
    """Yield the function that the training loop calls in each step: a bar on a terminal, some lines elsewhere."""
    started = time.perf_counter()
    if sys.stderr.isatty() and is_main():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("loss {task.fields[loss]:.3f}"), console=Console(stderr=True)) as bar:
            tasks: dict[str, Any] = {}

            def advance(phase: str, step: int, steps: int, loss: float) -> None:
                if phase not in tasks:
                    tasks[phase] = bar.add_task(phase, total=steps, loss=loss)
                if step == 1:  # another run may have had a phase of this name
                    bar.reset(tasks[phase], total=steps)
                bar.update(tasks[phase], completed=step, loss=loss)

            yield advance
    else:

        def line(phase: str, step: int, steps: int, loss: float) -> None:
            if step == steps or step % max(1, steps // 10) == 0:
                say(f"{phase}: step {step} of {steps}, loss {loss:.3f}, {time.perf_counter() - started:.0f} s")

        yield line


@contextmanager
def run_progress() -> Iterator[Callable[[int, int, int, float | None, str], None]]:
    """Yield the function that a sweep calls, `(total, done, failed, seconds left, news)`: a bar, or a line per run."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rest]}"))
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("runs", total=None, rest="")

            def advance(total: int, done: int, failed: int, left: float | None, new: str) -> None:
                if new:
                    say(new)
                bar.update(task, total=total, completed=done + failed, rest=_rest(failed, left))

            yield advance
    else:

        def line(total: int, done: int, failed: int, left: float | None, new: str) -> None:
            rest = _rest(failed, left)
            say(f"{done + failed} of {total} runs{', ' * bool(rest)}{rest}{': ' * bool(new)}{new}")

        yield line


def _rest(failed: int, left: float | None) -> str:
    parts = [f"{failed} failed"] if failed else []
    return ", ".join([*parts, f"about {span(left)} left"] if left else parts)


def span(seconds: float) -> str:
    """Return a time in its two largest units: `40 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def is_main() -> bool:
    """Return whether this process prints: under `accelerate launch`, only the first one does."""
    return os.environ.get("RANK", "0") == "0"


def notice(text: str) -> None:
    """Write a line to stderr, once for all processes."""
    if is_main():
        say(text)


def say(text: str) -> None:
    """Write a line to stderr, coloured on a terminal unless NO_COLOR is set; a stderr that is full or closed is ignored."""
    with suppress(OSError):
        start, colon, _ = text.partition(":")
        if sys.stderr.isatty() and start in _STYLES:
            from rich.console import Console
            from rich.text import Text

            Console(stderr=True).print(
                Text.assemble((start + colon, _STYLES[start]), text[len(start + colon) :]), soft_wrap=True
            )
        else:
            print(text, file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Write text to stdout; an OSError names the standard output."""
    try:
        sys.stdout.write(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, STDOUT) from error


def write_json(data: Any) -> None:
    """Write data as JSON to stdout, with escapes where its encoding is not Unicode."""
    unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    write(json.dumps(data, indent=1, ensure_ascii=not unicode) + "\n")


def write_facts(facts: dict[str, Any], as_json: bool) -> None:
    """Write names and values to stdout, one per line or as one JSON object."""
    if as_json:
        write_json(facts)
    else:
        width = max(map(len, facts))
        write("".join(f"{key:<{width}}  {value}\n" for key, value in facts.items()))


def width() -> int | None:
    """Return the terminal's width, or None where the output goes to a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
