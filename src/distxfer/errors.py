"""The errors a user can meet, and the one grammar of their messages.

A message names the value in backticks, says what was expected, and what to do about it.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """The user's input is wrong: the command line prints the message alone and exits with 2."""


class RunError(RuntimeError):
    """The input was fine and the run still cannot go on (a guard found that something does nothing): exit code 1."""


def did_you_mean(value: str, options: Iterable[str]) -> str:
    """Return `` Did you mean `x`?`` (with a leading blank) for the option nearest to `value`, or an empty string."""
    spelled = {option.lower(): option for option in options}
    close = get_close_matches(value.lower(), spelled, n=1, cutoff=0.6)
    return f" Did you mean `{spelled[close[0]]}`?" if close else ""


def unknown(what: str, value: str, options: Iterable[str]) -> InputError:
    """Return the error for a value that is none of `options`, with the nearest one suggested."""
    known = sorted(options)
    return InputError(
        f"{what} `{value}` is not known.{did_you_mean(value, known)} Choose from: {', '.join(known) or 'nothing here'}."
    )
