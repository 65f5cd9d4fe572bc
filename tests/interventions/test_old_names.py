"""An intervention of another package that was written against the contract's old names."""

import warnings

import pytest

from distxfer import load_recipe, train
from distxfer.interventions import _old_names
from helpers import installed, log

PACKAGE = '''
from dataclasses import dataclass, replace

from distxfer.interventions import Bound, Languages, Step, Term, nothing


@dataclass(frozen=True)
class Centred:
    """Pull texts and pairs of a language to the origin, under the names of version 0.6."""

    layer: int = 2

    def bind(self, encoder, languages: Languages, distances) -> Bound:
        def term(step: Step) -> Term:
            assert not step.together
            first, second = (step.encode(batch).pooled(self.layer) for batch in step.pairs("deu", 4))
            texts = step.encode(step.text("jpn", 3)).pooled(self.layer)
            assert nothing(step, [texts], "example").count == 0
            pairs = Term(total=(first - second).square().sum(), count=len(first), per="example")
            return replace(pairs, total=pairs.total + texts.square().sum(), count=pairs.count + len(texts))

        bound = Bound(term=term, needs=frozenset({"pairs", "target_text"}), languages=("deu", "jpn"), distinct=1,
                      weights=lambda name, weight: 1.0 * weight, settled={"layer": self.layer})
        assert bound.settled == {"layer": 2}
        return bound
'''


def test_an_intervention_with_old_names_trains_with_one_warning(tmp_path, tiny_settings, monkeypatch):
    monkeypatch.setattr(_old_names, "_warned", [])
    recipe = tmp_path / "centred.toml"
    recipe.write_text("# Old.\n[intervention.centred]\n")
    with installed(tmp_path / "site", PACKAGE, centred="Centred"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = train(load_recipe(str(recipe), [*tiny_settings, "phase.finetune.steps=2"]), tmp_path / "results")
    (warning,) = [warning for warning in caught if warning.category is DeprecationWarning]
    assert "`Bound` is `BoundIntervention`" in str(warning.message)
    assert "`total` is `loss_sum`" in str(warning.message)
    assert warning.filename.endswith("package_site.py")
    assert [line["term/centred"] > 0 for line in log(result)] == [True, True]
    assert result.data["resolved_values"]["centred"] == {"layer": 2}


def test_other_names_are_refused_as_before():
    import distxfer.interventions

    with pytest.raises(AttributeError, match="has no `Bond`"):
        distxfer.interventions.Bond  # noqa: B018
    with pytest.raises(TypeError, match="sum_of_losses"):
        distxfer.interventions.Term(sum_of_losses=1)
