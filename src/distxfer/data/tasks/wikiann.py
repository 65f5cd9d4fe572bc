"""The task `wikiann`: names of persons, organisations and places in sentences of Wikipedia, tagged by its links."""

from distxfer.data._examples import About, Data, Task
from distxfer.data._hub import Dataset, by_key, hub_task, tag_reader

LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
# Parquet, {code}/{split}-00000-of-00001; the commit that public code pins. The codes are Wikipedia's, some of which mean
# other languages elsewhere (`als` is Alemannic). Second forms of a listed language are left out: `be-x-old`, `map-bms`
# (Banyumasan Javanese) and `simple` (English).
DATASET = Dataset(
    "unimelb-nlp/wikiann",
    "f0a3be6dc5564c0cc4150bb660144800a1f539d4",
    ("{code}/{split}-*.parquet",),
    by_key(
        "ace af am an ang ar arc arz as ast ay az ba bar be bg bn bo br bs ca cdo ce ceb ckb co crh cs csb cv cy "
        "da de diq dv el eml en eo es et eu ext fa fi fo fr frr fur fy ga gan gd gl gn gu hak he hi hr hsb hu hy "
        "ia id ig ilo io is it ja jbo jv ka kk km kn ko ksh ku ky la lb li lij lmo ln lt lv mg mhr mi min mk ml mn "
        "mr ms mt mwl my mzn nap nds ne nl nn no nov oc or os pa pdc pl pms pnb ps pt qu rm ro ru rw sa sah scn "
        "sco sd sh si sk sl so sq sr su sv sw szl ta te tg th tk tl tr tt ug uk ur uz vec vep vi vls vo wa war wuu "
        "xmf yi yo zea zh",
        bho="bh",
        cbk="cbk-zam",
        gsw="als",
        lzh="zh-classical",
        nan="zh-min-nan",
        sgs="bat-smg",
        vro="fiu-vro",
        yue="zh-yue",
    ),
)
ABOUT = About(
    "names of persons, organisations and places in sentences of Wikipedia (PAN-X)",
    task_type="named_entities",
    needs="hub",
    size="100 to 20,000 to train, 100 to 10,000 dev and test",
    licence="unknown; the text: CC-BY-SA",
    citation="Pan et al. 2017, Cross-lingual Name Tagging and Linking, ACL; splits: Rahimi et al. 2019, ACL",
    source=DATASET.repository,
    revision=DATASET.revision,
    keys=("folder", "revision"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task."""
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
