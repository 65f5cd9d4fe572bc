"""Progress in notebooks and interactive sessions; scripts and other processes stay silent."""

import sys
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm  # type: ignore[import-untyped]


def is_interactive() -> bool:
    """Return whether a person sees the output as it comes: in a notebook, in IPython, or at Python's prompt."""
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules


def message_line() -> Callable[[str], None]:
    """Return a function that prints a message to stderr in an interactive session, and does nothing elsewhere."""
    if not is_interactive():
        return lambda text: None
    return lambda text: tqdm.write(text, file=sys.stderr)


def step_bar() -> Callable[[str, int, int, float], None]:
    """Return a function that shows the steps of each phase as a bar in an interactive session, and does nothing elsewhere."""
    if not is_interactive():
        return lambda phase, step, steps, loss: None
    bars: dict[str, Any] = {}

    def advance(phase: str, step: int, steps: int, loss: float) -> None:
        if phase not in bars:
            bars[phase] = tqdm(total=steps, desc=phase)
        bar = bars[phase]
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        bar.update(step - bar.n)
        if step == steps:
            bar.close()

    return advance
