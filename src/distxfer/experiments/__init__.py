"""Experiments: recipes, and one run from a recipe to its result."""

from typing import TYPE_CHECKING, Any

from distxfer.experiments._collect import Collection as Collection
from distxfer.experiments._collect import Method as Method
from distxfer.experiments._collect import collect as collect
from distxfer.experiments._collect import setting_text as setting_text
from distxfer.experiments._publish import Publication as Publication
from distxfer.experiments._publish import Pushed as Pushed
from distxfer.experiments._publish import publication as publication
from distxfer.experiments._publish import push as push
from distxfer.experiments._recipe_files import defaults_file as defaults_file
from distxfer.experiments._recipe_files import description as description
from distxfer.experiments._recipe_files import recipe_files as recipe_files
from distxfer.experiments._recipe_files import recipe_path as recipe_path
from distxfer.experiments._result import Result as Result
from distxfer.experiments._result import package_versions as package_versions
from distxfer.experiments._result import read_result as read_result
from distxfer.experiments._rows import Row as Row
from distxfer.experiments._rows import read_measurements as read_measurements
from distxfer.experiments._scores import Score as Score
from distxfer.experiments._scores import read_scores as read_scores

if TYPE_CHECKING:
    from distxfer.experiments._ablation import Ablation as Ablation
    from distxfer.experiments._ablation import ablate as ablate
    from distxfer.experiments._compare import Comparison as Comparison
    from distxfer.experiments._compare import Comparisons as Comparisons
    from distxfer.experiments._compare import Transfer as Transfer
    from distxfer.experiments._compare import compare as compare
    from distxfer.experiments._compare_methods import MethodComparisons as MethodComparisons
    from distxfer.experiments._compare_methods import Part as Part
    from distxfer.experiments._compare_methods import compare_methods as compare_methods
    from distxfer.experiments._design import Effect as Effect
    from distxfer.experiments._engines import Engine as Engine
    from distxfer.experiments._engines import LocalEngine as LocalEngine
    from distxfer.experiments._grid import MAX_RUNS as MAX_RUNS
    from distxfer.experiments._grid import PlannedRun as PlannedRun
    from distxfer.experiments._grid import SweepPlan as SweepPlan
    from distxfer.experiments._grid import plan_sweep as plan_sweep
    from distxfer.experiments._language import Fact as Fact
    from distxfer.experiments._language import language_facts as language_facts
    from distxfer.experiments._measure import Measured as Measured
    from distxfer.experiments._measure import checkpoints as checkpoints
    from distxfer.experiments._measure import measure as measure
    from distxfer.experiments._new_language import Estimate as Estimate
    from distxfer.experiments._new_language import Given as Given
    from distxfer.experiments._new_language import LanguageOutcome as LanguageOutcome
    from distxfer.experiments._new_language import LanguagePlan as LanguagePlan
    from distxfer.experiments._new_language import Proposal as Proposal
    from distxfer.experiments._new_language import carry_out as carry_out
    from distxfer.experiments._new_language import estimate_language as estimate_language
    from distxfer.experiments._new_language import plan_language as plan_language
    from distxfer.experiments._one_seed import TwoRuns as TwoRuns
    from distxfer.experiments._one_seed import compare_runs as compare_runs
    from distxfer.experiments._prepare import Prepared as Prepared
    from distxfer.experiments._ray import RayEngine as RayEngine
    from distxfer.experiments._recipe import Recipe as Recipe
    from distxfer.experiments._recipe import load_recipe as load_recipe
    from distxfer.experiments._relations import Relation as Relation
    from distxfer.experiments._run import Outlook as Outlook
    from distxfer.experiments._run import outlook as outlook
    from distxfer.experiments._run import train as train
    from distxfer.experiments._run import validate as validate
    from distxfer.experiments._sweep import Forecast as Forecast
    from distxfer.experiments._sweep import Outcome as Outcome
    from distxfer.experiments._sweep import Progress as Progress
    from distxfer.experiments._sweep import forecast as forecast
    from distxfer.experiments._sweep import sweep as sweep

# What needs torch or scipy: imported when it is asked for, so that `--help` and completion stay quick.
_HOMES = {
    "Comparison": "_compare", "Comparisons": "_compare", "Transfer": "_compare", "compare": "_compare",
    "Ablation": "_ablation", "ablate": "_ablation", "Effect": "_design",
    "MethodComparisons": "_compare_methods", "compare_methods": "_compare_methods", "Part": "_compare_methods",
    "TwoRuns": "_one_seed", "compare_runs": "_one_seed", "Fact": "_language", "language_facts": "_language",
    "Given": "_new_language", "LanguageOutcome": "_new_language", "LanguagePlan": "_new_language",
    "Proposal": "_new_language", "carry_out": "_new_language", "plan_language": "_new_language",
    "Estimate": "_new_language", "estimate_language": "_new_language",
    "Measured": "_measure", "checkpoints": "_measure", "measure": "_measure", "Relation": "_relations",
    "Prepared": "_prepare", "Recipe": "_recipe", "load_recipe": "_recipe",
    "Outlook": "_run", "outlook": "_run", "train": "_run", "validate": "_run",
    "Engine": "_engines", "LocalEngine": "_engines", "RayEngine": "_ray", "MAX_RUNS": "_grid", "PlannedRun": "_grid",
    "SweepPlan": "_grid", "plan_sweep": "_grid", "Forecast": "_sweep", "Outcome": "_sweep", "Progress": "_sweep",
    "forecast": "_sweep", "sweep": "_sweep",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is slow to import."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module `{__name__}` has no `{name}`")
