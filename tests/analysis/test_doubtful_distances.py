"""Distances that mean nothing: predicted alone, or exactly 0 between different languages; said wherever they are used."""

from pathlib import Path

import pytest

from distxfer.analysis.compare import compare_methods
from distxfer.analysis.matching import distances_of
from distxfer.languages import distance, distance_warnings, distances
from distxfer.results.collect import collect
from distxfer.results.descriptions import stored_warnings
from distxfer.results.result import Result
from fake_runs import FAR, result, run

ADVICE = "Do not rely on it: choose another distance, or give your own (`distance.matrix`)."
SIGN = (
    "The syntactic distance has no basis for `eng` and `bfi` (British Sign Language): no feature is known of both, all are"
    f" predicted (`n_shared` = 0). {ADVICE}"
)


def warnings(source, target, name="syntactic", *, imputed=True):
    return distance_warnings([distance(source, target, name, imputed=imputed)])


def test_a_distance_that_is_predicted_alone():
    sign, klingon = (distance("eng", code, imputed=True) for code in ("bfi", "tlh"))
    assert (sign.n_shared, klingon.n_shared) == (0, 0)
    assert (round(sign.value, 3), round(klingon.value, 3)) == (0.131, 0.512)
    assert distance_warnings([sign]) == (SIGN,)
    assert distances("eng", ["deu", "bfi", "tlh"], imputed=True).warnings == (
        SIGN.replace("Language): ", "Language); `eng` and `tlh` (Klingon): "),
    )


@pytest.mark.parametrize(
    ("pair", "name"), [(("hrv", "srp"), "genetic"), (("ind", "msa"), "phonological"), (("eng", "pih"), "genetic")]
)
def test_exactly_0_between_different_languages(pair, name):
    assert distance(*pair, name, imputed=True).value == 0
    (warning,) = warnings(*pair, name)
    assert warning.startswith(f"The {name} distance is exactly 0 for `{pair[0]}` and `{pair[1]}` (")
    assert warning.endswith(f"which are different languages: the data do not distinguish them. {ADVICE}")


@pytest.mark.parametrize(
    ("pair", "name"),
    [
        (("eng", "deu"), "syntactic"),
        (("eng", "eng"), "syntactic"),
        (("zho", "zho_Hant"), "syntactic"),  # scripts of one language
        (("eng", "bfi"), "genetic"),  # no family in common is no lack of data
        (("eng", "bfi"), "geographic"),
    ],
)
def test_sound_distances_have_no_warning(pair, name):
    assert warnings(*pair, name) == ()


def test_what_is_observed_is_not_predicted():
    assert warnings("eng", "deu", imputed=False) == ()
    assert distance_warnings([]) == ()


def test_a_matrix_of_your_own_carries_them(tmp_path):
    matrix = tmp_path / "own.csv"
    matrix.write_text(",eng\ndeu,0\njpn,0.5\n")
    (warning,) = distances("eng", ["deu", "jpn"], matrix=matrix).warnings
    assert warning.startswith("The matrix distance is exactly 0 for `eng` and `deu` (German), which are different")


def stored(**changes):
    """The distances of the fake runs; that of Japanese is predicted alone."""
    rows = [
        {"language": key, "name": "syntactic", "value": value, "n_shared": 9, "imputed": True}
        for key, value in FAR.items()
    ]
    return [{**row, **changes} if row["language"] == "jpn" else row for row in rows]


def test_compare_names_the_languages(tmp_path):
    for name, identity in (("plain", "aaaa0000"), ("align", "bbbb0000")):
        for seed in range(3):
            scores = dict.fromkeys(FAR, 0.5 + seed / 100)
            run(tmp_path, name, identity, seed, scores, distances=stored(n_shared=0))
    notes = compare_methods(collect((), tmp_path), "plain").notes
    assert (
        sum(note.startswith("The syntactic distance has no basis for `eng` and `jpn` (Japanese): ") for note in notes)
        == 1
    )
    assert distances_of("eng", ["bfi", "deu"], "syntactic", True, None)[1] == [SIGN]


def test_the_warnings_of_stored_distances():
    def finished(distances):
        return Result.of(Path("run"), result("plain", "aaaa0000", 0, {}, distances=distances))

    without_counts = [{key: row[key] for key in ("language", "value")} for row in stored()]  # as the first results are
    assert stored_warnings([finished(without_counts)]) == ()
    doubtful = finished(stored(n_shared=0))
    assert len(stored_warnings([doubtful, doubtful])) == 1
    assert stored_warnings([doubtful], ["deu"]) == ()


def test_validate_and_train_say_which_weights_rest_on_it(cli, tiny, task_folder, parallel_folder, tmp_path):
    for source, target in ((task_folder, tmp_path / "task"), (parallel_folder, tmp_path / "parallel")):
        target.mkdir()
        for path in source.iterdir():
            name = path.name.replace("jpn", "bfi")
            (target / name).symlink_to(path)
    words = [
        "recipe=dist_align", f"model={tiny}", f"task={tmp_path / 'task'}", f"parallel={tmp_path / 'parallel'}",
        "task.max_length=32", "intervention.align.layers=2", "phase.finetune.steps=2", "phase.finetune.batch_size=8",
    ]  # fmt: skip
    answer = cli("validate", *words)
    assert answer.exit_code == 0, answer.output
    assert f"{SIGN} It determines the weights of these languages in `intervention.align.weighting`." in answer.stderr
    uniform = cli("validate", *words, "intervention.align.weighting=uniform", "intervention.align.distance=")
    assert SIGN in uniform.stderr.splitlines()
    trained = cli("train", *words, "diagnostics.gradients=0", "diagnostics.states=0")
    assert trained.exit_code == 0, trained.output
    assert "The syntactic distance has no basis for `eng` and `bfi`" in " ".join(trained.stdout.split())


@pytest.mark.usefixtures("shared_tokenizers")
def test_language_says_it_in_its_first_line_and_below_its_table(cli):
    shown = cli("language", "bfi").stdout
    assert shown.startswith("Missing for British Sign Language on `emoji`: no labelled test in `emoji`")
    assert "but its syntactic distance is based only on predicted features." in " ".join(shown.splitlines()[:8])
    assert "doubtful: The syntactic distance has no basis for `eng` and `bfi`" in " ".join(shown.split())


@pytest.mark.usefixtures("shared_tokenizers")
def test_language_begins_with_yes_no_or_what_is_missing(cli, tmp_path):
    assert cli("language", "deu").stdout.startswith("Yes: `emoji` tests German, the tokenizer of `")
    assert cli("language", "eng").stdout.startswith("No: English is the source itself, which needs no transfer.")
    welsh = cli("language", "cym", "parallel=").stdout
    assert welsh.startswith(
        "Missing for Welsh on `emoji`: no labelled test in `emoji` (`distxfer new-language cym --labelled FILE`)."
    )
    text = tmp_path / "text.txt"
    text.write_text("\U00013000\U00013001 \U00013002\n" * 5)  # hieroglyphs
    unreadable = cli("language", "cym", "--text", str(text)).stdout
    assert unreadable.startswith("No, not Welsh with `bundled/multilingual-e5-small`: the tokenizer does not know ")
