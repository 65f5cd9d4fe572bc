"""The kinds of tasks, what is predicted and how it is scored: one file each, found by its name."""
