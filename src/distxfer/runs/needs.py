"""Text that an intervention needs: refused before training where it is not there."""

from collections.abc import Mapping

from distxfer.config.recipe import Recipe
from distxfer.data import parallel_names
from distxfer.errors import InputError
from distxfer.interventions import Bound
from distxfer.runs.snapshots import FEWEST

PARALLEL = "parallel text"


def require(name: str, what: str, bound: Bound, sizes: Mapping[str, int], recipe: Recipe) -> None:
    """Refuse an intervention that draws text which is not there."""
    if what == PARALLEL and bound.languages and not recipe.parallel.name and not recipe.parallel.mined:
        _, auto, reason = recipe.values["parallel.name"].origin.partition("auto: ")
        raise InputError(
            f"The intervention `{name}` needs parallel text, and `parallel.name` is"
            f" {f'`auto`: {reason}' if auto else 'empty'}. Set `parallel.name` to a folder of your own, or to one of:"
            f" {', '.join(parallel_names())} (`parallel.folder`: where a copy of its files lies)."
        )
    fewest = max(FEWEST, bound.distinct)
    for language in bound.languages:
        size = sizes.get(language, 0)
        if size < fewest:
            have = [key for key, there in sizes.items() if there >= fewest]
            differ = " that differ" if bound.distinct > 1 else ""
            where = (
                "`parallel.mined` = `true`"
                if recipe.parallel.mined
                else f"`parallel.name` = `{recipe.parallel.name}`"
                if recipe.parallel.name
                else "`parallel.name` names none"
            )
            fewer = f", or keep to `intervention.{name}.languages={','.join(have)}`" if have else ""
            raise InputError(
                f"The intervention `{name}` needs {what} for `{language}`, and there is"
                f" {f'too little: {size}, expected at least {fewest}{differ}' if size else 'none'} ({where})."
                f" Give {_more(what, language, size, mined=recipe.parallel.mined)}{fewer}."
            )


def _more(what: str, language: str, size: int, *, mined: bool) -> str:
    """Return how more text of a language comes to a run that has `size` of it."""
    if what == PARALLEL and mined:
        return (
            f"more text to mine in, as `unlabelled.jsonl` of the source and of `{language}`, or parallel text with"
            " `parallel=FOLDER parallel.mined=false`"
        )
    it = "more" if size else "it"
    if what == PARALLEL:
        return f"{it} with `parallel=FOLDER`"
    # Unlabelled text that is there is what counts, whatever the parallel text holds.
    return f"{it} as `unlabelled.jsonl` in the task's folder" + ("" if size else ", or with `parallel=FOLDER`")
