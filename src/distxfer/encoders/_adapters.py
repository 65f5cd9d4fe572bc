"""Adapters: PEFT's, one beside the other, saved and loaded again; and bottlenecks beside the feed-forward layers."""

import copy
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import ModulesToSaveWrapper
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from distxfer.encoders._quiet import quiet
from distxfer.errors import InputError

if TYPE_CHECKING:
    from distxfer.encoders._encoder import Encoder

_CONFIG, _WEIGHTS, _FIRST = "adapter_config.json", "adapter_model.safetensors", "default"
_WIDTHS = (
    "intermediate_size",
    "hidden_dim",
)  # under which key a configuration has the width of the feed-forward layers


def add_adapters(model: nn.Module, config: LoraConfig | IA3Config, *, others: bool) -> PeftModel:
    """Return the PEFT model with these adapters in it, beside the `others` if it has any; all of them act, and train.

    The first are called `default`, which PEFT saves into the folder itself, the next `adapter_2`, `adapter_3` ..., which
    it saves into sub-folders of these names.

    Raises InputError for adapters that cannot act together.
    """
    with _without_peft_warnings():
        if not others:
            return get_peft_model(cast(PreTrainedModel, model), config)
        if not isinstance(model, PeftModel):
            raise InputError(_NOT_BOTH)
        try:
            # Not by the method of PEFT's classifier, which gives each of the adapters a head, and then lets no two act.
            PeftModel.add_adapter(model, _name(len(model.peft_config) + 1), config)
        except ValueError as error:
            raise InputError(
                f"PEFT does not let these adapters act in one encoder: {str(error).strip().split('. ')[0]}."
                " Give all adapter interventions of the recipe the same `kind`."
            ) from error
        _let_act(model, list(model.peft_config))
        for one in model.peft_config.values():
            one.task_type = None  # so that PEFT loads them without a head for each, too
    return model


def adapter_base(name: str) -> str:
    """Return the model that the adapters in the folder `name` were made for, or `name` itself where it holds none.

    Raises InputError for adapters without safetensors weights, or that do not name their model.
    """
    folder = Path(name).expanduser()
    path = folder / _CONFIG
    if not path.is_file() or (folder / "config.json").is_file():
        return name
    if not (folder / _WEIGHTS).is_file():
        raise InputError(f"The adapters in `{folder}` have no `{_WEIGHTS}`. Save them again with `save_pretrained`.")
    try:
        base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError) as error:
        raise InputError(f"`{path}` is not the configuration of adapters. Save them with `save_pretrained`.") from error
    if not isinstance(base, str) or not base:
        raise InputError(f"`{path}` names no `base_model_name_or_path`. Write there which model the adapters are for.")
    return base


def merge_adapters(encoder: "Encoder", folder: Path) -> "Encoder":
    """Return the encoder with the adapters in a folder merged into its weights, so that it is a plain model again.

    Those in the sub-folders `adapter_2`, `adapter_3` ... act with them. Their head counts as not loaded: PEFT does not
    save which labels it is for. Changes the encoder that it is given.

    Raises InputError where they do not fit the encoder, or are prompts, which no weights can take up.
    """
    more = [folder / name for name in takewhile(lambda name: (folder / name / _CONFIG).is_file(), map(_name, count(2)))]
    with quiet(), _without_peft_warnings():
        # What PEFT leaves out is an error below.
        warnings.filterwarnings("ignore", "Found missing adapter keys|Some weights of PeftModel", UserWarning)
        try:
            adapted = PeftModel.from_pretrained(encoder.model, str(folder), ignore_mismatched_sizes=True)
            _check_fit(adapted, encoder, folder, _FIRST)
            for one in more:
                adapted.load_adapter(str(one), one.name, ignore_mismatched_sizes=True)
                _check_fit(adapted, encoder, one, one.name)
            if more:
                _let_act(adapted, [_FIRST, *(one.name for one in more)])
        except InputError:
            raise
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(f"The adapters in `{folder}` do not fit `{encoder.name}`: {reason}") from error
        _unwrap_head(adapted)
        merged = adapted.merge_and_unload()
    return replace(
        encoder, name=str(folder), model=merged, base=cast(PreTrainedModel, merged.base_model), head_is_loaded=False
    )


def _name(number: int) -> str:
    return f"adapter_{number}"


def _let_act(model: PeftModel, adapters: list[str]) -> None:
    """Let several adapters act at once, which the PEFT model itself does not offer, but the tuner inside it."""
    cast(BaseTuner, model.base_model).set_adapter(adapters)


def _unwrap_head(model: PeftModel) -> None:
    """Put the head that acts in the place of PEFT's wrapper: PEFT 0.21 merges IA3 only where it is one linear map."""
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            model.set_submodule(name, module.unload_and_optionally_merge_module(True, False, None))


@contextmanager
def _without_peft_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 for a property by its old name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _check_fit(adapted: PeftModel, encoder: "Encoder", folder: Path, adapter: str) -> None:
    """Raise InputError unless every stored weight but the head's has its place: PEFT leaves out what does not fit."""
    if adapted.peft_config[adapter].is_prompt_learning:
        raise InputError(
            f"The adapters in `{folder}` are prompts, which cannot be merged into the weights. Give LoRA or IA3 adapters."
        )
    state = get_peft_model_state_dict(adapted, adapter_name=adapter)
    places = {name: list(weights.shape) for name, weights in state.items()}
    with safe_open(folder / _WEIGHTS, framework="pt") as stored:
        found = {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118 - no mapping
    for name in sorted(places.keys() | found.keys()):
        if places.get(name) != found.get(name) and encoder.place(name) != "head":
            there, here = (one.get(name, "nothing") for one in (found, places))
            raise InputError(
                f"The adapters in `{folder}` do not fit `{encoder.name}`: `{name}` is {there} in the file and {here} in the"
                " model. Give the adapters of this model, or write the right one into `base_model_name_or_path`."
            )


# Bottlenecks. A feed-forward layer with r more neurons computes what it did, plus W_up f(W_down x): so they are trained
# as linear maps of their own beside the frozen ones, and saved as a plain model whose feed-forward layers are wider.

_NOT_BOTH = (
    "Bottlenecks are saved as a part of the model and PEFT's adapters beside it, so one encoder cannot have both."
    " Give all adapter interventions of the recipe the same `kind`."
)


class _Wider(nn.Module):
    """A linear map that stays as it is, and more of its rows or columns, which train: one more map a bottleneck."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.more = nn.ModuleList()

    def maps(self) -> list[nn.Linear]:
        return [self.base_layer, *(cast(nn.Linear, one) for one in self.more)]

    def grow(self, r: int) -> None:
        raise NotImplementedError

    def taken_up(self) -> nn.Linear:
        """Return one plain linear map that computes the same."""
        raise NotImplementedError


class _MoreOutputs(_Wider):
    """W_down of the bottlenecks, after the outputs that there were; `parts`: 2 where a gate and its input are one map."""

    def __init__(self, base_layer: nn.Linear, parts: int) -> None:
        super().__init__(base_layer)
        self.parts = parts

    def grow(self, r: int) -> None:
        bias = self.base_layer.bias is not None
        self.more.append(nn.Linear(self.base_layer.in_features, self.parts * r, bias).to(self.base_layer.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.unflatten(one(x), -1, (self.parts, -1)) for one in self.maps()], dim=-1).flatten(-2)

    def taken_up(self) -> nn.Linear:
        rows = [torch.unflatten(one.weight, 0, (self.parts, -1)) for one in self.maps()]
        biases = [torch.unflatten(one.bias, 0, (self.parts, -1)) for one in self.maps() if one.bias is not None]
        return _linear(torch.cat(rows, dim=1).flatten(0, 1), torch.cat(biases, dim=1).flatten() if biases else None)


class _MoreInputs(_Wider):
    """W_up of the bottlenecks, for the inputs after those that there were."""

    def grow(self, r: int) -> None:
        up = nn.Linear(r, self.base_layer.out_features, bias=False).to(self.base_layer.weight.device)
        nn.init.zeros_(up.weight)
        self.more.append(up)

    def forward(self, x: Tensor) -> Tensor:
        pieces = torch.split(x, [one.in_features for one in self.maps()], dim=-1)
        return torch.stack([one(piece) for one, piece in zip(self.maps(), pieces, strict=True)]).sum(dim=0)

    def taken_up(self) -> nn.Linear:
        return _linear(torch.cat([one.weight for one in self.maps()], dim=1), self.base_layer.bias)


def add_bottlenecks(
    model: nn.Module, config: PreTrainedConfig, widening: Sequence[str], narrowing: Sequence[str], r: int
) -> frozenset[str]:
    """Give the linear maps that widen the states `r` more outputs and those that narrow them as many more inputs.

    Returns the names of the new parameters. Raises InputError where the model has adapters of PEFT's, or these maps are
    no feed-forward layers of the width that its configuration says.
    """
    if isinstance(model, PeftModel):
        raise InputError(_NOT_BOTH)
    key = _width_key(config)
    width = getattr(config, key) if key else 0
    modules = dict(model.named_modules())
    outputs = [_plain(modules[name]).out_features for name in widening]
    inputs = [_plain(modules[name]).in_features for name in narrowing]
    if not (width and outputs and inputs and set(inputs) == {width} and all(one % width == 0 for one in outputs)):
        raise InputError(
            f"A `{config.model_type}` has no feed-forward layers of one width that can be made wider. Take adapters of"
            " another `kind`: `lora` fits every encoder."
        )
    before = {name for name, _ in model.named_parameters()}
    for name in (*widening, *narrowing):
        module = modules[name]
        if not isinstance(module, _Wider):
            layer = cast(nn.Linear, module)
            module = _MoreOutputs(layer, layer.out_features // width) if name in widening else _MoreInputs(layer)
            model.set_submodule(name, module)
        module.grow(r)
    return frozenset(name for name, _ in model.named_parameters() if ".more." in name and name not in before)


def with_bottlenecks_taken_up(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model itself, or where it has bottlenecks, a plain copy whose feed-forward layers are wider."""
    if not any(isinstance(module, _Wider) for module in model.modules()):
        return model
    plain = copy.deepcopy(model)
    key = _width_key(plain.config)
    for name, module in list(plain.named_modules()):
        if isinstance(module, _Wider):
            layer = module.taken_up()
            plain.set_submodule(name, layer)
            if isinstance(module, _MoreInputs):
                setattr(plain.config, key, layer.in_features)
    return plain


def _plain(module: nn.Module) -> nn.Linear:
    return module.base_layer if isinstance(module, _Wider) else cast(nn.Linear, module)


def _width_key(config: PreTrainedConfig) -> str:
    return next((key for key in _WIDTHS if key in config.to_dict()), "")


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return the linear map with these weights."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None:
            made.bias.copy_(bias)
    return made
