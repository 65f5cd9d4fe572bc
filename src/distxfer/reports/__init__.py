"""Reports: from results to tables."""

from distxfer.reports._ablation import ablation_data as ablation_data
from distxfer.reports._ablation import ablation_tables as ablation_tables
from distxfer.reports._compare import comparison_tables as comparison_tables
from distxfer.reports._compare import one_seed_table as one_seed_table
from distxfer.reports._figures import check_figure as check_figure
from distxfer.reports._figures import measure_figure as measure_figure
from distxfer.reports._language import fact_records as fact_records
from distxfer.reports._language import language_tables as language_tables
from distxfer.reports._listing import listing as listing
from distxfer.reports._measure import measure_tables as measure_tables
from distxfer.reports._methods import method_data as method_data
from distxfer.reports._methods import method_tables as method_tables
from distxfer.reports._report import Report as Report
from distxfer.reports._report import report as report
from distxfer.reports._run import run_table as run_table
from distxfer.reports._tables import Table as Table
from distxfer.reports._tables import latex_text as latex_text
from distxfer.reports._tables import markdown_text as markdown_text
from distxfer.reports._tables import settings_text as settings_text
from distxfer.reports._tables import table_of as table_of
