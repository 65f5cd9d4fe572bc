"""What to try for a new language: from what there is of it, by what the reference study found."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from distxfer.config.files import recipe_path, shipped_folder
from distxfer.errors import InputError
from distxfer.new_language.language_data import Has

BASELINE = "plain"
_FEW = 50  # pairs or texts: the study has 569 a language, and says nothing about so few
_STUDIED = 569

# What each recipe reads besides the labelled source. Those that the study has not run come last.
_NEEDS: Mapping[str, str] = {
    "align_consistency": "pairs",
    "dist_align": "pairs",
    "consistency": "pairs",
    "language_adapter": "pairs",
    "mined_align": "texts",
    "drift_reg": "",
    "l2_sp": "",
    "freeze_lower": "",
    "lora": "",
    "code_switch": "words",
}
_GIVEN_BY = {"pairs": "--parallel", "texts": "--text", "words": "--dictionary"}
_STRONGER = {"drift_reg": "drift_strong"}  # the same at four times the weight, which a larger study ran in its place
_CLASSES_ALONE = ("align_consistency", "consistency", "code_switch")  # they compare predictions of whole texts


@dataclass(frozen=True)
class StudiedEffect:
    """An effect against `plain` in points of accuracy, with its 95 % interval and the p of Holm."""

    effect: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Evidence:
    """What the reference study found of a recipe: on all its targets, on the far half, and on the source (a mean).

    `chosen` is what its settings were chosen on: `design` where they were fixed beforehand.
    """

    seeds: int
    chosen: str
    all: StudiedEffect
    far: StudiedEffect
    source: float

    @property
    def shown(self) -> bool:
        """Whether the study shows a gain on its targets."""
        return self.all.p <= 0.05 and self.all.effect > 0


@dataclass(frozen=True)
class Proposal:
    """A recipe for a language: the file that has its settings, what it needs, why it is proposed, and what speaks against.

    `evidence` is None where the study has not run it.
    """

    recipe: str
    file: Path
    needs: str
    why: str
    evidence: Evidence | None
    caveats: tuple[str, ...]


def proposals(has: Has, model: str) -> tuple[Proposal, ...]:
    """Return the recipes that what there is of a language allows: the first is the one to try.

    First those of which the study shows a gain, last those that it has not run; among equals, the one first whose interval of
    the effect on all targets has the highest lower end.
    """
    names = [name for name in _NEEDS if _allowed(name, has)]
    known = study()["methods"]

    def rank(name: str) -> tuple[int, float]:
        one = known.get(name)
        return (2, 0.0) if one is None else (0 if one.shown else 1, -one.all.low)

    return tuple(_proposal(name, _file(name), has, model) for name in sorted(names, key=rank))


def chosen(name: str, has: Has, model: str) -> Proposal:
    """Return the proposal of the recipe that the user names in place of the first one.

    Raises InputError for one that needs what is not there, or that is no recipe.
    """
    if Path(name).stem == BASELINE:
        raise InputError(
            f"`--recipe` is `{name}`, but `{BASELINE}` is what every recipe is compared with, and runs in any case. Name another"
            " one."
        )
    if name not in _NEEDS:
        path = recipe_path(name)
        return _proposal(path.stem, path, has, model)
    if name in _CLASSES_ALONE and has.output != "text":
        raise InputError(
            f"The recipe `{name}` compares predictions of whole texts, and this is a task of {has.kind}. Name another one."
        )
    needs = _NEEDS[name]
    if needs and not has.count(needs):
        raise InputError(f"The recipe `{name}` needs {needs}, and there are none: give some with `{_GIVEN_BY[needs]}`.")
    return _proposal(name, _file(name), has, model)


@cache
def study() -> Mapping[str, Any]:
    """Return what the reference study found: its `model`, `task`, `targets`, `far`, what is to know of its runs (`note`), and
    `methods`, recipe -> Evidence.
    """
    data = tomllib.loads(Path(__file__).with_name("evidence.toml").read_text(encoding="utf-8"))
    methods = {
        name: Evidence(
            one["seeds"], one["chosen"], StudiedEffect(**one["all"]), StudiedEffect(**one["far"]), one["source"]
        )
        for name, one in data.items()
        if isinstance(one, dict)
    }
    return {**{key: one for key, one in data.items() if not isinstance(one, dict)}, "methods": methods}


@cache
def study_120() -> tuple[str, str, Mapping[str, Any]]:
    """Return the task of the study of 120 languages, what is to know of its runs, and what it found, recipe -> numbers."""
    data = tomllib.loads(Path(__file__).with_name("evidence_120.toml").read_text(encoding="utf-8"))
    return data.pop("task"), data.pop("note"), data


def _allowed(name: str, has: Has) -> bool:
    if name in _CLASSES_ALONE and has.output != "text":
        return False
    needs = _NEEDS[name]
    return not needs or has.count(needs) >= (_FEW if needs != "words" else 1)


def _file(name: str) -> Path:
    """Return the shipped file of a recipe; those of the study's own are a folder below."""
    own = shipped_folder() / "study" / f"{name}.toml"
    return own if own.is_file() else shipped_folder() / f"{name}.toml"


def _proposal(name: str, file: Path, has: Has, model: str) -> Proposal:
    needs, found = _NEEDS.get(name, ""), study()
    evidence: Evidence | None = found["methods"].get(name)
    there = {
        "pairs": f"there are {has.pairs} sentence pairs",
        "texts": f"there is text ({has.texts} lines) and no parallel text, so pairs are mined from it",
        "words": f"there is a dictionary of {has.words} words",
        "": "it needs nothing of the language",
    }[needs]
    if evidence is None:
        return Proposal(name, file, needs, f"{there}; the reference study has not run it", None, ())
    gain = "shows a gain" if evidence.shown else "does not show a gain"
    why = f"{there}; the reference study ({evidence.seeds} seeds) {gain} on its targets"
    return Proposal(name, file, needs, why, evidence, tuple(_caveats(name, needs, evidence, has, model)))


def _chosen_on(chosen: str, targets: Sequence[str]) -> str:
    """Return what the settings were chosen on, and whether the study then tested in the same languages."""
    said = f"What its settings were chosen on: {chosen}"
    tested = [code for code in re.findall(r"\b[a-z]{3}(?:_[A-Z][a-z]{3})?\b", chosen) if code in targets]
    if not tested:
        return f"{said}."
    return f"{said}; {', '.join(tested)} are among the languages the study tests in, so its effect there is too favourable."


def _caveats(name: str, needs: str, evidence: Evidence, has: Has, model: str) -> list[str]:
    """Return in what the study is not this language."""
    found = study()
    others = f"The study is of one task (`{found['task']}`) and {len(found['targets'])} targets at a time"
    with_model = "" if model == found["model"] else f", with the model `{found['model']}`"
    caveats = [f"{others}{with_model}; here is one language.", f"Its effects are of {found['note']}."]
    if needs in ("pairs", "texts") and has.count(needs) < _STUDIED:
        caveats.append(f"It had {_STUDIED} {needs} a language; here are {has.count(needs)}.")
    if needs in ("pairs", "texts"):
        caveats.append(
            "They were of the task's own kind: names of emoji. Text of another kind may help less, or not at all."
        )
    if needs == "words":
        caveats.append(
            "Its dictionaries were made from parallel text of the task's own kind; what counts is how many words of your task's"
            " text a dictionary has."
        )
    if name == "mined_align":
        caveats.append(
            "They spoke of the same things in both languages; where texts do not, fewer mined pairs are true ones."
        )
    if not evidence.chosen.startswith("design"):
        caveats.append(_chosen_on(evidence.chosen, found["targets"]))
    if evidence.source <= -1:
        caveats.append(f"The source language had {evidence.source:+.1f} points.")
    if has.shots:
        caveats.append("It trained on labels of the source alone; here are some of the language, for the baseline too.")
    task, note, wide = study_120()
    ran = _STRONGER.get(name, name)
    if one := wide.get(ran):
        read = " whose text it read" if needs else ""
        what = f"`{name}`" if ran == name else f"`{ran}`, which is `{name}` at four times its weight"
        caveats.append(
            f"A larger study found of {what}, on {one['targets']} languages of `{task}`{read}: {one['effect']:+.1f} points"
            f" [{one['low']:+.1f}, {one['high']:+.1f}], and {one['source']:+.1f} in the source language ({note})."
        )
    return caveats
