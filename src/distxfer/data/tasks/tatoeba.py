"""The task `tatoeba`: find the English translation of a sentence."""

from collections import Counter

from distxfer.data._examples import About, Data, Example, Issue, Pair, Task
from distxfer.data._hub import Copy, Dataset, HubRow, by_key, copy_of, left_out_notes
from distxfer.errors import InputError

# JSON lines, one file per language in test/, with `sentence1` in that language and `sentence2` in English; the commit "fast
# loading", which mteb pins. Without `ber`, a family (Berber), and `kzj`, now merged into `dtp`.
DATASET = Dataset(
    "mteb/tatoeba-bitext-mining",
    "69e8f12da6e31d59addadda9a9c8a2e601a0e282",
    ("{split}/{code}-eng.jsonl.gz", "{split}/{code}-eng.jsonl"),
    by_key(
        "afr amh ang ara arq arz ast awa aze bel ben bos bre bul cat cbk ceb ces cha cmn cor csb cym dan deu dsb "
        "dtp ell epo est eus fao fin fra fry gla gle glg gsw heb hin hrv hsb hun hye ido ile ina ind isl ita jav "
        "jpn kab kat kaz khm kor kur lat lfn lit lvs mal mar max mhr mkd mon nds nld nno nob nov oci orv pam pes "
        "pms pol por ron rus slk slv spa sqi srp swe swg swh tam tat tel tgl tha tuk tur tzl uig ukr urd uzb vie "
        "war wuu xho yid yue zsm",
    ),
    {"test": "test"},
)
ABOUT = About(
    "find the translation: up to 1,000 sentences of Tatoeba a language, with English",
    task_type="retrieval",
    needs="hub",
    size="no training, up to 1,000 test",
    licence="CC-BY-2.0",
    citation="Artetxe and Schwenk 2019, Massively Multilingual Sentence Embeddings for Zero-Shot Transfer, TACL",
    source=DATASET.repository,
    revision=DATASET.revision,
    keys=("folder", "revision"),
)
SOURCE = "eng"
BLANK = "pairs with a blank side"


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task, including English."""
    return (SOURCE, *DATASET.codes)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task; target sentences have the ids of their translations, which are among all source sentences.

    Each language has an English side of its own, so ids begin with the language.
    """
    needs_english(data, source, "task")
    copy = copy_of(DATASET, data, [("test", target) for target in targets], "task", pinned=False)
    left_out: Counter[str] = Counter()
    sides = {target: pairs(copy, target, "task", left_out) for target in targets}
    test = {target: tuple(pair.target for pair in language_pairs) for target, language_pairs in sides.items()}
    english = tuple(pair.source for language_pairs in sides.values() for pair in language_pairs)
    splits = {"train": {}, "test": {source: english, **test}}
    notes = (*copy.notes, *left_out_notes(data.name, BLANK, left_out))
    issues = (Issue(key, "test", BLANK, n, n + len(test[key])) for key, n in left_out.items() if n)
    return Task(data.name, (), splits, task_type=ABOUT.task_type, notes=notes, issues=tuple(issues))


def needs_english(data: Data, source: str, section: str) -> None:
    """Raise InputError if the source is not English, with which all other languages are paired."""
    if source != SOURCE:
        raise InputError(
            f"`{data.name}` pairs every language with English, so the source `{source}` has no translations in it."
            f" Set `task.source={SOURCE}`, or `{section}=flores`, whose languages are all parallel."
        )


def pairs(copy: Copy, target: str, section: str, left_out: Counter[str]) -> tuple[Pair, ...]:
    """Return the complete pairs of a language, and count those with a blank side; raises InputError if none is complete."""
    pairs = [_pair(row, target) for row in copy.rows("test", target)]
    complete = tuple(pair for pair in pairs if pair.source.text and pair.target.text)
    if not complete:
        raise copy.missing("test", target, section)
    left_out[target] += len(pairs) - len(complete)
    return complete


def _pair(row: HubRow, target: str) -> Pair:
    key = f"{DATASET.codes[target]}-{row.number}"
    return Pair(
        Example(key, SOURCE, row.text("sentence2").strip()), Example(key, target, row.text("sentence1").strip())
    )
