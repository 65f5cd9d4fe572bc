"""Checks of a recipe's phases against each other and against its interventions."""

from collections.abc import Collection, Sequence

from distxfer.config.settings import Sections
from distxfer.errors import did_you_mean, listed

INHERITED = "finetune"  # the phase in the defaults whose values all other phases inherit


def phase_complaints(sections: Sections, configured: Collection[str], interventions: Collection[str]) -> list[str]:
    """Return the mistakes in the phases of a recipe that defines these interventions.

    `configured` are the phases with keys that the recipe or an override sets.
    """
    mistakes = []
    if not sections.phases:
        mistakes.append("`phases` is empty, but a run has at least one phase. Set `phases=finetune`.")
    mistakes += [f"`phases` has `{duplicate}` twice. Name each phase once." for duplicate in _twice(sections.phases)]
    for phase in sections.phase:
        if phase not in sections.phases and (phase != INHERITED or phase in configured):
            mistakes.append(
                f"`phase.{phase}` is not among `phases` = `{listed(sections.phases)}`."
                f"{did_you_mean(phase, sections.phases)} Add it there."
            )
        chosen = sections.phase[phase].interventions
        for label in () if chosen == "all" else chosen:
            if label not in interventions and phase in sections.phases:
                mistakes.append(
                    f"`phase.{phase}.interventions` has `{label}`, which the recipe does not define."
                    f"{did_you_mean(label, interventions)} It defines: {listed(interventions) or 'none'}."
                )
        mistakes += _history_complaints(phase, sections)
        mistakes += [
            f"`phase.{phase}.interventions` has `{duplicate}` twice. Name each once."
            for duplicate in _twice(() if chosen == "all" else chosen)
        ]
    lists = {phase: sections.phase[phase].interventions for phase in sections.phases if phase in sections.phase}
    return mistakes or [
        f"`intervention.{label}` acts in no phase. Add it to `phase.{sections.phases[0]}.interventions`, or remove it."
        for label in interventions
        if not any(chosen == "all" or label in chosen for chosen in lists.values())
    ]


def _history_complaints(name: str, sections: Sections) -> list[str]:
    """Return the mistakes in a phase's references to earlier phases and epochs."""
    phase, mistakes = sections.phase[name], []
    if name not in sections.phases:
        return []
    earlier = sections.phases[: sections.phases.index(name)]
    if phase.rewind and phase.rewind not in earlier:
        available = f"Earlier than `{name}`: {listed(earlier)}." if earlier else f"None is earlier than `{name}`."
        mistakes.append(f"`phase.{name}.rewind` is `{phase.rewind}`, which is not an earlier phase. {available}")
    if phase.average and phase.steps:
        mistakes.append(
            f"`phase.{name}.average` = `{phase.average}` counts epochs, but this phase sets `steps` = `{phase.steps}`"
            f" instead. Set only `phase.{name}.epochs`, or remove `average`."
        )
    elif phase.average == 1 or phase.average > phase.epochs:
        mistakes.append(
            f"`phase.{name}.average` is `{phase.average}`, but expected 0, or 2 to its {phase.epochs} epochs."
        )
    return mistakes


def _twice(words: Sequence[str]) -> list[str]:
    return sorted({word for word in words if list(words).count(word) > 1})
