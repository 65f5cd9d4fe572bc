"""The task `masakhaner`: names of persons, organisations and places, and dates, in news in 20 languages of Africa."""

from distxfer.data._examples import About, Data, Task
from distxfer.data._hub import Dataset, by_key, hub_task, tag_reader

LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-DATE", "I-DATE")
# The repository holds a loading script, which current libraries refuse. This is a commit of the hub's Parquet copy on
# the branch refs/convert/parquet; its newest commit has the second layout.
DATASET = Dataset(
    "masakhane/masakhaner2",
    "b2eaecec98a258d1d60714a11d476243e049c89f",
    ("{code}/masakhaner2-{split}.parquet", "{code}/{split}/*.parquet"),
    by_key("bam bbj ewe fon hau ibo kin lug luo mos nya pcm sna swa tsn twi wol xho yor zul"),
)
ABOUT = About(
    "names of persons, organisations and places, and dates, in news in 20 languages of Africa (MasakhaNER 2)",
    task_type="named_entities",
    needs="hub",
    size="1,000s of sentences a language",
    licence="AFL-3.0 on the hub, CC-BY-NC-4.0 in its own repository",
    citation="Adelani et al. 2022, MasakhaNER 2.0: Africa-centric Transfer Learning for NER, EMNLP",
    source=DATASET.repository,
    revision=DATASET.revision,
    keys=("folder", "revision"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task; without English, so the source is one of them."""
    return tuple(DATASET.codes)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task; each language has sentences of its own."""
    return hub_task(
        data,
        (DATASET,),
        tag_reader(LABELS, "tokens", "ner_tags"),
        source,
        targets,
        target_labels=target_labels,
        labels=LABELS,
        task_type=ABOUT.task_type,
        unlabelled=True,
    )
