"""Transfer from every source to every target."""

import json

import numpy as np
import pandas as pd
import pytest

from conftest import CliRunner
from distxfer import InputError, load_results
from distxfer.analysis.transfer_matrix import TransferMatrix, distance_tables, pairs_of, regrets, transfer_matrix
from distxfer.cli import app
from distxfer.languages import DISTANCES, distance, script
from distxfer.measure import holm
from finished_runs import edit, write_run

LANGUAGES = ("deu", "eng", "fin", "fra", "hin", "jpn", "kor", "tur")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Eight sources with two seeds each: a target of distance d scores 0.8 - 0.5 d and noise."""
    folder = tmp_path_factory.mktemp("results")
    for source in LANGUAGES:
        for seed in range(2):
            write_run(folder, "plain", seed, source=source, targets=[code for code in LANGUAGES if code != source])
    return folder


def scores_of(results) -> pd.DataFrame:
    table = load_results(results).scores
    return table.groupby(["source", "language"])["value"].mean().unstack()


def matrix_of(folder, **settings) -> TransferMatrix:
    return transfer_matrix(pairs_of(load_results(folder)), **settings)


def nearest_by_distance(scores) -> dict[str, pd.DataFrame]:
    return {f"nearest {name}": table for name, table in distance_tables(scores)[0].items()}


def test_every_pair_has_its_mean_over_seeds(results):
    matrix = matrix_of(results)
    assert len(matrix.cells) == len(LANGUAGES) ** 2
    cells = matrix.cells.set_index(["source", "target"])
    expected = scores_of(results)
    for source in LANGUAGES:
        for target in LANGUAGES:
            cell = cells.loc[source, target]
            own = expected.loc[source, source]
            assert cell["score"] == pytest.approx(expected.loc[source, target])
            assert cell["transfer"] == pytest.approx((expected.loc[source, target] - own) / own)
            assert cell["syntactic"] == pytest.approx(distance(source, target, imputed=True).value)
            assert cell["seeds"] == 2
    cell, between = cells.loc["jpn", "tur"], distance("jpn", "tur", imputed=True).value
    assert cell["drift"] == pytest.approx(np.mean([0.1 * layer for layer in (1, 2, 3)]) * (1 + between))
    assert cell["retrieval"] == pytest.approx(0.6 - 0.1 * between)
    assert matrix.sources[:2] == ["deu", "eng"]  # Germanic
    assert set(matrix.targets) == set(LANGUAGES)


def test_the_correlations_of_the_paper(results):
    """Drift is proportional to 1 + distance here, and transfer falls with distance but for noise."""
    matrix = matrix_of(results, method="pearson", distance_name="syntactic")
    table = matrix.correlations.set_index(["relation", "layer"])
    for layer in range(4):
        assert table.loc[("drift, distance", layer), "r"] == pytest.approx(1)
        assert table.loc[("drift, distance", layer), "n"] == 56
    cells = matrix.cells[matrix.cells["source"] != matrix.cells["target"]]
    assert table.loc[("transfer, distance", 0), "r"] == pytest.approx(
        np.corrcoef(cells["transfer"], cells["syntactic"])[0, 1]
    )
    assert table.loc[("transfer, distance", 0), "r"] < -0.9
    assert table.loc[("drift, distance", 1), "p"] <= table.loc[("drift, distance", 1), "p_holm"]
    with_diagonal = matrix_of(results, diagonal=True).correlations
    assert set(with_diagonal["n"]) == {64}


def test_regrets_of_rules_for_choosing_a_source():
    scores = {
        ("eng", "deu"): 0.9, ("eng", "jpn"): 0.3, ("eng", "kor"): 0.4,
        ("kor", "deu"): 0.2, ("kor", "jpn"): 0.8, ("kor", "eng"): 0.5,
        ("deu", "eng"): 0.7, ("deu", "jpn"): 0.5, ("deu", "kor"): 0.6,
        **{(code, code): 0.99 for code in ("eng", "kor", "deu")},
    }  # fmt: skip
    cells = pd.DataFrame([(*pair, score) for pair, score in scores.items()], columns=["source", "target", "score"])
    scores = cells[cells["source"] != cells["target"]].pivot(index="source", columns="target", values="score")
    table = regrets(scores, nearest_by_distance(scores)).set_index("rule")
    # The best: deu eng .9, jpn kor .8, kor deu .6, eng deu .7.
    assert table.loc["always eng", "regret"] == pytest.approx((0 + 0.5 + 0.2) / 3)
    assert table.loc["always eng", "hits"] == pytest.approx(1 / 3)
    assert table.loc["random", "regret"] == pytest.approx(
        np.mean([0.9 - 0.55, 0.8 - (0.3 + 0.8 + 0.5) / 3, 0.6 - 0.5, 0.7 - 0.6])
    )
    # For German, whose family is English's: English has .35 in Japanese and Korean, Korean .8 in Japanese: Korean.
    # For English: of German (.55) and Korean (.8), Korean. For Japanese: of English .9 and .4, Korean .2 and .5, German
    # .7 and .6, English and German tie at .65. For Korean: English .6, German .6.
    assert table.loc["best for other families", "n"] == 4
    nearest = {
        "deu": "eng",
        "jpn": min(("eng", "kor", "deu"), key=lambda code: distance(code, "jpn", imputed=True).value),
    }
    assert nearest["jpn"] == "kor"
    assert table.loc["nearest syntactic", "n"] == 4
    assert (table["regret"] >= -1e-12).all()
    assert table["regret"].is_monotonic_increasing


def test_a_rule_never_uses_the_scores_of_relatives():
    scores = {
        ("eng", "deu"): 0.9, ("jpn", "deu"): 0.1, ("eng", "kor"): 0.2, ("jpn", "kor"): 0.7,
        ("eng", "jpn"): 0.2, ("jpn", "eng"): 0.3,
    }  # fmt: skip
    cells = pd.DataFrame([(*pair, score) for pair, score in scores.items()], columns=["source", "target", "score"])
    # German: by Korean and Japanese, English has .2 and Japanese .7, so that .8 are lost. Korean: by German and English or
    # Japanese, English has .55 and Japanese .2, so that .5 are lost. Japanese and English have one candidate.
    scores = cells[cells["source"] != cells["target"]].pivot(index="source", columns="target", values="score")
    table = regrets(scores, nearest_by_distance(scores)).set_index("rule")
    assert table.loc["best for other families", "regret"] == pytest.approx((0.8 + 0.5) / 4)


def test_holes_are_left_out_and_named(tmp_path, results):
    for source in ("eng", "deu", "jpn", "hin"):
        targets = [
            code for code in LANGUAGES if code != source and (source, code) not in {("eng", "tur"), ("deu", "tur")}
        ]
        write_run(tmp_path, "plain", 0, source=source, targets=targets)
    matrix = matrix_of(tmp_path)
    assert "tur" not in matrix.targets
    assert "`tur` is left out as a target: no score with deu, eng." in matrix.left_out
    assert set(matrix.sources) == {"eng", "deu", "jpn", "hin"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: data["recipe"]["phase"]["finetune"].update(epochs=9), "differ in `phase.finetune.epochs`"),
        (lambda data: data["recipe"]["task"].update(name="other"), "differ in `task.name`"),
        (lambda data: data["provenance"]["fingerprints"].update(model="3" * 64), "differ in `model`"),
        (lambda data: data.update(source="deu"), "both have the source `deu`"),
    ],
)
def test_runs_that_differ_in_more_than_the_source_are_refused(tmp_path, change, problem):
    write_run(tmp_path, "plain", 0, source="deu", targets=["jpn", "tur"])
    edit(write_run(tmp_path, "plain", 0, source="fin", targets=["jpn", "tur"]), change)
    with pytest.raises(InputError, match=problem):
        matrix_of(tmp_path)


def test_one_source_is_no_matrix(tmp_path):
    write_run(tmp_path)
    with pytest.raises(InputError, match="at least two sources; there is eng"):
        matrix_of(tmp_path)


def test_the_verb(results, tmp_path):
    figure = tmp_path / "matrix.svg"
    output = CliRunner().invoke(app, ["matrix", "--results", str(results), "--figure", str(figure)])
    assert output.exit_code == 0, output.output
    assert "8 sources x 8 targets" in output.stdout
    assert "drift, syntactic" in output.stdout
    assert "another script" in output.stdout
    assert "best for other families" in output.stdout
    assert figure.read_text(encoding="utf-8").startswith("<svg")
    as_json = json.loads(CliRunner().invoke(app, ["matrix", "--results", str(results), "--json"]).stdout)
    assert len(as_json["cells"]) == 64
    as_csv = CliRunner().invoke(app, ["matrix", "--results", str(results), "--csv"]).stdout.splitlines()
    assert as_csv[0] == "source,target,layer,measure,value,n,seeds"
    assert len(as_csv) > 64 * 5


def test_the_distances_of_the_paper_are_corrected_together(results):
    """The tables of the paper: five distances of URIEL, and featural; drift is proportional to 1 + the syntactic one."""
    matrix = matrix_of(results, method="pearson")
    assert matrix.distances[0] == "syntactic"
    assert set(matrix.distances) == set(DISTANCES)
    table = matrix.correlations
    over_distances = table.query("relation == 'transfer, distance'")
    assert over_distances["p_holm"].tolist() == pytest.approx(holm(over_distances["p"].tolist()))
    over_layers = table.query("relation == 'drift, distance' and distance == 'genetic' and layer > 0")
    assert over_layers["p_holm"].tolist() == pytest.approx(holm(over_layers["p"].tolist()))
    overall = table.query("relation == 'drift, distance' and layer == 0").set_index("distance")["r"]
    assert overall.idxmax() == "syntactic"
    cells = matrix.cells[matrix.cells["source"] != matrix.cells["target"]]
    assert overall["genetic"] == pytest.approx(np.corrcoef(cells["drift"], cells["genetic"])[0, 1])


def test_biased_drift_needs_its_measurement(results):
    with pytest.raises(InputError, match=r"measure\.similarity=cka_biased"):
        matrix_of(results, biased=True)


def test_biased_drift(tmp_path):
    """1 - the similarity, as drift is 1 - CKA."""
    codes = ("deu", "eng", "jpn", "tur")
    for source in codes:
        path = (
            write_run(tmp_path, source=source, targets=[code for code in codes if code != source])
            / "measurements.parquet"
        )
        table = pd.read_parquet(path)
        drift = table[(table["measure"] == "drift_cka") & (table["moment"] == "after")]
        biased = drift.assign(measure="similarity_cka_biased", value=1 - drift["value"] / 2)
        pd.concat([table, biased]).to_parquet(path, index=False)
    unbiased, biased = (matrix_of(tmp_path, biased=biased) for biased in (False, True))
    assert biased.cells["drift"].tolist() == pytest.approx((unbiased.cells["drift"] / 2).tolist())
    assert biased.biased


def test_partial_effects_are_beyond_all_others(results, tmp_path):
    """Transfer falls with distance; a covariate of the target that is distance from English adds nothing to it by itself."""
    sizes = tmp_path / "sizes.csv"
    sizes.write_text("language,size,tokens\n" + "".join(f"{code},{i**2},{i % 3}\n" for i, code in enumerate(LANGUAGES)))
    matrix = matrix_of(results, covariates=sizes, method="pearson")
    effects = matrix.effects.set_index("term")
    sides = [f"{name} of the {side}" for name in ("size", "tokens") for side in ("source", "target")]
    assert list(effects.index) == ["syntactic distance", "another script", *sides]
    cells = matrix.cells[matrix.cells["source"] != matrix.cells["target"]]
    script_of = {code: script(code) for code in LANGUAGES}
    place = {code: i for i, code in enumerate(LANGUAGES)}
    x = np.column_stack(
        [
            cells["syntactic"],
            [script_of[s] != script_of[t] for s, t in zip(cells["source"], cells["target"], strict=True)],
            *(
                function(cells[side].map(place))
                for function in (np.square, lambda i: i % 3)
                for side in ("source", "target")
            ),
            np.ones(len(cells)),
        ]
    ).astype(float)
    for column, term in enumerate(effects.index):
        others = np.delete(x, column, axis=1)
        residuals = [
            y - others @ np.linalg.lstsq(others, y, rcond=None)[0] for y in (x[:, column], cells["transfer"].to_numpy())
        ]
        assert effects.loc[term, "r"] == pytest.approx(np.corrcoef(*residuals)[0, 1])
    assert effects.loc["syntactic distance", "r"] < -0.9
    assert effects.loc["syntactic distance", "p"] < 0.05


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("language,size\neng,1\n", "no row for deu, fin, fra"),
        ("language,size\neng,big\n", r"row 2 \(`eng`\), column 2 \(`size`\): `big` is not a finite number"),
        ("language,size\n\neng,big\n", r"row 3 \(`eng`\)"),
        ("language,size\neng,1,2\n", "row 2: 3 cells, but the first row has 2"),
        ("language,size\nen,1\neng,2\n", "listed before"),
        ("language,size,size\neng,1,2\n", "different name for each covariate"),
        ("", "a header"),
    ],
)
def test_covariates_that_cannot_be_used(results, tmp_path, text, problem):
    path = tmp_path / "covariates.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        matrix_of(results, covariates=path)
