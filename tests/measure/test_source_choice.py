"""How near the states of two languages' texts are."""

import numpy as np
import pytest

from distxfer import InputError
from distxfer.measure import centroid_distances, neighbour_shares

RANDOM = np.random.default_rng(5)
TARGET = RANDOM.normal(size=(7, 5))
SOURCES = {"eng": RANDOM.normal(size=(6, 5)), "hin": RANDOM.normal(size=(9, 5)), "tur": RANDOM.normal(size=(4, 5))}


def by_definition(target, sources, k):
    pool = np.concatenate(list(sources.values()))
    owners = [source for source, states in sources.items() for _ in states]
    rows, pool = target - pool.mean(axis=0), pool - pool.mean(axis=0)
    cosines = rows @ pool.T / np.outer(np.linalg.norm(rows, axis=1), np.linalg.norm(pool, axis=1))
    hits = dict.fromkeys(sources, 0.0)
    for row in cosines:
        for place in np.argsort(-row)[:k]:
            hits[owners[place]] += 1 / len(sources[owners[place]])
    return {source: count / sum(hits.values()) for source, count in hits.items()}


@pytest.mark.parametrize("k", [1, 3, 19])
def test_neighbour_shares_by_definition(k):
    shares = neighbour_shares(TARGET, SOURCES, k=k)
    assert shares == pytest.approx(by_definition(TARGET, SOURCES, k))
    assert sum(shares.values()) == pytest.approx(1)
    if k == 19:  # all texts: no source is nearer for having more of them
        assert list(shares.values()) == pytest.approx([1 / 3] * 3)


def test_centroid_distances_by_definition():
    pool = np.concatenate(list(SOURCES.values())).mean(axis=0)
    mean = TARGET.mean(axis=0) - pool
    expected = {}
    for source, states in SOURCES.items():
        other = states.mean(axis=0) - pool
        expected[source] = 1 - mean @ other / (np.linalg.norm(mean) * np.linalg.norm(other))
    assert centroid_distances(TARGET, SOURCES) == pytest.approx(expected)


@pytest.mark.parametrize("function", [neighbour_shares, centroid_distances])
def test_a_rotation_and_a_common_shift_change_nothing(function):
    rotation = np.linalg.qr(RANDOM.normal(size=(5, 5)))[0]
    moved = {source: states @ rotation + 3 for source, states in SOURCES.items()}
    assert function(TARGET @ rotation + 3, moved) == pytest.approx(function(TARGET, SOURCES))


def test_the_language_of_the_same_texts_is_nearest():
    copies = {**SOURCES, "deu": TARGET + 0.01 * RANDOM.normal(size=TARGET.shape)}
    for function, best in ((neighbour_shares, max), (centroid_distances, min)):
        values = function(TARGET, copies, k=1) if function is neighbour_shares else function(TARGET, copies)
        assert best(values, key=values.__getitem__) == "deu"


def test_wrong_states_are_refused():
    with pytest.raises(InputError, match="at least one source"):
        neighbour_shares(TARGET, {})
    with pytest.raises(InputError, match="`k` is 20; expected a number from 1 to 19"):
        neighbour_shares(TARGET, SOURCES, k=20)
    with pytest.raises(InputError):
        centroid_distances(TARGET, {"eng": np.ones((3, 4))})
