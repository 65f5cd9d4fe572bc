"""What chose the checkpoint that a run was scored with, and what to say where that is not innocent."""

from collections.abc import Mapping, Sequence

from distxfer.results.result import Result


def selection_of(runs: Sequence[Result]) -> str:
    """Return what chose the checkpoint of these runs: `last` unless they say otherwise, `source_dev` or `target_dev`."""
    choices = [str(run.data.get("selection") or run.summary.get("selection") or "last") for run in runs]
    return " and ".join(dict.fromkeys(choices))


def selection_warnings(selection: Mapping[str, str]) -> tuple[str, ...]:
    """Return a line for every method whose checkpoint a target's dev set chose, and one where methods do not choose alike."""
    lines = [
        f"WARNING: a target's dev set chose the checkpoint of `{name}` (selection `target_dev`): it has seen labels of the"
        " targets, so its transfer is not zero-shot."
        for name, choice in selection.items()
        if "target_dev" in choice
    ]
    if len(set(selection.values())) > 1:
        how = "; ".join(f"`{name}` by {choice}" for name, choice in selection.items())
        lines.append(f"WARNING: the checkpoints were not chosen alike ({how}): part of an effect may be the choice.")
    return tuple(lines)
