"""What a run leaves: its result, measurements and failures, and what is read from them."""
