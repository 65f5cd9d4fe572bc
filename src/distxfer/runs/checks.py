"""Checks before training: that the pooling fits the encoder, and that there is enough text to measure and to train on."""

from collections.abc import Mapping, Sequence
from typing import cast

from distxfer.config.recipe import Recipe
from distxfer.data import Example, Pair, Task, count_distinct_texts, parallel_names
from distxfer.encoders import Encoder, Output
from distxfer.errors import InputError, listed
from distxfer.interventions import CKA_ROWS, BoundIntervention
from distxfer.runs.measurements import FEWEST

PARALLEL = "parallel text"


def check_pooling(recipe: Recipe, encoder: Encoder) -> None:
    """Raise InputError if the pooling is a default (or guessed from the model's name) that does not fit the encoder."""
    pooling = recipe.model.pooling
    if recipe.chooses_pooling or encoder.causal == (pooling == "last"):
        return
    fit = "last" if encoder.causal else "mean"
    reason = (
        "the encoder reads from left to right, so only the last token has seen the whole text"
        if encoder.causal
        else "the encoder reads in both directions, so no single token represents the text"
    )
    raise InputError(
        f"`model.pooling` = `{pooling}` is a default ({recipe.values['model.pooling'].origin}), and {reason}. Set"
        f" `model.pooling={fit}`, or `model.pooling={pooling}` to keep it anyway."
    )


def starts_as_probe(recipe: Recipe, output: Output, encoder: Encoder) -> bool:
    """Return whether the head starts as a linear probe: the recipe says so, and it is a new linear map of the pooled state."""
    trains = any(phase.task for phase in recipe.phases.values())
    is_new = recipe.model.head_start == "probe" and output == "text" and trains and not encoder.head_is_loaded
    return is_new and has_linear_head(encoder)


def check_head(recipe: Recipe, bounds: Mapping[str, BoundIntervention], encoder: Encoder, output: Output) -> None:
    """Raise InputError for a phase that uses a random head: for labels, for predictions to compare, or to merge with."""
    is_trained = encoder.head_is_loaded or starts_as_probe(recipe, output, encoder)
    at_start: dict[str, bool] = {}  # phase -> whether the head is trained as it begins
    for phase_name, phase in recipe.phases.items():
        acts = {name: phase.interventions == "all" or name in phase.interventions for name in bounds}
        active = {name: bound for name, bound in bounds.items() if acts[name]}
        for name, bound in active.items():
            if _labels_by_head(bound) and not is_trained:  # labels are made before weights are rewound
                raise InputError(
                    f"The intervention `{name}` labels text as the phase `{phase_name}` begins, by a head that is random then."
                    " Let a phase with the task come first, as `phases=finetune,self_training` does."
                )
        at_start[phase_name] = is_trained = at_start[phase.rewind] if phase.rewind else is_trained
        trains = phase.task or any(_labels_by_head(bound) and bound.weight > 0 for bound in active.values())
        if phase.merge and trains and not is_trained:
            raise InputError(
                f"`phase.{phase_name}.merge` = `{phase.merge}` merges the trained head with its start, which is random."
                " Let the head start as a probe, with `model.head=auto` and `model.head_start=probe` where the task classifies"
                " texts, or let the phase begin where one with the task has ended."
            )
        is_trained = is_trained or trains
        for name, bound in active.items():
            if "predictions" in bound.needs and bound.term and bound.weight > 0 and not is_trained:
                raise InputError(
                    f"The intervention `{name}` compares predictions of the head, which is random in the phase `{phase_name}`."
                    f" Set `phase.{phase_name}.task=true`, or let the phase begin where one with the task has ended."
                )


def _labels_by_head(bound: BoundIntervention) -> bool:
    return bound.labels is not None and not bound.labels_are_states


def has_linear_head(encoder: Encoder) -> bool:
    """Return whether the head of a text is one linear map of the state that `model.pooling` names."""
    modules = {name.rpartition(".")[0] for name in encoder.head}
    return len(modules) == 1 and (encoder.token_head or (encoder.causal and encoder.pooling == "last"))


def head_notes(recipe: Recipe, output: Output, encoder: Encoder) -> list[str]:
    """Return a note where the head of a text cannot start as the probe that the recipe asks for."""
    if recipe.model.head_start != "probe" or output != "text" or encoder.head_is_loaded or has_linear_head(encoder):
        return []
    return [
        "The head starts at random (`model.head_start` = `probe` has no effect): it is more than one linear map of the pooled"
        " state."
    ]


def few_texts(task: Task) -> list[str]:
    """Return a note on the languages with too few distinct test texts for a good estimate of drift."""
    numbers = {key: texts_that_differ(group, CKA_ROWS) for key, group in task.splits.get("test", {}).items()}
    few = [f"`{key}` ({number})" for key, number in numbers.items() if number < CKA_ROWS]
    if not few:
        return []
    return [
        f"The test part has fewer than {CKA_ROWS} different texts in {listed(few)}, so drift (1 - CKA) is a poor estimate"
        " there: at 4 texts CKA is biased by half."
    ]


def shots_of_one_class(task: Task, labelled: Mapping[str, Sequence[Example]], targets: Sequence[str]) -> list[str]:
    """Return a note for each target whose labelled training texts all have one class."""
    notes = []
    for target in targets if task.task_type == "classification" else ():
        shots = labelled.get(target, ())
        if len(shots) > 1 and all(example.label == shots[0].label for example in shots):
            label = task.labels[cast(int, shots[0].label)]
            notes.append(
                f"The {len(shots)} labelled training texts of `{target}` (`task.shots`) all have the class `{label}`."
            )
    return notes


def texts_that_differ(examples: Sequence[Example], fewest: int) -> int:
    """Return the number of texts or, if a batch needs `fewest` > 1 distinct texts, of distinct ones as far as it matters."""
    return len(examples) if fewest <= 1 else count_distinct_texts(examples, max(fewest, FEWEST))


def pairs_that_differ(pairs: Sequence[Pair], bound: BoundIntervention) -> int:
    """Return `texts_that_differ` for the side of the pairs that has fewer."""
    sides = [pair.source for pair in pairs], [pair.target for pair in pairs]
    return min(texts_that_differ(side, bound.min_distinct_texts) for side in sides)


def require(name: str, text_type: str, bound: BoundIntervention, sizes: Mapping[str, int], recipe: Recipe) -> None:
    """Raise InputError if an intervention needs text that is missing or too little."""
    if text_type == PARALLEL and bound.languages and not recipe.parallel.name and not recipe.parallel.mined:
        _, auto, reason = recipe.values["parallel.name"].origin.partition("auto: ")
        raise InputError(
            f"The intervention `{name}` needs parallel text, and `parallel.name` is"
            f" {f'`auto`: {reason}' if auto else 'empty'}. Set `parallel.name` to a folder of your own, or to one of:"
            f" {', '.join(parallel_names())} (with `parallel.folder` for a local copy of its files)."
        )
    required = max(FEWEST, bound.min_distinct_texts)
    for language in bound.languages:
        size = sizes.get(language, 0)
        if size < required:
            sufficient = [key for key, n in sizes.items() if n >= required]
            differ = " that differ" if bound.min_distinct_texts > 1 else ""
            corpus = (
                f"`parallel.name` = `{recipe.parallel.name}`" if recipe.parallel.name else "`parallel.name` is empty"
            )
            where = "`parallel.mined` = `true`" if recipe.parallel.mined else corpus
            alternative = f", or keep to `intervention.{name}.languages={','.join(sufficient)}`" if sufficient else ""
            raise InputError(
                f"The intervention `{name}` needs {text_type} for `{language}`, and there is"
                f" {f'too little: {size}, expected at least {required}{differ}' if size else 'none'} ({where})."
                f" Give {_more(text_type, language, size, mined=recipe.parallel.mined)}{alternative}."
            )


def _more(text_type: str, language: str, size: int, *, mined: bool) -> str:
    """Return how to add text of a language to a run with `size` such texts."""
    if text_type == PARALLEL and mined:
        return (
            f"more text to mine, as `unlabelled.jsonl` of the source and of `{language}`, or parallel text with"
            " `parallel=FOLDER parallel.mined=false`"
        )
    addition = "more" if size else "it"
    if text_type == PARALLEL:
        return f"{addition} with `parallel=FOLDER`"
    # Existing unlabelled text takes precedence over parallel text.
    return f"{addition} as `unlabelled.jsonl` in the task's folder" + ("" if size else ", or with `parallel=FOLDER`")
