"""`distxfer measure`: two checkpoints, compared without a run."""
