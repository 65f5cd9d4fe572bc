"""The recommendation for a new language, in one sentence."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from distxfer.errors import counted
from distxfer.languages import language_name

if TYPE_CHECKING:
    from distxfer.new_language.evaluate import Commonest, MethodScore
    from distxfer.new_language.plan import Estimate, LanguageOutcome, LanguagePlan

SENTENCE: Mapping[str, str] = {
    "text": "sentence",
    "token": "sentence",
    "span": "question",
}  # the unit of test data, by the output of the task
_SOURCE_LOSS = -0.01  # the recommendation names a loss in the source language from one point on
_CLAIM = 3  # fewest seeds that support a claim
_LONG = 40  # characters of a label in a sentence


def to_try(plan: "LanguagePlan", estimate: "Estimate") -> str:
    """Return the proposal in one sentence; nothing is recommended before it has been tested."""
    evidence, runs = plan.proposal.evidence, f"{2 * plan.seeds} runs, {time_text(estimate)}"
    trial = f"`{plan.proposal.recipe}` against `plain` ({runs})"
    if evidence is None or not evidence.shown:
        study = "has not run it" if evidence is None else "does not show that it helps"
        return f"No method is known to help {plan.name} with this data. To try: {trial}; the reference study {study}."
    return f"To try: {trial}; whether it helps {plan.name} is open until the runs are done."


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
    share = f"right in {percent(method.accuracy)} {_basis(outcome, method)}, {_beside(outcome)}"
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
    share = f"right in {percent(baseline.accuracy)} {_basis(outcome, baseline)}, {_beside(outcome)}"
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
        f"`{score.recipe}` is right in {percent(score.accuracy)}" + (f" {_basis(outcome, score)}" if not place else "")
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
        ways.append(f"labelled {SENTENCE[plan.data.output]}s in {plan.name} to train on (`--few-shot`)")
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
    return f"where always answering `{label_text(commonest)}` gives {percent(commonest.share)}"


def _left_out(outcome: "LanguageOutcome") -> str:
    count = len(outcome.evaluation.collapsed)
    runs = len(outcome.baseline) + len(outcome.method)
    return f"; {count} of the {runs} runs learnt nothing and are excluded" if count else ""


def _basis(outcome: "LanguageOutcome", score: "MethodScore") -> str:
    return f"of {tested_text(outcome)} with {seeds_text(len(score.seeds))}"


def _gain(outcome: "LanguageOutcome") -> str:
    test = outcome.evaluation.test
    assert test is not None
    gain = f"{100 * test.effect:+.1f} points"
    if test.low is None or test.high is None:
        return gain
    return f"{gain} (95 % interval {100 * test.low:+.1f} to {100 * test.high:+.1f})"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def label_text(commonest: "Commonest") -> str:
    """Return the most frequent answer, which may be a sentence, on one line of bounded length."""
    text = " ".join(commonest.answer.split())
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def time_text(estimate: "Estimate") -> str:
    seconds = estimate.seconds
    return f"about {seconds / 60:.0f} min here" if seconds >= 90 else f"about {seconds:.0f} s here"


def tested_text(outcome: "LanguageOutcome") -> str:
    """Return the size of the test data: sentences, or questions and their texts."""
    evaluation, unit = outcome.evaluation, SENTENCE[outcome.plan.data.output]
    return counted(evaluation.sentences, f"{unit}s") + (
        "" if evaluation.texts is None else f" on {counted(evaluation.texts, 'texts')}"
    )


def seeds_text(count: int) -> str:
    return counted(count, "seeds")
