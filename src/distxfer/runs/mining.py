"""Mines sentence pairs from unlabelled text with the pretrained encoder."""

from collections.abc import Mapping, Sequence

from distxfer.data import Collator, Example, Pair
from distxfer.encoders import Encoder, StateCache
from distxfer.errors import InputError
from distxfer.measure import mutual_neighbours
from distxfer.runs.snapshots import bare, snapshot
from distxfer.training import Processes

_NEIGHBOURS = 10  # of CSLS, as in its paper


def mined_pairs(
    encoder: Encoder,
    collate: Collator,
    texts: Mapping[str, Sequence[Example]],
    source: str,
    processes: Processes,
    cache: StateCache | None,
) -> dict[str, list[Pair]]:
    """Return for each target language the pairs of source and target texts that are mutual nearest neighbours.

    Neighbours are by CSLS of the last layer's pooled states before training; repeated texts count once. Mined pairs need
    not be translations: how many are depends on how similar the topics of the two languages' texts are.

    Raises InputError for a language without unlabelled text.
    """
    distinct = {
        language: list({example.text: example for example in group}.values()) for language, group in texts.items()
    }
    for language, group in distinct.items():
        if len(group) < 2:
            raise InputError(
                f"`parallel.mined` needs unlabelled text in `{language}`, but the task has {len(group)} such texts. Put"
                " `unlabelled.jsonl` into the folder of the language, or set `parallel.mined=false`."
            )
    pooled = snapshot(
        encoder,
        collate,
        [bare(example) for group in distinct.values() for example in group],
        processes,
        cache,
        logits=False,
    )
    states = {language: pooled.states(group)[-1] for language, group in distinct.items()}
    return {
        language: [
            Pair(distinct[source][i], group[j])
            for i, j in mutual_neighbours(
                states[source], states[language], k=min(_NEIGHBOURS, len(group), len(distinct[source]))
            ).tolist()
        ]
        for language, group in distinct.items()
        if language != source
    }
