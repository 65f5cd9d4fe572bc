"""Holding the space still: drift by relations, and of pairs or target text."""

from functools import partial
from itertools import permutations

import pytest
import torch
from torch.nn.functional import cosine_similarity

import fakes
from conftest import TARGETS
from distxfer import InputError
from distxfer.data import Batch
from distxfer.interventions import make_intervention
from distxfer.measure import cka, relational_drift
from fakes import FakeStep, noise

bind, term = (partial(function, targets=TARGETS) for function in (fakes.bind, fakes.term))


# Relational drift


def by_hand(x: torch.Tensor, y: torch.Tensor) -> float:
    pairs = list(permutations(range(len(x)), 2))
    cosines = [[float(cosine_similarity(z[i], z[j], dim=0)) for i, j in pairs] for z in (x.detach(), y.detach())]
    return sum((a - b) ** 2 for a, b in zip(*cosines, strict=True)) / len(pairs)


def test_relational_drift_is_the_mean_squared_difference_of_the_cosines():
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, 7, width, generator=draw, dtype=torch.float64) for width in (3, 5))
    assert relational_drift(x, y).tolist() == pytest.approx([by_hand(*pair) for pair in zip(x, y, strict=True)])
    corner = torch.eye(2)
    assert float(relational_drift(corner, torch.ones(2, 2))) == pytest.approx(1)  # a cosine of 0 became one of 1
    assert float(relational_drift(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [-1.0]]))) == pytest.approx(4)
    assert float(relational_drift(x[0], x[0])) == 0


def test_relational_drift_knows_no_rotation_and_no_lengths_but_an_origin():
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(9, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    turn, lengths = torch.linalg.qr(torch.randn(4, 4, generator=draw, dtype=torch.float64))[0], torch.arange(1.0, 10)
    order = torch.randperm(9, generator=draw)
    moved = float(relational_drift(x, y))
    assert float(relational_drift(lengths[:, None] * x @ turn, y)) == pytest.approx(moved)
    assert float(relational_drift(x[order], y[order])) == pytest.approx(moved)
    assert float(relational_drift(x, x + 1)) > 0.01
    assert torch.autograd.gradcheck(relational_drift, (x.requires_grad_(), y))


def test_relational_drift_needs_a_relation():
    with pytest.raises(InputError, match="`x` has 1 rows; relational drift needs at least 2: give more sentences"):
        relational_drift(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(InputError, match="`y` has 1 rows that are all zeros"):
        relational_drift(torch.ones(2, 3), torch.tensor([[1.0, 1, 1], [0, 0, 0]]))


def test_a_penalty_on_relations_is_one_item_a_batch_averaged_over_layers(encoder):
    step = FakeStep(encoder)
    result = term(step, "drift", measure="relational", layers=[1, 3])
    now, before = step.encoded().pooled_layers(), step.reference(step.batch)
    assert (result.num_items, result.per) == (1, "batch")
    assert result.loss_sum.item() == pytest.approx(
        sum(by_hand(now[layer], before[layer]) for layer in (1, 3)) / 2, rel=1e-5
    )
    still = term(FakeStep(encoder, away=lambda states, _: states), "drift", measure="relational")
    assert still.loss_sum.item() == pytest.approx(0, abs=1e-12)
    alone = term(FakeStep(encoder, n=1), "drift", measure="relational")
    assert (alone.num_items, alone.loss_sum.item()) == (0, 0.0)


# Drift of pairs


def test_drift_of_pairs_is_that_of_both_sides_as_one_set_of_rows(encoder):
    step = FakeStep(encoder)
    result = term(step, "drift", text="pairs", layers=[2], batch_size=8, languages="jpn")
    sides = step.of("eng", 8), step.of("jpn", 8)
    now = torch.cat([step.encode(side).pooled(2) for side in sides])
    before = noise(
        step.encode(step.collate([*sides[0].examples, *sides[1].examples])).pooled_layers().detach(), sides[0]
    )[2]
    assert step.drawn == [("jpn", 8)]
    assert (result.num_items, result.per) == (1, "batch")
    assert result.loss_sum.item() == pytest.approx(1 - cka(before, now).item(), rel=1e-4)
    each = term(step, "drift", text="pairs", layers=[2], batch_size=8, languages="jpn", measure="mse")
    moved = (now - before).square().sum(1) / before.square().sum(1)
    assert (each.num_items, each.per) == (16, "example")
    assert each.loss_sum.item() == pytest.approx(moved.sum().item(), rel=1e-4)


def test_drift_of_pairs_sees_one_side_move_away_as_a_whole_which_neither_side_alone_does(encoder):
    """CKA does not see a translation; of the target's rows alone it is one, of both sides' rows it is none."""

    def away(states: torch.Tensor, batch: Batch) -> torch.Tensor:
        target = torch.tensor([example.language == "jpn" for example in batch.examples])
        return states + 2 * target[None, :, None] * torch.randn(16, generator=torch.Generator().manual_seed(0))

    step = FakeStep(encoder, away=away)
    alone = term(step, "drift", text="target", languages="jpn", batch_size=16)
    assert alone.loss_sum.item() == pytest.approx(0, abs=1e-6)
    assert term(step, "drift", text="pairs", languages="jpn", batch_size=8).loss_sum.item() > 0.05


def test_pairs_or_target_text_are_needed(encoder):
    for keys, needs in (
        ({}, {"task_reference"}),
        ({"text": "pairs"}, {"reference", "pairs"}),
        ({"text": "target"}, {"reference", "target_text"}),
    ):
        assert bind(encoder, "drift", **keys).needs == needs


# Too few rows


@pytest.mark.parametrize("n", [1, 4, 15])
def test_a_penalty_by_cka_counts_nothing_below_16_texts(encoder, n):
    result = term(FakeStep(encoder, n=n), "drift")
    assert (result.num_items, result.per, result.loss_sum.item()) == (0, "batch", 0.0)
    assert term(FakeStep(encoder, n=n), "drift", measure="mse").num_items == n


def test_texts_that_are_equal_are_one_row(encoder):
    """Were they all rows, they would be evidence of each other; of equal texts alone CKA is not defined."""

    class Repeated(FakeStep):
        def of(self, language: str, n: int) -> Batch:
            return self.collate([*super().of(language, n).examples, *super().of(language, n - 3).examples])

    step = Repeated(encoder, n=16)
    result = term(step, "drift", layers=[2])
    now, before = step.encoded().pooled(2), step.reference(step.batch)[2]
    assert result.loss_sum.item() == pytest.approx(1 - cka(before[:16], now[:16]).item(), rel=1e-6)
    assert term(Repeated(encoder, n=15), "drift").num_items == 0

    class Equal(FakeStep):
        def of(self, language: str, n: int) -> Batch:
            return self.collate(list(super().of(language, 1).examples) * n)

    equal = term(Equal(encoder, n=32), "drift")
    assert (equal.num_items, equal.loss_sum.item()) == (0, 0.0)


@pytest.mark.parametrize(("text", "size", "least"), [("target", 15, 16), ("pairs", 7, 8)])
def test_a_batch_size_that_can_only_give_too_few_texts_is_refused(encoder, text, size, least):
    _, complaints = make_intervention("drift", {"text": text, "batch_size": size})
    assert complaints == [
        (
            "",
            f"is refused: `batch_size` = `{size}` is too small for the measure `cka` on `{text}`, which needs 16 texts"
            f" per batch. Give at least {least}.",
        )
    ]
    bind(encoder, "drift", text=text, batch_size=least)
    bind(encoder, "drift", text=text, batch_size=size, measure="relational")
