"""The task `pawsx`: do two sentences, which share nearly all their words, say the same?"""

from distxfer.data._examples import About, Data, Example, Task
from distxfer.data._hub import Dataset, HubRow, by_key, class_reader, hub_task

LABELS = ("different", "paraphrase")  # 0 and 1 on the hub
_NONE = "NS"  # what stands where a sentence of dev or test was not translated
# Parquet, {code}/{split}-00000-of-00001; the commit that public code pins.
DATASET = Dataset(
    "google-research-datasets/paws-x",
    "4cd8187c404bda33cb1f62b49b001115862acf37",
    ("{code}/{split}-*.parquet",),
    by_key("de en es fr ja ko zh"),
)
ABOUT = About(
    "paraphrase or not, of two sentences that share their words",
    needs="hub",
    size="49,401 to train, 2,000 dev, 2,000 test",
    licence="free for any purpose (Google's own)",
    citation="Yang et al. 2019, PAWS-X: A Cross-lingual Adversarial Dataset for Paraphrase Identification, EMNLP",
    source=DATASET.repository,
    revision=DATASET.revision,
    keys=("folder", "revision"),
)
_read = class_reader(LABELS, "sentence1", "sentence2", key="id")


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task."""
    return tuple(DATASET.codes)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task; dev and test are translated by humans, train by machine; untranslated pairs are left out."""
    return hub_task(data, (DATASET,), _translated, source, targets, target_labels=target_labels, labels=LABELS)


def _translated(row: HubRow) -> Example | str:
    if _NONE in (row.text("sentence1").strip(), row.text("sentence2").strip()):
        return f"`{_NONE}` in the place of a sentence"
    return _read(row)
