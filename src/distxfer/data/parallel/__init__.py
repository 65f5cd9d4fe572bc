"""The parallel corpora: one file each, found by its name; `folder` reads a corpus of your own."""
