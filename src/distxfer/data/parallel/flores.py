"""Parallel text of FLORES+: 2,009 sentences of Wikimedia in over 200 languages, all of them parallel."""

from collections import Counter

from distxfer.data._examples import About, Data, Example, Pair, ParallelText
from distxfer.data._hub import Copy, copy_of, said_of
from distxfer.data.tasks import flores
from distxfer.data.tasks.flores import DATASET

_LEFT_OUT = "sentences without text, a translation or an id of their own"
ABOUT = About(
    "sentences of Wikimedia in over 200 languages, all of them parallel; the task `flores` tests on those held out",
    kind="parallel",
    needs="hub, its terms accepted",
    size="997 pairs to train on, 1,012 held out",
    licence="CC-BY-SA-4.0",
    citation=flores.ABOUT.citation,
    source=DATASET.repository,
    revision=DATASET.revision,
    keys=("folder", "revision"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages the corpus has."""
    return flores.languages(data)


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the sentences of dev to train on, those of devtest held out; a target without the latter has none there."""
    targets = tuple(target for target in targets if target in DATASET.codes and target != source)
    parts = [(split, language) for split in DATASET.splits for language in (source, *targets)]
    copy = copy_of(DATASET, data, parts, "parallel", pinned=False)
    left_out: Counter[str] = Counter()
    sentences = {part: _sentences(copy, *part, left_out) for part in parts}
    if lacks := next(
        (language for split, language in parts if split == "dev" and not sentences[split, language]), None
    ):
        raise copy.missing("dev", lacks, "parallel")

    def pairs(split: str) -> dict[str, tuple[Pair, ...]]:
        own = sentences[split, source]
        found = {target: sentences[split, target] for target in targets if sentences[split, target]}
        for target, those in found.items():
            left_out[target] += len(own.keys() ^ those.keys())
        return {
            target: tuple(Pair(own[key], one) for key, one in those.items() if key in own)
            for target, those in found.items()
        }

    train, held_out = pairs("dev"), pairs("test")
    notes = (*copy.notes, *said_of(data.name, _LEFT_OUT, left_out))
    return ParallelText(
        data.name, train, held_out, notes, {(language, _LEFT_OUT): n for language, n in left_out.items()}
    )


def _sentences(copy: Copy, split: str, language: str, left_out: Counter[str]) -> dict[str, Example]:
    """Return id -> sentence, the first of each id, and count the others."""
    found: dict[str, Example] = {}
    for row in copy.rows(split, language):
        one = flores.read(row)
        if isinstance(one, str) or one.id in found:
            left_out[language] += 1
        else:
            found[one.id] = one
    return found
