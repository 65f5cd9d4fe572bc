"""Checks before training that the text an intervention needs is there."""

from collections.abc import Mapping

from distxfer.config.recipe import Recipe
from distxfer.data import parallel_names
from distxfer.errors import InputError
from distxfer.interventions import BoundIntervention
from distxfer.runs.snapshots import FEWEST

PARALLEL = "parallel text"


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
            where = (
                "`parallel.mined` = `true`"
                if recipe.parallel.mined
                else f"`parallel.name` = `{recipe.parallel.name}`"
                if recipe.parallel.name
                else "`parallel.name` is empty"
            )
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
