"""Names of a package that are imported on first use, so that `--help`, `ls` and completion stay quick."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package; `names` maps its modules to the names they define."""
    homes = {name: module for module, text in names.items() for name in text.split()}

    def getattribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return getattribute, lambda: sorted({*vars(sys.modules[package]), *homes})
