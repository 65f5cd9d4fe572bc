"""What surface cues alone say of a message's role: `python -m studies.messages.surface_cues > studies/messages/table.md`.

A multinomial logistic regression on English training messages, tested in every language. It reads no word: only length,
number of words, capitals, digits and punctuation. The table has the sizes of the task and corpus as well, and
how many test texts have a twin in what training can read.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from distxfer.data import Data, Example, ParallelText, Task, load_parallel, load_task, task_languages
from distxfer.data._messages import load_messages
from distxfer.data._near_duplicates import NearDuplicates

SOURCE = "eng"
PENALTY = 1e-3  # of the squared weights
FULL_STOPS = ".。।।։"


def cues(text: str) -> list[float]:
    """Return the surface cues of a text."""
    letters, words = [character for character in text if character.isalpha()], text.split()
    capitals = [character.isupper() for character in letters]
    last = text[-1]
    return [
        np.log1p(len(text)),
        np.log1p(len(words)),
        len(text) / len(words),
        sum(word[0].isupper() for word in words) / len(words),
        sum(capitals) / max(1, len(letters)),
        text[0].isupper(),
        any(character.isdigit() for character in text),
        last in FULL_STOPS,
        last in "?？;",
        unicodedata.category(last).startswith("P") and last not in FULL_STOPS + "?？;",
        sum(unicodedata.category(character).startswith("P") for character in text[:-1]) / len(text),
        any(character in "()（）" for character in text),
    ]


def main() -> None:
    """Print sizes, what was left out, and the scores of the cues by language, as a table in Markdown."""
    languages = [SOURCE, *(language for language in task_languages("messages") if language != SOURCE)]
    targets = tuple(languages[1:])
    task, pairs = load_task("messages", SOURCE, targets, target_labels=True), load_parallel("messages", SOURCE, targets)
    left_out = load_messages(Data("messages")).left_out
    scores = surface_scores(task)
    sizes = ["train", "dev", "test", *task.labels, "pairs", "unlabelled", *left_out, "twins", "word twins"]
    print(f"| language | {' | '.join(sizes)} | accuracy | balanced accuracy | majority |")
    print(f"|---{'|---' * (len(sizes) + 3)}|")
    for language in languages:
        roles = Counter(task.labels[example.label] for example in task.examples("test", language))
        counts = [
            *(len(task.examples(split, language)) for split in ("train", "dev", "test")),
            *(roles[role] for role in task.labels),
            len(pairs.train.get(language, ())),
            len(task.unlabelled[language]),
            *(counts.get(language, 0) for counts in left_out.values()),
            *twins(task, pairs, language),
        ]
        print(f"| {language} | {' | '.join(map(str, counts))} | {' | '.join(f'{x:.2f}' for x in scores[language])} |")
    means = torch.tensor([scores[target] for target in targets]).mean(dim=0)
    print(f"| mean of targets {'| ' * len(sizes)}| {' | '.join(f'{value:.2f}' for value in means)} |")


def surface_scores(task: Task) -> dict[str, tuple[float, float, float]]:
    """Return language -> accuracy, balanced accuracy (the mean recall of the roles) and the share of the largest role."""
    features, labels = arrays(task.examples("train", SOURCE))
    mean, spread = features.mean(dim=0), features.std(dim=0)
    weights = fit((features - mean) / spread, labels, len(task.labels))
    scores = {}
    for language, examples in task.splits["test"].items():
        features, labels = arrays(examples)
        right = logits((features - mean) / spread, weights).argmax(dim=1) == labels
        recalls = [float(right[labels == role].double().mean()) for role in range(len(task.labels))]
        majority = float(torch.bincount(labels).max() / len(labels))
        scores[language] = float(right.double().mean()), sum(recalls) / len(recalls), majority
    return scores


def twins(task: Task, pairs: ParallelText, language: str) -> tuple[int, int]:
    """Return how many test texts have a near-duplicate among training and parallel texts of the same language.

    First by trigrams, as in the split (there, of the English texts), then by words: half of the distinct words of both.
    """
    parallel = [pair.target for pair in pairs.train.get(language, ())]
    if language == SOURCE:
        parallel = [pair.source for target in pairs.train.values() for pair in target]
    texts = {example.text for example in (*task.examples("train", language), *parallel)}
    tests = [example.text for example in task.examples("test", language)]
    similar = NearDuplicates([*texts, *tests])
    words = [set(text.lower().split()) for text in texts]
    for text in texts:
        similar.add(text)
    return sum(text in similar for text in tests), sum(shares_words(text, words) for text in tests)


def shares_words(text: str, others: Iterable[set[str]]) -> bool:
    """Return whether a text and one of the others (sets of words) have half of their distinct words in common."""
    words = set(text.lower().split())
    return any(2 * len(words & other) >= len(words | other) for other in others)


def arrays(examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cues (examples, cues) and labels (examples)."""
    features = torch.tensor([cues(example.text) for example in examples], dtype=torch.float64)
    return features, torch.tensor([example.label for example in examples])


def fit(features: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the weights (cues + 1, classes), the last row being the bias, of a logistic regression with an L2 penalty."""
    weights = torch.zeros(features.shape[1] + 1, classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = (
            torch.nn.functional.cross_entropy(logits(features, weights), labels) + PENALTY * weights[:-1].square().sum()
        )
        value.backward()
        return value

    optimiser.step(loss)
    return weights.detach()


def logits(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the scores of the classes (examples, classes)."""
    return features @ weights[:-1] + weights[-1]


if __name__ == "__main__":
    main()
