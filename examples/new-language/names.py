"""Make the files of the worked example in docs/new-language.md: the names of emoji in a language of Unicode CLDR.

    npm pack cldr-annotations-full@48.2.0
    python examples/new-language/names.py cldr-annotations-full-48.2.0.tgz amh FOLDER

`test.jsonl`: 150 names of emoji of the test part of the task `emoji`, with their category, drawn with a fixed seed; `pairs.tsv`:
English and translated names of its parallel part; `text.txt`: the latter's translated side alone, in alphabetical order. No emoji
is in two of the parts, and pairs with a name that is tested are left out. Some differ in a word (keycap 1, keycap 2).
"""

import argparse
import json
import random
from pathlib import Path

from distxfer.data import Data, load_task

TESTS = 150


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("annotations", help="cldr-annotations-full-48.2.0.tgz")
    parser.add_argument("language", help="a language that CLDR has, such as amh")
    parser.add_argument("folder", type=Path, help="where to write")
    options = parser.parse_args()
    task = load_task(Data("cldr", folder=options.annotations), "eng", (options.language,))
    options.folder.mkdir(parents=True, exist_ok=True)
    tests = task.examples("test", options.language)
    drawn = sorted(random.Random(0).sample(range(len(tests)), min(TESTS, len(tests))))
    rows = [{"id": tests[n].id, "text": tests[n].text, "label": task.labels[tests[n].label]} for n in drawn]
    tested = {row["text"] for row in rows}
    english = {one.id: one.text for one in task.unlabelled["eng"]}
    pairs = [
        (english[one.id], one.text)
        for one in task.unlabelled[options.language]
        if one.id in english and one.text not in tested
    ]
    write(options.folder / "test.jsonl", [json.dumps(row, ensure_ascii=False) for row in rows])
    write(options.folder / "pairs.tsv", ["\t".join(pair) for pair in pairs])
    write(options.folder / "text.txt", sorted(target for _, target in pairs))


def write(path: Path, lines: list[str]) -> None:
    """Write lines, and say how many."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    print(f"{path}: {len(lines)} lines")  # noqa: T201


if __name__ == "__main__":
    main()
