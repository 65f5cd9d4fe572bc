"""One run: from a recipe to its result, model and card."""
