"""One safetensors file with all that a run needs to resume, written atomically."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distxfer._durable import atomic_file, sync
from distxfer.encoders import tensor_digest
from distxfer.errors import RunError, counted
from distxfer.training._processes import Processes
from distxfer.training._settings import Cost
from distxfer.training._weights import full_tensor, sharded_like

LOG = "log.jsonl"  # one line per step
_NAME = "checkpoint.safetensors"
_POSITION, _ARITHMETIC, _LOG_SIZE, _LOG_DIGEST = "position", "arithmetic", "log_size", "log_sha256"  # in the metadata
_DIGEST = "sha256"
_DIGESTED = (_POSITION, _LOG_SIZE, _LOG_DIGEST, _ARITHMETIC)
_FIRST = '{"arithmetic": 1}'  # of checkpoints that name none


@dataclass(frozen=True)
class Position:
    """The progress of a run: `step` optimiser steps of phase number `phase` are done, at this cost."""

    phase: int
    step: int
    cost: Cost


def write_checkpoint(
    folder: Path,
    position: Position,
    arithmetic: Mapping[str, object],
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    history: Mapping[str, Tensor],
    *,
    writes: bool = True,
) -> None:
    """Write the parameters that may have changed, the optimiser's state, and the tensors of the `history`.

    With sharded tensors all processes call this, and the one with `writes` writes.
    """
    tensors = {f"parameter/{name}": parameter.detach() for name, parameter in parameters.items()}
    tensors |= {f"kept/{name}": tensor for name, tensor in history.items()}
    names = {id(parameter): name for name, parameter in parameters.items()}
    for parameter, state in optimizer.state.items():
        tensors |= {f"optimizer/{names[id(parameter)]}/{key}": value for key, value in state.items()}
    stored = {}
    for name, tensor in tensors.items():
        entire = full_tensor(tensor)
        if writes:  # gathered tensors move to the CPU: the device need not hold all of them at once
            stored[name] = (entire if entire is tensor else entire.cpu()).contiguous()
    if not writes:
        return
    sync(folder / LOG)
    log = (folder / LOG).read_bytes()
    metadata = {
        _POSITION: json.dumps(asdict(position)),
        _ARITHMETIC: json.dumps(arithmetic),
        _LOG_SIZE: str(len(log)),
        _LOG_DIGEST: sha256(log).hexdigest(),
    }
    digest = _digest(metadata, tensor_digest(sorted(stored.items())))
    for leftover in folder.glob(".tmp??????"):  # safetensors writes to such a file first; a kill leaves it behind
        leftover.unlink()
    with atomic_file(folder / _NAME) as temporary:
        save_file(stored, temporary, metadata={**metadata, _DIGEST: digest})


def _digest(metadata: Mapping[str, str], tensors: str) -> str:
    return sha256(json.dumps([[metadata[key] for key in _DIGESTED if key in metadata], tensors]).encode()).hexdigest()


def read_position(folder: Path, processes: Processes, notice: Callable[[str], None]) -> Position | None:
    """Return the position of the checkpoint in `folder`, and truncate the log to it; None without a checkpoint.

    A damaged checkpoint or log, or a checkpoint of another version of the arithmetic or dtype, counts as none, and `notice` is
    told. Of other threads it is told too, and `processes` records them. Reads the whole file.
    """
    path, problem = folder / _NAME, ", or the log beside it, is damaged"
    if path.is_file():
        try:
            with safe_open(path, framework="pt") as stored:
                metadata = stored.metadata() or {}
                tensors = tensor_digest((name, stored.get_tensor(name)) for name in sorted(stored.keys()))
            log = (folder / LOG).read_bytes()[: int(metadata[_LOG_SIZE])]
            digests = metadata[_DIGEST], metadata[_LOG_DIGEST]
            if digests == (_digest(metadata, tensors), sha256(log).hexdigest()):
                earlier, now = json.loads(metadata.get(_ARITHMETIC, _FIRST)), processes.arithmetic
                if all(earlier[key] == now[key] for key in ("arithmetic", "dtype")):
                    _count_threads(earlier["threads"], processes, notice)
                    with atomic_file(folder / LOG) as temporary:
                        temporary.write_bytes(log)
                    position = json.loads(metadata[_POSITION])
                    return Position(position["phase"], position["step"], Cost(**position["cost"]))
                problem = f" is of {_in_words(earlier)}, and this run of {_in_words(now)}"
        except (FileNotFoundError, SafetensorError, KeyError, ValueError):
            pass
        notice(f"The checkpoint `{path}`{problem}. The run starts anew.")
        remove_checkpoint(folder)
    (folder / LOG).unlink(missing_ok=True)
    return None


def _in_words(arithmetic: Mapping[str, object]) -> str:
    return ", ".join(filter(None, (f"arithmetic {arithmetic['arithmetic']}", str(arithmetic.get("dtype", "")))))


def _count_threads(earlier: int | list[int], processes: Processes, notice: Callable[[str], None]) -> None:
    """Record the threads of the process that wrote the checkpoint, and tell `notice` where this one has others."""
    processes.earlier_threads = earlier if isinstance(earlier, list) else [earlier]
    if processes.earlier_threads[-1:] != [now := torch.get_num_threads()]:
        notice(
            f"The checkpoint was written with {counted(processes.earlier_threads[-1], 'threads')}, and this process has {now}:"
            " sums are rounded differently from here on. The result names both."
        )


def read_checkpoint(
    folder: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    fit: Callable[[str, Tensor], Tensor],
) -> dict[str, Tensor]:
    """Load the stored values into the parameters and `optimizer`; return the tensors of the history.

    `fit` returns the part of a value that a parameter has, or a moment of it; the name is that in the file.
    """
    state: dict[str, dict[str, Tensor]] = {}
    history: dict[str, Tensor] = {}
    device = next(iter(parameters.values())).device
    with safe_open(folder / _NAME, framework="pt") as stored, torch.no_grad():
        for key in stored.keys():  # noqa: SIM118 (safe_open is no mapping)
            kind, name = key.split("/", 1)
            if kind == "parameter" and name not in parameters:
                raise RunError(
                    f"The checkpoint in `{folder}` has some rows of the word embeddings, and this launch shards them all."
                    " Resume it without FSDP, or start anew with `--again`."
                )
            if kind == "parameter":
                parameters[name].copy_(sharded_like(fit(key, stored.get_tensor(key)), parameters[name]))
            elif kind == "kept":
                part, value = name.rpartition("/")[2], fit(key, stored.get_tensor(key))
                history[name] = sharded_like(value, parameters[part]) if part in parameters else value.to(device)
            else:
                name, moment = name.rsplit("/", 1)
                state.setdefault(name, {})[moment] = fit(key, stored.get_tensor(key))
    for name, values in state.items():
        parameter = parameters[name]
        optimizer.state[parameter] = {
            key: sharded_like(value, parameter) if value.dim() else value.to(parameter.device)
            for key, value in values.items()
        }
    return history


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a finished run, with temporary files of a killed process."""
    for path in folder.glob(f"{_NAME}*"):
        path.unlink(missing_ok=True)
