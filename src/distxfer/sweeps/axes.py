"""The axes of a sweep: what the words of the command line and a study file vary, and what goes in step."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distxfer.config.files import recipe_files
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.interventions import complaint

# Keys with their values as overrides say them; all keys of one axis go in step, and most axes have one key.
Axis = Mapping[str, tuple[str, ...]]

_NAMED = ("model", "task", "distance", "parallel")  # `model=x` means `model.name=x`, as in a recipe
# One value of an axis and the comma after it: a list in brackets, a text in quotes, or anything without a comma.
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
    """Return the name and the axes of a sweep, and the recipes that its study file is about.

    A word goes before the study file's values of the same key.

    `words` are `KEY=VALUE,VALUE...`, `study=FILE` and `name=NAME`; `paired` are keys that go in step, `KEY,KEY`.

    Raises InputError for a word that is no `KEY=VALUE`, a key given twice, values that cannot be told apart, all that is
    wrong with a study file, keys that cannot go in step, and a sweep without a recipe.
    """
    given = _split_words(words)
    name, axes, recipes = "", list[Axis](), tuple[str, ...]()
    if "study" in given:
        name, axes = _read_study(Path(given.pop("study")))
        recipes = next((axis["recipe"] for axis in axes if "recipe" in axis), ())
    name = given.pop("name", name)
    if name and not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"`name` is `{name}`; expected letters, digits, `-`, `_` and dots, since a file is named so.")
    ours = {_full(key): tuple(split_values(key, text)) for key, text in given.items()}
    left = [{key: values for key, values in axis.items() if key not in ours} for axis in axes]
    axes = [*(axis for axis in left if axis), *({key: values} for key, values in ours.items())]
    for text in paired:
        axes = _in_step(axes, text)
    if not any("recipe" in axis for axis in axes):
        raise InputError(f"The sweep names no recipe; expected `recipe=NAME,NAME`. Recipes: {listed(recipe_files())}.")
    return name, axes, recipes


def split_values(key: str, text: str) -> list[str]:
    """Return the values of an axis, `a,b` or `[a,b],[c]` or `'x,y','z'`, each as an override says it.

    A comma separates values, as in Hydra; brackets make a list of several, quotes make text of a comma.

    Raises InputError for brackets or quotes that do not close, and for an empty value among others.
    """
    values, place = [], 0
    while place <= len(text):
        found = _VALUE.match(text, place)
        if found is None:
            raise InputError(
                f"`{key}={text}` cannot be read from `{text[place:]}` on. Write one list as [a,b], several as [a,b],[c],"
                " and a text with a comma in quotes."
            )
        if found["list"] is not None:
            values.append(",".join(part.strip() for part in found["list"].split(",")))
        else:
            values.append(next(one for one in (found["single"], found["double"], found["plain"]) if one is not None))
        bare = found["plain"] == ""
        more = found.end() < len(text) or text[found.end() - 1 : found.end()] == ","
        if bare and (more or len(values) > 1):
            raise InputError(f"`{key}={text}` has an empty value. Take a comma out, or write '' for an empty value.")
        if not more:
            break
        place = found.end()
    return values


def _split_words(words: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    wrong = []
    for word in words:
        key, separator, text = (part.strip() for part in word.partition("="))
        if not separator or not key:
            wrong.append(f"`{word}` is no axis. Write KEY=VALUE,VALUE, such as `seed=0,1,2`.")
        elif _full(key) in map(_full, given):
            wrong.append(
                f"`{key}` is given twice. Give all of its values at once: `{key}={given.get(key, '')},{text}`."
            )
        else:
            given[key] = text
    _refuse("The sweep", wrong)
    return given


def _in_step(axes: Sequence[Axis], text: str) -> list[Axis]:
    """Return the axes with those of the keys in `text` made one."""
    keys = [_full(key.strip()) for key in text.split(",") if key.strip()]
    known = [key for axis in axes for key in axis]
    if len(set(keys)) < 2 or len(set(keys)) < len(keys):
        raise InputError(f"`--paired {text}` is to name at least two axes, each once, with a comma between them.")
    for key in keys:
        if key not in known:
            raise InputError(
                f"`--paired {text}`: `{key}` is no axis of this sweep.{did_you_mean(key, known)} Axes: {listed(known)}."
            )
    together = [axis for axis in axes if any(key in axis for key in keys)]
    merged = {key: values for axis in together for key, values in axis.items()}
    _refuse(f"`--paired {text}`", _unequal(merged))
    return [axis for axis in axes if axis not in together] + [merged]


def _unequal(axis: Axis) -> list[str]:
    if len({len(values) for values in axis.values()}) < 2:
        return []
    lengths = listed(f"`{key}` has {len(values)}" for key, values in axis.items())
    return [f"Axes that go in step need as many values each, but {lengths}."]


def _read_study(path: Path) -> tuple[str, list[Axis]]:
    """Return the name and the axes in a study file; raises InputError with all that is wrong with it."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        study = _Study.model_validate(data)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"The study file `{path}` is not TOML: {error}.") from error
    except RecursionError as error:
        raise InputError(f"The study file `{path}` nests arrays or tables too deep to be read.") from error
    except ValidationError as error:
        groups: dict[str, list[Any]] = {}
        for one in error.errors():
            groups.setdefault(str(one["loc"][0]), []).append(one)
        raise _wrong(path, [_complaint(key, group) for key, group in groups.items()]) from error
    except (OSError, ValueError) as error:  # no text, or a number of more digits than Python reads
        raise InputError(f"The study file `{path}` cannot be read: {error}. Give the path of a .toml file.") from error
    wrong: list[str] = []
    axes: list[Axis] = [{"recipe": study.recipes}] if study.recipes else []
    axes += [{"seed": tuple(map(str, study.seeds))}] if study.seeds else []
    axes += [{key: (_said(value),)} for key, value in _flat(study.fixed)]
    axes += [{key: _values(f"axes.{key}", value, wrong)} for key, value in _flat(study.axes)]
    for table in study.paired:
        axis = {key: _values(f"paired.{key}", value, wrong) for key, value in _flat(table)}
        wrong += _unequal(axis)
        axes.append(axis)
    wrong += [f"`{key}` is empty, so the grid is. Give values, or leave it out."
              for key in ("recipes", "seeds") if data.get(key) == []]  # fmt: skip
    keys = [key for axis in axes for key in axis]
    wrong += [f"`{key}` is given twice. Keep one." for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if wrong:
        raise _wrong(path, wrong)
    return study.name, axes


def _complaint(key: str, errors: Sequence[Any]) -> str:
    known = list(_Study.model_fields)
    if errors[0]["type"] == "extra_forbidden":
        return f"`{key}` is no key of a study.{did_you_mean(key, known)} Its keys: {listed(known)}."
    return f"`{key}` {complaint(errors)}"


def _values(key: str, value: Any, wrong: list[str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        said = "empty, so the grid is" if value == [] else f"`{_said(value)}`, but it should be a list of values"
        wrong.append(f"`{key}` is {said}. Write [a, b], or put one value under [fixed].")
        return ("",)
    return tuple(map(_said, value))


def _said(value: Any) -> str:
    """Return a value of a TOML file as an override says it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(_said, value)) if isinstance(value, list) else str(value)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield _full(f"{prefix}{key}"), value


def _full(key: str) -> str:
    return f"{key}.name" if key in _NAMED else key


def _wrong(path: Path, lines: Sequence[str]) -> InputError:
    return InputError(_told(f"The study `{path}`", lines))


def _refuse(what: str, lines: Sequence[str]) -> None:
    if lines:
        raise InputError(_told(what, lines))


def _told(what: str, lines: Sequence[str]) -> str:
    return f"{what} has {len(lines)} mistake{'s' * (len(lines) > 1)}:\n" + "\n".join(f"  {line}" for line in lines)
