"""Parallel text of FLORES+: 2,009 sentences of Wikimedia in over 200 languages, all of them parallel."""

from collections import Counter

from distxfer.data._examples import About, Data, Example, Pair, ParallelText
from distxfer.data._hub import Copy, copy_of, left_out_notes
from distxfer.data.tasks import flores
from distxfer.data.tasks.flores import DATASET

_LEFT_OUT = "sentences without text, a translation or an id of their own"
ABOUT = About(
    "sentences of Wikimedia in over 200 languages, all of them parallel; the task `flores` tests on those held out",
    task_type="",
    needs="hub, its terms accepted",
    size="997 pairs to train on, 1,012 held out",
    licence="CC-BY-SA-4.0",
    citation=flores.ABOUT.citation,
    source=DATASET.repository,
    revision=DATASET.revision,
    keys=("folder", "revision"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the corpus."""
    return flores.languages(data)


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the sentences of dev for training, those of devtest held out (none for a target without devtest)."""
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
        source_sentences = sentences[split, source]
        target_sentences = {target: sentences[split, target] for target in targets if sentences[split, target]}
        for target, sentences_of_target in target_sentences.items():
            left_out[target] += len(source_sentences.keys() ^ sentences_of_target.keys())
        return {
            target: tuple(
                Pair(source_sentences[key], sentence)
                for key, sentence in sentences_of_target.items()
                if key in source_sentences
            )
            for target, sentences_of_target in target_sentences.items()
        }

    train, held_out = pairs("dev"), pairs("test")
    notes = (*copy.notes, *left_out_notes(data.name, _LEFT_OUT, left_out))
    return ParallelText(
        data.name, train, held_out, notes, {(language, _LEFT_OUT): n for language, n in left_out.items()}
    )


def _sentences(copy: Copy, split: str, language: str, left_out: Counter[str]) -> dict[str, Example]:
    """Return id -> the first sentence with that id, and count the others."""
    sentences: dict[str, Example] = {}
    for row in copy.rows(split, language):
        sentence = flores.read(row)
        if isinstance(sentence, str) or sentence.id in sentences:
            left_out[language] += 1
        else:
            sentences[sentence.id] = sentence
    return sentences
