"""The errors a user can meet, and the one grammar of their messages.

A message names the value in backticks, says what was expected, and what to do about it.
"""

import errno
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

_LONGEST_VALUE = 300  # characters of a value in backticks
_LONGEST_LIST = 700  # characters of the values that a message lists
_MOST_ENTRIES = 12  # entries that a note lists
_LONGEST = 1900  # characters of a message
_VALUE = re.compile("`([^`]*)`")
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class InputError(ValueError):
    """The user's input is wrong: the command line prints the message alone and exits with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(brief(message))


class RunError(RuntimeError):
    """The input was fine and the run still cannot go on (a guard found that something does nothing): exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(brief(message))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out: that of Python, of PyTorch on a device, or of PyTorch on the CPU."""
    return (
        isinstance(error, MemoryError)
        or any(base.__name__ == "OutOfMemoryError" for base in type(error).__mro__)  # of torch, which is slow to import
        or "can't allocate memory" in str(error)
    )


def out_of_memory(error: BaseException, what: str = "", advice: str = "") -> str:
    """Return the message for memory that ran out: `what` ran, and what to set."""
    advice = advice or (
        "Lower `task.max_length`, or `phase.NAME.batch_size` (and raise `phase.NAME.accumulation`), set"
        " `model.gradient_checkpointing=true`, or use a smaller model."
    )
    return f"Memory ran out{f' in {what}' if what else ''} ({reason(error)}). {advice}"


@contextmanager
def enough_memory(what: str, advice: str = "") -> Iterator[None]:
    """Raise RunError with `out_of_memory` where memory runs out inside."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(out_of_memory(error, what, advice)) from error


def brief(message: str) -> str:
    r"""Return a message that a terminal can show, whatever its values hold.

    A value in backticks is cut at 300 characters, the message at 1,900, each with the number of characters that are left
    out. Control characters other than line ends, and halves of characters (surrogates), are escaped (`\x00`).
    """
    message = _VALUE.sub(lambda value: f"`{_cut(value[1], _LONGEST_VALUE)}`", message)
    return _cut("".join(map(_visible, message)), _LONGEST)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} ... ({len(text) - longest:,} more characters)"


def _visible(character: str) -> str:
    odd = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character != "\n"
    return character.encode("unicode_escape").decode() if odd else character


def listed(values: Iterable[object], separator: str = ", ") -> str:
    """Return the values with commas between, or the first of them and their number: `a, b, ... (20,000 in all)`."""
    texts = [str(value) for value in values]
    whole = separator.join(texts)
    if len(whole) <= _LONGEST_LIST:
        return whole
    start = whole[:_LONGEST_LIST].rpartition(separator)[0] or _cut(texts[0], _LONGEST_VALUE)
    return f"{start}{separator}... ({len(texts):,} in all)"


def counted(count: int, nouns: str) -> str:
    """Return a count with what it is of, given in the plural: `2 lines that are blank`, `1 line that is blank`."""
    if count == 1:
        nouns = re.sub(r"s\b", "", nouns, count=1)  # the noun is the first word that ends in s
        nouns = nouns.replace(" that are ", " that is ").replace(" as they stand", " as it stands")
    return f"{count:,} {nouns}"


def shortened(entries: Sequence[str]) -> str:
    """Return the first 12 entries of a note, and the number of the others: `a; b; and 3 more, which JSON has`."""
    cut = len(entries) - _MOST_ENTRIES
    return "; ".join(entries[:_MOST_ENTRIES]) + (f"; and {cut} more, which JSON has" if cut > 0 else "")


def reason(error: BaseException) -> str:
    """Return the first line of what an error says, without a full stop, or what it is called.

    Where the first line ends with a colon, the second one follows it.
    """
    first, *rest = str(error).strip().splitlines() or [""]
    line = f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first
    return line.rstrip(" .") or type(error).__name__


def unreadable(error: OSError) -> tuple[str, bool]:
    """Return a message for what the system refuses, and whether it is about room or a device rather than about a name."""
    said = error.strerror or str(error) or type(error).__name__
    name = error.filename if error.filename2 is None else error.filename2
    full = error.errno in _CANNOT_WRITE
    if error.errno == errno.ENAMETOOLONG:
        return f"`{str(name)[:60]}...` is longer than a path can be. Give a shorter one.", full
    what = f"`{name}` cannot be {'written' if full else 'read or written'}: {said}." if name else f"{said}."
    return (
        f"{what} {'Free some space, or choose another folder.' if full else 'Check the path and its permissions.'}",
        full,
    )


def did_you_mean(value: str, options: Iterable[str]) -> str:
    """Return `` Did you mean `x`?`` (with a leading blank) for the option nearest to `value`, or an empty string."""
    if len(value) > _LONGEST_VALUE:  # no name, and the comparison takes time
        return ""
    spelled = {option.lower(): option for option in options}
    close = get_close_matches(value.lower(), spelled, n=1, cutoff=0.6)
    return f" Did you mean `{spelled[close[0]]}`?" if close else ""


def unknown(what: str, value: str, options: Iterable[str]) -> InputError:
    """Return the error for a value that is none of `options`, with the nearest one suggested."""
    known = sorted(options)
    return InputError(
        f"{what} `{value}` is not known.{did_you_mean(value, known)} Choose from: {listed(known) or 'nothing here'}."
    )
