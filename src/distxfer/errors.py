"""The errors shown to users, and helpers for their messages.

A message names the value in backticks, states what was expected, and says what to do about it.
"""

import errno
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import groupby

_LONGEST_VALUE = 300  # characters of a value in backticks
_LONGEST_LIST = 700  # characters of the values that a message lists
_MOST_ENTRIES = 12  # entries that a note lists
_LONGEST = 1900  # characters of a message
_SHORT = 3  # characters of a name that resembles many others
_VALUE = re.compile("`([^`]*)`")
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class InputError(ValueError):
    """The user's input is wrong: the command line prints only the message and exits with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(brief(message))


class RunError(RuntimeError):
    """The input was valid, but the run cannot continue (for example, a guard found a no-op): exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(brief(message))


class RenamedWarning(FutureWarning):
    """A recipe or an override has an old name. It still works."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means out of memory: in Python, or in PyTorch on a device or on the CPU."""
    return (
        isinstance(error, MemoryError)
        or any(
            base.__name__ == "OutOfMemoryError" for base in type(error).__mro__
        )  # by name, since torch is slow to import
        or "can't allocate memory" in str(error)
    )


def out_of_memory(error: BaseException, activity: str = "", advice: str = "") -> str:
    """Return the error message for running out of memory in `activity`, with the keys to set."""
    advice = advice or (
        "Lower `task.max_length`, or `phase.NAME.batch_size` (and raise `phase.NAME.accumulation`), set"
        " `model.gradient_checkpointing=true`, or use a smaller model."
    )
    return f"Memory ran out{f' in {activity}' if activity else ''} ({reason(error)}). {advice}"


# Advice where memory runs out in passes without gradients.
LESS_MEMORY = "Lower `task.max_length`, set `model.precision=bf16`, or use a smaller model."


@contextmanager
def enough_memory(activity: str, advice: str = "") -> Iterator[None]:
    """Raise RunError with `out_of_memory` where memory runs out inside."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(out_of_memory(error, activity, advice)) from error


def brief(message: str) -> str:
    r"""Return a message that any terminal can show.

    Values in backticks are truncated to 300 characters and the message to 1,900, with the number of omitted characters.
    Control characters other than line ends, and surrogates, are escaped (`\x00`).
    """
    message = _VALUE.sub(lambda value: f"`{_cut(value[1], _LONGEST_VALUE)}`", message)
    return _cut("".join(map(_visible, message)), _LONGEST)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} ... ({len(text) - longest:,} more characters)"


def _visible(character: str) -> str:
    odd = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character != "\n"
    return character.encode("unicode_escape").decode() if odd else character


def listed(values: Iterable[object], separator: str = ", ") -> str:
    """Return the values separated by commas; of a long list, the first ones and their number: `a, b, ... (20,000 in all)`."""
    texts = [str(value) for value in values]
    text = separator.join(texts)
    if len(text) <= _LONGEST_LIST:
        return text
    start = text[:_LONGEST_LIST].rpartition(separator)[0] or _cut(texts[0], _LONGEST_VALUE)
    return f"{start}{separator}... ({len(texts):,} in all)"


def mistakes_text(subject: str, lines: Sequence[str]) -> str:
    """Return the message for all mistakes of a subject, such as a recipe, one per line."""
    return f"{subject} has {counted(len(lines), 'mistakes')}:\n" + "\n".join(f"  {line}" for line in lines)


def counted(count: int, nouns: str) -> str:
    """Return a count with its noun, which is given in the plural: `2 lines that are blank`, `1 line that is blank`."""
    if count == 1:
        nouns = re.sub(r"s\b", "", nouns, count=1)  # the noun is the first word that ends in s
        nouns = nouns.replace(" that are ", " that is ").replace(" as they stand", " as it stands")
    return f"{count:,} {nouns}"


def consecutive(numbers: Iterable[int]) -> list[list[int]]:
    """Return numbers in ascending order, in rows without a gap: [0], [2, 3, 4]."""
    rows = groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])
    return [[number for _, number in row] for _, row in rows]


def shortened(entries: Sequence[str]) -> str:
    """Return the first 12 entries of a note, and the number of the rest: `a; b; and 3 more, which JSON has`."""
    cut = len(entries) - _MOST_ENTRIES
    return "; ".join(entries[:_MOST_ENTRIES]) + (f"; and {cut} more, which JSON has" if cut > 0 else "")


def reason(error: BaseException) -> str:
    """Return the first line of an error's message without a full stop, or the error's class name.

    If the first line ends with a colon, the second line is appended.
    """
    first, *further_lines = str(error).strip().splitlines() or [""]
    line = f"{first} {further_lines[0].strip()}" if first.endswith(":") and further_lines else first
    return line.rstrip(" .") or type(error).__name__


def unreadable(error: OSError) -> tuple[str, bool]:
    """Return a message for an error of the file system, and whether its cause is the disk rather than the path."""
    cause = error.strerror or str(error) or type(error).__name__
    name = error.filename if error.filename2 is None else error.filename2
    full = error.errno in _CANNOT_WRITE
    if error.errno == errno.ENAMETOOLONG:
        return f"`{str(name)[:60]}...` is longer than a path can be. Give a shorter one.", full
    fault = f"`{name}` cannot be {'written' if full else 'read or written'}: {cause}." if name else f"{cause}."
    return (
        f"{fault} {'Free some space, or choose another folder.' if full else 'Check the path and its permissions.'}",
        full,
    )


def did_you_mean(value: str, options: Iterable[str]) -> str:
    """Return `` Did you mean `x`?`` (with a leading blank) for the option nearest to `value`, or an empty string.

    An option that begins with `value` is nearest. Short values need a closer match: `ner` is not `answers`.
    """
    if len(value) > _LONGEST_VALUE:  # not a name, and the comparison would take long
        return ""
    spelled = {option.lower(): option for option in options}
    name = value.lower()
    close = [option for option in spelled if len(name) > 1 and option.startswith(name)]
    close = close or get_close_matches(name, spelled, n=1, cutoff=0.6 if len(name) > _SHORT else 0.65)
    return f" Did you mean `{spelled[close[0]]}`?" if close else ""


def unknown(noun: str, value: str, options: Iterable[str]) -> InputError:
    """Return the error for a value that is not in `options`, with the nearest option suggested."""
    names = sorted(options)
    return InputError(
        f"{noun} `{value}` is not known.{did_you_mean(value, names)} Choose from: {listed(names) or 'nothing here'}."
    )
