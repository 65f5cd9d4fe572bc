"""Old names of the contract: interventions of other packages may still use them, at the cost of one DeprecationWarning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

T = TypeVar("T")

_warned: list[bool] = []

_MODULE = {"Bound": "BoundIntervention", "nothing": "empty_term"}
_ATTRIBUTES = {
    "BoundIntervention": {
        "settled": "resolved_values",
        "weights": "replace_weight",
        "distinct": "min_distinct_texts",
    },
    "Term": {"total": "loss_sum", "count": "num_items"},
    "Step": {"pairs": "sample_pairs", "text": "sample_texts", "together": "synchronized"},
}


def new_name(name: str) -> str | None:
    """Return the present name of a class or function of `distxfer.interventions`, with the warning; None if there is none."""
    if name in _MODULE:
        _warn(4)
    return _MODULE.get(name)


def accept_old_names(owner: str) -> Callable[[type[T]], type[T]]:
    """Return a decorator: a class that implements `owner` has its old attributes and accepts its old keyword arguments."""
    names = _ATTRIBUTES[owner]

    def old_attribute(new: str) -> property:
        def read(self: Any) -> Any:
            _warn(3)
            return getattr(self, new)

        return property(read, doc=f"The old name of `{new}`.")

    def decorate(cls: type[T]) -> type[T]:
        initialize: Callable[..., None] = cls.__init__

        @wraps(initialize)
        def renamed(self: T, *args: Any, **values: Any) -> None:
            for old in names.keys() & values.keys():
                _warn(3)
                values[names[old]] = values.pop(old)
            initialize(self, *args, **values)

        for old, new in names.items():
            setattr(cls, old, old_attribute(new))
        setattr(cls, "__init__", renamed)  # noqa: B010 (mypy refuses an assignment to `__init__`)
        return cls

    return decorate


def _warn(stacklevel: int) -> None:
    """Warn once per process, with all names, since an intervention reads some of them in every step."""
    if _warned:
        return
    _warned.append(True)
    names = [_MODULE, *_ATTRIBUTES.values()]
    renamed = ", ".join(f"`{old}` is `{new}`" for group in names for old, new in group.items())
    warnings.warn(
        f"This intervention uses old names, which still work. Use the new ones: {renamed}.",
        DeprecationWarning,
        stacklevel=stacklevel,
    )
