"""The study of 120 languages: train the missing runs of `studies/emoji_120/study.toml`, write the page and its figure.

`python -m studies.emoji_120.study` trains all methods; with NAMEs, only these; with `--tables`, none. Each run is
`distxfer train recipe=... seed=... --results results/reference-120`; `make study-120` downloads the Unicode CLDR file that
the runs need. Trained models are deleted. `studies/emoji/methods.py` defines which runs the page uses.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from distxfer.analysis.scores import Items, read_items
from distxfer.languages import language_name, lineage, permutation_groups, relation
from distxfer.measure import Correlation, Crossed, correlate, crossed, holm
from distxfer.reports.tables import Table, p_phrase
from distxfer.reports.vega import COLOURS, SHAPES, write_chart
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
    """A target language: its distance, the number of features the distance is based on, and whether alignment reads its text."""

    key: str
    distance: float
    n_shared: int
    seen: bool

    @property
    def language(self) -> str:
        """The language without its script; two scripts of a language count as one observation."""
        return self.key.partition("_")[0]

    def belongs(self, part: str) -> bool:
        """Return whether it is one of `all`, `seen` or `unseen`."""
        return part == "all" or self.seen == (part == "seen")


@dataclass(frozen=True)
class Outcome:
    """The results of the study: test accuracy in percent by method, seed and language, the targets, and correct items."""

    source: str
    accuracy: Mapping[str, Mapping[int, Mapping[str, float]]]
    collapsed: Mapping[str, int]
    targets: tuple[Target, ...]
    items: Items | None

    def gain(self, method: str, language: str) -> float:
        """Return the mean over the seeds of a method's accuracy less that of the baseline with the same seed."""
        accuracy, baseline = self.accuracy[method], self.accuracy[BASELINE]
        return fmean(accuracy[seed][language] - baseline[seed][language] for seed in self.seeds(method))

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
    """Train the missing runs, then write the page and its figure."""
    methods = read_study(STUDY)
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these methods")
    parser.add_argument("--tables", action="store_true", help="train nothing, write the page and its figure")
    options = parser.parse_args()
    if unknown := set(options.names) - {method.name for method in methods}:
        all_names = ", ".join(method.name for method in methods)
        parser.error(f"the study has no method {', '.join(sorted(unknown))}; it has: {all_names}")
    chosen = [method for method in methods if method.name in options.names or not options.names]
    failed = []
    for seed in sorted({seed for method in chosen for seed in method.seeds}) if not options.tables else ():
        for method in chosen:
            file = str((STUDY / "recipes" / f"{method.name}.toml").relative_to(ROOT))
            failed += [] if train(file, seed, RUNS / "reference-120") else [f"{method.name} with seed {seed}"]
    write()
    if failed:
        raise SystemExit(f"These runs failed, and said why above: {', '.join(failed)}.")


def write() -> None:
    """Write the page, and the figure and evidence if any method can be compared."""
    study = outcome()
    PAGE.write_text(page(study), encoding="utf-8")
    if study is not None and study.methods():
        write_chart(picture(study), PAGE.with_suffix(".svg"))
        EVIDENCE.write_text(evidence(outcome(WITHOUT) or study), encoding="utf-8")


def outcome(without: str = "") -> Outcome | None:
    """Return the results on the examples outside the class `without`, or None if the baseline has no runs."""
    runs = {method.name: results_in(RESULTS / method.name) for method in read_study(STUDY)}
    if not runs[BASELINE]:
        return None
    sound = {name: {seed: run for seed, run in by_seed.items() if not run.collapsed} for name, by_seed in runs.items()}
    first = next(iter(runs[BASELINE].values()))
    targets = _targets(first, _seen([run for by_seed in runs.values() for run in by_seed.values()]))
    scores_of = {
        name: {seed: _accuracy(run, without) for seed, run in by_seed.items()}
        for name, by_seed in sound.items()
        if by_seed
    }
    scores = [
        {
            "method": name,
            "seed": str(seed),
            "task": run.task,
            "language": target.key,
            "value": scores_of[name][seed][target.key],
            "run": str(run.folder),
        }
        for name, runs_of_method in sound.items()
        for seed, run in runs_of_method.items()
        for target in targets
    ]
    return Outcome(
        source=first.source,
        accuracy=scores_of,
        collapsed={name: len(by_seed) - len(sound[name]) for name, by_seed in runs.items()},
        targets=targets,
        items=read_items(pd.DataFrame(scores), unit=100, without=without),
    )


def _accuracy(run: Result, without: str) -> dict[str, float]:
    return {language: accuracy(run, language, without) for language in run.by_language("test", "accuracy")}


def _seen(runs: Sequence[Result]) -> set[str]:
    """Return the languages whose parallel text the runs read. Raises SystemExit if runs read different ones."""
    read = {tuple(keys["languages"]) for run in runs for keys in run.recipe["intervention"].values()
            if keys.get("languages", "all") != "all"}  # fmt: skip
    if len(read) > 1:
        raise SystemExit(
            "The runs do not read the parallel text of the same languages, so there is no seen and unseen."
        )
    return {language for languages in read for language in languages}


def _targets(run: Result, seen: set[str]) -> tuple[Target, ...]:
    """Return the targets, the nearest first."""
    targets = [Target(row["language"], row["value"], row["n_shared"], row["language"] in seen) for row in run.distances]
    return tuple(sorted(targets, key=lambda target: (round(target.distance, 9), target.key)))


def page(study: Outcome | None) -> str:
    """Return the page in Markdown."""
    title = "# Gain against distance over 120 languages\n\nWritten by `make study-120` from the files in"
    title += (
        " `results/emoji-with-flags/reference-120`; [docs/cldr.md](../../docs/cldr.md) says what the languages are.\n"
    )
    if study is None:
        return f"{title}\n`{BASELINE}` has not been run yet, so there is nothing to show.\n"
    languages = len({target.language for target in study.targets})
    title += f"\nFrom {language_name(study.source)} to {len(study.targets)} targets, {languages} languages: some are there in two"
    title += " scripts.\n"
    title += (
        f"\nThese runs were trained and tested with the class `{WITHOUT}`: [without-flags.md](without-flags.md) has how many"
        " names that is here, and the gains without them.\n"
    )
    parts = [title, "## Do the methods help?\n", methods_table(study), "\n## Is a relative's text enough?\n"]
    parts += [kin_table(study), "\n## Does distance matter?\n"]
    parts += [distance_table(study), "\n## Every language\n", language_table(study)]
    if study.methods():
        parts.insert(1, f"![Gain against distance, one panel a method]({PAGE.stem}.svg)\n")
    return "\n".join(parts)


def methods_table(study: Outcome) -> str:
    """Return one row per method: means, and gains with the crossed test on seeds x languages."""
    tests = {
        part: {name: tested(study, name, _keys(study, part)) for name in study.methods()}
        for part in PARTS
        if _keys(study, part)
    }
    adjusted = {part: _holm({name: test.p for name, test in by_method.items()}) for part, by_method in tests.items()}
    about = {method.name: method for method in read_study(STUDY)}
    rows = []
    for name, runs in study.accuracy.items():
        cells = [f"`{name}`", f"{len(runs)}{_collapsed(study.collapsed[name])}", about[name].text, about[name].chosen]
        cells += [f"{study.mean(name, study.source):.1f}"]
        cells += [f"{fmean(study.mean(name, key) for key in _keys(study, part)):.1f}" for part in tests]
        for part, by_method in tests.items():
            cells.append(_gain(by_method[name], adjusted[part].get(name)) if name in by_method else "–")
        rows.append(tuple(cells))
    counts = {part: len(_keys(study, part)) for part in tests}
    names = [f"{part} {count}" for part, count in counts.items()]
    columns = (
        "recipe",
        "seeds",
        "text used",
        "chosen on",
        language_name(study.source),
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


def kin(study: Outcome) -> dict[str, list[str]]:
    """Return the keys of the targets by their closest relation to a language whose text is read: groups of `KIN`."""
    read = [study.source, *_keys(study, "seen")]
    groups: dict[str, list[str]] = {group: [] for group in KIN}
    for target in study.targets:
        groups[relation(target.key, read)].append(target.key)
    return groups


def kin_table(study: Outcome) -> str:
    """Return the gains of the methods that read parallel text, by how close the closest language is whose text is read."""
    text = {method.name: method.text for method in read_study(STUDY)}
    methods = [name for name in study.methods() if text[name] != "none"]
    groups = {group: keys for group, keys in kin(study).items() if keys}
    rows: list[tuple[object, ...]] = [
        (KIN[group], len(keys), *(plain_gain(tested(study, name, keys)) for name in methods))
        for group, keys in groups.items()
    ]
    every = [target.key for target in study.targets]
    rows.append(("all", len(every), *(plain_gain(tested(study, name, every)) for name in methods)))
    note = (
        "\nGains with 95 % intervals, as above, each by itself. A family is a top-level family of Glottolog, a branch its first"
        " division, as URIEL has them (`distxfer.languages.relation`). A language without a family there counts as one whose"
        " family is not read. Text that is read is parallel text, or that of the source."
    )
    if groups.get("none"):
        note += f" No language of their family is read: {', '.join(language_name(key) for key in groups['none'])}."
    return Table(columns=("text", "targets", *(f"`{name}`" for name in methods)), rows=rows).markdown() + f"{note}\n"


def evidence(study: Outcome) -> str:
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
        *provenance(
            "make study-120", [run for method in methods for run in results_in(RESULTS / method.name).values()]
        ),
    ]
    reads = {method.name: method.text != "none" for method in methods}
    for name in study.methods():
        part = "seen" if reads[name] else "all"
        test = tested(study, name, _keys(study, part))
        if test.low is not None and test.high is not None:
            source = study.gain(name, study.source)
            numbers = {"effect": test.effect, "low": test.low, "high": test.high, "source": source}
            lines += ["", f"[recipe.{name}]", f"targets = {len(_keys(study, part))}"]
            lines += [f"{key} = {value:.4g}" for key, value in numbers.items()]
    return "\n".join([*lines, ""])


def distance_table(study: Outcome) -> str:
    """Return the correlations with distance over languages, and the slopes."""
    tests: dict[tuple[str, str], tuple[Correlation, float]] = {}
    for part in PARTS:
        for name in [BASELINE, *study.methods()]:
            distances, values, groups = observations(study, name, part)
            if len(distances) > 1:
                slope = float(np.polyfit(distances, values, 1)[0])
                tests[name, part] = correlate(distances, values, groups=groups), slope
    adjusted = _holm({key: test.p for key, (test, _) in tests.items()})
    rows = [
        (
            f"accuracy of `{name}`" if name == BASELINE else f"gain of `{name}`",
            part,
            test.n,
            test.n_groups,
            "–" if test.r is None else f"{test.r:+.2f}",
            test.reason or f"{test.p:.4f}",
            "–" if adjusted.get((name, part)) is None else f"{adjusted[name, part]:.4f}",
            "–" if test.detectable is None else f"{test.detectable:.2f}",
            f"{slope / 10:+.2f}",
        )
        for (name, part), (test, slope) in sorted(
            tests.items(), key=lambda item: list(study.accuracy).index(item[0][0])
        )
    ]
    predicted = [target for target in study.targets if target.n_shared < FEWEST_SHARED]
    columns = ("of", "targets", "languages", "groups", "ρ", "p", "p, Holm", "detectable ρ", "points per 0.1")
    note = (
        "\nSpearman's correlation with the syntactic distance from the source (URIEL, imputed), over languages, means over the"
        " seeds; two scripts of a language are one, their mean. p: permutations within areas at most 2,000 km across (`groups`),"
        " and the families and branches in them. Detectable: the smallest |ρ| that so many languages, were they independent,"
        " show with 80 % power; relatives raise it. The last column is the slope of a straight line.\n"
    )
    if predicted:
        names = ", ".join(f"{language_name(target.key)} (`{target.key}`)" for target in predicted)
        note += (
            f"\nLeft out here: {names}. URIEL has observed fewer than"
            f" {FEWEST_SHARED} of their features together with the source's, so that their distance is a prediction.\n"
        )
    return Table(columns=columns, rows=rows).markdown() + note


def language_table(study: Outcome) -> str:
    """Return one row per target language, the nearest first: what the picture shows."""
    rows = [
        (
            f"`{target.key}`",
            language_name(target.key),
            ", ".join(lineage(target.key)) or "–",
            f"{target.distance:.3f}",
            target.n_shared,
            "seen" if target.seen else "unseen",
            f"{study.mean(BASELINE, target.key):.1f}",
            *(f"{round(study.gain(name, target.key), 1) + 0.0:+.1f}" for name in study.methods()),  # no -0.0
        )
        for target in study.targets
    ]
    columns = ("key", "language", "family, branch", "distance", "features", "text", f"`{BASELINE}`")
    return Table(columns=(*columns, *(f"`{name}`" for name in study.methods())), rows=rows).markdown()


def observations(study: Outcome, method: str, part: str) -> tuple[list[float], list[float], list[tuple[str, ...]]]:
    """Return distance, gain (of the baseline: accuracy) and family of every language of a part that counts."""
    value = study.mean if method == BASELINE else study.gain
    by_language: dict[str, list[Target]] = {}
    for target in study.targets:
        if target.n_shared >= FEWEST_SHARED and target.belongs(part):
            by_language.setdefault(target.language, []).append(target)
    return (
        [fmean(target.distance for target in targets) for targets in by_language.values()],
        [fmean(value(method, target.key) for target in targets) for targets in by_language.values()],
        permutation_groups(list(by_language)),
    )


def picture(study: Outcome) -> dict[str, Any]:
    """Return the chart: a panel a method, a point a target, and a straight line over the languages that count."""
    import altair

    panels = []
    for method in study.methods():
        points = [
            {
                "distance": target.distance,
                "gain": study.gain(method, target.key),
                "text": "seen" if target.seen else "unseen",
                "known": "observed" if target.n_shared >= FEWEST_SHARED else "predicted",
                "key": target.key,
            }
            for target in study.targets
        ]
        distances, gains, groups = observations(study, method, "all")
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
        test = correlate(distances, gains, groups=groups)
        under = f"ρ = {test.r:+.2f}, {p_phrase(test.p)}" if test.r is not None and test.p is not None else test.reason
        panels.append(
            altair.layer(zero, dots, line).properties(
                width=340, height=240, title=altair.TitleParams(method, subtitle=f"{under}, {test.n} languages")
            )
        )
    chart = altair.concat(*panels, columns=2).properties(background="white").resolve_scale(y="shared")
    return dict(chart.configure_axis(grid=False).configure_view(stroke=None).configure_title(anchor="start").to_dict())


def _keys(study: Outcome, part: str) -> list[str]:
    return [target.key for target in study.targets if target.belongs(part)]


def tested(study: Outcome, method: str, keys: Sequence[str]) -> Crossed:
    """Return the crossed test of a method: seeds, languages in their families, and test items, as far as they are known."""
    seeds = {name: [str(seed) for seed in study.seeds(method)] for name in (method, BASELINE)}
    items = study.items.differences({method: 1.0, BASELINE: -1.0}, keys, seeds) if study.items else None
    accuracies, baseline = study.accuracy[method], study.accuracy[BASELINE]
    table = [[accuracies[seed][key] - baseline[seed][key] for key in keys] for seed in study.seeds(method)]
    return crossed(table, families=[lineage(key)[:1] for key in keys], items=items)


def _holm(values: Mapping[Any, float | None]) -> dict[Any, float]:
    defined = {key: p for key, p in values.items() if p is not None}
    return dict(zip(defined, holm(list(defined.values())), strict=True))


def _gain(test: Any, p: float | None) -> str:
    if p is None:
        return f"{test.effect:+.1f} ({test.reason})"
    return f"{test.effect:+.1f} [{test.low:+.1f}, {test.high:+.1f}], {p_phrase(p)}"


def plain_gain(test: Crossed) -> str:
    """Return an effect with its interval, without a p-value."""
    if test.low is None:
        return f"{test.effect:+.1f} ({test.reason})"
    return f"{test.effect:+.1f} [{test.low:+.1f}, {test.high:+.1f}]"


def _collapsed(count: int) -> str:
    return f", {count} collapsed" if count else ""


if __name__ == "__main__":
    main()
