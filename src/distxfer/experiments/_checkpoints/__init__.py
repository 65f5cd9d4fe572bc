"""Two checkpoints: what fine-tuning moved, and what the movement goes with."""
