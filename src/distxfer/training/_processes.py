"""The processes that share one run, through Accelerate: one process on a laptop, many under `accelerate launch`."""

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, TypeVar

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import (
    DistributedDataParallelKwargs,
    LoggerType,
    broadcast_object_list,
    gather_object,
    parse_flag_from_env,
    patch_environment,
)
from torch.torch_version import TorchVersion

from distxfer.errors import InputError, did_you_mean, listed
from distxfer.results.result import ARITHMETIC

T = TypeVar("T")
Precision = Literal["auto", "float32", "bf16"]
_FSDP = "ACCELERATE_USE_FSDP"  # what a launch sets that asks for it
_FSDP_TORCH = "2.13"  # the oldest tested version; earlier ones synchronise other gradients
_UNSUPPORTED = {"DeepSpeed": "ACCELERATE_USE_DEEPSPEED", "Megatron-LM": "ACCELERATE_USE_MEGATRON_LM"}
_FSDP_OPTIONS = {  # unsupported options of an FSDP launch -> what to do instead
    "FSDP_OFFLOAD_PARAMS": "Leave `fsdp_offload_params` out: weights stay on the GPUs.",
    "FSDP_ACTIVATION_CHECKPOINTING": "Leave `fsdp_activation_checkpointing` out, and set `model.gradient_checkpointing=true`.",
}


class Processes:
    """The processes of one run, with their `accelerator`.

    This process is number `rank`, from 0, of `size`, on a `device`; the one that `is_main` writes and reports.
    `shards_weights`: whether the weights are sharded over the processes while a phase trains, in a launch with FSDP.
    `precision`: that of the forward passes of training, `bf16` or `float32`.
    """

    def __init__(
        self, trackers: Sequence[object] = (), folder: Path | None = None, precision: Precision = "auto"
    ) -> None:
        """Join the processes of this launch; `trackers` are names that Accelerate knows, or trackers of your own.

        `precision` is that of the forward passes of training; `auto`: bf16 where the GPU or the CPU (AMX, AVX512-BF16)
        computes in it, else float32. Never fp16, in which mT5 and mDeBERTa-v3 overflow. Weights (except frozen ones, where
        the recipe says so), gradients and the optimiser's state are always float32.

        Raises InputError for a tracker that Accelerate does not know, or whose package is not installed, for a GPU without
        bf16, or for a launch with DeepSpeed, Megatron-LM or FSDP1, which are not supported.
        """
        for name in trackers:
            if isinstance(name, str):
                _check_tracker(name)
        is_fsdp = _is_fsdp()
        # Accelerate's own FSDP does not run on CPUs, and frees the full weights, which the next phase shards anew. So
        # Accelerate sees plain processes, and `ShardedWeights` shards.
        with patch_environment(**{_FSDP: "false"}):
            self.accelerator = Accelerator(
                # Without a GPU, processes of one launch join only with this flag.
                cpu=not torch.accelerator.is_available(),
                mixed_precision="no",  # Accelerate's would hold for all runs of this Python process; see `autocast`
                log_with=list(trackers) or None,
                project_dir=str(folder) if folder else None,
                # A step may leave some parameters without a gradient, such as the head in a phase that only aligns. The
                # view saves a second copy of the gradients: 4 bytes per parameter that trains.
                # Buffers, such as weights in int8, never change.
                kwargs_handlers=[
                    DistributedDataParallelKwargs(
                        find_unused_parameters=True, gradient_as_bucket_view=True, broadcast_buffers=False
                    )
                ],
            )
        self.device = torch.device(self.accelerator.device)
        self.size = int(self.accelerator.num_processes)
        self.rank = int(self.accelerator.process_index)
        self.is_main = bool(self.accelerator.is_main_process)
        self.shards_weights = is_fsdp and self.size > 1
        # NCCL adds up what is on GPUs only; without GPUs all is on the hosts.
        on_gpus = self.size > 1 and self.device.type != "cpu"
        self._hosts = torch.distributed.new_group(backend="gloo") if on_gpus else None
        self.precision = "bf16" if _is_bf16(precision, self.device) else "float32"
        self.earlier_threads: list[int] = []  # of the processes that this run is resumed from
        if self.device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads it

    @property
    def lacks_processes(self) -> bool:
        """Whether `accelerate launch` was asked for several processes but started one, as it does without a GPU.

        Its simple launcher sets the address of the main process, but starts no others.
        """
        launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
        return self.size == 1 and launched and "RANK" not in os.environ

    @property
    def arithmetic(self) -> dict[str, int | str | list[int]]:
        """What the rounding of the run depends on: `arithmetic`, its version, `dtype`, and `threads`.

        With other threads, sums are rounded differently. A run that is resumed with others has all of them, in order.
        """
        now = torch.get_num_threads()
        threads = [*self.earlier_threads, *([now] if self.earlier_threads[-1:] != [now] else [])]
        return {
            "arithmetic": ARITHMETIC,
            "dtype": self.precision,
            "threads": threads if len(threads) > 1 else now,
        }

    def peak_memory_mb(self) -> float:
        """Return the most memory this process has held so far: on the GPU if there is one, else resident."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context in which forward passes have the run's precision.

        Torch's cache of cast weights is off: a weight cast without gradients, for a teacher or a term of weight 0, must not
        be reused in a pass with gradients.
        """
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def start_trackers(self, name: str, settings: Mapping[str, object]) -> None:
        """Start the trackers; settings become flat texts and numbers, since TensorBoard takes nothing else."""
        flat = {
            key: value if isinstance(value, int | float | str | bool) else str(value) for key, value in settings.items()
        }
        self.accelerator.init_trackers(name, config=flat)

    def stop_trackers(self) -> None:
        """Let the trackers flush (`end_training` would also destroy the process group)."""
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's shard of `items`: every `size`-th item from `rank` on."""
        return items[self.rank :: self.size]

    def gather(self, items: list[T]) -> list[T]:
        """Return the items of all processes, in the order of the processes; every process gets the list."""
        return list(gather_object(items)) if self.size > 1 else items

    def broadcast(self, value: T) -> T:
        """Return the main process's value, in every process."""
        box = [value]
        if self.size > 1:
            broadcast_object_list(box)
        return box[0]

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the element-wise sum over all processes."""
        if self.size == 1:
            return values
        summed: torch.Tensor = self.accelerator.reduce(values.to(self.device), reduction="sum")
        return summed.to(values)

    def sum_numbers(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums over all processes of numbers that the host has, without waiting for the device."""
        if self.size == 1:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64)
        torch.distributed.all_reduce(values, group=self._hosts)
        return values.tolist()

    def wait(self) -> None:
        """Wait until every process has called this."""
        self.accelerator.wait_for_everyone()


def _is_fsdp() -> bool:
    """Return whether the launch asks for FSDP; raises InputError for what distxfer does not support."""
    for name, variable in _UNSUPPORTED.items():
        if parse_flag_from_env(variable):
            raise InputError(
                f"This launch is for {name}, which distxfer does not support. To shard the weights over the GPUs, launch with"
                " `accelerate launch --use_fsdp --fsdp_version 2`; to replicate them, with `--multi_gpu`."
            )
    if not parse_flag_from_env(_FSDP):
        return False
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise InputError(
            f"This launch is for FSDP {version}, and distxfer supports FSDP 2. Add `--fsdp_version 2`, or `fsdp_version: 2` to"
            " the `fsdp_config` of the file."
        )
    if TorchVersion(torch.__version__) < _FSDP_TORCH:
        raise InputError(
            f"FSDP needs torch {_FSDP_TORCH} or later here, and this is {torch.__version__}. Update torch."
        )
    for variable, instead in _FSDP_OPTIONS.items():
        if parse_flag_from_env(variable):
            raise InputError(f"This launch sets {variable}, which distxfer does not support. {instead}")
    # Transformers would load empty weights in all processes but the first, for Accelerate to fill.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    return True


def _is_bf16(precision: Precision, device: torch.device) -> bool:
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported()
    else:  # others emulate it, many times slower
        instructions = torch.cpu.get_capabilities()
        supported = device.type == "cpu" and bool(instructions.get("amx_bf16") or instructions.get("avx512_bf16"))
    if precision == "bf16" and device.type == "cuda" and not supported:
        raise InputError("`model.precision` is `bf16`, which this GPU does not support. Set it to `auto` or `float32`.")
    return precision == "bf16" or (precision == "auto" and supported)


def _check_tracker(name: str) -> None:
    trackers = [kind for kind in LoggerType.list() if kind != "all"]
    if name not in trackers:
        raise InputError(
            f"`--log-with` has `{name}`, which Accelerate does not know.{did_you_mean(name, trackers)} Known: {listed(trackers)}."
        )
    if name not in {str(kind.value) for kind in get_available_trackers()}:
        raise InputError(f"`--log-with` has `{name}`, which is not installed. Run: pip install {name}")
