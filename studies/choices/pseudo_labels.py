"""What could correct the labels that `plain` gives to target text, or choose among them? Without training on them.

`python -m studies.choices.pseudo_labels` (needs `pip install uroman`) trains `plain` on each task as in `studies.development`,
seed 0, and writes `pseudo_labels.md`: the accuracy of labels on dev of the development languages (on `intents` also on test).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, normalize
from uroman import Uroman

from distxfer import load_recipe, train
from distxfer.data import Collator, Example, task_languages
from distxfer.encoders import Encoder, load_encoder, model_folder
from distxfer.measure import fit_probe
from distxfer.runs.prepare import data_of
from distxfer.runs.saved_model import saved_model
from studies.languages import DEVELOPMENT

PAGE = Path(__file__).with_name("pseudo_labels.md")
TASKS = ("intents", "messages")
MOST = 600  # texts of a part and language
NEIGHBOURS = 10
SHARE = 0.5  # of each predicted class that keeps its label, as in `self_training`


def main() -> None:
    """Train `plain` on each task and write the table."""
    torch.set_num_threads(1)
    tables = {task: accuracies(task) for task in TASKS}
    columns = [(task, language) for task, table in tables.items() for language in table]
    lines = ["| labels | " + " | ".join(f"{task}, {language}" for task, language in columns) + " |"]
    lines += ["|---" * (len(columns) + 1) + "|"]
    for name in tables[TASKS[0]].index:
        values = [tables[task].at[name, language] for task, language in columns]
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def accuracies(task_name: str) -> pd.DataFrame:
    """Return the accuracy of each kind of labels (rows) in each language, and in the mean of the development languages."""
    targets = [language for language in DEVELOPMENT if language in task_languages(task_name)]
    words = [f"task={task_name}", f"task.targets={','.join(targets)}", "parallel.name="]
    _, task, _ = data_of(recipe := load_recipe("plain", words))
    with tempfile.TemporaryDirectory() as results:
        train(recipe, results)
        (run,) = (path.parent for path in Path(results).glob("*/*/result.json"))
        model = saved_model(run)
        assert model is not None
        tuned = model.load(task.labels, torch.device("cpu"))
    name = recipe.model.name
    pretrained = load_encoder(name, model_folder(name), task.labels, seed=0)
    source = task.examples("train", "eng")
    source_labels = [example.label for example in source]
    source_states, _ = encoded(pretrained, source)
    tuned_source, _ = encoded(tuned, source)
    probe = fit_probe(source_states, source_labels, len(task.labels))

    def probed(states: Tensor) -> Tensor:
        return states @ torch.from_numpy(probe.weights).float().T + torch.from_numpy(probe.bias).float()

    text = {language: task.unlabelled[language][:MOST] for language in ("eng", *targets)}
    unlabelled = {language: encoded(tuned, part) for language, part in text.items()}
    rows = {}
    for language in ("eng", *targets):
        examples = task.examples("dev", language)[:MOST]
        if task_name == "intents":
            examples = [*examples, *task.examples("test", language)]
        labels = torch.tensor([example.label for example in examples])
        states, logits = encoded(tuned, examples)
        own_states, _ = encoded(pretrained, examples)
        centred = logits - unlabelled[language][1].mean(dim=0) + unlabelled["eng"][1].mean(dim=0)
        whitened = whitened_logits(tuned_source, source_labels, states, unlabelled[language][0], len(task.labels))
        views = {
            "probe of the pretrained states": probed(own_states),
            "CSLS neighbours in English": neighbour_votes(own_states, source_states, source_labels, len(task.labels)),
        }
        uroman = Uroman()
        romanised = [Example(row.id, language, uroman.romanize_string(row.text)) for row in examples]
        logits_by_kind = {
            "of the model": logits,
            "centred by language": centred,
            "of states whitened by language": whitened,
            "of romanised text": encoded(tuned, romanised)[1],
            **views,
        }
        row = {kind: accuracy(values, labels) for kind, values in logits_by_kind.items()}
        everything = torch.ones(len(labels), dtype=torch.bool)
        row["most confident half of each class"] = accuracy(logits, labels, confident(logits, everything))
        row["the same, centred"] = accuracy(centred, labels, confident(centred, everything))
        for kind, view in views.items():
            agreed = logits.argmax(dim=1) == view.argmax(dim=1)
            row[f"most confident half, of those that agree with the {kind}"] = accuracy(
                logits, labels, confident(logits, agreed)
            )
        rows[language] = row
    table = pd.DataFrame(rows)
    table["mean"] = table[targets].mean(axis=1)
    return table


@torch.no_grad()
def encoded(encoder: Encoder, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Return the pooled states of the last layer (n, d) and the logits (n, classes)."""
    collate = Collator(encoder.tokenizer, 128)
    bare = [Example("", row.language, row.text, row.text_pair) for row in examples]
    order = sorted(range(len(bare)), key=lambda row: len(bare[row].text))
    chunks = [
        encoder.states([collate([bare[row] for row in rows]).inputs])
        for rows in np.array_split(order, len(bare) // 64 + 1)
    ]
    place = torch.tensor(order).argsort()
    logits = [chunk for _, chunk in chunks if chunk is not None]
    return torch.cat([pooled[-1] for pooled, _ in chunks])[place].float(), torch.cat(logits)[place].float()


def accuracy(logits: Tensor, labels: Tensor, rows: Tensor | None = None) -> float:
    """Return the share of rows, by default of all, whose highest logit is that of the label."""
    right = logits.argmax(dim=1) == labels
    return float((right if rows is None else right[rows]).float().mean())


def confident(logits: Tensor, allowed: Tensor) -> Tensor:
    """Return the `allowed` ones among the rows of each predicted class with the highest probability."""
    confidence, predicted = log_softmax(logits, dim=1).max(dim=1)
    chosen = []
    for label in predicted.unique():
        rows = (predicted == label).nonzero().flatten()
        count = max(1, round(SHARE * len(rows)))
        rows = rows[allowed[rows]]
        chosen.append(rows[confidence[rows].argsort(descending=True)[:count]])
    return torch.cat(chosen)


def neighbour_votes(states: Tensor, source_states: Tensor, labels: Sequence[int], classes: int) -> Tensor:
    """Return each class's share of the nearest source texts by CSLS (Conneau et al. 2018), weighted by exp(10 CSLS)."""
    cosines = normalize(states) @ normalize(source_states).T
    to_source = cosines.topk(NEIGHBOURS, dim=1).values.mean(dim=1, keepdim=True)
    to_texts = cosines.topk(min(NEIGHBOURS, len(states)), dim=0).values.mean(dim=0, keepdim=True)
    values, places = (2 * cosines - to_source - to_texts).topk(NEIGHBOURS, dim=1)
    votes = torch.zeros(len(states), classes)
    return votes.scatter_add(1, torch.tensor(labels)[places], (10 * values).softmax(dim=1))


def whitened_logits(source: Tensor, labels: Sequence[int], states: Tensor, unlabelled: Tensor, classes: int) -> Tensor:
    """Return a probe's scores of states whitened by the mean and covariance of their language's unlabelled text."""

    def whitening(text: Tensor) -> tuple[Tensor, Tensor]:
        covariance = text.double().T.cov()
        ridge = 1e-3 * covariance.diagonal().mean() * torch.eye(len(covariance))
        values, vectors = torch.linalg.eigh(covariance + ridge)
        return text.double().mean(dim=0), vectors @ (values**-0.5).diag() @ vectors.T

    mean, root = whitening(source)
    probe = fit_probe((source.double() - mean) @ root, labels, classes)
    mean, root = whitening(unlabelled)
    whitened = (states.double() - mean) @ root
    return whitened @ torch.from_numpy(probe.weights).T + torch.from_numpy(probe.bias)


if __name__ == "__main__":
    main()
