"""Print how often the comparison in ONE language errs, from simulation: false positives with few sentences and seeds.

    python studies/simulations/few_sentences_rates.py [--draws 2000]

Truth: method m of seed s is right on sentence i where h_i + a_mi + u_ms + e_msi > 0, with h_i normal (sd 1.5) for how hard a
sentence is, a_mi (sd `of sentences`) for what a method is good at, u_ms (sd `of seeds`) for the luck of a run, and e_msi
standard logistic. Both methods are drawn alike, so a false positive is p <= 0.05 of `crossed` on the table of differences
(seeds by sentences): the test of `distxfer new-language`. `left out` is the share of tables in which nothing varies, which
are no claim.
"""

import argparse
import itertools

import numpy as np

from distxfer.measure import crossed
from distxfer.reports.tables import Table

SEEDS, SENTENCES = (3, 5), (20, 50, 150, 400)
OF_SENTENCES, OF_SEEDS = (0.0, 0.5, 1.5), (0.0, 0.3)


def right(
    generator: np.random.Generator, hard: np.ndarray, seeds: int, of_sentences: float, of_seeds: float
) -> np.ndarray:
    """Return what the seeds of one method get right, (seeds, sentences)."""
    skill = of_sentences * generator.standard_normal((1, len(hard)))
    luck = of_seeds * generator.standard_normal((seeds, 1))
    return (hard + skill + luck + generator.logistic(size=(seeds, len(hard))) > 0).astype(float)


def main() -> None:
    """Print one row for each design and each truth."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--draws", type=int, default=2000)
    draws = parser.parse_args().draws
    rows = []
    for seeds, sentences, of_sentences, of_seeds in itertools.product(SEEDS, SENTENCES, OF_SENTENCES, OF_SEEDS):
        generator = np.random.default_rng(0)
        p_values = []
        for _ in range(draws):
            hard = 1.5 * generator.standard_normal(sentences)
            method, baseline = (right(generator, hard, seeds, of_sentences, of_seeds) for _ in range(2))
            p_values.append(crossed(method - baseline).p)
        tested = [p for p in p_values if p is not None]
        rows.append(
            (
                seeds,
                sentences,
                f"{of_sentences:.1f}",
                f"{of_seeds:.1f}",
                f"{sum(p <= 0.05 for p in tested) / draws:.1%}",
                f"{1 - len(tested) / draws:.1%}",
            )
        )
    columns = ("seeds", "sentences", "of sentences", "of seeds", "false positives", "left out")
    print(Table(columns, rows, title=f"nominal 5 %, {draws} draws").text())


if __name__ == "__main__":
    main()
