"""The task `udpos`: the parts of speech of Universal Dependencies 2.5, as in XTREME."""

from distxfer.data._examples import About, Data, Task
from distxfer.data._hub import Dataset, hub_task, tag_reader

_LABELS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X"
LABELS = tuple(_LABELS.split())
_CODES = {
    "afr": "Afrikaans", "ara": "Arabic", "bul": "Bulgarian", "deu": "German", "ell": "Greek", "eng": "English",
    "est": "Estonian", "eus": "Basque", "fas": "Persian", "fin": "Finnish", "fra": "French", "heb": "Hebrew",
    "hin": "Hindi", "hun": "Hungarian", "ind": "Indonesian", "ita": "Italian", "jpn": "Japanese", "kaz": "Kazakh",
    "kor": "Korean", "mar": "Marathi", "nld": "Dutch", "por": "Portuguese", "rus": "Russian", "spa": "Spanish",
    "tam": "Tamil", "tel": "Telugu", "tgl": "Tagalog", "tha": "Thai", "tur": "Turkish", "urd": "Urdu",
    "vie": "Vietnamese", "yor": "Yoruba", "zho": "Chinese",
}  # fmt: skip
# Parquet, udpos.{code}/{split}-00000-of-00001 since the commit "Convert dataset to Parquet (#9)", which public code pins.
DATASET = Dataset(
    "google/xtreme", "ec5f1f46e9af79639a90684a7a70a956c4998f04", ("udpos.{code}/{split}-*.parquet",), _CODES
)
ABOUT = About(
    "parts of speech (17) of Universal Dependencies 2.5",
    task_type="token_classification",
    needs="hub",
    size="31 (Kazakh) to tens of thousands to train; Tagalog, Thai, Yoruba: test alone",
    licence="of each treebank (UD 2.5)",
    citation="Nivre et al. 2020, Universal Dependencies v2, LREC; Hu et al. 2020, XTREME, ICML",
    source=DATASET.repository,
    revision=DATASET.revision,
    keys=("folder", "revision"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task."""
    return tuple(DATASET.codes)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task; sentences differ between languages, and Tagalog, Thai and Yoruba have only a test part."""
    return hub_task(
        data,
        (DATASET,),
        tag_reader(LABELS, "tokens", "pos_tags"),
        source,
        targets,
        target_labels=target_labels,
        labels=LABELS,
        task_type=ABOUT.task_type,
        unlabelled=True,
    )
