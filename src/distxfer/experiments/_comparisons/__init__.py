"""Finished runs against each other: which may be compared, how they differ, what a setting contributes."""
