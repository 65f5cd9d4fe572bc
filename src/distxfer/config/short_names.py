"""Short names of keys: `epochs` for `phase.finetune.epochs`, `lr` for its `learning_rate`."""

from collections.abc import Iterable

# What other trainers call a key of a phase or a task.
_SYNONYMS = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "warmup_ratio": "warmup",
    "gradient_accumulation_steps": "accumulation",
    "max_grad_norm": "clip",
    "max_seq_length": "max_length",
    "dataset": "task",
    "languages": "targets",
}


def full_keys(name: str, keys: Iterable[str]) -> list[str]:
    """Return those of the dotted `keys` that end in a short name, or in what is called that elsewhere (`lr`)."""
    leaves = {name, _SYNONYMS.get(name, name)}
    return [
        key for key in keys if key != name and (key.rpartition(".")[2] in leaves or key.removesuffix(".name") in leaves)
    ]


def is_short_name(name: str, keys: Iterable[str]) -> bool:
    """Return whether a name without its tables, or a synonym, stands for a key."""
    return name in _SYNONYMS or bool(full_keys(name, keys))
