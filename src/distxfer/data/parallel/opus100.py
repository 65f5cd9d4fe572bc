"""Parallel text of OPUS-100: up to a million pairs a language with English, from films, books, software and the web."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa

from distxfer.data._examples import About, Data, Example, Pair, ParallelText, held_out
from distxfer.data._hub import Copy, Dataset, by_key, copy_of, left_out_notes
from distxfer.data._rows import Stored
from distxfer.data.tasks.tatoeba import SOURCE, needs_english

# Parquet, {code}/{split}-00000-of-00001, both codes of a pair in alphabetical order; the commit that mteb pins. Without
# `nb`, which is the same language as `no` here.
_CODES = by_key(
    "af am an ar as az be bg bn br bs ca cs cy da de dz el eo es et eu fa fi fr fy ga gd gl gu ha he hi hr hu hy id ig is it "
    "ja ka kk km kn ko ku ky li lt lv mg mk ml mn mr ms mt my ne nl nn no oc or pa pl ps pt ro ru rw se sh si sk sl sq sr sv "
    "ta te tg th tk tr tt ug uk ur uz vi wa xh yi yo zh zu"
)
DATASET = Dataset(
    "Helsinki-NLP/opus-100",
    "805090dc28bf78897da9641cdf08b61287580df9",
    ("{code}/{split}-*.parquet",),
    {key: "-".join(sorted((code, "en"))) for key, code in _CODES.items()},
    {"train": "train", "test": "test"},
)
ABOUT = About(
    "sentences of films, books, software and the web in 98 languages with English",
    task_type="",
    needs="hub",
    size="624 (Dzongkha) to 1,000,000 pairs to train on, 2,000 held out",
    licence="unknown, of each source",
    citation="Zhang et al. 2020, Improving Massively Multilingual Neural Machine Translation, ACL; Tiedemann 2012, OPUS",
    source=DATASET.repository,
    revision=DATASET.revision,
    keys=("folder", "revision"),
)
_LEFT_OUT = "pairs with a blank side, or twice the same one"
_SCHEMA = pa.schema([("number", pa.int32()), ("source", pa.string()), ("target", pa.string())])


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the corpus, including English."""
    return (SOURCE, *DATASET.codes)


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the pairs of `train`, read lazily from disk, and those of `test` as held out.

    For a language without `test`, a fixed fifth by hash of its ids is held out. Pairs with a blank side or two equal sides
    are left out.
    """
    needs_english(data, source, "parallel")
    targets = tuple(target for target in targets if target in DATASET.codes)
    copy = copy_of(
        DATASET, data, [(split, target) for split in DATASET.splits for target in targets], "parallel", pinned=False
    )
    train: dict[str, Sequence[Pair]] = {}
    held: dict[str, Sequence[Pair]] = {}
    left_out: Counter[str] = Counter()
    for target in targets:
        train[target], held[target] = (_pairs(copy, split, target, left_out) for split in ("train", "test"))
        if not train[target]:
            raise copy.missing("train", target, "parallel")
        if not held[target]:
            held[target] = tuple(pair for pair in train[target] if held_out(pair.source.id))
            train[target] = tuple(pair for pair in train[target] if not held_out(pair.source.id))
    notes = (*copy.notes, *left_out_notes(data.name, _LEFT_OUT, left_out))
    return ParallelText(data.name, train, held, notes, {(language, _LEFT_OUT): n for language, n in left_out.items()})


def _pairs(copy: Copy, split: str, target: str, left_out: Counter[str]) -> Sequence[Pair]:
    def rows() -> Iterator[tuple[int, str, str]]:
        for row in copy.rows(split, target):
            translation = row.value("translation")
            codes = ("en", _CODES[target])
            if not isinstance(translation, dict) or not all(
                isinstance(translation.get(code, 0), str | None) for code in codes
            ):
                raise row.invalid(translation, "translation", f"a table of two texts, `en` and `{_CODES[target]}`")
            source_text, target_text = ((translation[code] or "").strip() for code in codes)
            if source_text and target_text and source_text != target_text:
                yield row.number, source_text, target_text
            else:
                left_out[target] += 1

    def pair(number: int, source_text: str, target_text: str) -> Pair:
        key = f"{split}-{number}"
        return Pair(Example(key, SOURCE, source_text), Example(key, target, target_text))

    return Stored(rows(), _SCHEMA, pair)
