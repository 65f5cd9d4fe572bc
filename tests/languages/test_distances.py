import csv
import math
from importlib.metadata import distribution
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine

from distxfer.errors import InputError
from distxfer.languages import (
    DISTANCES,
    Relative,
    canonical,
    coordinates,
    distance,
    distance_matrix,
    distances,
    families,
    lineage,
    relatives,
    script,
)
from helpers import message

URIEL = "URIEL@lang2vec-1.1.2"
LANGUAGES = ["eng", "deu", "rus", "ind", "tha", "kor", "tur", "jpn", "ell", "vie"]  # URIEL has these under their key
PAIRS = list(combinations(LANGUAGES, 2))
PREFIXES = {"syntactic": "S_", "phonological": "P_", "inventory": "INV_", "featural": ("S_", "P_", "INV_")}
WORLD = st.sampled_from([*LANGUAGES, "swa", "nor", "zho_Hant", "tam", "fin", "yor", "ara", "grn", "fra", "hye"])


def uriel(name):
    """Return feature -> value of every language, as it stands in the file."""
    path = Path(str(distribution("lang2vec").locate_file(f"lang2vec/data/{name}.npz")))
    with np.load(path) as file:
        return list(map(str, file["feats"])), dict(zip(map(str, file["langs"]), file["data"][:, :, 0], strict=True))


@pytest.mark.parametrize(
    ("target", "value", "digits"),
    [
        *[("deu", 0.097, 3), ("rus", 0.188, 3), ("ind", 0.273, 3), ("zho", 0.289, 3), ("ara", 0.349, 3)],
        *[("kor", 0.447, 3), ("tur", 0.493, 3), ("jpn", 0.500, 3), ("fas", 0.500, 3)],
        *[("bul", 0.14, 2), ("spa", 0.18, 2), ("fra", 0.19, 2), ("ell", 0.22, 2), ("vie", 0.34, 2), ("tha", 0.36, 2)],
        *[("hin", 0.38, 2), ("urd", 0.38, 2), ("swa", 0.54, 2)],
    ],
)
def test_published_syntactic_distances_from_english(target, value, digits):
    assert distance("eng", target, imputed=True).value == pytest.approx(value, abs=0.6 * 10**-digits)


@pytest.mark.parametrize("name", sorted(PREFIXES))
@pytest.mark.parametrize("imputed", [False, True])
def test_typological_distances_are_those_of_the_file(name, imputed):
    features, observed = uriel("feature_averages")
    vectors = uriel("feature_predictions")[1] if imputed else observed
    chosen = np.array([feature.startswith(PREFIXES[name]) for feature in features])
    compared = 0
    for a, b in PAIRS:
        shared = chosen & (observed[a] >= 0) & (observed[b] >= 0)
        used = chosen if imputed else shared
        if not used.any():
            continue
        answer = distance(a, b, name, imputed=imputed)
        assert answer.value == pytest.approx(cosine(vectors[a][used].astype(float), vectors[b][used].astype(float)))
        assert answer.n_shared == shared.sum()
        compared += 1
    assert compared > 30


def test_genetic_distances_are_those_of_the_file():
    features, member = uriel("family_features")
    sets = {key: {feature for feature, yes in zip(features, member[key], strict=True) if yes} for key in LANGUAGES}
    for a, b in PAIRS:
        shared = len(sets[a] & sets[b])
        answer = distance(a, b, "genetic")
        assert answer.value == pytest.approx(1 - shared / math.sqrt(len(sets[a]) * len(sets[b])))
        assert answer.n_shared == shared


def test_geographic_distances_are_haversines():
    for a, b in PAIRS:
        (p, x), (q, y) = ([math.radians(degrees) for degrees in coordinates(key)] for key in (a, b))
        square = math.sin((q - p) / 2) ** 2 + math.cos(p) * math.cos(q) * math.sin((y - x) / 2) ** 2
        assert distance(a, b, "geographic").value == pytest.approx(2 * math.asin(math.sqrt(square)) / math.pi)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *[("eng", "Indo-European"), ("fas", "Indo-European"), ("hat", "Indo-European"), ("jpn", "Japonic")],
        *[("zho", "Sino-Tibetan"), ("zho_Hant", "Sino-Tibetan"), ("yue", "Sino-Tibetan"), ("kor", "Koreanic")],
        *[("ar", "Afro-Asiatic"), ("swh", "Atlantic-Congo"), ("tur", "Turkic"), ("fin", "Uralic"), ("vie", "Austroasiatic")],
        *[("tha", "Tai-Kadai"), ("ind", "Austronesian"), ("tam", "Dravidian"), ("kat", "Kartvelian"), ("ain", "Ainu")],
        *[("eus", None), ("nno", None), ("epo", None), ("ase", None)],  # isolate, not classified, artificial, signed
    ],
)  # fmt: skip
def test_family(code, expected):
    assert next(iter(lineage(code)), None) == expected


def test_languages_that_share_any_family_have_one_top_level_family():
    tops: dict[str, set[str]] = {}
    for code in list(uriel("family_features")[1])[::7]:
        try:
            names = families(code)
        except InputError:
            continue  # retired codes
        for name in names:
            tops.setdefault(name, set()).add(names[0])
        assert lineage(code) in {(), names[:2]}
    assert len(tops) > 1000
    assert {name: top for name, top in tops.items() if len(top) > 1} == {}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *[("jpn", "Jpan"), ("fas", "Arab"), ("deu", "Latn"), ("zho", "Hans"), ("zho_Hant", "Hant"), ("zh-TW", "Hant")],
        *[("kor", "Kore"), ("kor_Hang", "Kore"), ("srp", "Cyrl"), ("srp_Latn", "Latn"), ("ell", "Grek"), ("hin", "Deva")],
        *[("tha", "Thai"), ("arb_Arab", "Arab"), ("swh_Latn", "Latn"), ("yue", "Hant"), ("heb", "Hebr"), ("amh", "Ethi")],
        *[("yes", None), ("yes_Arab", "Arab"), ("ain", None)],
    ],
)  # fmt: skip
def test_script(code, expected):
    assert script(code) == expected


@given(st.sampled_from(list(uriel("family_features")[1])))
def test_naming_the_usual_script_changes_nothing(code):
    try:
        key = canonical(code)
    except InputError:
        return
    assert script(key) == script(code)
    if script(key) is not None:
        assert canonical(f"{key}_{script(key)}") == key


def test_errors_of_codes_pass_through():
    for function in (script, lineage, relatives):
        assert message(function, "xx").startswith("Language code `xx` is not known.")


def test_relatives():
    assert relatives("ajp") == (Relative("acy", 7), Relative("apc", 7), Relative("ara", 6))
    assert [relative.key for relative in relatives("ajp", n=2)] == ["acy", "apc"]
    assert relatives("deu", among=["ja", "en", "nl", "de"]) == (Relative("nld", 5), Relative("eng", 4))
    assert relatives("zho_Hant", among=["zho", "yue", "jpn"]) == (Relative("yue", 2),)
    assert relatives("yue", among=["zho_Hant", "jpn"]) == (Relative("zho_Hant", 2),)
    assert relatives("nno") == relatives("eus") == relatives("jpn", among=["eng"]) == relatives("jpn", among=[]) == ()


@pytest.mark.parametrize("key", ["ara", "zho", "sqi", "nor", "swa"])
def test_no_language_is_its_own_relative(key):
    assert key not in {relative.key for relative in relatives(key, n=50)}


@settings(max_examples=25, deadline=None)
@given(WORLD, st.sets(WORLD), st.integers(1, 5))
def test_relatives_share_the_most_families(key, others, n):
    own_families, candidates = set(families(key)), others - {key}
    expected = [
        (-len(own_families & set(families(candidate))), len(families(candidate)), candidate) for candidate in candidates
    ]
    expected = sorted(entry for entry in expected if entry[0])[:n]
    assert relatives(key, "genetic", n, among=others) == tuple(Relative(key, -shared) for shared, _, key in expected)


def test_relatives_have_the_data_that_is_asked_for():
    features, observed = uriel("feature_averages")
    for name, prefixes in PREFIXES.items():
        chosen = np.array([feature.startswith(prefixes) for feature in features])
        for relative in relatives("apd", name, 12):
            codes = {"ara": ["ara", "arb"]}.get(relative.key, [relative.key])
            assert any((observed[code][chosen] >= 0).any() for code in codes)
    assert "acm" in {relative.key for relative in relatives("apd", "syntactic", 12)}
    assert "acm" not in {relative.key for relative in relatives("apd", "inventory", 12)}


def test_relatives_that_cannot_be():
    assert message(relatives, "ajp", n=0) == "`n` is 0; expected a number of relatives of at least 1, such as `3`."
    assert message(relatives, "ajp", "syntactc").startswith(
        "Distance `syntactc` is not known. Did you mean `syntactic`?"
    )


@pytest.mark.parametrize("name", DISTANCES)
def test_a_matrix_holds_the_distance_of_every_pair(name):
    languages = ["en", "deu", "zho_Hant", "kor", "tur", "swh"]
    square = distance_matrix(languages, name, imputed=True)
    assert square.keys == ("eng", "deu", "zho_Hant", "kor", "tur", "swa")
    assert (square.name, square.provenance) == (name, URIEL)
    assert square.imputed == (name in PREFIXES)
    for i, source in enumerate(square.keys):
        for j, target in enumerate(square.keys):
            answer = distance(source, target, name, imputed=True)
            assert (square.values[i, j], square.n_shared[i, j]) == (answer.value, answer.n_shared)
    assert (square.values == square.values.T).all()
    assert not square.values.diagonal().any()
    with pytest.raises(ValueError, match="read-only"):
        square.values[0, 1] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        square.n_shared[0, 1] = 0


@settings(max_examples=15, deadline=None)
@given(st.lists(WORLD, min_size=2, max_size=6, unique=True), st.sampled_from(DISTANCES))
def test_a_matrix_written_is_read_back_bit_for_bit(tmp_path_factory, languages, name):
    square = distance_matrix(languages, name, imputed=True)
    path = tmp_path_factory.mktemp("square") / "square.csv"
    path.write_text(square.csv(), encoding="utf-8")
    again = distance_matrix(languages, matrix=path)
    assert (again.keys, again.name, again.imputed) == (square.keys, "matrix", False)
    assert (again.values == square.values).all()
    assert again.csv() == square.csv()
    row = dict(zip(square.keys[1:], square.values[0, 1:], strict=True))
    assert distances(languages[0], languages[1:], matrix=path).values == row


def test_csv_has_the_keys_at_the_head_of_rows_and_columns():
    square = distance_matrix(["no", "nan"], "geographic")
    rows = list(csv.reader(square.csv().splitlines()))
    assert rows == [["language", "nor", "nan"], ["nor", "0.0", rows[1][2]], ["nan", rows[1][2], "0.0"]]
    assert float(rows[1][2]) == distance("nor", "nan", "geographic").value


def test_the_users_own_table_may_be_asymmetric_and_need_not_have_a_diagonal(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("x,eng,deu,jpn\neng,,1,2\ndeu,3,9,\njpn,,4,\n")
    square = distance_matrix(["eng", "deu", "jpn"], matrix=path)
    assert square.values.tolist() == [[0, 1, 2], [3, 0, 4], [2, 4, 0]]  # cells of one direction alone count for both
    assert square.n_shared.tolist() == [[1] * 3] * 3
    assert square.provenance.startswith("mine.csv sha256:")
    assert message(distance_matrix, ["eng", "fra", "deu", "kor"], matrix=path).splitlines() == [
        f"`{path}` has no distance between `{a}` and `{b}`. Add one in row `{a}`, column `{b}`."
        for a, b in [("eng", "fra"), ("eng", "kor"), ("fra", "deu"), ("fra", "kor"), ("deu", "kor")]
    ]


def test_great_circles_obey_the_triangle_inequality_among_a_hundred_languages():
    codes = [code for code in list(uriel("family_features")[1])[::60] if len(code) == 3]
    keys = []
    for code in codes:
        try:
            keys.append(canonical(code))
        except InputError:
            continue  # retired codes
    square = distance_matrix(dict.fromkeys(keys), "geographic").values
    assert len(square) > 100
    assert (square[:, None, :] <= square[:, :, None] + square[None, :, :] + 1e-12).all()


def test_a_matrix_reports_all_errors_at_once():
    needs = "and a cosine needs 2. Set `distance.imputed=true` to use predicted features, or give your own table as"
    assert message(distance_matrix, ["aah", "nno", "eng", "akz"]) == "\n".join([
        message(distance, "eng", "nno"),
        *(f"`{key}` and `akz` share {n} syntactic features in {URIEL}, {needs} `distance.matrix`."
          for key, n in (("aah", 0), ("eng", 1))),
    ])  # fmt: skip
    assert message(distance_matrix, ["zh", "cmn", "xx"]).startswith(
        "`cmn` is the language `zho`, which is listed before. Remove one.\nLanguage code `xx` is not known."
    )
    assert message(distance_matrix, ["en"]) == (
        "A matrix of distances needs at least 2 languages, and there is `eng`. Name more languages."
    )
    assert message(distance_matrix, []) == (
        "A matrix of distances needs at least 2 languages, and there is none. Name more languages."
    )
    assert message(distance_matrix, ["en", "de"], "genetc") == (
        "Distance `genetc` is not known. Did you mean `genetic`? "
        "Choose from: featural, genetic, geographic, inventory, phonological, syntactic."
    )
