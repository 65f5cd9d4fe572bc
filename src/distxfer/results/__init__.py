"""What runs leave on disk: typed results, measurements and tables of scores, and the runs below a folder. Needs no torch."""
