"""The report on a new language: its data, the proposal, and the results."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from distxfer._durable import atomic_file
from distxfer._markdown import markdown, markdown_code
from distxfer.reports._language import fact_records, language_tables
from distxfer.reports._recommendation import (
    SENTENCE,
    label_text,
    percent,
    recommendation,
    seeds_text,
    tested_text,
    time_text,
    to_try,
)
from distxfer.reports.tables import Table, markdown_text, p_phrase
from distxfer.results.descriptions import corpora

if TYPE_CHECKING:
    from distxfer.new_language.evaluate import Commonest, Evaluation, MethodScore
    from distxfer.new_language.plan import Estimate, LanguageOutcome, LanguagePlan
    from distxfer.new_language.proposal import Evidence, Proposal

_REPORT = "report.md"
_SLOWER = 1.05  # the report names a training time from so many times that of `plain` on
# By the output of the task: the pipeline that loads the model (transformers has none for answers), and when a prediction
# counts as right.
_PIPELINES: Mapping[str, str] = {"text": "text-classification", "token": "token-classification"}
_RIGHT: Mapping[str, tuple[str, ...]] = {
    "token": ("A sentence counts as right if all its words are right.",),
    "span": (
        "A question counts as right if the answer matches one of the references exactly; questions on one text form a cluster.",
    ),
}


def plan_tables(plan: "LanguagePlan", estimate: "Estimate") -> list[Table]:
    """Return the tables of the language check, its data, and the proposal with its evidence and expected results."""
    return [*language_tables(plan.facts), _given_table(plan), _proposal_table(plan, _expectations(plan, estimate))]


def outcome_tables(outcome: "LanguageOutcome") -> list[Table]:
    """Return the scores of the baseline and the method in the language."""
    return [_result_table(outcome)]


def language_report(outcome: "LanguageOutcome") -> Path:
    """Write `report.md` into the folder of the language and return its path."""
    plan = outcome.plan
    head = (
        f"# {markdown(plan.name)} (`{plan.key}`) on {markdown_code(plan.task)}\n\nWritten by `distxfer new-language`."
    )
    parts = [
        f"{head}\n\n**{markdown(recommendation(outcome))}**\n",
        f"{markdown(_in_the_way(plan))}\n",
        "## Results\n",
        markdown_text(outcome_tables(outcome)),
        f"## Data and proposal\n\n{markdown_text([_given_table(plan), _proposal_table(plan)])}",
        f"## Next steps\n\n{_next_steps(outcome)}",
        f"## Language check\n\n{markdown_text(language_tables(plan.facts))}",
    ]
    path = plan.folder / _REPORT
    with atomic_file(path) as aside:
        aside.write_text("\n".join(parts), encoding="utf-8", newline="\n")
    return path


def plan_record(plan: "LanguagePlan", estimate: "Estimate") -> dict[str, Any]:
    """Return a plan as JSON data, with fractions in place of points."""
    return {
        "recommendation": to_try(plan, estimate),
        "language": plan.key,
        "name": plan.name,
        "source": plan.source,
        "task": plan.task,
        "folder": str(plan.folder),
        "check": fact_records(plan.facts),
        "given": {key: getattr(plan.data, key) for key in ("tests", "shots", "texts", "pairs", "words", "task_type")},
        "notes": list(plan.data.notes),
        "distance": plan.distance.text if plan.distance else None,
        "proposal": _proposal_record(plan.proposal),
        "others": [_proposal_record(proposal) for proposal in plan.alternatives],
        "recipes": [str(path) for path in plan.recipes],
        "seeds": plan.seeds,
        "estimate": {
            "runs": estimate.runs,
            "seconds": estimate.seconds,
            "basis": estimate.basis,
            "metric": estimate.expected.measure,
            "score": estimate.expected.value,
            "low": estimate.expected.low,
            "high": estimate.expected.high,
            "smallest_gain": estimate.smallest,
            "corpora": list(estimate.corpora),
        },
    }


def outcome_record(outcome: "LanguageOutcome") -> dict[str, Any]:
    """Return the results of a plan as JSON data."""
    evaluation = outcome.evaluation
    test = evaluation.test
    return {
        "results": {
            "sentences": evaluation.sentences,
            "texts": evaluation.texts,
            "seeds": list(evaluation.seeds),
            "collapsed": list(evaluation.collapsed),
            "commonest": vars(evaluation.commonest) if evaluation.commonest else None,
            "methods": [vars(score) for score in (evaluation.baseline, evaluation.method) if score is not None],
            "source_change": evaluation.source_change,
            "effect": test.effect if test else None,
            "low": test.low if test else None,
            "high": test.high if test else None,
            "p": test.p if test else None,
            "reason": test.reason if test else "no seed with which both learnt anything",
            "verdict": evaluation.verdict,
            "advice": evaluation.advice,
            "smallest_gain": evaluation.smallest,
            "sentences_needed": evaluation.needed,
        },
        "runs": [
            {"recipe": run.recipe["name"], "seed": seed, "folder": str(run.folder)}
            for runs in (outcome.baseline, outcome.method)
            for seed, run in runs.items()
        ],
        "recommendation": recommendation(outcome),
        "use": outcome.use,
        "model": str(outcome.model) if outcome.model else None,
    }


def _in_the_way(plan: "LanguagePlan") -> str:
    obstacle = next((fact.value for fact in plan.facts if fact.measure == "in_the_way"), None)
    return f"Obstacles: {obstacle}."


def _given_table(plan: "LanguagePlan") -> Table:
    data = plan.data
    unit = SENTENCE[data.output]
    rows: list[tuple[Any, ...]] = [
        (f"labelled {unit}s to test on", data.tests),
        (f"labelled {unit}s to train on", data.shots),
        ("sentence pairs", data.pairs),
        ("unlabelled texts", data.texts),
        ("words of the dictionary", data.words),
    ]
    notes = [f"distance: {plan.distance.text}"] if plan.distance else []
    return Table(("data", "n"), rows, title="given", notes=(*notes, *data.notes))


def _proposal_table(plan: "LanguagePlan", expectations: Sequence[str] = ()) -> Table:
    rows = []
    for place, proposal in enumerate((plan.proposal, *plan.alternatives)):
        evidence = proposal.evidence
        effects = [_effect(evidence, subset) for subset in ("all", "far")] if evidence else [None, None]
        rows.append(("this one" if place == 0 else "", proposal.recipe, *effects, evidence.seeds if evidence else None))
    notes = [f"{plan.proposal.recipe}: {plan.proposal.why}.", *plan.proposal.caveats]
    if plan.alternatives:
        notes.append("Choose another with `--recipe NAME`.")
    notes += expectations
    columns = ("", "recipe", "study: effect on targets", "on far targets", "seeds")
    return Table(columns, rows, title="proposal", notes=tuple(notes), optional=("seeds", "on far targets"))


def _expectations(plan: "LanguagePlan", estimate: "Estimate") -> list[str]:
    """Return the number of runs, the time they take, and the expected results."""
    runs = (
        f"{2 * plan.seeds} runs: `plain` and `{plan.proposal.recipe}` with {seeds_text(plan.seeds)} each;"
        f" {estimate.runs} still to do, {time_text(estimate)} (estimated for each recipe from"
        f" {estimate.basis})."
    )
    return [runs, _expectation(plan, estimate), *estimate.corpora]


def _expectation(plan: "LanguagePlan", estimate: "Estimate") -> str:
    expected, smallest = estimate.expected, estimate.smallest
    if not isinstance(expected.value, float):
        return f"There is no estimate for `plain`: {expected.note}."
    inside = (
        ""
        if expected.low is None or expected.high is None
        else f" [{100 * expected.low:.1f}, {100 * expected.high:.1f}]"
    )
    expectation = (
        f"`plain` is expected to reach {_with_article(expected.measure)} of {100 * expected.value:.1f} %{inside} in this"
        " language"
    )
    if smallest is None:
        return f"{expectation}; the smallest detectable gain is not known before the runs."
    return (
        f"{expectation}; with {plan.data.tests} {SENTENCE[plan.data.output]}s and {seeds_text(plan.seeds)}, the"
        f" smallest detectable gain is {100 * smallest:.1f} points (80 % power)."
    )


def _effect(evidence: "Evidence", subset: str) -> str:
    effect = evidence.all if subset == "all" else evidence.far
    return f"{effect.effect:+.1f} [{effect.low:+.1f}, {effect.high:+.1f}], {p_phrase(effect.p)}"


def _result_table(outcome: "LanguageOutcome") -> Table:
    plan, evaluation = outcome.plan, outcome.evaluation
    collapsed = tuple(f"COLLAPSED, excluded from all numbers: {folder}" for folder in evaluation.collapsed)
    if evaluation.commonest is None:
        return Table(("recipe", _column(plan)), [], title=f"results in {plan.name}", notes=("None.", *collapsed))
    runs = outcome.method if evaluation.baseline is None else outcome.baseline
    metric = next(iter(runs.values())).metric
    # For classes the score is the share of right texts, as in the target; for words the target counts whole sentences instead.
    source = plan.source if (plan.data.output, metric) == ("text", "accuracy") else f"{plan.source}, {metric}"
    columns = ("recipe", _column(plan), "sd of seeds", "gain (points)", f"{source} (%)", "seconds a run")
    rows = [(_always(evaluation.commonest), f"{100 * evaluation.commonest.share:.1f}", None, None, None, None)]
    if evaluation.baseline is not None:
        rows.append(_row(evaluation.baseline, None, None))
    if evaluation.method is not None:
        rows.append(
            _row(evaluation.method, _difference(evaluation.test) if evaluation.test else None, evaluation.source_change)
        )
    over = "sentences" if evaluation.texts is None else "texts"
    chance = "" if evaluation.commonest.chance is None else f" Chance is {percent(evaluation.commonest.chance)}."
    seeds = seeds_text(len(evaluation.seeds)) if evaluation.seeds else "no seed in common"
    notes = [
        f"{tested_text(outcome)}, {seeds}. Intervals are 95 %: for a method over {over} (Wilson); for the gain over seeds and"
        f" {over}, both random (docs/statistics.md). Do not compare the intervals of methods.{chance}",
        *_RIGHT.get(plan.data.output, ()),
        *_shown_to_work(evaluation),
        *(_details(outcome) if evaluation.test is not None else ()),
        *corpora({run.recipe["name"]: [run] for run in (*outcome.baseline.values(), *outcome.method.values())}),
    ]
    optional = ("seconds a run", "sd of seeds", columns[4])
    return Table(columns, rows, title=f"results in {plan.name}", notes=(*notes, *collapsed), optional=optional)


def _shown_to_work(evaluation: "Evaluation") -> list[str]:
    scores = [score for score in (evaluation.baseline, evaluation.method) if score is not None]
    names = {shown: [f"`{score.recipe}`" for score in scores if score.works == shown] for shown in (True, False)}
    claims = {True: "shown to be right more often than the most frequent answer", False: "not shown to be"}
    return ["; ".join(f"{' and '.join(names[shown])}: {claims[shown]}" for shown in names if names[shown]) + "."]


def _details(outcome: "LanguageOutcome") -> list[str]:
    """Return notes on the uncertainty of the gain, its cost, and the effect of more test data."""
    plan, evaluation = outcome.plan, outcome.evaluation
    test, baseline, method = evaluation.test, evaluation.baseline, evaluation.method
    assert test is not None
    assert baseline is not None
    assert method is not None
    notes = []
    if test.p is not None:
        share = (
            "" if test.seed_share is None else f"; {test.seed_share:.0%} of the uncertainty of the gain is due to seeds"
        )
        notes.append(f"{p_phrase(test.p)}{share}.")
    if baseline.seconds and method.seconds / baseline.seconds > _SLOWER:
        notes.append(
            f"`{method.recipe}` took {method.seconds / baseline.seconds:.1f} times as long to train as `plain`."
        )
    if evaluation.smallest is not None:
        notes.append(
            f"The smallest detectable gain with this many {SENTENCE[plan.data.output]}s and seeds (80 % power) is"
            f" {100 * evaluation.smallest:.1f} points."
        )
    return [*notes, *([_more(outcome)] if evaluation.verdict == "open" and test.low is not None else ())]


def _always(commonest: "Commonest") -> str:
    return f"always `{label_text(commonest)}`"


def _row(score: "MethodScore", gain: str | None, source_change: float | None) -> tuple[Any, ...]:
    change = "" if source_change is None else f" ({100 * source_change:+.1f})"
    return (
        score.recipe,
        f"{100 * score.accuracy:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]",
        None if score.seed_sd is None else f"{100 * score.seed_sd:.1f}",
        gain,
        f"{100 * score.source:.1f}{change}",
        round(score.seconds),
    )


def _difference(test: Any) -> str:
    if test.low is None or test.high is None:
        return f"{100 * test.effect:+.1f}"
    return f"{100 * test.effect:+.1f} [{100 * test.low:+.1f}, {100 * test.high:+.1f}]"


def _more(outcome: "LanguageOutcome") -> str:
    """Return how much test data would show a gain of this size."""
    evaluation, units = outcome.evaluation, f"{SENTENCE[outcome.plan.data.output]}s"
    if evaluation.test is None or evaluation.test.effect <= 0:
        return f"More test {units} would not show a gain: its estimate is not positive."
    if evaluation.needed is None:
        return f"More {units} alone would not show a gain of this size; run more seeds (`--seeds`)."
    return (
        f"If the gain is real, about {evaluation.needed} test {units} with as many seeds would show it (80 % power;"
        f" there are {evaluation.sentences}{'' if evaluation.texts is None else ', and as many a text'})."
    )


def _column(plan: "LanguagePlan") -> str:
    criterion = (
        "right" if plan.data.output == "text" else "wholly right" if plan.data.output == "token" else "exact match"
    )
    return f"{criterion} in {plan.key} (%)"


def _with_article(metric: str) -> str:
    return {"accuracy": "an accuracy", "f1": "an F1"}.get(metric, metric)


def _next_steps(outcome: "LanguageOutcome") -> str:
    plan = outcome.plan
    plain, method = plan.recipes
    folder, lines = quote(str(plan.folder)), []
    if outcome.model is not None:
        seed = outcome.model.parent.name.rpartition("-s")[2]
        lines += [
            f"The model of seed {seed}, chosen by number, not by score: {markdown_code(str(outcome.model))}.",
            f"\n```python\n{_loading(outcome)}\n```\n",
        ]
    lines += [
        "Recipes and data are plain files. Repeating the command resumes unfinished runs or prints this result again; a larger"
        " `--seeds` adds runs.\n",
        f"```sh\ndistxfer train {quote(f'recipe={method}')} --results {folder}\ndistxfer cp {quote(str(method))} mine.toml"
        f"  # change it, then: distxfer train recipe=mine.toml\n"
        f"distxfer compare {quote(plain.stem)} {quote(method.stem)} --results {folder}\n```\n",
    ]
    return "\n".join(lines)


def _loading(outcome: "LanguageOutcome") -> str:
    adapters = any(outcome.model.rglob("adapter_config.json")) if outcome.model else False
    task = _PIPELINES.get(outcome.plan.data.output)
    if adapters or task is None:
        return f"# {outcome.model}/README.md says how to load {'the adapters' if adapters else 'it'}"
    place = json.dumps(str(outcome.model), ensure_ascii=False)
    return f'from transformers import pipeline\n\nmodel = pipeline("{task}", {place})'


def _proposal_record(proposal: "Proposal") -> dict[str, Any]:
    evidence = proposal.evidence
    return {
        "recipe": proposal.recipe,
        "why": proposal.why,
        "caveats": list(proposal.caveats),
        "evidence": None
        if evidence is None
        else {
            "seeds": evidence.seeds,
            **{
                subset: {key: value if key == "p" else value / 100 for key, value in vars(effect).items()}
                for subset, effect in (("all", evidence.all), ("far", evidence.far))
            },
        },
    }
