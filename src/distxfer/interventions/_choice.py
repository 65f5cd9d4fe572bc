"""Distance weighting: which target language a term draws in a step, and its factor."""

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import BeforeValidator, Field

from distxfer._lists import comma_separated
from distxfer.errors import InputError, did_you_mean, listed
from distxfer.interventions._contract import Languages
from distxfer.languages import Distances, canonical, weights

Weighting = Annotated[
    Literal["uniform", "linear", "power", "rank", "softmax"],
    Field(description="how a distance becomes a language's weight"),
]
WeightingBy = Annotated[Literal["sampling", "scaling"], Field(description="whether the weight scales draws or losses")]
LanguageList = Annotated[
    tuple[str, ...] | Literal["all"],
    BeforeValidator(comma_separated("all")),
    Field(description="targets that are drawn"),
]
OtherDistance = Annotated[str, Field(description="distance, if not the recipe's: its name, or shuffled")]


@dataclass(frozen=True)
class LanguageChoice:
    """A distribution over target languages and a factor for each: w has mean 1 over the languages.

    `sampling`: language l is drawn with probability w_l / sum(w), with factor 1. `scaling`: languages are drawn uniformly,
    with factor w_l. Both have the same expected objective.
    """

    weights: dict[str, float]
    by: WeightingBy

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that can be drawn."""
        return tuple(self.weights)

    def draw(self, random: np.random.Generator) -> tuple[str, float]:
        """Return a language and the factor of its term."""
        values = np.array(list(self.weights.values()))
        chances = values / values.sum() if self.by == "sampling" else None
        language = self.languages[int(random.choice(len(values), p=chances))]
        return language, 1.0 if self.by == "sampling" else self.weights[language]


class Weighted(Protocol):
    """The keys of an intervention that draws a target language."""

    @property
    def languages(self) -> tuple[str, ...] | Literal["all"]:
        """The targets that may be drawn."""

    @property
    def weighting(self) -> Weighting:
        """How a distance becomes a weight."""

    @property
    def weighting_by(self) -> WeightingBy:
        """Whether weights are sampling probabilities or factors."""

    @property
    def distance(self) -> str:
        """The distance, if not the recipe's: the name of another, or `shuffled`."""


def language_choice(keys: Weighted, languages: Languages, distances: Distances) -> LanguageChoice:
    """Return the choice among the recipe's targets, or some of them, weighted by a distance from the source.

    `distance` names another distance than the recipe's, or `shuffled`: the recipe's values, permuted
    among the languages, as a control for whether distance matters.

    Raises InputError for a language that is no target of the run, or a distance it has no data for.
    """
    if keys.weighting == "uniform" and keys.distance:
        raise InputError(
            f"`distance` = `{keys.distance}` has no effect where `weighting` is `uniform`. Choose another, or leave it out."
        )
    chosen = languages.targets
    if keys.languages != "all":
        chosen = tuple(canonical(code) for code in keys.languages)
        for language in chosen:
            if language not in languages.targets:
                raise InputError(
                    f"The intervention names `{language}`, which is no target of this run."
                    f"{did_you_mean(language, languages.targets)} Targets: {listed(languages.targets)}."
                )
        if len(set(chosen)) < len(chosen) or not chosen:
            raise InputError(
                f"The intervention's `languages` are `{listed(keys.languages)}`; expected each once, and at least one."
            )
    values = distances.by(keys.distance).values if keys.weighting != "uniform" else dict.fromkeys(distances.values, 1.0)
    return LanguageChoice(
        weights({language: values[language] for language in chosen}, keys.weighting), keys.weighting_by
    )
