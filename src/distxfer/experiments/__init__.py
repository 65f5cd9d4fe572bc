"""Experiments: recipes; a run from recipe to result; many runs; what finished runs say; one language."""

from typing import TYPE_CHECKING, Any

from distxfer.experiments._comparisons._collect import Collection as Collection
from distxfer.experiments._comparisons._collect import Method as Method
from distxfer.experiments._comparisons._collect import collect as collect
from distxfer.experiments._comparisons._collect import collect_against as collect_against
from distxfer.experiments._comparisons._collect import differing as differing
from distxfer.experiments._comparisons._collect import read_run as read_run
from distxfer.experiments._comparisons._collect import setting_text as setting_text
from distxfer.experiments._comparisons._collect import settings_of as settings_of
from distxfer.experiments._recipes._files import defaults_file as defaults_file
from distxfer.experiments._recipes._files import description as description
from distxfer.experiments._recipes._files import recipe_files as recipe_files
from distxfer.experiments._recipes._files import recipe_path as recipe_path
from distxfer.experiments._results._corpus import corpora as corpora
from distxfer.experiments._results._corpus import corpus_lines as corpus_lines
from distxfer.experiments._results._corpus import corpus_of as corpus_of
from distxfer.experiments._results._corpus import corpus_text as corpus_text
from distxfer.experiments._results._distances import stored_distances as stored_distances
from distxfer.experiments._results._distances import stored_warnings as stored_warnings
from distxfer.experiments._results._result import Result as Result
from distxfer.experiments._results._result import package_versions as package_versions
from distxfer.experiments._results._result import read_result as read_result
from distxfer.experiments._results._result import unverified as unverified
from distxfer.experiments._results._rows import Row as Row
from distxfer.experiments._results._rows import read_measurements as read_measurements
from distxfer.experiments._results._scores import Score as Score
from distxfer.experiments._results._scores import read_scores as read_scores

if TYPE_CHECKING:
    from distxfer.experiments._checkpoints._measure import Measured as Measured
    from distxfer.experiments._checkpoints._measure import checkpoints as checkpoints
    from distxfer.experiments._checkpoints._measure import measure as measure
    from distxfer.experiments._checkpoints._relations import Relation as Relation
    from distxfer.experiments._comparisons._ablation import Ablation as Ablation
    from distxfer.experiments._comparisons._ablation import ablate as ablate
    from distxfer.experiments._comparisons._compare import Comparison as Comparison
    from distxfer.experiments._comparisons._compare import Comparisons as Comparisons
    from distxfer.experiments._comparisons._compare import Transfer as Transfer
    from distxfer.experiments._comparisons._compare import compare as compare
    from distxfer.experiments._comparisons._compare_methods import MethodComparisons as MethodComparisons
    from distxfer.experiments._comparisons._compare_methods import compare_methods as compare_methods
    from distxfer.experiments._comparisons._design import Effect as Effect
    from distxfer.experiments._comparisons._error_rates import FalsePositives as FalsePositives
    from distxfer.experiments._comparisons._error_rates import false_positives as false_positives
    from distxfer.experiments._comparisons._items import Items as Items
    from distxfer.experiments._comparisons._items import read_items as read_items
    from distxfer.experiments._comparisons._one_seed import TwoRuns as TwoRuns
    from distxfer.experiments._comparisons._one_seed import compare_runs as compare_runs
    from distxfer.experiments._comparisons._parts import Part as Part
    from distxfer.experiments._comparisons._survival import ClassPart as ClassPart
    from distxfer.experiments._comparisons._survival import LeaveOneOut as LeaveOneOut
    from distxfer.experiments._comparisons._survival_warnings import survival_warnings as survival_warnings
    from distxfer.experiments._language import Fact as Fact
    from distxfer.experiments._language import language_facts as language_facts
    from distxfer.experiments._new_language import Estimate as Estimate
    from distxfer.experiments._new_language import Given as Given
    from distxfer.experiments._new_language import LanguageOutcome as LanguageOutcome
    from distxfer.experiments._new_language import LanguagePlan as LanguagePlan
    from distxfer.experiments._new_language import Proposal as Proposal
    from distxfer.experiments._new_language import carry_out as carry_out
    from distxfer.experiments._new_language import estimate_language as estimate_language
    from distxfer.experiments._new_language import plan_language as plan_language
    from distxfer.experiments._publish import Publication as Publication
    from distxfer.experiments._publish import Pushed as Pushed
    from distxfer.experiments._publish import publication as publication
    from distxfer.experiments._publish import push as push
    from distxfer.experiments._recipes._recipe import Recipe as Recipe
    from distxfer.experiments._recipes._recipe import load_recipe as load_recipe
    from distxfer.experiments._runs._prepare import Prepared as Prepared
    from distxfer.experiments._runs._run import Outlook as Outlook
    from distxfer.experiments._runs._run import outlook as outlook
    from distxfer.experiments._runs._run import train as train
    from distxfer.experiments._runs._run import validate as validate
    from distxfer.experiments._sweeps._engines import Engine as Engine
    from distxfer.experiments._sweeps._engines import LocalEngine as LocalEngine
    from distxfer.experiments._sweeps._engines import end_with_parent as end_with_parent
    from distxfer.experiments._sweeps._grid import MAX_RUNS as MAX_RUNS
    from distxfer.experiments._sweeps._grid import PlannedRun as PlannedRun
    from distxfer.experiments._sweeps._grid import SweepPlan as SweepPlan
    from distxfer.experiments._sweeps._grid import plan_sweep as plan_sweep
    from distxfer.experiments._sweeps._ray import RayEngine as RayEngine
    from distxfer.experiments._sweeps._sweep import Forecast as Forecast
    from distxfer.experiments._sweeps._sweep import Outcome as Outcome
    from distxfer.experiments._sweeps._sweep import Progress as Progress
    from distxfer.experiments._sweeps._sweep import forecast as forecast
    from distxfer.experiments._sweeps._sweep import sweep as sweep

# What needs torch or scipy: imported when it is asked for, so that `--help` and completion stay quick.
_LAZY = {
    "_recipes._recipe": "Recipe load_recipe",
    "_runs._prepare": "Prepared",
    "_runs._run": "Outlook outlook train validate",
    "_checkpoints._measure": "Measured checkpoints measure",
    "_checkpoints._relations": "Relation",
    "_comparisons._compare": "Comparison Comparisons Transfer compare",
    "_comparisons._compare_methods": "MethodComparisons compare_methods",
    "_comparisons._parts": "Part",
    "_comparisons._survival": "ClassPart LeaveOneOut",
    "_comparisons._survival_warnings": "survival_warnings",
    "_comparisons._design": "Effect",
    "_comparisons._items": "Items read_items",
    "_comparisons._error_rates": "FalsePositives false_positives",
    "_comparisons._ablation": "Ablation ablate",
    "_comparisons._one_seed": "TwoRuns compare_runs",
    "_sweeps._grid": "MAX_RUNS PlannedRun SweepPlan plan_sweep",
    "_sweeps._engines": "Engine LocalEngine end_with_parent",
    "_sweeps._ray": "RayEngine",
    "_sweeps._sweep": "Forecast Outcome Progress forecast sweep",
    "_publish": "Publication Pushed publication push",
    "_language": "Fact language_facts",
    "_new_language": "Given LanguageOutcome LanguagePlan Proposal carry_out plan_language Estimate estimate_language",
}
_HOMES = {name: home for home, names in _LAZY.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import what is slow to import."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module `{__name__}` has no `{name}`")
