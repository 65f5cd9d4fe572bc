"""The schema of recipes: files and overrides become settings that are checked as a whole."""
