"""The models that read texts without padding on a CPU; in a module without torch, for `distxfer show`."""

# Types in `config.json` of models whose embeddings add the positions, whose blocks know the texts by attention alone, and whose
# parts have the names that `packed` looks for.
PACKED_TYPES = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})
