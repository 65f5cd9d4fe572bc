"""The task `xnli`: does the first sentence entail the second, contradict it, or neither?"""

from distxfer.data._examples import About, Data, Task
from distxfer.data._hub import Dataset, by_key, class_reader, hub_task

LABELS = ("entailment", "neutral", "contradiction")
# Parquet, {code}/{split}-00000-of-00001; the commit that public code pins.
DATASET = Dataset(
    "facebook/xnli",
    "b8dd5d7af51114dbda02c0e3f6133f332186418e",
    ("{code}/{split}-*.parquet",),
    by_key("ar bg de el en es fr hi ru sw th tr ur vi zh"),
)
READ = class_reader(LABELS, "premise", "hypothesis")
ABOUT = About(
    "natural language inference: entailment, neutral or contradiction, of two sentences",
    needs="hub",
    size="392,702 to train, 2,490 dev, 5,010 test",
    licence="CC-BY-NC-4.0",
    citation="Conneau et al. 2018, XNLI: Evaluating Cross-lingual Sentence Representations, EMNLP",
    source=DATASET.repository,
    revision=DATASET.revision,
    keys=("folder", "revision"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task."""
    return tuple(DATASET.codes)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task; dev and test are human translations of the same pairs with the same ids, train is machine-translated."""
    return hub_task(data, (DATASET,), READ, source, targets, target_labels=target_labels, labels=LABELS)
