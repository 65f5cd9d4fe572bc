"""Recipes: files and overrides to settings that are checked as a whole."""
