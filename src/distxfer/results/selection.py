"""How the scored checkpoint of a run was selected, and warnings if targets were involved."""

from collections.abc import Mapping, Sequence

from distxfer.results.result import Result


def selection_of(runs: Sequence[Result]) -> str:
    """Return how the checkpoints of these runs were selected: `last` (the default), `source_dev` or `target_dev`."""
    choices = [str(run.data.get("selection") or run.summary.get("selection") or "last") for run in runs]
    return " and ".join(dict.fromkeys(choices))


def selection_warnings(selection: Mapping[str, str]) -> tuple[str, ...]:
    """Return a line for each method selected on a target's dev set, and one if methods were selected differently."""
    lines = [
        f"WARNING: the checkpoint of `{name}` was selected on a target's dev set (`target_dev`), with labels of that target:"
        " its transfer is not zero-shot."
        for name, choice in selection.items()
        if "target_dev" in choice
    ]
    if len(set(selection.values())) > 1:
        how = "; ".join(f"`{name}` by {choice}" for name, choice in selection.items())
        lines.append(f"WARNING: checkpoints were selected differently ({how}): part of an effect may be due to this.")
    return tuple(lines)
