"""The study of 120 languages: run what `studies/emoji_120/study.toml` lists and has not been run, write page and picture.

`python -m studies.emoji_120.study` runs everything, with NAMEs only these methods, with `--tables` nothing: it writes
the page and the picture beside it of what is there. Each run is what `distxfer train recipe=... seed=...
--results results/reference-120` does; `make study-120` gets the file of Unicode
CLDR that they need. Of a run, the small files are kept. Which runs the page is of is said in
`study_methods.py`.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from distxfer.analysis.items import Items, read_items
from distxfer.languages import language_name, lineage, permutation_groups, relation
from distxfer.measure import Correlation, Crossed, correlate, crossed, holm
from distxfer.reports import Table, p_phrase
from distxfer.reports._vega import COLOURS, SHAPES, write_all_kinds
from distxfer.results.result import Result
from studies.emoji.methods import BASELINE, ROOT, RUNS, TABLES, WITHOUT, accuracy, read_study, results_in
from studies.emoji.study import train
from studies.emoji.tables import NOTE, provenance

STUDY = Path(__file__).parent
RESULTS = TABLES / "reference-120"
PAGE = TABLES / "study-120.md"
EVIDENCE = STUDY / "evidence.toml"
PARTS = ("all", "seen", "unseen")
# By the closest language whose text was read: the source, or one of the targets that are seen.
KIN = {
    "language": "its own text is read",
    "branch": "unseen, a relative of its branch is read",
    "family": "unseen, a relative of its family is read, none of its branch",
    "none": "unseen, and no language of its family is read",
}
FEWEST_SHARED = 2  # features observed in both languages, below which a distance is a prediction through and through


@dataclass(frozen=True)
class Target:
    """A target language: how far it is, how many features of it that rests on, and whether alignment reads its text."""

    key: str
    distance: float
    n_shared: int
    seen: bool

    @property
    def language(self) -> str:
        """The language whatever the script: two scripts of a language are no two observations."""
        return self.key.partition("_")[0]

    def belongs(self, part: str) -> bool:
        """Return whether it is one of `all`, `seen` or `unseen`."""
        return part == "all" or self.seen == (part == "seen")


@dataclass(frozen=True)
class Outcome:
    """What is there of the study: test accuracy in percent by method, seed and language, the targets, and what was right."""

    source: str
    accuracy: Mapping[str, Mapping[int, Mapping[str, float]]]
    collapsed: Mapping[str, int]
    targets: tuple[Target, ...]
    items: Items | None

    def gain(self, method: str, language: str) -> float:
        """Return the mean over the seeds of a method's accuracy less that of the baseline with the same seed."""
        own, base = self.accuracy[method], self.accuracy[BASELINE]
        return fmean(own[seed][language] - base[seed][language] for seed in self.seeds(method))

    def mean(self, method: str, language: str) -> float:
        """Return the mean over the seeds of a method's accuracy."""
        return fmean(run[language] for run in self.accuracy[method].values())

    def seeds(self, method: str) -> list[int]:
        """Return the seeds that both a method and the baseline have."""
        return sorted(self.accuracy[method].keys() & self.accuracy[BASELINE].keys())

    def methods(self) -> list[str]:
        """Return the methods beside the baseline that can be compared with it."""
        return [name for name in self.accuracy if name != BASELINE and self.seeds(name)]


def main() -> None:
    """Run what is asked for, then write page and picture."""
    methods = read_study(STUDY)
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these methods")
    parser.add_argument("--tables", action="store_true", help="run nothing, write page and picture")
    options = parser.parse_args()
    if unknown := set(options.names) - {one.name for one in methods}:
        known = ", ".join(one.name for one in methods)
        parser.error(f"the study has no method {', '.join(sorted(unknown))}; it has: {known}")
    chosen = [one for one in methods if one.name in options.names or not options.names]
    failed = []
    for seed in sorted({seed for one in chosen for seed in one.seeds}) if not options.tables else ():
        for one in chosen:
            file = str((STUDY / "recipes" / f"{one.name}.toml").relative_to(ROOT))
            failed += [] if train(file, seed, RUNS / "reference-120") else [f"{one.name} with seed {seed}"]
    write()
    if failed:
        raise SystemExit(f"These runs failed, and said why above: {', '.join(failed)}.")


def write() -> None:
    """Write the page, and the picture if there is something to compare."""
    found = outcome()
    PAGE.write_text(page(found), encoding="utf-8")
    if found is not None and found.methods():
        write_all_kinds(picture(found), PAGE.with_suffix(""))
        for unused in (".pdf", ".png"):
            PAGE.with_suffix(unused).unlink()
        EVIDENCE.write_text(evidence(outcome(WITHOUT) or found), encoding="utf-8")


def outcome(without: str = "") -> Outcome | None:
    """Return what the result files say of the examples that are not of the class `without`; None without the baseline."""
    runs = {one.name: results_in(RESULTS / one.name) for one in read_study(STUDY)}
    if not runs[BASELINE]:
        return None
    sound = {
        name: {seed: run for seed, run in own.items() if run.data["status"] != "collapsed"}
        for name, own in runs.items()
    }
    first = next(iter(runs[BASELINE].values()))
    targets = _targets(first, _seen([run for own in runs.values() for run in own.values()]))
    scores_of = {
        name: {seed: _accuracy(run, without) for seed, run in own.items()} for name, own in sound.items() if own
    }
    scores = [
        {
            "method": name,
            "seed": str(seed),
            "language": target.key,
            "value": scores_of[name][seed][target.key],
            "run": str(run.folder),
        }
        for name, runs_of_method in sound.items()
        for seed, run in runs_of_method.items()
        for target in targets
    ]
    return Outcome(
        source=first.data["source"],
        accuracy=scores_of,
        collapsed={name: len(own) - len(sound[name]) for name, own in runs.items()},
        targets=targets,
        items=read_items(pd.DataFrame(scores), unit=100, without=without),
    )


def _accuracy(run: Result, without: str) -> dict[str, float]:
    return {language: accuracy(run, language, without) for language in run.by_language("test", "accuracy")}


def _seen(runs: Sequence[Result]) -> set[str]:
    """Return the languages whose parallel text some run reads; the runs that read some read the same."""
    read = {tuple(keys["languages"]) for run in runs for keys in run.data["recipe"]["intervention"].values()
            if keys.get("languages", "all") != "all"}  # fmt: skip
    if len(read) > 1:
        raise SystemExit(
            "The runs do not read the parallel text of the same languages, so there is no seen and unseen."
        )
    return {language for languages in read for language in languages}


def _targets(run: Result, seen: set[str]) -> tuple[Target, ...]:
    """Return the targets, the nearest first."""
    made = [
        Target(one["language"], one["value"], one["n_shared"], one["language"] in seen) for one in run.data["distances"]
    ]
    return tuple(sorted(made, key=lambda one: (round(one.distance, 9), one.key)))


def page(found: Outcome | None) -> str:
    """Return the page in Markdown."""
    title = "# Gain against distance over 120 languages\n\nWritten by `make study-120` from the files in"
    title += (
        " `results/emoji-with-flags/reference-120`; [docs/cldr.md](../../docs/cldr.md) says what the languages are.\n"
    )
    if found is None:
        return f"{title}\n`{BASELINE}` has not been run yet, so there is nothing to show.\n"
    languages = len({one.language for one in found.targets})
    title += f"\nFrom {language_name(found.source)} to {len(found.targets)} targets, {languages} languages: some are there in two"
    title += " scripts.\n"
    title += (
        f"\nThese runs were trained and tested with the class `{WITHOUT}`: [without-flags.md](without-flags.md) has how many"
        " names that is here, and the gains without them.\n"
    )
    parts = [title, "## Do the methods help?\n", methods_table(found), "\n## Is a relative's text enough?\n"]
    parts += [kin_table(found), "\n## Does distance matter?\n"]
    parts += [distance_table(found), "\n## Every language\n", language_table(found)]
    if found.methods():
        parts.insert(1, f"![Gain against distance, one panel a method]({PAGE.stem}.svg)\n")
    return "\n".join(parts)


def methods_table(found: Outcome) -> str:
    """Return one row per method: means, and gains with the crossed test on seeds x languages."""
    tests = {
        part: {name: tested(found, name, _keys(found, part)) for name in found.methods()}
        for part in PARTS
        if _keys(found, part)
    }
    adjusted = {part: _holm({name: one.p for name, one in own.items()}) for part, own in tests.items()}
    about = {one.name: one for one in read_study(STUDY)}
    rows = []
    for name, runs in found.accuracy.items():
        cells = [f"`{name}`", f"{len(runs)}{_collapsed(found.collapsed[name])}", about[name].text, about[name].chosen]
        cells += [f"{found.mean(name, found.source):.1f}"]
        cells += [f"{fmean(found.mean(name, key) for key in _keys(found, part)):.1f}" for part in tests]
        for part, own in tests.items():
            cells.append(_gain(own[name], adjusted[part].get(name)) if name in own else "–")
        rows.append(tuple(cells))
    counts = {part: len(_keys(found, part)) for part in tests}
    names = [f"{part} {count}" for part, count in counts.items()]
    columns = (
        "recipe",
        "seeds",
        "text used",
        "chosen on",
        language_name(found.source),
        *names,
        *(f"gain, {part}" for part in tests),
    )
    note = (
        "\nTest accuracy in percent on `cldr`, means over seeds and targets, last checkpoint. Gains are points against"
        f" `{BASELINE}` with the same seed, with 95 % intervals; seeds, languages in families and test items random;"
        " p: Holm over the methods. Seen are the targets whose parallel text the aligned recipes read: every second language"
        " by distance."
        " `chosen on`: what the settings were chosen on, `design` where they were fixed beforehand.\n"
    )
    return Table(columns=columns, rows=rows).markdown() + note


def kin(found: Outcome) -> dict[str, list[str]]:
    """Return the keys of the targets by their closest relation to a language whose text is read: groups of `KIN`."""
    read = [found.source, *_keys(found, "seen")]
    groups: dict[str, list[str]] = {group: [] for group in KIN}
    for one in found.targets:
        groups[relation(one.key, read)].append(one.key)
    return groups


def kin_table(found: Outcome) -> str:
    """Return the gains of the methods that read parallel text, by how close the closest language is whose text is read."""
    text = {one.name: one.text for one in read_study(STUDY)}
    methods = [name for name in found.methods() if text[name] != "none"]
    groups = {group: keys for group, keys in kin(found).items() if keys}
    rows: list[tuple[object, ...]] = [
        (KIN[group], len(keys), *(plain_gain(tested(found, name, keys)) for name in methods))
        for group, keys in groups.items()
    ]
    every = [one.key for one in found.targets]
    rows.append(("all", len(every), *(plain_gain(tested(found, name, every)) for name in methods)))
    note = (
        "\nGains with 95 % intervals, as above, each by itself. A family is a top-level family of Glottolog, a branch its first"
        " division, as URIEL has them (`distxfer.languages.relation`). A language without a family there counts as one whose"
        " family is not read. Text that is read is parallel text, or that of the source."
    )
    if groups.get("none"):
        note += f" No language of their family is read: {', '.join(language_name(key) for key in groups['none'])}."
    return Table(columns=("text", "targets", *(f"`{name}`" for name in methods)), rows=rows).markdown() + f"{note}\n"


def evidence(found: Outcome) -> str:
    """Return the effects as TOML, for `distxfer new-language`: in points, with intervals; of a method that reads text, on the
    languages whose text it read. They are without the examples of the class `WITHOUT`, which `note` says.
    """
    methods = read_study(STUDY)
    lines = [
        "# What the study of 120 languages found of each recipe, in points of accuracy against `plain`. `distxfer new-language`",
        "# reads it.",
        "",
        f'note = "{NOTE}"',
        'task = "cldr"',
        *provenance("make study-120", [run for one in methods for run in results_in(RESULTS / one.name).values()]),
    ]
    reads = {one.name: one.text != "none" for one in methods}
    for name in found.methods():
        part = "seen" if reads[name] else "all"
        test = tested(found, name, _keys(found, part))
        if test.low is not None and test.high is not None:
            source = found.gain(name, found.source)
            numbers = {"effect": test.effect, "low": test.low, "high": test.high, "source": source}
            lines += ["", f"[recipe.{name}]", f"targets = {len(_keys(found, part))}"]
            lines += [f"{key} = {value:.4g}" for key, value in numbers.items()]
    return "\n".join([*lines, ""])


def distance_table(found: Outcome) -> str:
    """Return the correlations with distance over languages, and the slopes."""
    tests: dict[tuple[str, str], tuple[Correlation, float]] = {}
    for part in PARTS:
        for name in [BASELINE, *found.methods()]:
            distances, values, groups = observations(found, name, part)
            if len(distances) > 1:
                slope = float(np.polyfit(distances, values, 1)[0])
                tests[name, part] = correlate(distances, values, groups=groups), slope
    adjusted = _holm({key: one.p for key, (one, _) in tests.items()})
    rows = [
        (
            f"accuracy of `{name}`" if name == BASELINE else f"gain of `{name}`",
            part,
            one.n,
            one.n_groups,
            "–" if one.r is None else f"{one.r:+.2f}",
            one.reason or f"{one.p:.4f}",
            "–" if adjusted.get((name, part)) is None else f"{adjusted[name, part]:.4f}",
            "–" if one.detectable is None else f"{one.detectable:.2f}",
            f"{slope / 10:+.2f}",
        )
        for (name, part), (one, slope) in sorted(tests.items(), key=lambda item: list(found.accuracy).index(item[0][0]))
    ]
    left = [one for one in found.targets if one.n_shared < FEWEST_SHARED]
    columns = ("of", "targets", "languages", "groups", "ρ", "p", "p, Holm", "detectable ρ", "points per 0.1")
    note = (
        "\nSpearman's correlation with the syntactic distance from the source (URIEL, imputed), over languages, means over the"
        " seeds; two scripts of a language are one, their mean. p: permutations within areas at most 2,000 km across (`groups`),"
        " and the families and branches in them. Detectable: the smallest |ρ| that so many languages, were they independent,"
        " show with 80 % power; relatives raise it. The last column is the slope of a straight line.\n"
    )
    if left:
        note += (
            f"\nLeft out here: {', '.join(f'{language_name(one.key)} (`{one.key}`)' for one in left)}. URIEL has observed fewer"
            f" than {FEWEST_SHARED} of their features together with the source's, so that their distance is a prediction.\n"
        )
    return Table(columns=columns, rows=rows).markdown() + note


def language_table(found: Outcome) -> str:
    """Return one row per target language, the nearest first: what the picture shows."""
    rows = [
        (
            f"`{one.key}`",
            language_name(one.key),
            ", ".join(lineage(one.key)) or "–",
            f"{one.distance:.3f}",
            one.n_shared,
            "seen" if one.seen else "unseen",
            f"{found.mean(BASELINE, one.key):.1f}",
            *(f"{round(found.gain(name, one.key), 1) + 0.0:+.1f}" for name in found.methods()),  # no -0.0
        )
        for one in found.targets
    ]
    columns = ("key", "language", "family, branch", "distance", "features", "text", f"`{BASELINE}`")
    return Table(columns=(*columns, *(f"`{name}`" for name in found.methods())), rows=rows).markdown()


def observations(found: Outcome, method: str, part: str) -> tuple[list[float], list[float], list[tuple[str, ...]]]:
    """Return distance, gain (of the baseline: accuracy) and family of every language of a part that counts."""
    value = found.mean if method == BASELINE else found.gain
    by_language: dict[str, list[Target]] = {}
    for one in found.targets:
        if one.n_shared >= FEWEST_SHARED and one.belongs(part):
            by_language.setdefault(one.language, []).append(one)
    return (
        [fmean(one.distance for one in own) for own in by_language.values()],
        [fmean(value(method, one.key) for one in own) for own in by_language.values()],
        permutation_groups(list(by_language)),
    )


def picture(found: Outcome) -> dict[str, Any]:
    """Return the chart: a panel a method, a point a target, and a straight line over the languages that count."""
    import altair

    panels = []
    for method in found.methods():
        points = [
            {
                "distance": one.distance,
                "gain": found.gain(method, one.key),
                "text": "seen" if one.seen else "unseen",
                "known": "observed" if one.n_shared >= FEWEST_SHARED else "predicted",
                "key": one.key,
            }
            for one in found.targets
        ]
        distances, gains, groups = observations(found, method, "all")
        slope, start = np.polyfit(distances, gains, 1)
        ends = [{"distance": at, "gain": start + slope * at} for at in (min(distances), max(distances))]
        x = altair.X("distance:Q", title="syntactic distance from the source")
        y = altair.Y("gain:Q", title=f"points against {BASELINE}")
        names = ["seen", "unseen"]
        dots = (
            altair.Chart(altair.InlineData(values=points))
            .mark_point(size=42, strokeWidth=1.4)
            .encode(
                x=x,
                y=y,
                color=altair.Color("text:N", title="its text", scale=altair.Scale(domain=names, range=[*COLOURS[:2]])),
                shape=altair.Shape("text:N", title="its text", scale=altair.Scale(domain=names, range=[*SHAPES[:2]])),
                opacity=altair.Opacity(
                    "known:N", title="distance", scale=altair.Scale(domain=["observed", "predicted"], range=[0.9, 0.3])
                ),
            )
        )
        line = altair.Chart(altair.InlineData(values=ends)).mark_line(color="#000").encode(x=x, y=y)
        zero = altair.Chart(altair.InlineData(values=[{"gain": 0}])).mark_rule(color="#999").encode(y=y)
        one = correlate(distances, gains, groups=groups)
        under = f"ρ = {one.r:+.2f}, {p_phrase(one.p)}" if one.r is not None and one.p is not None else one.reason
        panels.append(
            altair.layer(zero, dots, line).properties(
                width=340, height=240, title=altair.TitleParams(method, subtitle=f"{under}, {one.n} languages")
            )
        )
    chart = altair.concat(*panels, columns=2).properties(background="white").resolve_scale(y="shared")
    return dict(chart.configure_axis(grid=False).configure_view(stroke=None).configure_title(anchor="start").to_dict())


def _keys(found: Outcome, part: str) -> list[str]:
    return [one.key for one in found.targets if one.belongs(part)]


def tested(found: Outcome, method: str, keys: Sequence[str]) -> Crossed:
    """Return the crossed test of a method: seeds, languages in their families, and test items, as far as they are known."""
    seeds = {name: [str(seed) for seed in found.seeds(method)] for name in (method, BASELINE)}
    items = found.items.differences({method: 1.0, BASELINE: -1.0}, keys, seeds) if found.items else None
    own, base = found.accuracy[method], found.accuracy[BASELINE]
    table = [[own[seed][key] - base[seed][key] for key in keys] for seed in found.seeds(method)]
    return crossed(table, families=[lineage(key)[:1] for key in keys], items=items)


def _holm(values: Mapping[Any, float | None]) -> dict[Any, float]:
    there = {key: p for key, p in values.items() if p is not None}
    return dict(zip(there, holm(list(there.values())), strict=True))


def _gain(test: Any, p: float | None) -> str:
    if p is None:
        return f"{test.effect:+.1f} ({test.reason})"
    return f"{test.effect:+.1f} [{test.low:+.1f}, {test.high:+.1f}], {p_phrase(p)}"


def plain_gain(test: Crossed) -> str:
    """Return an effect with its interval, by itself."""
    if test.low is None:
        return f"{test.effect:+.1f} ({test.reason})"
    return f"{test.effect:+.1f} [{test.low:+.1f}, {test.high:+.1f}]"


def _collapsed(count: int) -> str:
    return f", {count} collapsed" if count else ""


if __name__ == "__main__":
    main()
