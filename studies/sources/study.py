"""Which source is best for a target, and what tells? By linear probes of frozen states, from every language to every other.

`python -m studies.sources.study` encodes the texts of each task with the bundled encoder, fits a probe to `MOST` labelled texts
of each language, scores it on the test texts of all others, and writes `table.md` and `scores-TASK.csv`. Nothing else is trained.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from distxfer.analysis.transfer_matrix import distance_tables, families_by_code, regrets
from distxfer.data import Collator, Example, load_task, task_languages
from distxfer.encoders import BUNDLED, Encoder, load_encoder, model_folder
from distxfer.languages import script
from distxfer.measure import accuracy, centroid_distances, fit_probe, neighbour_shares

PAGE = Path(__file__).with_name("table.md")
TASKS = ("messages", "intents", "emoji")
MOST = 600  # labelled texts of a source, and test texts of a target
POOL = 100  # texts of each source, without labels, that rankings compare with
FEW = 25  # texts of the target, without labels, that rankings read
LAYERS = (4, 8, 12)
RIDGE = 1.0


def main() -> None:
    """Write the scores and the table."""
    torch.set_num_threads(1)
    columns = {}
    for task in TASKS:
        scores, rankings = rank(task)
        scores.round(4).to_csv(Path(__file__).with_name(f"scores-{task}.csv"))
        rankings |= {"fitted to other families": fitted(scores, rankings)}
        table = regrets(scores, rankings).set_index("rule")
        fixed = [rule for rule in table.index if rule.startswith("always ")]
        columns[task] = table.drop(index=[rule for rule in fixed if rule != "always eng"]).rename(
            index={"always eng": "always English"}
        )
        columns[task].loc["always the best on average"] = table.loc[fixed[0]]
        columns[task].attrs["sources"] = len(scores)
    rules = sorted(
        set.union(*(set(table.index) for table in columns.values())), key=lambda rule: mean_regret(columns, rule)
    )
    lines = [
        "| source by | "
        + " | ".join(f"{task}, {table.attrs['sources']} languages" for task, table in columns.items())
        + " |"
    ]
    lines.append("|---" * (len(columns) + 1) + "|")
    for rule in rules:
        cells = [
            f"{100 * table.at[rule, 'regret']:.1f} ({100 * table.at[rule, 'hits']:.0f} %)"
            if rule in table.index
            else "–"
            for table in columns.values()
        ]
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def mean_regret(columns: Mapping[str, pd.DataFrame], rule: str) -> float:
    """Return the mean regret of a rule over the tasks."""
    return float(np.mean([table["regret"].get(rule, np.nan) for table in columns.values()]))


def rank(task_name: str) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return the accuracy by source and target, and the rankings of the sources: tables of the same shape, lower is better."""
    languages = list(task_languages(task_name))
    task = load_task(task_name, "eng", tuple(code for code in languages if code != "eng"), target_labels=True)
    languages = [code for code in languages if len(task.examples("train", code)) >= POOL]
    encoder = load_encoder(BUNDLED, model_folder(BUNDLED), task.labels, seed=0)
    train, test, texts = ({}, {}, {})
    for code in languages:
        train[code] = drawn(task.examples("train", code), MOST)
        test[code] = drawn(task.examples("test", code), MOST)
        texts[code] = drawn(task.unlabelled.get(code) or task.examples("train", code), FEW)
    states = {code: encoded(encoder, [*train[code], *test[code], *texts[code]]) for code in languages}
    last = {code: layers[-1] for code, layers in states.items()}
    scores = pd.DataFrame(index=languages, columns=languages, dtype=float).rename_axis("source")
    for source in languages:
        n = len(train[source])
        labels = [example.label for example in train[source]]
        probe = fit_probe(last[source][:n], labels, len(task.labels))
        for target in languages:
            if target != source:
                part = last[target][len(train[target]) : len(train[target]) + len(test[target])]
                predicted = (part.numpy() @ probe.weights.T + probe.bias).argmax(axis=1)
                scores.loc[source, target] = accuracy([example.label for example in test[target]], predicted)
    rankings = {f"nearest {name}": table for name, table in distance_tables(scores)[0].items()}
    for place, layer in enumerate(LAYERS):
        pools = {code: states[code][place][:POOL] for code in languages}
        for rule, function in (("neighbours", neighbour_shares), ("centroids", centroid_distances)):
            of_targets = {}
            for target in languages:
                sources = {code: pool for code, pool in pools.items() if code != target}
                values = function(states[target][place][-FEW:], sources)
                of_targets[target] = {code: value if rule == "centroids" else -value for code, value in values.items()}
            rankings[f"{rule}, layer {layer}, {FEW} texts"] = pd.DataFrame(of_targets).reindex(
                languages, columns=languages
            )
    vocabulary = {code: tokens(encoder, texts[code] + train[code][:POOL]) for code in languages}
    of_target = {code: tokens(encoder, texts[code]) for code in languages}
    rankings["token overlap"] = pd.DataFrame(
        {t: {s: -len(of_target[t] & vocabulary[s]) / len(of_target[t]) for s in languages} for t in languages}
    )
    rankings["same script"] = pd.DataFrame(
        {t: {s: float(script(s) != script(t)) for s in languages} for t in languages}
    )
    return scores, rankings


def fitted(scores: pd.DataFrame, rankings: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the expected loss by ridge regression on all rankings, fitted to the targets and sources of other families alone.

    Scores and rankings are centred within a target, since only differences between sources matter.
    """
    features = {rule: (table - table.mean()).where(scores.notna()) for rule, table in rankings.items()}
    features = {rule: (table / table.stack().std()).fillna(0.0) for rule, table in features.items()}
    families = families_by_code(scores.columns)
    centred = scores - scores.mean()
    expected = pd.DataFrame(index=scores.index, columns=scores.columns, dtype=float)
    for family in families.unique():
        others = families.index[families != family]
        known = np.array([centred.loc[s, t] for t in others for s in others if s != t])
        x = np.array([[table.at[s, t] for table in features.values()] for t in others for s in others if s != t])
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ known)
        for target in families.index[families == family]:
            expected[target] = -sum(
                weight * features[rule][target] for rule, weight in zip(features, weights, strict=True)
            )
    return expected


def drawn(examples: Sequence[Example], most: int) -> list[Example]:
    """Return at most so many examples, the same in every run."""
    places = np.random.default_rng(0).permutation(len(examples))[:most]
    return [examples[int(place)] for place in places]


def tokens(encoder: Encoder, examples: Sequence[Example]) -> set[int]:
    """Return the distinct tokens of some texts."""
    rows = encoder.tokenizer([example.text for example in examples], add_special_tokens=False)["input_ids"]
    return {token for row in rows for token in row}


@torch.no_grad()
def encoded(encoder: Encoder, examples: Sequence[Example]) -> list[Tensor]:
    """Return the pooled states (n, d) of each of `LAYERS`."""
    collate = Collator(encoder.tokenizer, 128)
    order = sorted(range(len(examples)), key=lambda row: len(examples[row].text))
    chunks = [
        encoder.states([collate([examples[row] for row in rows]).inputs])[0]
        for rows in np.array_split(order, len(order) // 64 + 1)
    ]
    place = torch.tensor(order).argsort()
    return [torch.cat([chunk[layer] for chunk in chunks])[place].float() for layer in LAYERS]


if __name__ == "__main__":
    main()
