"""Reports: from results to tables. A module is imported when one of its names is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distxfer.reports._ablation import ablation_data as ablation_data
    from distxfer.reports._ablation import ablation_tables as ablation_tables
    from distxfer.reports._compare import comparison_tables as comparison_tables
    from distxfer.reports._compare import one_seed_table as one_seed_table
    from distxfer.reports._figures import check_figure as check_figure
    from distxfer.reports._figures import measure_figure as measure_figure
    from distxfer.reports._language import fact_records as fact_records
    from distxfer.reports._language import language_answer as language_answer
    from distxfer.reports._language import language_tables as language_tables
    from distxfer.reports._latex import paper_tables as paper_tables
    from distxfer.reports._listing import facts as facts
    from distxfer.reports._listing import key_listing as key_listing
    from distxfer.reports._listing import listing as listing
    from distxfer.reports._measure import measure_tables as measure_tables
    from distxfer.reports._methods import method_data as method_data
    from distxfer.reports._methods import method_tables as method_tables
    from distxfer.reports._new_language import language_report as language_report
    from distxfer.reports._new_language import outcome_record as outcome_record
    from distxfer.reports._new_language import outcome_tables as outcome_tables
    from distxfer.reports._new_language import plan_record as plan_record
    from distxfer.reports._new_language import plan_tables as plan_tables
    from distxfer.reports._recommendation import recommendation as recommendation
    from distxfer.reports._recommendation import to_try as to_try
    from distxfer.reports._report import Report as Report
    from distxfer.reports._report import report as report
    from distxfer.reports._run import cut_notes as cut_notes
    from distxfer.reports._run import cut_shares as cut_shares
    from distxfer.reports._run import run_table as run_table
    from distxfer.reports._survival import flat_record as flat_record
    from distxfer.reports._tables import Table as Table
    from distxfer.reports._tables import latex_text as latex_text
    from distxfer.reports._tables import markdown_text as markdown_text
    from distxfer.reports._tables import p_phrase as p_phrase
    from distxfer.reports._tables import settings_text as settings_text
    from distxfer.reports._tables import table_of as table_of

_NAMES = {
    "_ablation": "ablation_data ablation_tables",
    "_compare": "comparison_tables one_seed_table",
    "_figures": "check_figure measure_figure",
    "_language": "fact_records language_answer language_tables",
    "_latex": "paper_tables",
    "_listing": "facts key_listing listing",
    "_measure": "measure_tables",
    "_methods": "method_data method_tables",
    "_new_language": "language_report outcome_record outcome_tables plan_record plan_tables",
    "_recommendation": "recommendation to_try",
    "_report": "Report report",
    "_run": "cut_notes cut_shares run_table",
    "_survival": "flat_record",
    "_tables": "Table latex_text markdown_text p_phrase settings_text table_of",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
