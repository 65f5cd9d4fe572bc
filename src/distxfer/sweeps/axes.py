"""The axes of a sweep, read from command-line arguments and a study file."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distxfer.config.dotted import flatten, full_key, override_text
from distxfer.config.files import recipe_files
from distxfer.errors import InputError, did_you_mean, listed, mistakes_text
from distxfer.interventions import complaint

# Key -> values, as in overrides. All keys of one axis vary together; most axes have one key.
Axis = Mapping[str, tuple[str, ...]]

# One value of an axis with the following comma: a list in brackets, a text in quotes, or anything without a comma.
_VALUE = re.compile(
    r"""\s*(?:\[(?P<list>[^\[\]]*)\]|'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<plain>(?![\['"])[^,]*?))\s*(?:,|$)"""
)


class _Study(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = ""
    recipes: tuple[str, ...] = ()
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    fixed: dict[str, Any] = {}
    axes: dict[str, Any] = {}
    paired: tuple[dict[str, Any], ...] = ()


def read_axes(words: Sequence[str], paired: Sequence[str]) -> tuple[str, list[Axis], tuple[str, ...]]:
    """Return the name and the axes of a sweep, and the recipes of its study file.

    `words` are `KEY=VALUE,VALUE...`, `study=FILE` (or a folder with a `study.toml`) and `name=NAME`; they take precedence
    over the study file. `paired` are keys that vary together, `KEY,KEY`.

    Raises InputError for a word that is not `KEY=VALUE`, a repeated key, values that cannot be separated, all mistakes in
    a study file, keys that cannot vary together, and a sweep without a recipe.
    """
    words_by_key = _split_words(words)
    name, axes, recipes = "", list[Axis](), tuple[str, ...]()
    if "study" in words_by_key:
        name, axes = _read_study(Path(words_by_key.pop("study")))
        recipes = next((axis["recipe"] for axis in axes if "recipe" in axis), ())
    name = words_by_key.pop("name", name)
    if name and not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"`name` is `{name}`; expected letters, digits, `-`, `_` and dots, since it names a file.")
    overriding = {full_key(key): tuple(split_values(key, text)) for key, text in words_by_key.items()}
    remaining = [{key: values for key, values in axis.items() if key not in overriding} for axis in axes]
    axes = [*(axis for axis in remaining if axis), *({key: values} for key, values in overriding.items())]
    for text in paired:
        axes = _in_step(axes, text)
    if not any("recipe" in axis for axis in axes):
        raise InputError(f"The sweep names no recipe; expected `recipe=NAME,NAME`. Recipes: {listed(recipe_files())}.")
    return name, axes, recipes


def split_values(key: str, text: str) -> list[str]:
    """Return the values of an axis, `a,b` or `[a,b],[c]` or `'x,y','z'`, each as in an override.

    Commas separate values, as in Hydra; brackets enclose a list, quotes a text with commas.

    Raises InputError for unclosed brackets or quotes, and for an empty value among others.
    """
    values, place = [], 0
    while place <= len(text):
        match = _VALUE.match(text, place)
        if match is None:
            raise InputError(
                f"`{key}={text}` cannot be read from `{text[place:]}` on. Write one list as [a,b], several as [a,b],[c],"
                " and put a text with a comma in quotes."
            )
        value = match[match.lastgroup or "plain"]
        if match.lastgroup == "list":
            value = ",".join(part.strip() for part in value.split(","))
        values.append(value)
        is_empty = match["plain"] == ""
        continues = match.end() < len(text) or text[match.end() - 1 : match.end()] == ","
        if is_empty and (continues or len(values) > 1):
            raise InputError(f"`{key}={text}` has an empty value. Remove a comma, or write '' for an empty value.")
        if not continues:
            break
        place = match.end()
    return values


def _split_words(words: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    mistakes = []
    for word in words:
        key, separator, text = (part.strip() for part in word.partition("="))
        if not separator or not key:
            mistakes.append(f"`{word}` is not an axis. Write KEY=VALUE,VALUE, such as `seed=0,1,2`.")
        elif full_key(key) in map(full_key, texts):
            mistakes.append(
                f"`{key}` is given twice. Give all of its values at once: `{key}={texts.get(key, '')},{text}`."
            )
        else:
            texts[key] = text
    if mistakes:
        raise InputError(mistakes_text("The sweep", mistakes))
    return texts


def _in_step(axes: Sequence[Axis], text: str) -> list[Axis]:
    """Return the axes after merging those of the keys in `text`."""
    keys = [full_key(key.strip()) for key in text.split(",") if key.strip()]
    axis_keys = [key for axis in axes for key in axis]
    if len(set(keys)) < 2 or len(set(keys)) < len(keys):
        raise InputError(f"`--paired {text}` must name at least two different axes, separated by commas.")
    for key in keys:
        if key not in axis_keys:
            raise InputError(
                f"`--paired {text}`: `{key}` is not an axis of this sweep.{did_you_mean(key, axis_keys)}"
                f" Axes: {listed(axis_keys)}."
            )
    joined = [axis for axis in axes if any(key in axis for key in keys)]
    merged = {key: values for axis in joined for key, values in axis.items()}
    if mistakes := _unequal(merged):
        raise InputError(mistakes_text(f"`--paired {text}`", mistakes))
    return [axis for axis in axes if axis not in joined] + [merged]


def _unequal(axis: Axis) -> list[str]:
    if len({len(values) for values in axis.values()}) < 2:
        return []
    lengths = listed(f"`{key}` has {len(values)}" for key, values in axis.items())
    return [f"Paired axes need the same number of values, but {lengths}."]


def _read_study(path: Path) -> tuple[str, list[Axis]]:
    """Return the name and the axes in a study file; raises InputError with all mistakes in it. A folder has a `study.toml`."""
    path = path / "study.toml" if path.is_dir() else path
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        study = _Study.model_validate(data)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"The study file `{path}` is not valid TOML: {error}.") from error
    except RecursionError as error:
        raise InputError(f"The study file `{path}` nests arrays or tables too deeply.") from error
    except ValidationError as error:
        groups: dict[str, list[Any]] = {}
        for details in error.errors():
            groups.setdefault(str(details["loc"][0]), []).append(details)
        lines = [_complaint(key, group) for key, group in groups.items()]
        raise InputError(mistakes_text(f"The study `{path}`", lines)) from error
    except (OSError, ValueError) as error:  # not text, or a number with too many digits
        raise InputError(f"The study file `{path}` cannot be read: {error}. Give the path of a .toml file.") from error
    mistakes: list[str] = []
    axes: list[Axis] = [{"recipe": study.recipes}] if study.recipes else []
    axes += [{"seed": tuple(map(str, study.seeds))}] if study.seeds else []
    axes += [{key: (override_text(value),)} for key, value in flatten(study.fixed)]
    axes += [{key: _values(f"axes.{key}", value, mistakes)} for key, value in flatten(study.axes)]
    for table in study.paired:
        axis = {key: _values(f"paired.{key}", value, mistakes) for key, value in flatten(table)}
        mistakes += _unequal(axis)
        axes.append(axis)
    mistakes += [f"`{key}` is empty, so the grid has no runs. Give values, or remove it."
              for key in ("recipes", "seeds") if data.get(key) == []]  # fmt: skip
    keys = [key for axis in axes for key in axis]
    mistakes += [f"`{key}` is given twice. Keep one." for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if mistakes:
        raise InputError(mistakes_text(f"The study `{path}`", mistakes))
    return study.name, axes


def _complaint(key: str, errors: Sequence[Any]) -> str:
    keys = list(_Study.model_fields)
    if errors[0]["type"] == "extra_forbidden":
        return f"`{key}` is not a key of a study.{did_you_mean(key, keys)} Its keys: {listed(keys)}."
    return f"`{key}` {complaint(errors)}"


def _values(key: str, value: Any, mistakes: list[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        fault = "empty, so the grid has no runs" if value == [] else f"`{override_text(value)}`, but expected a list"
        mistakes.append(f"`{key}` is {fault}. Write [a, b], or put one value under [fixed].")
        return ("",)
    return tuple(map(override_text, value))
