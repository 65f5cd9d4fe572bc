"""Reports: from results to tables, figures and the page."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distxfer.reports._figures import check_figure as check_figure
    from distxfer.reports._figures import measure_figure as measure_figure
    from distxfer.reports._language import fact_records as fact_records
    from distxfer.reports._language import language_answer as language_answer
    from distxfer.reports._language import language_tables as language_tables
    from distxfer.reports._new_language import language_report as language_report
    from distxfer.reports._new_language import outcome_record as outcome_record
    from distxfer.reports._new_language import outcome_tables as outcome_tables
    from distxfer.reports._new_language import plan_record as plan_record
    from distxfer.reports._new_language import plan_tables as plan_tables
    from distxfer.reports._recommendation import recommendation as recommendation
    from distxfer.reports._recommendation import to_try as to_try
    from distxfer.reports.page import Report as Report
    from distxfer.reports.page import report as report

_NAMES = {
    "_figures": "check_figure measure_figure",
    "_language": "fact_records language_answer language_tables",
    "_new_language": "language_report outcome_record outcome_tables plan_record plan_tables",
    "_recommendation": "recommendation to_try",
    "page": "Report report",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
