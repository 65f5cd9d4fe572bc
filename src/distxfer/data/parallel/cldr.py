"""In-domain parallel text: the names of the emoji in the `parallel` part of the task `cldr`, without their labels."""

from distxfer.data._cldr import languages_of, locales_of, notes
from distxfer.data._emoji import load_emoji
from distxfer.data._examples import About, Data, Example, Pair, ParallelText

ABOUT = About(
    "the emoji names of the task `cldr` that it neither trains on nor tests on, in 119 languages",
    task_type="",
    needs="distxfer[offline], and CLDR's annotations: npm pack cldr-annotations-full@48.2.0",
    size="470 pairs a language",
    licence="Unicode-3.0",
    citation="Unicode CLDR 48.2, annotations",
    keys=("folder", "pattern"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages with at least 1,000 names, and those of the locales that `pattern` names."""
    return languages_of(data)


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the names in the `parallel` part for training, and those in the `test` part for measuring alignment.

    Raises InputError without a file.
    """
    available = languages(data)
    targets = tuple(target for target in targets if target in available)
    locales = locales_of(data, "parallel", (source, *targets))
    first = locales[source].texts

    def pairs(part: str, target: str) -> tuple[Pair, ...]:
        second = locales[target].texts
        return tuple(
            Pair(Example(emoji.id, source, first[emoji.id]), Example(emoji.id, target, second[emoji.id]))
            for emoji in load_emoji()
            if emoji.part == part and emoji.id in first and emoji.id in second
        )

    return ParallelText(
        name=data.name,
        train={target: pairs("parallel", target) for target in targets},
        held_out={target: pairs("test", target) for target in targets},
        notes=notes(data, locales),
    )
