"""Names of a package that are imported on first use, so that `--help`, `ls` and completion stay quick."""

import gc
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


def preload(module: str) -> None:
    """Import a module, and keep what it and all below it define out of the garbage collector's sight, for good.

    Torch and Transformers make two million objects that live as long as the process. To look through them again and again
    takes a second of the five of their import. For processes of the command line, which have no objects of a user.
    """
    if module in sys.modules:
        return
    gc.disable()
    try:
        import_module(module)
    finally:
        gc.freeze()
        gc.enable()
