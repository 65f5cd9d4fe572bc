"""The contract of interventions: a frozen set of recipe keys, and one method that returns what to add and what to train.

No hooks: an intervention gets data and returns data. Only the training loop adds terms up, so each is logged, scaled
and tested separately.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from distxfer.data import Example, Pair
from distxfer.interventions._old_names import accept_old_names
from distxfer.languages import Distances

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distxfer.data import Batch
    from distxfer.encoders import Encoded, Encoder

LATER = {"later": True}  # metadata of a key added after version 0.1, whose default does not change a run's id
# Distinct rows below which a CKA penalty is skipped. The unbiased estimate is a ratio, so it is still biased: by half at 4 rows,
# where the gradients of single batches reach 65 times the median.
CKA_ROWS = 16
Need = Literal[
    "reference",
    "task_reference",
    "pretrained",
    "pairs",
    "target_text",
    "weights",
    "predictions",
    "encoder",
    "vocabulary",
]


@accept_old_names("Term")
@dataclass(frozen=True)
class Term:
    """One summand of the objective: a sum and the number of items it is a sum of, never a mean.

    The loop divides `loss_sum` by `num_items`, each added up over all micro-batches and processes of a step, so the objective
    does not depend on how a step is split. `num_items` may be 0: there was nothing to sum over (see `empty_term`). `logs` go
    into `log.jsonl` as `term/NAME/KEY`, those of a step's last micro-batch: numbers, or scalar tensors, which the loop reads
    later. A term should not read tensors itself (`.item()`), since a GPU then has to wait for it.
    """

    loss_sum: Tensor  # scalar
    num_items: int
    per: Literal["example", "token", "pair", "batch"]
    logs: Mapping[str, float | Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Languages:
    """The languages of a run: the sources have the labels, the `targets` are evaluated.

    With several sources, `source` is the first: parallel text has it on its source side, and gaps are from its score.
    """

    source: str
    targets: tuple[str, ...]
    other_sources: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """All sources, `source` first."""
        return self.source, *self.other_sources

    @property
    def all(self) -> tuple[str, ...]:
        """The sources and the targets, in this order."""
        return *self.sources, *self.targets


class Step(Protocol):
    """What a term may use in one step. All its random draws come from the term's own stream."""

    @property
    def number(self) -> int:
        """The number of this optimiser step within its phase, from 0."""

    @property
    def random(self) -> np.random.Generator:
        """The term's own generator, the same in every run with this seed, step and micro-batch."""

    @property
    def batch(self) -> Batch:
        """The task's examples of this micro-batch, in the source language."""

    @property
    def synchronized(self) -> bool:
        """Whether all processes must make the same forward and backward passes: with sharded weights.

        A term's draws may differ between processes; its passes, and the states in its `loss_sum`, may not.
        """

    def encoded(self) -> Encoded:
        """Return the trained encoder's states of `batch`: the task's own forward pass, shared by all terms."""

    def encode(self, batch: Batch) -> Encoded:
        """Return the trained encoder's states of other text: one more forward pass, or none (see `sample_pairs`).

        The two sides of pairs are one pass.
        """

    def classify(self, batch: Batch) -> Encoded:
        """Return the trained encoder's states of other text and its head's logits: one more forward pass."""

    def reference(self, batch: Batch) -> Tensor:
        """Return the pretrained encoder's pooled states (layers + 1, n, d) of some text; needs `reference`.

        A term that asks for those of `batch` alone needs `task_reference`, for which no second encoder is in memory.
        With `model.reference = "cached"`, only of the run's own text: `batch`, `sample_pairs` and `sample_texts`.
        """

    def pretrained(self, batch: Batch) -> Encoded:
        """Return the pretrained encoder's states of some text, token by token, computed anew; needs `pretrained`."""

    def sample_pairs(self, language: str, n: int) -> tuple[Batch, Batch]:
        """Return `n` sentences and their translations, drawn without repetition; needs `pairs`.

        Terms that need pairs draw from one stream: terms that draw the same languages in the same way, and equally many
        pairs, get the same ones, and share their forward passes.
        """

    def sample_texts(self, language: str, n: int) -> Batch:
        """Return `n` unlabelled texts of a target language; needs `target_text`."""

    def sample_labelled(self, language: str, n: int) -> tuple[Batch, Tensor]:
        """Return `n` texts of a target language and their distributions over the classes, (n, classes); needs `labels`.

        They are drawn without repetition from the texts whose row of `labels` is not zero.
        """

    def sample_labelled_pairs(self, language: str, n: int) -> tuple[Batch, Batch, Tensor]:
        """Return `n` sentences, their translations and their rows of `labels`; needs `labels` and `pairs`.

        Drawn as in `sample_labelled`. The two sides are one pass, which no other term shares.
        """

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Return a batch of texts that the term created."""


class Teacher(Protocol):
    """The model as it is when a phase begins, before weights are rewound: in evaluation mode, without gradients."""

    @property
    def texts(self) -> Mapping[str, Sequence[Example]]:
        """The unlabelled texts by language.

        Without unlabelled text, the source has its training examples, and a target the translations of its pairs.
        """

    @property
    def pairs(self) -> Mapping[str, Sequence[Pair]]:
        """The pairs by target language."""

    def logits(self, examples: Sequence[Example]) -> Tensor:
        """Return the head's logits for texts, (n, classes), in float32 on the CPU; the processes share the work."""

    def states(self, examples: Sequence[Example]) -> Tensor:
        """Return the pooled states of the last layer for texts, (n, d), in the same way."""


@dataclass(frozen=True)
class Change:
    """The change of one parameter: its value at the start of the phase to rewind to, and its value now."""

    start: Tensor
    now: Tensor


def empty_term(step: Step, states: Iterable[Tensor], per: Literal["example", "token", "pair", "batch"]) -> Term:
    """Return the term of a step with nothing to sum over; `states` are those that a loss would depend on.

    `loss_sum` and `num_items` are 0. The sum is a constant, or 0 times the states where the passes are synchronized.
    """
    import torch

    zero = torch.stack([0 * state.sum() for state in states]).sum()
    return Term(zero if step.synchronized else zero.detach(), 0, per)


def distinct_texts(batch: Batch) -> list[int]:
    """Return the rows of a batch's distinct texts: of equal token sequences, the first."""
    rows = np.where(batch.on_host("attention_mask") == 0, -1, batch.on_host("input_ids"))
    first: dict[bytes, int] = {}
    for place, row in enumerate(rows):
        first.setdefault(row.tobytes(), place)
    return list(first.values())


def every(_: str) -> bool:
    """Let every parameter train."""
    return True


@accept_old_names("BoundIntervention")
@dataclass(frozen=True)
class BoundIntervention:
    """An intervention bound to one encoder, one set of languages and their distances.

    - `term`: the summand of a `Step`, or None. `weight` scales it; at 0 it is measured and logged without effect.
    - `trains`: whether a parameter, by name, may train.
    - `module`: weights of its own, which are optimised, resumed and saved.
    - `needs`: what the run must provide. `pairs`: parallel text; `target_text`: unlabelled target text; `reference`: the
      pretrained encoder's pooled states; `pretrained`: its states of every token, or of text that the term created;
      `weights`: trainable weights of the encoder itself, which adapters freeze; `predictions`: a trained head, through which
      shared passes over pairs then go (do not declare it for a term that trains the head itself); `encoder`: reads of the
      encoder's weights outside of the step, which sharded weights do not allow; `vocabulary`: trainable embeddings of all tokens,
      for text that the term creates with tokens that no text of the run may have.
    - `languages`: the targets whose pairs or text it draws.
    - `entries`: called once as a phase begins, returns which entries of the trainable parameters may train. `selects`: how
      many that will be, given the sizes of these parameters; called before training.
    - `labels`: called once as a phase begins, returns the distributions over the classes that target text is trained on: for
      each of `languages` (texts, classes), a row for each unlabelled text or, if it needs `pairs`, for each pair, of whose
      translation it is the label. A row of zeros leaves a text out. A forecast calls it with logits of 0, to count the texts
      that it asks for. See `Step.sample_labelled`. With `labels_are_states` the rows are states (texts, d) in place of
      distributions, which need no trained head and train none.
    - `checks`: called before training with the pairs that terms draw from, by language; raises InputError for pairs, or an
      encoder, that it cannot use.
    - `replace_weight`: the value that the forward passes of training use in place of a parameter, with a gradient. Its randomness
      is torch's, from its own stream. Measuring and the result use the parameter itself.
    - `adapters`: the names of the parameters that it added to the encoder. They train only in the phases in which it acts.
    - `resolved_values`: what binding resolved, for `result.json`.
    - `layers`: the layers whose states the term reads, None for any. A pass of text other than the task's ends at the uppermost
      layer that the terms that share it read; another layer's states are then a RunError.
    - `constant_source`: the term takes the source's states of pairs as constants. Their pass has a gradient only where another
      term needs it, so the term detaches them, too.
    - `own_passes`: the term never calls `step.encoded`, so that its passes need not be in memory together with the task's.
    - `min_distinct_texts`: how many different texts a batch must hold for the term to count. Settings and text that never
      give as many are refused before training.
    """

    term: Callable[[Step], Term] | None = None
    weight: float = 1.0
    trains: Callable[[str], bool] = every
    module: nn.Module | None = None
    needs: frozenset[Need] = frozenset()
    languages: tuple[str, ...] = ()
    entries: Callable[[Mapping[str, Change]], Mapping[str, Tensor]] | None = None
    selects: Callable[[Mapping[str, int]], int] | None = None
    labels: Callable[[Teacher], Mapping[str, Tensor]] | None = None
    labels_are_states: bool = False
    checks: Callable[[Mapping[str, Sequence[Pair]]], None] | None = None
    replace_weight: Callable[[str, Tensor], Tensor] | None = None
    adapters: frozenset[str] = frozenset()
    resolved_values: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[int, ...] | None = None
    constant_source: bool = False
    own_passes: bool = False
    min_distinct_texts: int = 1


class Intervention(Protocol):
    """A final frozen dataclass; its fields are its recipe keys, `intervention.NAME.FIELD`."""

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> BoundIntervention:
        """Return what this intervention adds to the objective and lets train, for this encoder and these languages.

        Raises InputError where the recipe asks for something that this encoder or these languages do not have.
        """
