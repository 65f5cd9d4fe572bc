"""The workflow for a new language: data, proposal, training, evaluation."""
