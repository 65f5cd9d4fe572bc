"""Proposes recipes for a new language, from its data and the findings of the reference study."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from distxfer.config.files import recipe_path, shipped_folder, study_evidence
from distxfer.errors import InputError
from distxfer.new_language.language_data import LanguageData

BASELINE = "plain"
_STUDIED = 569  # pairs and texts of each language in the reference study
# The fewest of each kind that a proposal may rest on: the studies have 569 pairs and texts, and ten labels, per language.
_FEWEST = {"pairs": 50, "texts": 50, "words": 1, "shots": 10}

# The data that each recipe needs besides the labelled source. Recipes that the study has not run are last.
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "align_consistency": ("pairs",),
    "dist_align": ("pairs",),
    "consistency": ("pairs",),
    "language_adapter": ("pairs",),
    "mined_align": ("texts",),
    "drift_reg": (),
    "l2_sp": (),
    "freeze_lower": (),
    "lora": (),
    "code_switch": ("words",),
    "teacher": ("pairs",),
    "self_training_twice": ("texts",),
    "few_shot_self": ("texts", "shots"),
}
_OPTIONS = {"pairs": "--parallel", "texts": "--text", "words": "--dictionary", "shots": "--few-shot"}
_STRONGER = {"drift_reg": "drift_strong"}  # the same with four times the weight, which a larger study ran instead
_TEXT_OUTPUT_ONLY = (
    "align_consistency",
    "consistency",
    "code_switch",
    "teacher",
    "self_training_twice",
    "few_shot_self",
)


@dataclass(frozen=True)
class StudiedEffect:
    """An effect against `plain` in points of accuracy, with its 95 % interval and the p of Holm."""

    effect: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Evidence:
    """The findings of the reference study on a recipe: on all targets, on the far half, and on the source (a mean).

    `chosen` says on which data its settings were chosen; `design` means fixed in advance.
    """

    seeds: int
    chosen: str
    all: StudiedEffect
    far: StudiedEffect
    source: float

    @property
    def shown(self) -> bool:
        """Whether the study shows a significant gain on its targets."""
        return self.all.p <= 0.05 and self.all.effect > 0


@dataclass(frozen=True)
class RegisteredEffect:
    """A registered contrast with `plain` on the far languages of a task: points of macro-averaged accuracy, p of Holm.

    `shown` is the verdict on the gain, `given` the data of the method, and `lowest` the least of the simultaneous 95 % lower
    bounds of the gains in all test languages.
    """

    task: str
    given: str
    seeds: int
    languages: int
    effect: float
    low: float
    high: float
    lowest: float
    p: float
    shown: bool

    def __str__(self) -> str:
        """Return the contrast in words."""
        verdict = "shows a gain" if self.shown else "does not show a gain"
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        return (
            f"A registered study (`{self.task}`, {self.given}, {self.seeds} seeds) {verdict} on {self.languages} far languages:"
            f" {self.effect:+.1f} points [{self.low:+.1f}, {self.high:+.1f}], {p}. In every test"
            f" language at least {self.lowest:+.1f} (simultaneous 95 % bounds)."
        )


@dataclass(frozen=True)
class Proposal:
    """A recipe for a language: the file with its settings, the data it needs, the reasons for it, and caveats.

    `evidence` is None if the reference study has not run it; `registered` are the contrasts of the registered one.
    """

    recipe: str
    file: Path
    needs: tuple[str, ...]
    why: str
    evidence: Evidence | None
    caveats: tuple[str, ...]
    registered: tuple[RegisteredEffect, ...] = ()

    @property
    def shown(self) -> bool:
        """Whether some study shows a significant gain."""
        return any(effect.shown for effect in self.registered) or (self.evidence is not None and self.evidence.shown)


def proposals(data: LanguageData, model: str) -> tuple[Proposal, ...]:
    """Return the recipes that the data of a language allow; the first is the one to try.

    Recipes with a gain in a study are first, recipes that none has run are last. Otherwise they are ordered by the lower end
    of the interval, in decreasing order: the highest of those of a registered gain, else that on all targets of the
    reference study.
    """

    def rank(proposal: Proposal) -> tuple[int, float]:
        registered = [effect.low for effect in proposal.registered if effect.shown]
        if registered:
            return 0, -max(registered)
        if proposal.evidence is None:
            return (1, -max(effect.low for effect in proposal.registered)) if proposal.registered else (2, 0.0)
        return (0 if proposal.shown else 1), -proposal.evidence.all.low

    names = [name for name in _NEEDS if _allowed(name, data)]
    allowed = [_proposal(name, shipped_folder() / f"{name}.toml", data, model) for name in names]
    return tuple(sorted(allowed, key=rank))


def chosen(name: str, data: LanguageData, model: str) -> Proposal:
    """Return the proposal for a recipe that the user names.

    Raises InputError for an unknown recipe, or one that needs missing data.
    """
    if Path(name).stem == BASELINE:
        raise InputError(
            f"`--recipe` is `{name}`, but `{BASELINE}` is the baseline, which runs in any case. Name another recipe."
        )
    if name not in _NEEDS:
        path = recipe_path(name)
        return _proposal(path.stem, path, data, model)
    if name in _TEXT_OUTPUT_ONLY and data.output != "text":
        raise InputError(
            f"The recipe `{name}` reads predictions for whole texts, but this is a task of type `{data.task_type}`."
            " Name another one."
        )
    for kind in _NEEDS[name]:
        if not data.count(kind):
            lacking = "labelled texts to train on" if kind == "shots" else kind
            raise InputError(
                f"The recipe `{name}` needs {lacking}, but there are none. Add some with `{_OPTIONS[kind]}`."
            )
    return _proposal(name, shipped_folder() / f"{name}.toml", data, model)


@cache
def study() -> Mapping[str, Any]:
    """Return what the reference study found: its `model`, `task`, `targets`, `far`, what is to know of its runs (`note`), and
    `methods`, recipe -> Evidence.
    """
    data = tomllib.loads(study_evidence("emoji").read_text(encoding="utf-8"))
    methods = {
        name: Evidence(
            row["seeds"], row["chosen"], StudiedEffect(**row["all"]), StudiedEffect(**row["far"]), row["source"]
        )
        for name, row in data.pop("recipe").items()
    }
    return {**data, "methods": methods}


@cache
def registered_effects() -> Mapping[str, tuple[RegisteredEffect, ...]]:
    """Return what the registered study found of each recipe with the default model."""
    rows = tomllib.loads(study_evidence("transfer").read_text(encoding="utf-8"))["effect"]
    names = dict.fromkeys(row["recipe"] for row in rows)
    return {
        name: tuple(
            RegisteredEffect(**{key: value for key, value in row.items() if key != "recipe"})
            for row in rows
            if row["recipe"] == name
        )
        for name in names
    }


@cache
def study_120() -> tuple[str, str, Mapping[str, Any]]:
    """Return the task of the study of 120 languages, what is to know of its runs, and what it found, recipe -> numbers."""
    data = tomllib.loads(study_evidence("emoji_120").read_text(encoding="utf-8"))
    return data["task"], data["note"], data["recipe"]


def _allowed(name: str, data: LanguageData) -> bool:
    if name in _TEXT_OUTPUT_ONLY and data.output != "text":
        return False
    return all(data.count(kind) >= _FEWEST[kind] for kind in _NEEDS[name])


def _proposal(name: str, file: Path, data: LanguageData, model: str) -> Proposal:
    needs, reference_study = _NEEDS.get(name, ()), study()
    evidence: Evidence | None = reference_study["methods"].get(name)
    phrases = {
        "pairs": f"there are {data.pairs} sentence pairs",
        "texts": f"there is text ({data.texts} lines)"
        + (", from which pairs are mined" if name == "mined_align" else ""),
        "words": f"there is a dictionary of {data.words} words",
        "shots": f"{data.shots} labelled texts",
    }
    basis = " and ".join(phrases[kind] for kind in needs) or "it needs no data of the language"
    registered = registered_effects().get(name, ())
    if evidence is None:
        shows = "shows a gain" if any(effect.shown for effect in registered) else "does not show a gain"
        why = f"{basis}; {f'a registered study {shows}' if registered else 'no study has run it'}"
        caveats = [str(effect) for effect in registered]
        if registered and "pairs" in needs:
            caveats.append("Pairs of another domain than the task's may help less, or harm.")
        if registered and "shots" in needs:
            caveats.append(
                "That gain is over a baseline without labels of the language; here the baseline has them, too."
            )
        return Proposal(name, file, needs, why, None, tuple(caveats), registered)
    gain = "shows a gain" if evidence.shown else "does not show a gain"
    why = f"{basis}; the reference study ({evidence.seeds} seeds) {gain} on its targets"
    caveats = [*map(str, registered), *_caveats(name, needs, evidence, data, model)]
    return Proposal(name, file, needs, why, evidence, tuple(caveats), registered)


def _chosen_on(chosen: str, targets: Sequence[str]) -> str:
    """Return a note on the data on which settings were chosen, and whether the study tests in the same languages."""
    sentence = f"Its settings were chosen on: {chosen}"
    tested = [code for code in re.findall(r"\b[a-z]{3}(?:_[A-Z][a-z]{3})?\b", chosen) if code in targets]
    if not tested:
        return f"{sentence}."
    return (
        f"{sentence}; {', '.join(tested)} are also test languages of the study, so its effect is overestimated there."
    )


def _caveats(name: str, needs: Sequence[str], evidence: Evidence, data: LanguageData, model: str) -> list[str]:
    """Return the differences between the study and this language."""
    reference_study = study()
    scope = f"The study covers one task (`{reference_study['task']}`) and {len(reference_study['targets'])} targets at a time"
    with_model = "" if model == reference_study["model"] else f", with the model `{reference_study['model']}`"
    caveats = [f"{scope}{with_model}, not one language.", f"Its effects are from {reference_study['note']}."]
    for kind in (kind for kind in needs if kind in ("pairs", "texts")):
        if data.count(kind) < _STUDIED:
            caveats.append(f"It had {_STUDIED} {kind} per language; here there are {data.count(kind)}.")
        caveats.append("They were in-domain (names of emoji). Text of another domain may help less, or not at all.")
    if "words" in needs:
        caveats.append(
            "Its dictionaries were made from in-domain parallel text; what matters is how many words of your task's text a"
            " dictionary covers."
        )
    if name == "mined_align":
        caveats.append(
            "The texts of both languages had the same topics; with other texts, fewer mined pairs are translations."
        )
    if not evidence.chosen.startswith("design"):
        caveats.append(_chosen_on(evidence.chosen, reference_study["targets"]))
    if evidence.source <= -1:
        caveats.append(f"The source language had {evidence.source:+.1f} points.")
    if data.shots:
        caveats.append(
            "It trained only on labels of the source; here the baseline, too, trains on some in the language."
        )
    task, note, wide = study_120()
    studied_name = _STRONGER.get(name, name)
    if effects := wide.get(studied_name):
        read = " whose text it read" if needs else ""
        subject = (
            f"`{name}`" if studied_name == name else f"`{studied_name}`, which is `{name}` at four times its weight"
        )
        caveats.append(
            f"A larger study measured the effect of {subject} on {effects['targets']} languages of `{task}`{read}:"
            f" {effects['effect']:+.1f} points [{effects['low']:+.1f}, {effects['high']:+.1f}], and {effects['source']:+.1f} in"
            f" the source language ({note})."
        )
    return caveats
