"""Mutations of valid files, each from a number that a failing test prints, and what a reader may answer to them."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from distxfer.errors import InputError, RunError, brief, unreadable

LONGEST = 2000  # characters of a message
TOKENS = [
    b"\0", b"\n", b"\r", b"\t", b",", b'"', b"'", b"`", b"=", b"{", b"}", b"[", b"]", b"<", b"</", b"&", b"&x;", b"#", b"\\",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\xbd", "\u2028".encode(), "\x85".encode(), "\u202e".encode(), "\U0001f1e9".encode(),
    b"1e400", b"-1e400", b"NaN", b"Infinity", b"-0", b"1e-400", b"9" * 400, b"9" * 5000, b"18446744073709551616", b"0x10",
    b"true", b"null", b"none", b"inf", b"[" * 2000, b'{"a":' * 2000, b"(" * 2000, b"\\ud83d", b"\\u0000", b"..", b"/", b"../../",
    b"a" * 20_000, b"1" * 20_000, b"a.b.c.d", b"a." * 1500, b"1979-05-27", b"%s", b"{}", b"<!ENTITY x 'y'>", b"eng", b"zz",
]  # fmt: skip


def mutated(data: bytes, draw: Random) -> bytes:
    """Return the data with one to four changes: bits, pieces left out, repeated or moved, odd tokens, a cut."""
    for _ in range(draw.choice([1, 1, 2, 4])):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice([1, 1, 2, 8, 64, 1024]))
        match draw.randrange(8):
            case 0 if data:
                place = draw.randrange(len(data))
                data = data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
            case 1:
                data = data[:start] + data[end:]
            case 2:
                data = data[:end] + data[start:]
            case 3:
                data = data[:start]
            case 4:
                data = data[:start] + draw.randbytes(draw.randint(1, 16)) + data[end:]
            case 5:
                lines = data.split(b"\n")
                draw.shuffle(lines)
                data = b"\n".join(lines)
            case _:
                data = data[:start] + draw.choice(TOKENS) + data[draw.choice([start, end]) :]
    return data


@contextmanager
def limited(seconds: int = 60) -> Iterator[None]:
    """Stop what hangs: no reader of a small file may take as long as this."""

    def stop(*_: object) -> None:
        raise AssertionError(f"nothing came back in {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def answer(call: Callable[[], object], *refusals: type[Exception]) -> str:
    """Return `read` or the message of a refusal, which is brief and printable; any other error passes through."""
    with limited():
        try:
            call()
        except (InputError, *refusals) as error:
            said = str(error)
        except OSError as error:  # as the edge of the command line says it
            said = brief(unreadable(error)[0])
        else:
            return "read"
    assert len(said) <= LONGEST
    said.encode()
    assert not {character for character in said if ord(character) < 32} - {"\n"}
    return said


def settled(call: Callable[[], object]) -> str:
    """Return `answer` for what may also refuse a run (`RunError`)."""
    return answer(call, RunError)


def tally(counts: dict[str, int], said: str) -> None:
    """Count what was read and what was refused."""
    counts["read" if said == "read" else "refused"] = counts.get("read" if said == "read" else "refused", 0) + 1


def report(name: str, counts: dict[str, int]) -> None:
    """Add the counts of a test to the file that TORTURE_COUNTS names."""
    line = json.dumps({"test": name, **counts})
    if path := os.environ.get("TORTURE_COUNTS"):
        with open(path, "a") as stream:
            stream.write(f"{line}\n")
