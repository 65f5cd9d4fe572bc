"""Pairs that nobody has aligned: mined from unlabelled text by the pretrained encoder."""

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
    """Return, for each target language, the pairs of source and target texts that are each other's nearest neighbour.

    Nearest by CSLS of the pooled states of the last layer of the encoder as it is, before training; repeated texts count
    once. Nothing says that a mined pair is a translation: how many are depends on whether the texts of the two languages
    speak of the same things.

    Raises InputError for a language without unlabelled text.
    """
    distinct = {language: list({one.text: one for one in group}.values()) for language, group in texts.items()}
    for language, group in distinct.items():
        if len(group) < 2:
            raise InputError(
                f"`parallel.mined` needs unlabelled text of `{language}`, and the task has {len(group)} of it. Put"
                " `unlabelled.jsonl` into the folder of the language, or set `parallel.mined=false`."
            )
    found = snapshot(
        encoder, collate, [bare(one) for group in distinct.values() for one in group], processes, cache, logits=False
    )
    states = {language: found.states(group)[-1] for language, group in distinct.items()}
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
