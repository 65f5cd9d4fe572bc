"""The files of finished runs: typed results, measurements, predictions and tidy tables. Needs no torch."""
