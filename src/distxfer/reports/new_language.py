"""The report on a new language: its data, the proposal, and the results."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from distxfer._durable import atomic_file
from distxfer._markdown import markdown, markdown_code
from distxfer.analysis.significance import effect_text
from distxfer.errors import counted
from distxfer.languages import language_name
from distxfer.reports.language import fact_records, language_tables
from distxfer.reports.tables import Table, markdown_text, p_phrase
from distxfer.results.descriptions import arithmetic_notes, corpora

if TYPE_CHECKING:
    from distxfer.new_language.evaluate import Commonest, Evaluation, MethodScore
    from distxfer.new_language.plan import Estimate, LanguageOutcome, LanguagePlan
    from distxfer.new_language.proposal import Proposal

_ARTICLES = {"accuracy": "an accuracy", "f1": "an F1"}
_SLOWER = 1.05  # the report names a training time from so many times that of `plain` on
# By the output of the task: the pipeline that loads the model (transformers has none for answers), and when a prediction
# counts as right.
_RIGHT: Mapping[str, tuple[str, ...]] = {
    "text": ("right",),
    "token": ("wholly right", "A sentence counts as right if all its words are right."),
    "span": (
        "exact match",
        "A question counts as right if the answer matches one of the references exactly; questions on one text form a cluster.",
    ),
}
_UNITS: Mapping[str, str] = {
    "text": "sentence",
    "token": "sentence",
    "span": "question",
}  # the unit of test data, by the output of the task
_SOURCE_LOSS = -0.01  # the recommendation names a loss in the source language from one point on
_CLAIM = 3  # fewest seeds that support a claim
_LONG = 40  # characters of a label in a sentence


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
    obstacle = next((fact.value for fact in plan.facts if fact.measure == "in_the_way"), None)
    parts = [
        f"{head}\n\n**{markdown(recommendation(outcome))}**\n",
        f"{markdown(f'Obstacles: {obstacle}.')}\n",
        "## Results\n",
        markdown_text(outcome_tables(outcome)),
        f"## Data and proposal\n\n{markdown_text([_given_table(plan), _proposal_table(plan)])}",
        f"## Next steps\n\n{_next_steps(outcome)}",
        f"## Language check\n\n{markdown_text(language_tables(plan.facts))}",
    ]
    path = plan.folder / "report.md"
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


def _given_table(plan: "LanguagePlan") -> Table:
    data = plan.data
    unit = _UNITS[data.output]
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
        effects: list[str | None] = [
            f"{effect.effect:+.1f} [{effect.low:+.1f}, {effect.high:+.1f}], {p_phrase(effect.p)}"
            for effect in ((evidence.all, evidence.far) if evidence else ())
        ]
        effects = effects or [None, None]
        rows.append(("this one" if place == 0 else "", proposal.recipe, *effects, evidence.seeds if evidence else None))
    notes = [f"{plan.proposal.recipe}: {plan.proposal.why}.", *plan.proposal.caveats]
    if plan.alternatives:
        notes.append("Choose another with `--recipe NAME`.")
    if plan.data.texts:
        notes.append(
            f"Another source than `{plan.source}`: `distxfer language {plan.key} --text FILE task={plan.task} --candidates all`"
            " ranks the languages with labels by your text. In our studies its first choice beats English on one task of three."
        )
    notes += expectations
    columns = ("", "recipe", "study: effect on targets", "on far targets", "seeds")
    return Table(columns, rows, title="proposal", notes=tuple(notes), optional=("seeds", "on far targets"))


def _expectations(plan: "LanguagePlan", estimate: "Estimate") -> list[str]:
    """Return the number of runs, the time they take, and the expected results."""
    runs = (
        f"{2 * plan.seeds} runs: `plain` and `{plan.proposal.recipe}` with {counted(plan.seeds, 'seeds')} each;"
        f" {estimate.runs} still to do, {_time_text(estimate)} (estimated for each recipe from {estimate.basis})."
    )
    expected, smallest = estimate.expected, estimate.smallest
    if not isinstance(expected.value, float):
        return [runs, f"There is no estimate for `plain`: {expected.note}.", *estimate.corpora]
    interval = (
        ""
        if expected.low is None or expected.high is None
        else f" [{100 * expected.low:.1f}, {100 * expected.high:.1f}]"
    )
    detectable = "the smallest detectable gain is not known before the runs" if smallest is None else (
        f"with {plan.data.tests} {_UNITS[plan.data.output]}s and {counted(plan.seeds, 'seeds')}, the smallest detectable gain is"
        f" {100 * smallest:.1f} points (80 % power)"
    )  # fmt: skip
    score = f"{_ARTICLES.get(expected.measure, expected.measure)} of {100 * expected.value:.1f} %{interval}"
    expectation = f"`plain` is expected to reach {score} in this language; {detectable}."
    return [runs, expectation, *estimate.corpora]


def _result_table(outcome: "LanguageOutcome") -> Table:
    plan, evaluation = outcome.plan, outcome.evaluation
    collapsed = tuple(f"COLLAPSED, excluded from all numbers: {folder}" for folder in evaluation.collapsed)
    criterion, *notes_on_right = _RIGHT[plan.data.output]
    column = f"{criterion} in {plan.key} (%)"
    if evaluation.commonest is None:
        return Table(("recipe", column), [], title=f"results in {plan.name}", notes=("None.", *collapsed))
    runs = outcome.method if evaluation.baseline is None else outcome.baseline
    metric = next(iter(runs.values())).metric
    # For classes the score is the share of right texts, as in the target; for words the target counts whole sentences instead.
    source = plan.source if (plan.data.output, metric) == ("text", "accuracy") else f"{plan.source}, {metric}"
    columns = ("recipe", column, "sd of seeds", "gain (points)", f"{source} (%)", "seconds a run")
    rows = [
        (
            f"always `{_label_text(evaluation.commonest)}`",
            f"{100 * evaluation.commonest.share:.1f}",
            None,
            None,
            None,
            None,
        )
    ]
    if evaluation.baseline is not None:
        rows.append(_row(evaluation.baseline, None, None))
    if evaluation.method is not None:
        rows.append(
            _row(
                evaluation.method,
                effect_text(evaluation.test, 100) if evaluation.test else None,
                evaluation.source_change,
            )
        )
    over = "sentences" if evaluation.texts is None else "texts"
    chance = "" if evaluation.commonest.chance is None else f" Chance is {_percent(evaluation.commonest.chance)}."
    seeds = counted(len(evaluation.seeds), "seeds") if evaluation.seeds else "no seed in common"
    notes = [
        f"{_tested_text(outcome)}, {seeds}. Intervals are 95 %: for a method over {over} (Wilson); for the gain over seeds and"
        f" {over}, both random (docs/statistics.md). Do not compare the intervals of methods.{chance}",
        *notes_on_right,
        *_shown_to_work(evaluation),
        *_gain_notes(outcome),
        *corpora({run.recipe["name"]: [run] for run in (*outcome.baseline.values(), *outcome.method.values())}),
        *arithmetic_notes(
            {
                runs[0].recipe["name"]: runs
                for runs in map(list, (outcome.baseline.values(), outcome.method.values()))
                if runs
            }
        ),
    ]
    optional = ("seconds a run", "sd of seeds", columns[4])
    return Table(columns, rows, title=f"results in {plan.name}", notes=(*notes, *collapsed), optional=optional)


def _shown_to_work(evaluation: "Evaluation") -> list[str]:
    scores = [score for score in (evaluation.baseline, evaluation.method) if score is not None]
    names = {shown: [f"`{score.recipe}`" for score in scores if score.works == shown] for shown in (True, False)}
    claims = {True: "shown to be right more often than the most frequent answer", False: "not shown to be"}
    return ["; ".join(f"{' and '.join(names[shown])}: {claims[shown]}" for shown in names if names[shown]) + "."]


def _gain_notes(outcome: "LanguageOutcome") -> list[str]:
    """Return notes on the uncertainty of the gain, its cost, and the effect of more test data."""
    evaluation, units = outcome.evaluation, f"{_UNITS[outcome.plan.data.output]}s"
    test, baseline, method = evaluation.test, evaluation.baseline, evaluation.method
    if test is None or baseline is None or method is None:
        return []
    notes = []
    if test.p is not None:
        share = (
            f"; {test.seed_share:.0%} of the uncertainty of the gain is due to seeds"
            if test.seed_share is not None
            else ""
        )
        notes.append(f"{p_phrase(test.p)}{share}.")
    if baseline.seconds and method.seconds / baseline.seconds > _SLOWER:
        times = method.seconds / baseline.seconds
        notes.append(f"`{method.recipe}` took {times:.1f} times as long to train as `plain`.")
    if evaluation.smallest is not None:
        notes.append(
            f"The smallest detectable gain with this many {units} and seeds (80 % power) is"
            f" {100 * evaluation.smallest:.1f} points."
        )
    if evaluation.verdict != "open" or test.low is None:
        return notes
    if test.effect <= 0:
        return [*notes, f"More test {units} would not show a gain: its estimate is not positive."]
    if evaluation.needed is None:
        return [*notes, f"More {units} alone would not show a gain of this size; run more seeds (`--seeds`)."]
    return [
        *notes,
        f"If the gain is real, about {evaluation.needed} test {units} with as many seeds would show it (80 % power;"
        f" there are {evaluation.sentences}{'' if evaluation.texts is None else ', and as many a text'}).",
    ]


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


def _next_steps(outcome: "LanguageOutcome") -> str:
    plan = outcome.plan
    plain, method = plan.recipes
    folder, lines = quote(str(plan.folder)), []
    if outcome.model is not None:
        seed = outcome.model.parent.name.rpartition("-s")[2]
        lines += [
            f"The model of seed {seed}, chosen by number, not by score: {markdown_code(str(outcome.model))}.",
            f"\n```python\n{_prediction(outcome.model.parent, outcome.plan.data.output)}\n```\n",
            f"`{outcome.model.name}/README.md` there says how to load it without distxfer.\n",
        ]
    lines += [
        "Recipes and data are plain files. Repeating the command resumes unfinished runs or prints this result again; a larger"
        " `--seeds` adds runs.\n",
        f"```sh\ndistxfer train {quote(f'recipe={method}')} --results {folder}\ndistxfer cp {quote(str(method))} mine.toml"
        f"  # change it, then: distxfer train recipe=mine.toml\n"
        f"distxfer compare {quote(plain.stem)} {quote(method.stem)} --results {folder}\n```\n",
    ]
    return "\n".join(lines)


def _prediction(run: Path, output: str) -> str:
    texts = '[("a question", "its context")]' if output == "span" else '["a text"]'
    return f"import distxfer\n\ndistxfer.predict({json.dumps(str(run), ensure_ascii=False)}, {texts})"


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
        "registered": [
            {key: value / 100 if key in {"effect", "low", "high"} else value for key, value in vars(effect).items()}
            for effect in proposal.registered
        ],
    }


def to_try(plan: "LanguagePlan", estimate: "Estimate") -> str:
    """Return the proposal in one sentence; nothing is recommended before it has been tested."""
    evidence, runs = plan.proposal.evidence, f"{2 * plan.seeds} runs, {_time_text(estimate)}"
    unreadable = next((fact.note for fact in plan.facts if fact.measure == "answer"), "")
    warning = f" But {unreadable}: another encoder (`model=`) may be needed." if unreadable else ""
    trial = f"`{plan.proposal.recipe}` against `plain` ({runs})"
    if not plan.proposal.shown:
        ran = evidence is not None or plan.proposal.registered
        study = "does not show that it helps" if ran else "has not run it"
        return f"No method is known to help {plan.name} with this data. To try: {trial}; the reference study {study}.{warning}"
    return f"To try: {trial}; whether it helps {plan.name} is open until the runs are done.{warning}"


def recommendation(outcome: "LanguageOutcome") -> str:
    """Return which recipe to use, in one sentence: only one that is shown to beat the most frequent answer.

    The proposed recipe must also have a gain whose interval excludes 0, or be the only one that learnt anything.
    """
    advice = outcome.evaluation.advice
    if advice == "nothing":
        return f"Nothing works yet: {_why_nothing(outcome)}; what may help: {_would_help(outcome)}."
    return f"{_use_method(outcome) if advice == 'method' else _use_baseline(outcome)}{_left_out(outcome)}."


def _use_method(outcome: "LanguageOutcome") -> str:
    plan, evaluation = outcome.plan, outcome.evaluation
    method, baseline, change = evaluation.method, evaluation.baseline, evaluation.source_change
    assert method is not None
    share = f"right in {_percent(method.accuracy)} {_basis(outcome, method)}, {_beside(outcome)}"
    if baseline is None:
        return f"Use `{method.recipe}`: it is {share}, and no run of `plain` learnt anything"
    gain = f"{_gain(outcome)} against `plain`"
    if change is None or change > _SOURCE_LOSS:
        return f"Use `{method.recipe}`: {gain}, {share}"
    return (
        f"Use `{method.recipe}` for {plan.name} alone, not for {language_name(plan.source)}, where it loses"
        f" {-100 * change:.1f} points: {gain}, {share}"
    )


def _use_baseline(outcome: "LanguageOutcome") -> str:
    evaluation, method = outcome.evaluation, f"`{outcome.plan.proposal.recipe}`"
    baseline = evaluation.baseline
    assert baseline is not None
    share = f"right in {_percent(baseline.accuracy)} {_basis(outcome, baseline)}, {_beside(outcome)}"
    if evaluation.method is None:
        return f"Use `plain`: it is {share}, and no run of {method} learnt anything"
    if evaluation.test is None:
        return f"Not shown to differ: use `plain`. It is {share}; {method} learnt nothing on the same seeds"
    if evaluation.verdict == "worse":
        return f"Use `plain`: it is {share}, and {method} is worse, {_gain(outcome)}"
    if evaluation.verdict == "better":
        return f"Use `plain`: it is {share}, and {method}, though {_gain(outcome)}, is not shown to be above that"
    few = f" ({evaluation.test.reason.removeprefix('no ranking: ')})" if evaluation.test.reason else ""
    return f"Not shown to differ: use `plain`. It is {share}; the gain of {method} is {_gain(outcome)}{few}"


def _why_nothing(outcome: "LanguageOutcome") -> str:
    plan, evaluation = outcome.plan, outcome.evaluation
    scores = [score for score in (evaluation.baseline, evaluation.method) if score is not None]
    if not scores:
        return f"no run learnt anything in {language_name(plan.source)}, the source"
    shares = " and ".join(
        f"`{score.recipe}` is right in {_percent(score.accuracy)}" + (f" {_basis(outcome, score)}" if not place else "")
        for place, score in enumerate(scores)
    )
    if len(scores) == 1:
        missing = plan.proposal.recipe if evaluation.method is None else "plain"
        shares += f", no run of `{missing}` learnt anything"
    why = ""
    if any(score.works for score in scores):  # the method works, `plain` does not, and no difference is shown
        why = f", and with fewer than 3 seeds nothing can be claimed for `{plan.proposal.recipe}`" if not _enough(outcome) else (
            f", and no gain of `{plan.proposal.recipe}` over `plain` is shown"
        )  # fmt: skip
    return f"{shares}, {_beside(outcome)}{why}"


def _would_help(outcome: "LanguageOutcome") -> str:
    """Return what to try next, given the data that is missing."""
    plan, evaluation = outcome.plan, outcome.evaluation
    if evaluation.baseline is None and evaluation.method is None:
        return "more steps (`phase.finetune.epochs`) or another `phase.finetune.learning_rate`, until the model learns the source"
    ways = [] if _enough(outcome) else ["more seeds (`--seeds 3`)"]
    if not plan.data.shots:
        ways.append(f"labelled {_UNITS[plan.data.output]}s in {plan.name} to train on (`--few-shot`)")
    if not plan.data.pairs:
        ways.append("sentence pairs (`--parallel`)")
    unreadable = next((fact.note for fact in plan.facts if fact.measure == "answer"), "")
    encoder = f"an encoder that was pretrained on {plan.name} (`model=`)"
    return " or ".join([f"{encoder}, for {unreadable}", *ways] if unreadable else [*ways, encoder])


def _enough(outcome: "LanguageOutcome") -> bool:
    scores = (outcome.evaluation.baseline, outcome.evaluation.method)
    return all(len(score.seeds) >= _CLAIM for score in scores if score is not None)


def _beside(outcome: "LanguageOutcome") -> str:
    """Return the score of the most frequent answer."""
    commonest = outcome.evaluation.commonest
    assert commonest is not None
    return f"where always answering `{_label_text(commonest)}` gives {_percent(commonest.share)}"


def _left_out(outcome: "LanguageOutcome") -> str:
    count = len(outcome.evaluation.collapsed)
    runs = len(outcome.baseline) + len(outcome.method)
    return f"; {count} of the {runs} runs learnt nothing and are excluded" if count else ""


def _basis(outcome: "LanguageOutcome", score: "MethodScore") -> str:
    return f"of {_tested_text(outcome)} with {counted(len(score.seeds), 'seeds')}"


def _gain(outcome: "LanguageOutcome") -> str:
    test = outcome.evaluation.test
    assert test is not None
    gain = f"{100 * test.effect:+.1f} points"
    if test.low is None or test.high is None:
        return gain
    return f"{gain} (95 % interval {100 * test.low:+.1f} to {100 * test.high:+.1f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _label_text(commonest: "Commonest") -> str:
    """Return the most frequent answer, which may be a sentence, on one line of bounded length."""
    text = " ".join(commonest.answer.split())
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def _time_text(estimate: "Estimate") -> str:
    seconds = estimate.seconds
    return f"about {seconds / 60:.0f} min here" if seconds >= 90 else f"about {seconds:.0f} s here"


def _tested_text(outcome: "LanguageOutcome") -> str:
    """Return the size of the test data: sentences, or questions and their texts."""
    evaluation, unit = outcome.evaluation, _UNITS[outcome.plan.data.output]
    return counted(evaluation.sentences, f"{unit}s") + (
        "" if evaluation.texts is None else f" on {counted(evaluation.texts, 'texts')}"
    )
