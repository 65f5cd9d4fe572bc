"""Small files with exactly the names, columns and values that the datasets of the hub have."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PART = "-00000-of-00001.parquet"


def write(folder: Path, files: dict[str, list[dict]]) -> Path:
    """Write rows as the hub has them: Parquet, JSON lines, or JSON lines in gzip, by the names of the files."""
    for name, rows in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif path.suffix == ".gz":
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text, encoding="utf-8")
    return folder


def nli(*rows: tuple[str, str, int]) -> list[dict]:
    return [{"premise": premise, "hypothesis": hypothesis, "label": label} for premise, hypothesis, label in rows]


def paws(*rows: tuple[int, str, str, int]) -> list[dict]:
    return [{"id": key, "sentence1": first, "sentence2": second, "label": label} for key, first, second, label in rows]


def squad(key: str, context: str, question: str, answer: str, start: int) -> dict:
    answers = {"text": [answer, answer], "answer_start": [start, start]}
    return {"id": key, "title": "T", "context": context, "question": question, "answers": answers}


def words(tokens: str, tags: list[int], column: str = "ner_tags") -> dict:
    return {"tokens": tokens.split(), column: tags}


def topic(key: int, category: str, text: str) -> dict:
    return {"index_id": key, "category": category, "text": text}


def intent(key: str, label: str, text: str, lang: str) -> dict:
    return {"id": key, "label": label, "label_text": label, "text": text, "lang": lang}


def sentence(key: int, text: str) -> dict:
    return {"id": key, "iso_639_3": "", "iso_15924": "", "text": text, "domain": "wikinews"}


XNLI = {
    f"en/train{PART}": nli(("a man", "a person", 0), ("a dog", "a cat", 2), ("it rains", "he left", 1)),
    f"en/validation{PART}": nli(("b", "c", 1)),
    f"en/test{PART}": nli(("he sang", "he was quiet", 2), ("d", "e", 0)),
    f"zh/train{PART}": nli(("machine", "translated", 0)),
    f"zh/validation{PART}": nli(("乙", "丙", 1)),
    f"zh/test{PART}": nli(("他唱歌", "他很安静", 2), ("丁", "戊", 0)),
    f"sw/test{PART}": nli(("aliimba", "alikuwa kimya", 2), ("f", "g", 0)),
}
CONTEXT = "Paris is the capital of France."
FILES: dict[str, dict[str, list[dict]]] = {
    "xnli": XNLI,
    "americasnli": {
        **XNLI,
        f"gn/validation{PART}": nli(("h", "i", 1)),
        f"gn/test{PART}": nli(("j", "k", 2)),
        f"quy/test{PART}": nli(("l", "m", 0)),
    },
    "pawsx": {
        f"en/train{PART}": paws((1, "a b", "b a", 0), (2, "c d", "d c", 1)),
        f"en/validation{PART}": paws((1, "a", "b", 0)),
        f"en/test{PART}": paws((7, "e f", "f e", 1), (9, "g", "h", 0)),
        f"ja/validation{PART}": paws((1, "NS", "い", 0), (2, "う", "", 1)),
        f"ja/test{PART}": paws((7, "え", "お", 1)),
    },
    "sib200": {
        "train/eng_Latn.parquet": [topic(5, "travel", "a"), topic(6, "science/technology", "b")],
        "validation/eng_Latn.parquet": [topic(8, "sports", "c")],
        "test/eng_Latn.parquet": [topic(9, "health", "d")],
        "train/zho_Hant.parquet": [topic(5, "travel", "甲"), topic(6, "science/technology", "乙")],
        "test/zho_Hant.parquet": [topic(9, "health", "丁")],
        "train/nqo_Nkoo.parquet": [topic(5, "travel", "ߞ")],
        "test/nqo_Nkoo.parquet": [topic(9, "health", "ߟ")],
    },
    "massive": {
        f"{split}/{code}.json.gz": [intent("1", "alarm_set", f"{split} {code}", code), intent("4", "iot_coffee", "é", code)]
        for split in ("train", "validation", "test")
        for code in ("en", "nb", "zh-TW")
    },
    "wikiann": {
        f"en/train{PART}": [words("R.H. Saunders , Ontario", [3, 4, 0, 5])],
        f"en/validation{PART}": [words("Paris", [5])],
        f"en/test{PART}": [words("Ada Lovelace sang", [1, 2, 0])],
        f"als/train{PART}": [words("Bärn", [5])],
        f"als/test{PART}": [words("z Bärn", [0, 5])],
    },
    "udpos": {
        f"udpos.English/train{PART}": [words("the cat sat", [5, 7, 15], "pos_tags")],
        f"udpos.English/validation{PART}": [words("cats", [7], "pos_tags")],
        f"udpos.English/test{PART}": [words("cats sit", [7, 15], "pos_tags"), words("", [], "pos_tags")],
        f"udpos.Tagalog/test{PART}": [words("Kumain ako", [15, 10], "pos_tags")],
    },
    "masakhaner": {
        "hau/masakhaner2-train.parquet": [words("a Kano", [0, 5])],
        "hau/masakhaner2-validation.parquet": [words("ranar Litinin", [0, 7])],
        "hau/masakhaner2-test.parquet": [words("Kano ce", [5, 0])],
        "swa/test/0000.parquet": [words("Dodoma", [5])],
    },
    "xquad": {
        f"plain_text/train{PART}": [squad("t1", "Rome is old.", "What is old?", "Rome", 0)],
        f"plain_text/validation{PART}": [
            squad("d1", "Oslo is cold.", "What is cold?", "Oslo", 0),
            squad("x1", CONTEXT, "Capital?", "Paris", 0),
            squad("d2", CONTEXT, "Of what?", "France", 24),
        ],
        f"xquad.en/validation{PART}": [squad("x1", CONTEXT, "Capital?", "Paris", 0)],
        f"xquad.de/validation{PART}": [
            squad("x1", "Die Hauptstadt ist Paris.", "Hauptstadt?", "Paris", 19),
            squad("x2", "Die Stadt ist alt.", "Welche?", "Stadt", 0),
        ],
    },
    "tatoeba": {
        "test/deu-eng.jsonl.gz": [
            {"sentence1": f"d{n} .", "sentence2": f"e{n} .", "lang": "deu-eng"} for n in range(20)
        ],
        "test/swh-eng.jsonl.gz": [{"sentence1": "habari\n", "sentence2": "hello\n", "lang": "swh-eng"}],
    },
    "flores": {
        f"{split}/{code}.jsonl": [sentence(0, f"{split} 0 {code}"), sentence(1, f"{split} 1 {code}")]
        for split in ("dev", "devtest")
        for code in ("eng_Latn", "cmn_Hans", "cmn_Hant", "twi_Latn_asan1239")
    },
    "opus100": {
        f"en-ja/train{PART}": [
            {"translation": {"en": "One.", "ja": "一。"}},
            {"translation": {"en": "", "ja": "二。"}},
            {"translation": {"en": "same", "ja": "same"}},
            {"translation": {"en": "Four.", "ja": "四。"}},
        ],
        f"en-ja/test{PART}": [{"translation": {"en": "Test.", "ja": "試験。"}}],
        f"dz-en/train{PART}": [{"translation": {"dz": f"dz {n}", "en": f"en {n}"}} for n in range(50)],
    },
}  # fmt: skip
HUB = tuple(sorted(FILES.keys() - {"opus100"}))  # the tasks; that is a corpus
