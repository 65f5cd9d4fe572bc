"""Experiments: recipes, and one run from a recipe to its result."""

from typing import TYPE_CHECKING, Any

from distxfer.experiments._recipe_files import defaults_file as defaults_file
from distxfer.experiments._recipe_files import description as description
from distxfer.experiments._recipe_files import recipe_files as recipe_files
from distxfer.experiments._recipe_files import recipe_path as recipe_path
from distxfer.experiments._result import Result as Result
from distxfer.experiments._result import package_versions as package_versions
from distxfer.experiments._result import read_result as read_result
from distxfer.experiments._scores import Score as Score
from distxfer.experiments._scores import read_scores as read_scores

if TYPE_CHECKING:
    from distxfer.experiments._compare import Comparison as Comparison
    from distxfer.experiments._compare import Comparisons as Comparisons
    from distxfer.experiments._compare import Transfer as Transfer
    from distxfer.experiments._compare import compare as compare
    from distxfer.experiments._language import Fact as Fact
    from distxfer.experiments._language import language_facts as language_facts
    from distxfer.experiments._measure import Measured as Measured
    from distxfer.experiments._measure import checkpoints as checkpoints
    from distxfer.experiments._measure import measure as measure
    from distxfer.experiments._one_seed import TwoRuns as TwoRuns
    from distxfer.experiments._one_seed import compare_runs as compare_runs
    from distxfer.experiments._prepare import Prepared as Prepared
    from distxfer.experiments._recipe import Recipe as Recipe
    from distxfer.experiments._recipe import load_recipe as load_recipe
    from distxfer.experiments._relations import Relation as Relation
    from distxfer.experiments._run import Outlook as Outlook
    from distxfer.experiments._run import outlook as outlook
    from distxfer.experiments._run import train as train
    from distxfer.experiments._run import validate as validate

# What needs torch or scipy: imported when it is asked for, so that `--help` and completion stay quick.
_HOMES = {
    "Comparison": "_compare", "Comparisons": "_compare", "Transfer": "_compare", "compare": "_compare",
    "TwoRuns": "_one_seed", "compare_runs": "_one_seed", "Fact": "_language", "language_facts": "_language",
    "Measured": "_measure", "checkpoints": "_measure", "measure": "_measure", "Relation": "_relations",
    "Prepared": "_prepare", "Recipe": "_recipe", "load_recipe": "_recipe",
    "Outlook": "_run", "outlook": "_run", "train": "_run", "validate": "_run",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is slow to import."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module `{__name__}` has no `{name}`")
