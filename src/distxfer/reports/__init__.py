"""Reports: from results to tables, figures and the page."""
