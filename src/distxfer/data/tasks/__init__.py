"""The labelled tasks: one file each, found by its name; `folder` reads a task of your own."""
