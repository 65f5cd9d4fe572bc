"""Experiments: recipes, and one run from a recipe to its result."""

from typing import TYPE_CHECKING, Any

from distxfer.experiments._recipe_files import defaults_file as defaults_file
from distxfer.experiments._recipe_files import description as description
from distxfer.experiments._recipe_files import recipe_files as recipe_files
from distxfer.experiments._recipe_files import recipe_path as recipe_path
from distxfer.experiments._result import Result as Result
from distxfer.experiments._result import package_versions as package_versions
from distxfer.experiments._result import read_result as read_result

if TYPE_CHECKING:
    from distxfer.experiments._prepare import Prepared as Prepared
    from distxfer.experiments._recipe import Recipe as Recipe
    from distxfer.experiments._recipe import load_recipe as load_recipe
    from distxfer.experiments._run import Outlook as Outlook
    from distxfer.experiments._run import outlook as outlook
    from distxfer.experiments._run import train as train
    from distxfer.experiments._run import validate as validate

_HOMES = {
    "Prepared": "_prepare", "Recipe": "_recipe", "load_recipe": "_recipe",
    "Outlook": "_run", "outlook": "_run", "train": "_run", "validate": "_run",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module `{__name__}` has no `{name}`")
