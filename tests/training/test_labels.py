"""Labels that a phase asks the model for as it begins: who makes them, of which texts, when, and what survives a stop."""

import pytest

from helpers import installed, log, same, stop_at, weights

SHORT = "phase.finetune.epochs=2"
# An intervention of another package: it writes down what it is given, and labels as `how` says.
PACKAGE = '''
from dataclasses import dataclass

import torch

from distxfer.interventions import BoundIntervention, Term


@dataclass(frozen=True)
class Own:
    """Label every second text as the last class, or wrongly; the term notes the ids of the texts that it draws."""

    how: str = ""
    drawn = []
    given = []

    def bind(self, encoder, languages, distances):
        def labels(teacher):
            self.given.append({key: teacher.logits(texts) for key, texts in teacher.texts.items()})
            rows = {key: torch.zeros(len(teacher.texts[key]), 2) for key in languages.targets}
            for some in rows.values():
                some[::2, 1] = 1
            wrong = {
                "none": torch.zeros_like(rows["jpn"]), "shape": rows["jpn"][:-1], "sum": 2 * rows["jpn"],
                "negative": rows["jpn"] + torch.tensor([1, -1]), "nan": rows["jpn"] * torch.nan,
            }
            return {**rows, "jpn": wrong.get(self.how, rows["jpn"])}

        def term(step):
            batch, labels = step.sample_labelled("deu", 5)
            self.drawn.append([(example.language, example.id) for example in batch.examples])
            logits = step.classify(batch).logits
            return Term(-(labels * logits.log_softmax(dim=-1)).sum(), len(batch), "example")

        return BoundIntervention(
            term=term, labels=labels, needs=frozenset({"target_text", "predictions"}), languages=languages.targets
        )
'''


@pytest.fixture
def own(tmp_path, run):
    """Train with the package above installed, in a phase after one of the task, with more overrides."""
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        '# Own.\nphases = ["finetune", "own"]\n[phase.finetune]\ninterventions = []\n[phase.own]\ninterventions = ["own"]\n'
        "[intervention.own]\n"
    )
    with installed(tmp_path / "site", PACKAGE, own="Own"):
        yield lambda *overrides, **options: run(str(recipe), SHORT, *overrides, **options)


@pytest.mark.parametrize("recipe", ["self_training", "teacher"])
@pytest.mark.parametrize("stop", [13, 15, 21])
def test_an_interrupted_run_goes_on_with_the_same_labels(run, tmp_path, recipe, stop):
    """12 steps of the task, then 12 with labels: stopped as the second phase begins, and in both of its epochs."""
    settings = SHORT, f"phase.{recipe}.epochs=2"
    with pytest.raises(KeyboardInterrupt):
        run(recipe, *settings, folder=tmp_path, report=stop_at(stop))
    resumed, uninterrupted = run(recipe, *settings, folder=tmp_path), run(recipe, *settings)
    assert same(weights(uninterrupted), weights(resumed))
    assert log(uninterrupted) == log(resumed)
    assert resumed.data["cost"]["forwards_per_step"] == uninterrupted.data["cost"]["forwards_per_step"]
