"""Reports: from results to tables."""

from distxfer.reports._listing import listing as listing
from distxfer.reports._run import run_table as run_table
from distxfer.reports._tables import Table as Table
from distxfer.reports._tables import settings_text as settings_text
