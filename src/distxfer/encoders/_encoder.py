"""A multilingual encoder with a head: layers by number, hidden states, and the frozen pretrained model."""

import errno
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distxfer.encoders._bottlenecks import add_bottlenecks, with_merged_bottlenecks
from distxfer.encoders._contexts import evaluating, has_peft_adapters, quiet, skipping, stopping
from distxfer.encoders._encoded import Encoded, Pooling, tokens_of_words
from distxfer.encoders._int8 import Int8Linear
from distxfer.encoders._packing import PackedStates, packed
from distxfer.encoders._reference import Reference
from distxfer.errors import InputError

if TYPE_CHECKING:
    from peft import IA3Config, LoraConfig

# The output of a head: one per text, one per token, two scores per token (a span's start and end), or none: the text's pooled
# state.
Output = Literal["text", "token", "span", "state"]
Place = int | Literal["embeddings", "final", "head"]
# The parts that adapters add to a parameter's name in the plain model.
_PEFT_NAMES = re.compile(
    r"^base_model\.model\.|\.modules_to_save\.\w+|\.original_module|\.base_layer|\.(lora|ia3)_\w+\.\w+|\.more\.\d+"
)
_TASK_TYPES: Mapping[Output, str] = {  # of PEFT: the class in which PEFT loads adapters
    "text": "SEQ_CLS",
    "token": "TOKEN_CLS",
    "span": "QUESTION_ANS",
    "state": "SEQ_CLS",
}


@dataclass(frozen=True)
class LowerStates:
    """The output (n, tokens, d) of the block `layer` for a batch, from which a forward pass goes on."""

    layer: int
    states: Tensor


@dataclass
class Encoder:
    """One encoder in training: `model` is the classifier, or the PEFT model around it once `adapt` was called.

    `adapt` and `add_bottlenecks` add adapters, each call some more; all of them are active.

    Layers are numbered as in Philippy et al. (2023): 1 to `layers` are the blocks, 0 is the embeddings' output.
    """

    name: str
    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    base: PreTrainedModel  # the same modules without the classification head
    layers: int
    blocks: str  # the name of the list of blocks, "bert.encoder.layer."
    embeddings: str  # the name of the word embeddings' matrix
    below: frozenset[str]  # names of the parameters before the blocks
    head: frozenset[str]  # names of the parameters that are not from the checkpoint
    max_tokens: int  # the longest input that the encoder has positions for
    head_is_loaded: bool = False  # whether the head is from the checkpoint, for these labels in this order
    output: Output = "text"
    token_head: bool = False  # whether the head has an output per token, whatever `output` is
    pooling: Pooling = "mean"
    train_word_embeddings: bool = False
    gradient_checkpointing: bool = False  # whether blocks are recomputed in the backward pass
    fingerprint: str = ""  # of the checkpoint's files, where it was computed
    frozen_in_bf16: bool = False  # whether frozen linear maps are in bf16, and every pass computes in bf16
    dropped: int = 0  # how many of the checkpoint's uppermost blocks were dropped
    causal: bool = False  # whether a token's state depends on no later token
    adapters: frozenset[str] = frozenset()  # names of the parameters of adapters, and of the head once there are some
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    packs: bool = False  # whether the blocks can read texts without padding

    @property
    def hidden_size(self) -> int:
        """The width of the hidden states."""
        return int(self.base.config.hidden_size)

    @property
    def classes(self) -> int:
        """The number of classes of the head."""
        return int(self.base.config.num_labels or 0)

    def place(self, parameter: str) -> Place:
        """Return the place of a parameter: a block's number from 1, `embeddings`, `final` (after the blocks), `head`."""
        plain = _PEFT_NAMES.sub("", parameter)
        if plain.startswith(self.blocks):
            return int(plain.removeprefix(self.blocks).split(".")[0]) + 1
        if plain in self.head or not plain.startswith(f"{self.base_name}."):
            return "head"
        return "embeddings" if plain in self.below or "embed" in plain else "final"

    def is_word_embedding(self, parameter: str) -> bool:
        """Return whether this is the matrix of the word embeddings, mostly rows of words that never occur."""
        return _PEFT_NAMES.sub("", parameter) == self.embeddings

    @property
    def base_name(self) -> str:
        """The attribute under which the classifier holds its encoder: `bert`, `roberta`, `model` ..."""
        return self.base.base_model_prefix

    def encode(
        self, inputs: Mapping[str, Tensor], upto: int | None = None, lower: LowerStates | None = None
    ) -> Encoded:
        """Run the encoder without its head, in the mode (training, gradients) that the caller has set.

        `upto`: compute the layers 1 to `upto` alone. `lower`: take the states of a layer from there, and compute those above.
        """
        return self._run(self.base, inputs, None if upto == self.layers else upto, lower)[0]

    def classify(self, inputs: Mapping[str, Tensor], lower: LowerStates | None = None) -> Encoded:
        """Run the encoder and its head; the hidden states and the logits come from one forward pass. `lower`: see `encode`."""
        if self.output == "state":
            encoded = self.encode(inputs, lower=lower)
            return replace(encoded, logits=encoded.pooled(-1))
        encoded, output = self._run(self.model, inputs, None, lower)
        if self.output == "span" and not self.token_head:
            logits = torch.stack([output.start_logits, output.end_logits], dim=-1)
        elif self.output == "text" and self.token_head:
            logits = replace(encoded, hidden=(output.logits,), computed=None).pooled(0)
        else:
            logits = output.logits
        return replace(encoded, logits=logits.float())

    def lower_states(self, inputs: Mapping[str, Tensor], layer: int) -> LowerStates:
        """Return the output of a block, without dropout or gradient, from which `encode` and `classify` go on."""
        with evaluating(self.model), torch.no_grad():
            return LowerStates(layer, self._run(self.base, inputs, layer)[0].hidden[layer])

    def _run(
        self, model: nn.Module, inputs: Mapping[str, Tensor], upto: int | None = None, lower: LowerStates | None = None
    ) -> tuple[Encoded, Any]:
        """Return the hidden states of a forward pass, and all of its output, None where it ends at block `upto`."""
        mask, blocks = inputs["attention_mask"], self.block_modules()
        output, states = None, None
        with ExitStack() as stack:
            if self.frozen_in_bf16:
                stack.enter_context(torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False))
            packs = self.packs and self.device.type == "cpu"
            texts = stack.enter_context(packed(self.base, blocks, mask)) if packs else None
            if lower is not None:
                lowest = lower.states if texts is None else texts.packing.pack(lower.states)[None]
                stack.enter_context(skipping(blocks[: lower.layer], lowest))
            if upto is not None:
                states = stack.enter_context(stopping(blocks[:upto]))
            output = model(**inputs, output_hidden_states=texts is None and upto is None)
        layers: list[Tensor] = [*output.hidden_states] if texts is None and states is None else []
        if texts is not None:
            layers = [*texts.layers]
        elif states is not None:
            layers = [states[0], *(layer[:, : mask.shape[1]] for layer in states)]
        computed = None
        if lower is not None or upto is not None:
            computed = range(lower.layer if lower else 1, (upto or self.layers) + 1)
            not_computed = layers[-1].new_empty(0)
            layers = [layers[number] if number in computed else not_computed for number in range(self.layers + 1)]
        hidden = tuple(layers) if texts is None else PackedStates(texts.packing, layers)
        return Encoded(hidden, mask, self.pooling, computed=computed), output

    def outputs(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the head's output for a batch (see `Encoded.logits`), without dropout or gradient."""
        with evaluating(self.model), torch.inference_mode():
            return cast(Tensor, self.classify(inputs).logits).float()

    def states(self, batches: Iterable[Mapping[str, Tensor]]) -> tuple[Tensor, Tensor | None]:
        """Return pooled states (layers + 1, n, d) and logits (n, classes) of all batches, on the CPU, without dropout.

        One forward pass serves every layer, every measure and the predictions. The logits are None where the head has
        an output per token.
        """
        pooled, logits = [], []
        with evaluating(self.model), torch.inference_mode():
            for inputs in batches:
                encoded = self.encode(inputs) if self.output in ("token", "span") else self.classify(inputs)
                pooled.append(encoded.pooled_layers().float().cpu())
                logits += [] if encoded.logits is None else [encoded.logits.float().cpu()]
        return torch.cat(pooled, dim=1), torch.cat(logits) if logits else None

    def word_states(
        self, words: Sequence[tuple[str, tuple[int, int]]], *, max_length: int, batch_size: int = 32
    ) -> tuple[Tensor, Tensor]:
        """Return the states (layers + 1, n, d) of n words in their texts, on the CPU, and which words have states, (n,) bool.

        A word is a text and the characters [start, end) of it; its state is the sum over the sub-words that share a
        character with it, in one forward pass per text, without dropout. A word that reaches beyond the first `max_length`
        tokens of its text, or that the tokenizer drops, has none: False, and NaN in every layer.

        Raises InputError for a span that is not in its text, more tokens than the encoder reads, or a tokenizer
        without offsets.
        """
        _check_words(self, words, max_length)
        by_text: dict[str, list[int]] = {}
        for number, (text, _) in enumerate(words):
            by_text.setdefault(text, []).append(number)
        texts = sorted(by_text, key=len)
        states = torch.full((self.layers + 1, len(words), self.hidden_size), torch.nan)
        present = torch.zeros(len(words), dtype=torch.bool)
        for start in range(0, len(texts), batch_size):
            batch = texts[start : start + batch_size]
            spans = [[words[number][1] for number in by_text[text]] for text in batch]
            inputs, places = tokens_of_words(self.tokenizer, batch, spans, max_length)
            numbers = [number for text in batch for number in by_text[text]]
            places_of_words = {number: at for number, at in zip(numbers, places, strict=True) if at[1]}
            if places_of_words:
                with evaluating(self.model), torch.inference_mode():
                    encoded = self.encode({name: tensor.to(self.device) for name, tensor in inputs.items()})
                    layers = [encoded.words(layer, list(places_of_words.values())) for layer in range(self.layers + 1)]
                    states[:, list(places_of_words)] = torch.stack(layers).float().cpu()
                present[list(places_of_words)] = True
        return states, present

    def word_places(
        self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], *, max_length: int
    ) -> list[tuple[int, list[int]]]:
        """Return, for each of the `spans[row]` (characters [start, end) of `texts[row]`), its row and its tokens' positions.

        For `Encoded.words` of a batch of these texts. A word that reaches beyond `max_length` tokens, or that the
        tokenizer drops, has no positions. Raises InputError as `word_states` does.
        """
        words = [(text, span) for text, row in zip(texts, spans, strict=True) for span in row]
        _check_words(self, words, max_length)
        return tokens_of_words(self.tokenizer, list(texts), [list(row) for row in spans], max_length)[1]

    def adapt(self, config: "LoraConfig | IA3Config") -> frozenset[str]:
        """Add PEFT adapters to the model, and return the names of their parameters.

        From then on only adapters and the head may train, in every phase. There is one head, saved with the first
        adapters.

        Raises InputError where the model has adapters of another kind, or is not the whole encoder.
        """
        from distxfer.encoders._adapters import add_adapters  # needs PEFT

        if self.dropped:
            raise InputError(
                f"`model.drop_last_layers` is `{self.dropped}`, but adapters are saved beside the whole encoder, so that the"
                " blocks would be back when they are loaded. Set it to 0, and keep the adapters to lower `layers`."
            )
        config.task_type = _TASK_TYPES["token" if self.token_head else self.output]
        config.modules_to_save = None if self.adapters else self.head_modules()
        self.model = add_adapters(self.model, config, has_adapters=bool(self.adapters))
        return self._with_adapters(
            {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        )

    def add_bottlenecks(self, r: int) -> frozenset[str]:
        """Add a bottleneck of width `r` parallel to every feed-forward layer, and return the names of its parameters.

        From then on only adapters and the head may train, in every phase. The saved model is a plain one, whose
        feed-forward layers are wider.

        Raises InputError where the model has PEFT adapters, or no feed-forward layers that can be widened.
        """
        added = add_bottlenecks(self.model, self.base.config, *self.feed_forward_modules(range(1, self.layers + 1)), r)
        head = {name for name, _ in self.model.named_parameters() if self.place(name) == "head"}
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in self.adapters | added | head)
        return self._with_adapters(self.adapters | added | head)

    def store_frozen(self, precision: Literal["bf16", "int8"]) -> None:
        """Store the linear maps that are frozen under PEFT adapters in 2 bytes or 1 per weight instead of 4.

        Embeddings, norms, and all weights that train or are saved, stay float32.

        - `bf16`: from then on every forward pass computes in bf16. Passes under bf16 autocast do not change, bit for bit
          (with DoRA, whose scale depends on the norm of these weights, nearly): autocast rounds the weights of linear maps in
          the same way at each pass.
        - `int8`: the weights are rounded (`Int8Linear`), so that every pass changes.

        Raises InputError where the model has no PEFT adapters: all its weights may train, or are saved.
        """
        if not has_peft_adapters(self.model):
            raise InputError(
                f"`model.frozen_weights` = `{precision}` needs weights that are frozen under PEFT adapters, and there are no"
                " adapters. Add some, as `recipe=lora` does, or leave it at float32."
            )
        frozen = {
            name: module
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear)
            and not any(key in self.adapters or self.place(key) == "head" for key in (f"{name}.weight", f"{name}.bias"))
        }
        if not frozen:
            raise InputError(
                f"`model.frozen_weights` = `{precision}` is for frozen linear maps, and `{self.name}` has none of"
                " `torch.nn.Linear`. Leave it at float32."
            )
        for name, module in frozen.items():
            self.model.set_submodule(name, Int8Linear(module) if precision == "int8" else module.to(torch.bfloat16))
        self.frozen_in_bf16 = precision == "bf16"

    def move_to(self, device: torch.device) -> None:
        """Move all weights to a device."""
        self.model.to(device)
        self.device = device

    def _with_adapters(self, trainable: Set[str]) -> frozenset[str]:
        """Record the trainable parameters, and return the new ones outside the head."""
        before, self.adapters = self.adapters, frozenset(trainable)
        return frozenset(name for name in self.adapters - before if self.place(name) != "head")

    def head_modules(self) -> list[str]:
        """Return the names of the outermost modules whose parameters all belong to the head."""
        names = [name for name, _ in self.model.named_parameters()]
        modules: list[str] = []
        for module, _ in self.model.named_modules():
            inside = [name for name in names if name.startswith(f"{module}.")]
            if module and inside and all(self.place(name) == "head" for name in inside):
                modules.extend([] if any(module.startswith(f"{outer}.") for outer in modules) else [module])
        return modules

    def linear_modules(self, layers: Sequence[int]) -> list[str]:
        """Return the names in the plain model of the linear maps inside the given blocks."""
        return [name for name in self._linear_maps() if self.place(f"{name}.weight") in layers]

    def attention_modules(self, layers: Sequence[int]) -> list[str]:
        """Return the names of the linear maps of the attention inside the given blocks."""
        return [name for name in self.linear_modules(layers) if "att" in name.removeprefix(self.blocks).lower()]

    def feed_forward_modules(self, layers: Sequence[int]) -> tuple[list[str], list[str]]:
        """Return the names of the linear maps outside the attention that widen the states, and of those that narrow them.

        A gated feed-forward layer has two that widen, or one that holds both.
        """
        attention, maps = self.attention_modules(layers), self._linear_maps()
        names = [name for name in self.linear_modules(layers) if name not in attention]
        widening = [name for name in names if maps[name].in_features < maps[name].out_features]
        return widening, [name for name in names if maps[name].in_features > maps[name].out_features]

    def _linear_maps(self) -> dict[str, nn.Linear]:
        """Return the linear maps of the plain model by name; in an adapted model each comes before its adapters."""
        linear_maps: dict[str, nn.Linear] = {}
        for name, module in self.model.named_modules():
            if isinstance(module, nn.Linear):
                linear_maps.setdefault(_PEFT_NAMES.sub("", name), module)
        return linear_maps

    def block_modules(self) -> list[nn.Module]:
        """Return the blocks, from the first to the last."""
        path = self.blocks.removeprefix(f"{self.base_name}.").rstrip(".")
        return list(cast(nn.ModuleList, self.base.get_submodule(path)))

    def reference(self, moves: Callable[[str], bool]) -> Reference:
        """Return the pretrained encoder as it is now; `moves` tells which parameters training will change."""
        return Reference(self, moves)

    def save(self, folder: Path) -> None:
        """Write files that `from_pretrained` (or PEFT, with adapters) loads: safetensors, never pickles."""
        alone = self.output == "state" and not has_peft_adapters(self.model)
        with quiet():
            plain = with_merged_bottlenecks(cast(PreTrainedModel, self.model))
            saved = cast(PreTrainedModel, plain.base_model) if alone else plain
            saved.save_pretrained(str(folder))
            try:
                self.tokenizer.save_pretrained(str(folder))
            except Exception as error:  # tokenizers reports a full disk with the bare class
                if type(error) is Exception:
                    raise OSError(errno.EIO, str(error)) from error
                raise


def _check_words(encoder: Encoder, words: Sequence[tuple[str, tuple[int, int]]], max_length: int) -> None:
    if not encoder.tokenizer.is_fast:
        raise InputError(
            f"The tokenizer of `{encoder.name}` does not return the offsets of its tokens, which words need: "
            "choose an encoder with a `tokenizer.json`."
        )
    if max_length > encoder.max_tokens:
        raise InputError(f"`max_length` is {max_length}, but this encoder reads at most {encoder.max_tokens} tokens.")
    for number, (text, (start, end)) in enumerate(words):
        if not 0 <= start < end <= len(text):
            raise InputError(
                f"`words[{number}]` is the characters {start} to {end} of a text of {len(text)}; expected "
                "0 <= start < end <= length: give the place of a word in its own text."
            )
