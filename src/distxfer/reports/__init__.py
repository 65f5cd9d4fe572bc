"""Reports: from results to tables."""

from distxfer.reports._compare import comparison_tables as comparison_tables
from distxfer.reports._compare import one_seed_table as one_seed_table
from distxfer.reports._figures import check_figure as check_figure
from distxfer.reports._figures import measure_figure as measure_figure
from distxfer.reports._language import fact_records as fact_records
from distxfer.reports._language import language_tables as language_tables
from distxfer.reports._listing import listing as listing
from distxfer.reports._measure import measure_tables as measure_tables
from distxfer.reports._run import run_table as run_table
from distxfer.reports._tables import Table as Table
from distxfer.reports._tables import settings_text as settings_text
