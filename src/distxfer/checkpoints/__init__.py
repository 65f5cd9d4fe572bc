"""Several checkpoints: `distxfer measure` compares two, `distxfer merge` makes one of them."""
