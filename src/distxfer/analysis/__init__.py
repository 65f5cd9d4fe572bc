"""Analyses of finished runs: methods, ablations, and correlations with distance and transfer. Needs no torch."""
