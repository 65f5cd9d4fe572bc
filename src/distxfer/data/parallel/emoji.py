"""In-domain parallel text: the names of the emoji that the task's `parallel` part holds, without their labels."""

from distxfer.data._emoji import LANGUAGES, load_emoji
from distxfer.data._examples import About, Data, Example, Pair, ParallelText

ABOUT = About(
    "489 emoji names per language that the task `emoji` neither trains on nor tests on; offline",
    kind="parallel",
    needs="distxfer[offline]",
    size="489 pairs a language",
    licence="BSD-3-Clause, MIT; names: Unicode-3.0",
    citation="Unicode CLDR, emoji short names",
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages the corpus has."""
    return tuple(LANGUAGES)


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the names in the `parallel` part to train on, those in the `test` part to measure alignment on."""

    def pairs(part: str, target: str) -> tuple[Pair, ...]:
        return tuple(
            Pair(Example(one.id, source, one.names[source]), Example(one.id, target, one.names[target]))
            for one in load_emoji()
            if one.part == part
        )

    targets = tuple(target for target in targets if target in LANGUAGES)
    return ParallelText(
        name=data.name,
        train={target: pairs("parallel", target) for target in targets},
        held_out={target: pairs("test", target) for target in targets},
    )
