"""One file that holds all that a run needs to go on after a kill: safetensors, written aside and renamed."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distxfer.training._settings import Cost
from distxfer.training._weights import like, whole

_NAME = "checkpoint.safetensors"
_POSITION = "position"


@dataclass(frozen=True)
class Position:
    """How far a run has come: `step` optimiser steps of phase number `phase` are done, at this cost."""

    phase: int
    step: int
    cost: Cost


def write_checkpoint(
    folder: Path,
    position: Position,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    kept: Mapping[str, Tensor],
    *,
    writes: bool = True,
) -> None:
    """Write all that may have changed, the optimiser's state for the parameters it trains, and what else is kept.

    Where tensors are divided among the processes, all of them call this, and the one that `writes` writes.
    """
    tensors = {f"parameter/{name}": parameter.detach() for name, parameter in parameters.items()}
    tensors |= {f"kept/{name}": tensor for name, tensor in kept.items()}
    names = {id(parameter): name for name, parameter in parameters.items()}
    for parameter, state in optimizer.state.items():
        tensors |= {f"optimizer/{names[id(parameter)]}/{key}": value for key, value in state.items()}
    found = {}
    for name, tensor in tensors.items():
        entire = whole(tensor)
        if writes:  # on the CPU what was put together for this alone: a device need not hold all of it at once
            found[name] = (entire if entire is tensor else entire.cpu()).contiguous()
    if not writes:
        return
    aside = folder / f"{_NAME}.part"
    save_file(found, aside, metadata={_POSITION: json.dumps(asdict(position))})
    os.replace(aside, folder / _NAME)


def read_position(folder: Path) -> Position | None:
    """Return how far the run in `folder` has come, or None where there is no checkpoint that can be read."""
    try:
        with safe_open(folder / _NAME, framework="pt") as stored:
            position = json.loads(stored.metadata()[_POSITION])
    except (FileNotFoundError, SafetensorError):
        return None
    return Position(position["phase"], position["step"], Cost(**position["cost"]))


def read_checkpoint(
    folder: Path, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Put the stored values into the parameters, and their state into `optimizer`; return what else was kept."""
    state: dict[str, dict[str, Tensor]] = {}
    kept: dict[str, Tensor] = {}
    device = next(iter(parameters.values())).device
    with safe_open(folder / _NAME, framework="pt") as stored, torch.no_grad():
        for key in stored.keys():  # noqa: SIM118 (safe_open is no mapping)
            kind, name = key.split("/", 1)
            if kind == "parameter":
                parameters[name].copy_(like(stored.get_tensor(key), parameters[name]))
            elif kind == "kept":
                part, value = name.split("/", 1)[1], stored.get_tensor(key)
                kept[name] = like(value, parameters[part]) if part in parameters else value.to(device)
            else:
                name, moment = name.rsplit("/", 1)
                state.setdefault(name, {})[moment] = stored.get_tensor(key)
    for name, values in state.items():
        parameter = parameters[name]
        optimizer.state[parameter] = {
            key: like(value, parameter) if value.dim() else value.to(parameter.device) for key, value in values.items()
        }
    return kept


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a run that is done, and what a killed process may have left beside it."""
    for path in folder.glob(f"{_NAME}*"):
        path.unlink()


def truncate_log(path: Path, keep: Mapping[int, int]) -> None:
    """Drop from `log.jsonl` what lies after the checkpoint: per phase number, the steps below `keep` stay."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line that a kill cut off
        if entry["step"] < keep.get(entry["phase_number"], 0):
            kept.append(line)
    aside = path.with_suffix(".part")
    aside.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    os.replace(aside, path)
