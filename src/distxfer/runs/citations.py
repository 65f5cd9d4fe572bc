"""The papers that a recipe uses, as BibTeX."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from distxfer.encoders import BUNDLED_MODELS

# By intervention, and by its settings. CITATION.cff states what each paper is cited for.
_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "drift": ("philippy2023",), "l2_sp": ("li2018",), "freeze": ("philippy2023",), "consistency": ("zheng2021",),
    "code_switch": ("zheng2021",), "subword_sampling": ("zheng2021",), "r3f": ("aghajanyan2021",),
    "typology": ("adilazuarda2024", "littell2017"), "lora": ("hu2022",), "ia3": ("liu2022ia3",), "bottleneck": ("he2022",),
    "simcse": ("gao2021", "wang2022"), "language_modelling": ("gururangan2020",), "mixout": ("lee2020",),
    "sparse": ("ansell2022",), "self_training": ("zou2018",), "teacher": ("xu2017", "reimers2020"),
    "state_teacher": ("reimers2020",),
}  # fmt: skip
_OF_SETTING: Mapping[tuple[str, str, str], tuple[str, ...]] = {
    ("drift", "measure", "cka"): ("kornblith2019", "song2012"),
    ("drift", "measure", "relational"): ("park2019",),
    ("freeze", "layers", "lower_half"): ("bakos2025",),
    ("freeze", "layers", "upper_half"): ("bakos2025",),
    ("align", "loss", "infonce"): ("oord2018", "gaschi2023"),
    ("align", "loss", "l2"): ("cao2020",),
    ("align", "loss", "cka"): ("kornblith2019", "song2012"),
    ("align", "standardise", "True"): ("timkey2021",),
    ("align", "loss", "sinkhorn"): ("feydy2019", "alqahtani2021"),
    ("self_training", "centre", "True"): ("xian2022",),
    ("lora", "dora", "True"): ("liu2024dora",),
}
_ADAPTERS = ("lora", "ia3", "bottleneck")


def bibtex(resolved: Mapping[str, Any]) -> list[str]:
    """Return the distinct entries of the papers that a resolved recipe uses, beginning with distxfer's own."""
    return [_papers()[key] for key in dict.fromkeys(["distxfer", *_keys(resolved)])]


def _keys(resolved: Mapping[str, Any]) -> list[str]:
    bundled = BUNDLED_MODELS.get(resolved["model"]["name"])
    papers = [bundled.paper] if bundled else []
    interventions, phases = resolved["intervention"].values(), resolved["phase"].values()
    for intervention in interventions:
        kind = intervention["kind"]
        papers += _OF_KIND.get(kind, ())
        for key, value in intervention.items():
            papers += _OF_SETTING.get((kind, key, str(value)), ())
        if intervention.get("unit") == "word" and not (
            intervention.get("dictionary") or intervention.get("alignments")
        ):
            papers.append("jalilisabet2020")
    distance = resolved["distance"]
    conditions = {
        "pfeiffer2020": sum(intervention["kind"] in _ADAPTERS for intervention in interventions) > 1,
        "schmidt2023": any(phase.get("average") for phase in phases),
        "wortsman2022": any(phase.get("merge") for phase in phases),
        "liu2025alternate": any(phase.get("alternate") for phase in phases),
        "conneau2018": resolved["parallel"]["mined"],
        "artetxe2019": resolved["parallel"]["mined"],
        "kumar2022": resolved["model"].get("head_start") == "probe",
        "rueckle2021": resolved["model"]["drop_last_layers"],
        "khan2025" if distance["name"].endswith("@uriel+") else "littell2017": not distance["matrix"],
    }
    return papers + [paper for paper, is_used in conditions.items() if is_used]


@cache
def _papers() -> dict[str, str]:
    """Return the entries of `papers.bib` by key."""
    text = Path(__file__).with_name("papers.bib").read_text(encoding="utf-8")
    return {re.split("[{,]", entry)[1]: entry for entry in text.strip().split("\n\n")}
