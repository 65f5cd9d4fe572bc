"""The task types: what is predicted and how it is scored. One file per type, found by its name."""
