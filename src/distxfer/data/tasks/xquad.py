"""The task `xquad`: which span of a text answers a question? Trained on SQuAD, tested on translations of its dev part."""

from dataclasses import replace

from distxfer.data._examples import About, Data, Issue, Task
from distxfer.data._hub import Dataset, by_key, hub_task, read_answers
from distxfer.errors import counted

# Parquet, xquad.{code}/validation-00000-of-00001; the commit that mteb pins.
DATASET = Dataset(
    "google/xquad",
    "51adfef1c1287aab1d2d91b5bead9bcfb9c68583",
    ("xquad.{code}/{split}-*.parquet",),
    by_key("ar de el en es hi ro ru th tr vi zh"),
    {"test": "validation"},
)
# Parquet, plain_text/{split}-00000-of-00001; the commit that public code pins.
_SQUAD = Dataset(
    "rajpurkar/squad",
    "7b6d24c440a36b6815f21b70d25016731768db1f",
    ("{code}/{split}-*.parquet",),
    {"eng": "plain_text"},
    {"train": "train", "dev": "validation"},
)
ABOUT = About(
    "the answer to a question in a text of Wikipedia; trained on SQuAD in English",
    task_type="question_answering",
    needs="hub",
    size="87,599 to train, 1,190 test",
    licence="CC-BY-SA-4.0",
    citation="Artetxe et al. 2020, On the Cross-lingual Transferability of Monolingual Representations, ACL;"
    " Rajpurkar et al. 2016, SQuAD, EMNLP",
    source=f"{DATASET.repository}, {_SQUAD.repository}",
    revision=f"{DATASET.revision}, {_SQUAD.revision}",
    keys=("folder", "revision"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task."""
    return tuple(DATASET.codes)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task; the same questions, with the same ids, in every language.

    Dev is that of SQuAD without the texts of XQuAD, so that settings chosen on dev have not seen test texts.
    """
    task = hub_task(
        data, (DATASET, _SQUAD), read_answers, source, targets, target_labels=target_labels, task_type=ABOUT.task_type
    )
    dev, test = task.examples("dev", source), task.examples("test", source)
    ids = {example.id for examples in task.splits["test"].values() for example in examples}
    # Also by id, since copies of a text may differ in white space.
    tested = {example.text_pair for example in test} | {example.text_pair for example in dev if example.id in ids}
    unseen = tuple(example for example in dev if example.text_pair not in tested)
    questions = counted(len(dev) - len(unseen), "questions")
    note = f"`{data.name}`: {questions} left out of dev, which the test asks too, or on the same text."
    splits = {**task.splits, "dev": {source: unseen} if unseen else {}}
    if len(unseen) == len(dev):
        return replace(task, splits=splits)
    issue = Issue(source, "dev", "test questions, or on their texts", len(dev) - len(unseen), len(dev))
    return replace(task, splits=splits, notes=(*task.notes, note), issues=(*task.issues, issue))
