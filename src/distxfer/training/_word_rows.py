"""The word embeddings of a run in which they train: a gradient and a state of the optimiser only for tokens of its texts."""

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from distxfer.encoders import Encoder
from distxfer.errors import RunError
from distxfer.interventions import BoundIntervention
from distxfer.training._objective import TrainingData


class WordRows(nn.Embedding):
    r"""Word embeddings of which the rows of the n tokens `ids` train, as one parameter `weight`, (n, d).

    Training equals that of the entire matrix, within rounding. The other rows never have a gradient, so AdamW changes them
    by weight decay alone: at learning rates :math:`r_t` and weight decay w, they are `decay` times the pretrained ones,

    .. math:: \prod_t (1 - r_t w).

    In evaluation mode every token can be embedded, in training mode only those in `ids` (see `check`).
    """

    def __init__(self, encoder: Encoder, ids: Tensor) -> None:
        self.name = encoder.embeddings  # of the matrix, and of `weight` while it replaces the matrix
        plain = encoder.base.get_input_embeddings()
        assert isinstance(plain, nn.Embedding)
        matrix = plain.weight.detach()
        ids = ids.to(matrix.device)
        row_of = torch.full((len(matrix),), -1, device=ids.device)
        row_of[ids] = torch.arange(len(ids), device=ids.device)
        padding = None if plain.padding_idx is None else int(row_of[plain.padding_idx])
        super().__init__(len(ids), plain.embedding_dim, padding, _weight=matrix[ids])
        # No buffers: DDP would send them to all processes at each step.
        self._matrix, self._ids, self._row_of = matrix, ids, row_of
        self._lowest = row_of.new_zeros(())  # below 0 after a token without a row
        # mps has no float64
        self.decay = torch.ones((), dtype=torch.float32 if ids.device.type == "mps" else torch.float64).to(ids.device)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the word embeddings of token ids."""
        rows = self._row_of[input]
        embedded = super().forward(rows.clamp(min=0))
        if self.training:
            self._lowest = torch.minimum(self._lowest, rows.min())
            return embedded
        others = (self._matrix[input] * self.decay).to(embedded)
        return torch.where((rows < 0).unsqueeze(-1), others, embedded)

    def check(self) -> None:
        """Raise RunError where training has met tokens whose rows do not train."""
        if self._lowest < 0:
            raise RunError(
                "A term has read tokens that none of the run's texts has, and their word embeddings do not train. Add"
                " `vocabulary` to the `needs` of its `BoundIntervention`."
            )

    def fit(self, key: str, value: Tensor) -> Tensor:
        """Return the rows of a value in a checkpoint that has those of the entire matrix, as of sharded weights."""
        if self.name not in key or value.dim() < 2 or len(value) != len(self._row_of):
            return value
        if key == f"parameter/{self.name}":
            self._matrix = value.to(self._ids.device)
        return value[self._ids.to(value.device)]

    @contextmanager
    def installed(self, encoder: Encoder) -> Iterator[None]:
        """Replace the matrix in the encoder, and write all rows to it at the end.

        The reference may share the matrix: it is not read afterwards.
        """
        path = self.name.rpartition(".")[0]
        plain = cast(nn.Embedding, encoder.model.get_submodule(path))
        encoder.model.set_submodule(path, self)
        try:
            yield
        finally:
            with torch.no_grad():
                self._matrix.mul_(self.decay)[self._ids] = self.weight
                plain.weight.copy_(self._matrix)
            encoder.model.set_submodule(path, plain)


def word_rows(
    encoder: Encoder, data: TrainingData, bounds: Sequence[BoundIntervention], moves: Set[str]
) -> WordRows | None:
    """Return the rows of the tokens of all texts of training, where these alone suffice for a run that changes `moves`.

    None where the word embeddings do not train, an intervention reads or selects weights or creates text, the matrix is
    used elsewhere in the model (such as for predicting words), or its module is more than a matrix.
    """
    words = encoder.base.get_input_embeddings()
    uses = [weight for _, weight in encoder.model.named_parameters(remove_duplicate=False) if weight is words.weight]
    if encoder.embeddings not in moves or len(uses) > 1 or type(words) is not nn.Embedding:
        return None
    if any(
        bound.entries or bound.replace_weight or bound.needs & {"encoder", "vocabulary", "weights"} for bound in bounds
    ):
        return None
    met = torch.zeros(len(words.weight), dtype=torch.bool)
    met[encoder.tokenizer.pad_token_id] = True
    for ids in data.collate.token_ids(data.read_by(bounds)):
        met[ids] = True
    return WordRows(encoder, met.nonzero().flatten())
