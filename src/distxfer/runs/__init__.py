"""One run, from a recipe to its result: prepare, train, score, measure, write."""
