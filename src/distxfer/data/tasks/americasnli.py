"""The task `americasnli`: `xnli`, tested in languages of the Americas and trained in English or Spanish."""

from dataclasses import replace

from distxfer.data._examples import About, Data, Task
from distxfer.data._hub import Dataset, by_key, hub_task
from distxfer.data.tasks import xnli

# {code}/{split}-00000-of-00001.parquet since the commit aa38975, whose full hash is unknown. Two more languages, `nah` and
# `oto`, have codes of families (Nahuatl, Otomi), which have no typological distances.
DATASET = Dataset(
    "nala-cub/americas_nli",
    "",
    ("{code}/{split}-*.parquet",),
    by_key("aym bzd cni gn hch quy shp tar"),
    {"dev": "validation", "test": "test"},
)
# It was translated from the Spanish of XNLI.
_XNLI = replace(xnli.DATASET, codes=by_key("en es"))
ABOUT = About(
    "inference as of `xnli`, which it is trained on, tested in 8 languages of the Americas",
    needs="hub",
    size="392,702 to train, up to 743 dev, 750 test",
    licence="CC-BY-SA-4.0 (training: CC-BY-NC-4.0)",
    citation="Ebrahimi et al. 2022, AmericasNLI: Evaluating Zero-shot NLU of Pretrained Multilingual Models, ACL",
    source=f"{DATASET.repository}, {_XNLI.repository}",
    revision=f"none, {_XNLI.revision}",
    keys=("folder", "revision"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task, those of the training data first."""
    return (*_XNLI.codes, *DATASET.codes)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task; English and Spanish are from XNLI, including their test parts."""
    return hub_task(data, (DATASET, _XNLI), xnli.READ, source, targets, target_labels=target_labels, labels=xnli.LABELS)
