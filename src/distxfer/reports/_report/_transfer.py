"""Transfer against distance: a point per language, a fitted line with its interval, and the correlation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from distxfer.reports._report._charts import (
    AXIS,
    Choice,
    Drawn,
    Figure,
    Pick,
    Row,
    Section,
    compare_command,
    distance_choice,
    fixed,
    language_rows,
    method_choice,
    number,
    of_pair,
    pair_colour,
    pair_dash,
    pair_shape,
    tooltip,
    with_language,
)
from distxfer.reports._report._facts import Facts, Studied, known
from distxfer.reports._report._labels import marks, place_all
from distxfer.reports._report._relations import Related, by_distance, permutations, without_gaps
from distxfer.reports.run import cut_notes, cut_shares
from distxfer.reports.tables import Table, p_phrase

_MEASURES = {
    "transfer": "relative transfer, (target − source) / source, %",
    "score": "test {metric}, %",
    "gain": "gain over {baseline}, points",
}
_HEIGHT = 360
_POINTS = 17  # per fitted line, whose interval is curved


def transfer(facts: Facts) -> Section:
    """Return transfer to each language against each distance."""
    labels = {
        name: text.format(metric=facts.metric, baseline=facts.baseline.name)
        for name, text in _MEASURES.items()
        if name != "gain" or facts.comparisons
    }
    methods, left_out = without_gaps(facts)
    related = {
        (method.name, measure): by_distance(facts, _values(facts, method, measure))
        for method in methods
        for measure in labels
        if not (measure == "gain" and method.name == facts.baseline.name)
    }
    measure = Choice("measure", "Shown", labels)
    return Section(
        "transfer",
        "Transfer against distance",
        (
            "Each point is a target language, mean over seeds; hover or tap for its name. The line is the least-squares fit over"
            " languages, and the band the 95 % interval of its mean.",
            f"ρ is Spearman's correlation over languages, its p from permutations within"
            f" {permutations(related.values())}, after Holm over the {len(facts.distances)} distances. The band"
            " treats languages as independent; p accounts for families. Distances are from"
            f" {facts.source_name}{', gaps in the features filled by prediction' if facts.imputed else ''}.",
            *_without(left_out),
            *_weak(related),
        ),
        figures=(
            Figure(
                "transfer-by-distance",
                f"Scatter of transfer against distance from {facts.source_name}, a point per language, with fitted lines.",
                lambda pick: _chart(pick, labels, _said(related)),
                {"targets": _rows(facts, labels), "fits": _fits(related), "languages": language_rows(facts)},
                choices=(method_choice(facts), distance_choice(facts), measure),
                panels="method",
                shares_axes=True,
            ),
        ),
        tables=(_table(related, labels), _languages(facts, labels)),
        commands=(
            compare_command(facts, "--by", "distance"),
            f"distxfer language CODE task.source={facts.source} --json  # the distances of one language",
        ),
        is_open=True,
    )


def _values(facts: Facts, method: Studied, measure: str) -> dict[str, float | None]:
    """Return a value per target, in percent or points."""
    if measure == "gain":
        return {code: 100 * part.test.effect for code, part in method.effects.items()}
    fractions = {
        language.key: method.transfer(language.key) if measure == "transfer" else method.score(language.key)
        for language in facts.languages
    }
    return {code: None if value is None else 100 * value for code, value in fractions.items()}


def _rows(facts: Facts, measures: dict[str, str]) -> list[Row]:
    columns = {
        (method.name, measure): known(_values(facts, method, measure))
        for method in facts.methods
        for measure in measures
    }
    labels = {
        (measure, name): _placed(facts, {method.name: columns[method.name, measure] for method in facts.methods}, name)
        for measure in measures
        for name in facts.distances
    }
    return [
        {
            "m": method.name,
            "k": language.key,
            **{measure: number(columns[method.name, measure].get(language.key)) for measure in measures},
            "n": len(method.scores[language.key]),
            "at": {
                measure: {
                    name: label
                    for name in facts.distances
                    if (label := labels[measure, name].get(method.name, {}).get(language.key))
                }
                for measure in measures
            },
        }
        for method in facts.methods
        for language in facts.languages
        if language.key in method.scores
    ]


def _placed(facts: Facts, columns: Mapping[str, Mapping[str, float]], distance: str) -> dict[str, dict[str, str]]:
    """Return the labels of each method's points in the plot of `columns`, values by method and language, where they fit."""
    far = {language.key: language.far[distance] for language in facts.languages if distance in language.far}
    points = {
        method: {key: (far[key], value) for key, value in column.items() if key in far}
        for method, column in columns.items()
    }
    return place_all(points, facts.baseline.name, {language.key: language.name for language in facts.languages})


def _fits(related: Mapping[tuple[str, str], Mapping[str, Related]]) -> list[Row]:
    return [
        {"m": method, "w": measure, "d": distance} | {name: number(value, 5) for name, value in vars(row.fit).items()}
        for (method, measure), by in related.items()
        for distance, row in by.items()
        if row.fit is not None
    ]


def _said(related: Mapping[tuple[str, str], Mapping[str, Related]]) -> dict[str, dict[str, dict[str, str]]]:
    """Return the correlation of each method by measure and distance, for the legend."""
    by_method: dict[str, dict[str, dict[str, str]]] = {}
    for (method, measure), by in related.items():
        by_method.setdefault(method, {})[measure] = {distance: _correlation(row) for distance, row in by.items()}
    return by_method


def _correlation(relation: Related) -> str:
    if relation.correlation.r is None:
        return "no correlation"
    p = "no p" if relation.p_holm is None else p_phrase(relation.p_holm)
    return f"ρ = {relation.correlation.r:+.2f}, {p}".replace("-", "−")


def _chart(pick: Pick, labels: Mapping[str, str], correlations: Mapping[str, Any]) -> Drawn:
    measure, distance = pick["measure"], pick["distance"]
    correlation = f"(((said[NAME] || {{}})[{measure}] || {{}})[{distance}] || '–')"
    shown_measure, shown_distance = fixed(pick, "measure"), fixed(pick, "distance")
    y_title = labels[shown_measure] if shown_measure else None
    x_title = f"{shown_distance} distance" if shown_distance else None
    x = alt.X("x:Q", title=x_title, axis=AXIS, scale=alt.Scale(zero=False, padding=12))
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False, padding=12))
    colour = pair_colour(pick, correlation)
    lines = (
        of_pair("fits", pick)
        .transform_filter(f"datum.w === {measure} && datum.d === {distance}")
        .transform_calculate(place=f"sequence(0, {_POINTS})")
        .transform_flatten(["place"])
        .transform_calculate(x=f"datum.low + (datum.high - datum.low) * datum.place / {_POINTS - 1}")
        .transform_calculate(
            y="datum.height + datum.slope * (datum.x - datum.middle)",
            half="datum.margin * sqrt(1 / datum.n + pow(datum.x - datum.middle, 2) / datum.spread)",
        )
        .transform_calculate(lower="datum.y - datum.half", upper="datum.y + datum.half")
    )
    points = (
        with_language(of_pair("targets", pick))
        .transform_calculate(x=f"datum.far[{distance}]", y=f"datum[{measure}]")
        .transform_filter("isValid(datum.x) && isValid(datum.y)")
    )
    shown = tooltip(
        ("name", "language"),
        ("k", "code"),
        ("m", "method"),
        ("x", "distance", ".2f"),
        ("y", "value", ".1f"),
        ("n", "seeds"),
    )
    layers = alt.layer(
        lines.mark_area(opacity=0.14, aria=False).encode(
            x=x, y=alt.Y("lower:Q", title=y_title), y2="upper:Q", color=colour
        ),
        lines.mark_line(strokeWidth=2, aria=False).encode(x=x, y=y, color=colour, strokeDash=pair_dash()),
        *marks(
            points.transform_filter(f"datum.m === {pick['method']}"),
            f"((datum.at || {{}})[{measure}] || {{}})[{distance}] || ''",
            x=x,
            y=y,
            color=colour,
        ),
        points.mark_point(size=60, filled=True, opacity=1).encode(
            x=x, y=y, color=colour, shape=pair_shape(pick, correlation), tooltip=shown
        ),
    ).properties(height=_HEIGHT)
    if not shown_measure:
        text = alt.ExprRef(f"[{json.dumps(dict(labels))}[{measure}], 'against ' + {distance} + ' distance']")
        layers = layers.properties(title=alt.TitleParams(text=text, anchor="start"))
    return layers.add_params(alt.param(name="said", value=dict(correlations)))


def _without(left_out: Sequence[str]) -> list[str]:
    """Return a note on what lines and correlations exclude."""
    named = ", ".join(left_out)
    return [f"Lines and ρ use what all methods have, as in `compare`; they exclude: {named}."] if named else []


def _weak(related: Mapping[tuple[str, str], Mapping[str, Related]]) -> list[str]:
    """Return a note on the smallest detectable correlation."""
    correlations = [
        row.correlation for by in related.values() for row in by.values() if row.correlation.detectable is not None
    ]
    if not correlations:
        return []
    weakest = max(correlations, key=lambda correlation: correlation.detectable or 0.0)
    return [
        f"With {weakest.n} independent languages the smallest |ρ| detectable with 80 % power is {weakest.detectable:.2f};"
        " related languages raise it. A smaller ρ that is not significant is inconclusive."
    ]


def _table(related: Mapping[tuple[str, str], Mapping[str, Related]], labels: dict[str, str]) -> Table:
    rows = [
        (
            method,
            labels[measure],
            distance,
            None if row.fit is None else f"{row.fit.slope:+.2f}",
            row.correlation.r,
            row.correlation.p,
            row.p_holm,
            row.correlation.n,
            row.correlation.n_groups,
        )
        for (method, measure), by in related.items()
        for distance, row in by.items()
    ]
    reasons = dict.fromkeys(
        row.correlation.reason for by in related.values() for row in by.values() if row.correlation.reason
    )
    return Table(
        ("method", "measure", "distance", "slope per unit", "ρ", "p", "p (Holm)", "languages", "groups"),
        rows,
        title="Fits and correlations over languages",
        notes=tuple(f"{reason}." for reason in reasons),
    )


def _languages(facts: Facts, labels: dict[str, str]) -> Table:
    """Return one row per method and language."""
    rows = []
    cut = {method.name: cut_shares(method.sound[0]) for method in facts.methods if method.sound}
    cut_anywhere = any(cut.values())
    for method in facts.methods:
        columns = {measure: _values(facts, method, measure) for measure in labels}
        rows += [
            (
                method.name,
                language.key,
                language.name,
                language.group or None,
                language.far.get(facts.main_distance),
                *(
                    None if (value := columns[measure].get(language.key)) is None else f"{value:.1f}"
                    for measure in labels
                ),
                len(method.scores.get(language.key, {})),
                *([cut.get(method.name, {}).get(language.key, "")] if cut_anywhere else []),
            )
            for language in facts.languages
        ]
    columns_shown = ("method", "language", "name", "group", facts.main_distance, *labels.values(), "seeds")
    notes = dict.fromkeys(note for method in facts.methods if method.sound for note in cut_notes(method.sound[0]))
    return Table((*columns_shown, *(["cut off"] if cut_anywhere else [])), rows, title="Languages", notes=tuple(notes))
