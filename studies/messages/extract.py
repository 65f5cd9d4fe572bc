"""Write the extract of Home Assistant's messages that the package carries: `python -m studies.messages.extract WHEEL [FILE]`.

FILE is written instead of the one in the package. Equal wheels give equal bytes.
"""

import sys
from collections import Counter
from pathlib import Path

from distxfer.data import Data
from distxfer.data._message_files import EXTRACT, write_extract
from distxfer.data._messages import extract_of, load_messages


def main(wheel: str, file: str | Path = EXTRACT) -> None:
    """Write the extract, and print what it holds."""
    messages = load_messages(Data("messages", folder=wheel))
    path = Path(file)
    path.write_bytes(write_extract(extract_of(messages)))
    print(f"{path}: {path.stat().st_size:,} bytes, {len(messages.languages)} languages")
    print("messages by part:", dict(Counter(message.part for message in messages.messages)))
    print("near-duplicates left out by part:", dict(messages.near_duplicates))


if __name__ == "__main__":
    main(*sys.argv[1:])
