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
from distxfer.training._settings import Cost
from distxfer.training._weights import full_tensor, sharded_like

LOG = "log.jsonl"  # one line per step
_NAME = "checkpoint.safetensors"
_POSITION, _LOG_SIZE, _LOG_DIGEST, _DIGEST = "position", "log_size", "log_sha256", "sha256"  # in the metadata


@dataclass(frozen=True)
class Position:
    """The progress of a run: `step` optimiser steps of phase number `phase` are done, at this cost."""

    phase: int
    step: int
    cost: Cost


def write_checkpoint(
    folder: Path,
    position: Position,
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
        _LOG_SIZE: str(len(log)),
        _LOG_DIGEST: sha256(log).hexdigest(),
    }
    digest = _digest(metadata, tensor_digest(sorted(stored.items())))
    with atomic_file(folder / _NAME) as temporary:
        save_file(stored, temporary, metadata={**metadata, _DIGEST: digest})


def _digest(metadata: Mapping[str, str], tensors: str) -> str:
    return sha256(
        json.dumps([[metadata[key] for key in (_POSITION, _LOG_SIZE, _LOG_DIGEST)], tensors]).encode()
    ).hexdigest()


def read_position(folder: Path, notice: Callable[[str], None]) -> Position | None:
    """Return the position of the checkpoint in `folder`, and truncate the log to it; None without a checkpoint.

    A damaged checkpoint or log counts as none, and `notice` is told. Reads the whole file.
    """
    path = folder / _NAME
    if path.is_file():
        try:
            with safe_open(path, framework="pt") as stored:
                metadata = stored.metadata() or {}
                tensors = tensor_digest((name, stored.get_tensor(name)) for name in sorted(stored.keys()))
            log = (folder / LOG).read_bytes()[: int(metadata[_LOG_SIZE])]
            digests = metadata[_DIGEST], metadata[_LOG_DIGEST]
            if digests == (_digest(metadata, tensors), sha256(log).hexdigest()):
                with atomic_file(folder / LOG) as temporary:
                    temporary.write_bytes(log)
                position = json.loads(metadata[_POSITION])
                return Position(position["phase"], position["step"], Cost(**position["cost"]))
        except (FileNotFoundError, SafetensorError, KeyError, ValueError):
            pass
        notice(f"The checkpoint `{path}`, or the log beside it, is damaged. The run starts anew.")
        remove_checkpoint(folder)
    (folder / LOG).unlink(missing_ok=True)
    return None


def read_checkpoint(
    folder: Path, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Load the stored values into the parameters and `optimizer`; return the tensors of the history."""
    state: dict[str, dict[str, Tensor]] = {}
    history: dict[str, Tensor] = {}
    device = next(iter(parameters.values())).device
    with safe_open(folder / _NAME, framework="pt") as stored, torch.no_grad():
        for key in stored.keys():  # noqa: SIM118 (safe_open is no mapping)
            kind, name = key.split("/", 1)
            if kind == "parameter":
                parameters[name].copy_(sharded_like(stored.get_tensor(key), parameters[name]))
            elif kind == "kept":
                part, value = name.split("/", 1)[1], stored.get_tensor(key)
                history[name] = sharded_like(value, parameters[part]) if part in parameters else value.to(device)
            else:
                name, moment = name.rsplit("/", 1)
                state.setdefault(name, {})[moment] = stored.get_tensor(key)
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
