import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import FrozenInstanceError, replace
from hashlib import sha256

import langcodes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_data.registry_parser import parse_registry

from distxfer.errors import InputError
from distxfer.languages import (
    DISTANCES,
    WEIGHTINGS,
    canonical,
    coordinates,
    distance,
    distances,
    families,
    language_name,
    relation,
    script,
    weights,
)
from distxfer.languages.codes import macrolanguage, whole_tags
from helpers import message

TARGETS = ["ara", "deu", "fas", "fra", "ind", "ita", "jpn", "kor", "por", "rus", "spa", "tur", "zho"]
KEYS = st.sampled_from(["eng", *TARGETS, "swa", "nor", "zho_Hant", "tam", "fin", "yor"])
VALUES = st.dictionaries(
    st.text("abcdefgh", min_size=3, max_size=3), st.floats(0, 2).map(lambda x: round(x, 3)), min_size=1
)
FORMS = (
    " Give an ISO 639 code, a BCP-47 tag, a FLORES code or a Glottocode, "
    "such as `ja`, `jpn`, `zh-Hant`, `zho_Hant` or `nucl1643`; a language without a code may use `qaa` to `qtz`."
)
ONE = " Give the code of one language, such as `jpn`."
NO_DISTANCE = "is not a distance. Give a number of at least 0, or leave the cell empty."
NO_WEIGHT = "cannot be weighted. Distances are finite and at least 0."
OWN = " give your own table as `distance.matrix`."
URIEL = "URIEL@lang2vec-1.1.2"


def table(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_bytes(text.encode())
    return path


def test_macrolanguages_share_the_key_of_their_usual_member():
    members = "swh swa nob nor ekk est cmn zho arb ara pes fas zsm msa lvs lav khk mon azj aze uzn uzb als sqi gaz orm"
    members += " npi nep ory ori ydd yid pbt pus plt mlg kmr kur gug grn ayr aym"
    codes = members.split()
    assert [canonical(code) for code in codes[::2]] == codes[1::2] == [canonical(code) for code in codes[1::2]]


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=3))
def test_canonical_is_idempotent(code):
    try:
        key = canonical(code)
    except InputError:
        return
    assert canonical(key) == key
    assert language_name(code) == language_name(key)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("Japanese", "Language code `Japanese` is not known. Did you mean `jpn`?" + FORMS),
        ("jpnn", "Language code `jpnn` is not known. Did you mean `jpn`?" + FORMS),
        ("xx", "Language code `xx` is not known." + FORMS),
        ("nah", "Language code `nah` is not a single language (Nahuatl languages)." + ONE),
        ("abcd1234", "Glottocode `abcd1234` is not in the table of this package. Give the ISO 639-3 code instead."),
        (
            "eng_Latm",
            "Language code `eng_Latm` has an unknown script `Latm`. Did you mean `Latn`? "
            "Give an ISO 15924 code, such as `Latn`, or omit it.",
        ),
        (False, "Language code `False` is not text. Put it in quotes, such as `'no'`."),
    ],
)  # fmt: skip
def test_what_is_no_language_is_an_error(code, text):
    assert message(canonical, code) == text


@pytest.mark.parametrize("code", ["", "und", "mul", "zxx", "mis", "sgn", "zzz", "x-foo", "i-mingo", "a"])
def test_special_codes_are_errors(code):
    with pytest.raises(InputError):
        canonical(code)


def test_a_language_without_a_code_has_one_of_private_use():
    assert [canonical(code) for code in ("qaa", "QTZ", "qaa-Latn", "qqq_Cyrl")] == ["qaa", "qtz", "qaa", "qqq_Cyrl"]
    assert (language_name("qaa"), script("qaa"), script("qaa_Cyrl"), families("qaa")) == (
        "private use",
        None,
        "Cyrl",
        (),
    )
    assert message(canonical, "quaa").endswith("a language without a code may use `qaa` to `qtz`.")
    assert message(distance, "eng", "qaa") == (
        f"`qaa` (private use) has no syntactic data in {URIEL}, and no families by which to find relatives."
        " Give your own table as `distance.matrix`."
    )


# Every standard's form of a code.
STANDARD = {
    "ja": "jpn", "jpn": "jpn", "JA": "jpn", "jpn_Jpan": "jpn", "nucl1643": "jpn", "ja-JP": "jpn",
    "zh-Hant": "zho_Hant", "zho_Hant": "zho_Hant", "cmn_Hant": "zho_Hant", "zh-TW": "zho_Hant", "zho_Hans": "zho",
    "cmn": "zho", "zh": "zho", "mand1415": "zho", "zh-yue": "yue", "pt-BR": "por", "braz1246": "por",
    "arb_Arab": "ara", "arb_Latn": "ara_Latn", "kor_Hang": "kor", "srp_Latn": "srp_Latn", "sr_Cyrl": "srp",
    "sh": "hbs", "hbs": "hbs", "pan_Guru": "pan", "no": "nor", "nb": "nor", "nob_Latn": "nor", "nn": "nno",
    "nan": "nan", "yes": "yes", "tl": "tgl", "fil": "fil", "iw": "heb", "heb_Hebr": "heb", "in": "ind", "mo": "ron",
    "ger": "deu", "twi_Latn": "twi", "aka": "aka", "acm_Arab": "acm", "taq_Tfng": "taq_Tfng",
}  # fmt: skip
# MediaWiki, includes/language/LanguageCode.php; WikiANN's configurations have these codes.
WIKIPEDIA = {
    "bat-smg": "sgs", "be-x-old": "bel", "be-tarask": "bel", "cbk-zam": "cbk", "fiu-vro": "vro", "map-bms": "jav",
    "nds-nl": "nds", "no": "nor", "roa-rup": "rup", "roa-tara": "nap", "simple": "eng", "zh-classical": "lzh",
    "zh-min-nan": "nan", "zh-yue": "yue", "mo": "ron", "sh": "hbs", "als": "sqi", "nrm": "nrm",
}  # fmt: skip
# FLORES-200, NLLB, Tatoeba, OPUS, and the withdrawn two-letter codes of Java.
ELSEWHERE = {
    "zho_Hans": "zho", "arb_Latn": "ara_Latn", "ace_Arab": "ace_Arab", "est": "est", "azj": "aze", "npi": "nep",
    "twi_Latn_asan1239": "twi", "apc_Arab_nort3139": "apc", "cmn": "zho", "zh_CN": "zho", "pt_BR": "por", "bn_IN": "ben",
    "zh_TW": "zho_Hant", "nb_NO": "nor", "iw": "heb", "in": "ind", "ji": "yid", "jw": "jav",
}  # fmt: skip
# The registry's own examples of whole tags, and extended languages behind their prefix.
REGISTERED = {
    "i-klingon": "tlh", "art-lojban": "jbo", "sgn-BE-FR": "sfb", "sgn-DE": "gsg", "en-GB-oed": "eng", "no-bok": "nor",
    "zh-guoyu": "zho", "zh-hakka": "hak", "zh-cmn-Hant": "zho_Hant", "ar-arz": "arz", "zho-yue": "yue", "sgn-ase": "ase",
    "de-1996": "deu", "sl-rozaj-biske": "slv", "zh-Latn-pinyin": "zho_Latn", "es-419": "spa", "en-US-u-hc-h12": "eng",
}  # fmt: skip


@pytest.mark.parametrize("codes", [STANDARD, WIKIPEDIA, ELSEWHERE, REGISTERED])
def test_every_form_of_a_code_has_one_key(codes):
    assert {code: canonical(code) for code in codes} == codes
    assert {code: canonical(code.upper().replace("-", "_")) for code in codes} == codes


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("deu-eng", "`eng` cannot follow `deu`. `deu` is German and `eng` is English."),
        ("cmn-yue", "`yue` cannot follow `cmn`. `cmn` is Chinese and `yue` is Cantonese."),
        ("de-en", "`EN` cannot follow `de`. `de` is German and `EN` is English."),
        ("deu-english", "`english` cannot follow `deu`. `deu` is German."),
        ("deu_Latn_nucl1643", "`nucl1643` cannot follow `deu`. `deu` is German and `nucl1643` is Japanese."),
        ("de-x-swiss", "`x-swiss` cannot follow `de`. `de` is German."),
    ],
)  # fmt: skip
def test_two_languages_are_no_code(code, parts):
    expected = f"Language code `{code}` is not a registered tag: {parts} Give the ISO 639-3 code of one language, such as `jpn`."
    assert message(canonical, code) == expected


@pytest.mark.parametrize("code", ["ze_zh", "ze-en", "zh-min", "i-default", "i-mingo", "cel-gaulish"])
def test_whole_tags_without_a_language_are_errors(code):
    assert message(canonical, code) == f"Language code `{code}` is not a single language of ISO 639-3.{ONE}"


@pytest.mark.parametrize("code", ["eng\0", "en\udcff", "\u0435ng", "x" * 10_000, "eng-" * 50, "🦆", "eng ", "\n"])
def test_what_is_no_text_or_too_long_is_one_line(code):
    error_message = message(canonical, code)
    assert error_message.startswith("Language code `")
    assert "is not known" in error_message
    assert "\n" not in error_message


SUBTAGS = [entry for entry in parse_registry() if entry["Type"] == "language" and ".." not in entry["Subtag"]]


def meaning(code):
    """The key of a code, or None where it is refused."""
    try:
        return canonical(code)
    except InputError:
        return None


def test_every_code_of_the_registry_is_itself_its_preferred_value_or_refused():
    """And never anything else but the macrolanguage whose key it shares."""
    for entry in SUBTAGS:
        code = entry["Subtag"]
        key = meaning(code)
        current = entry.get("Preferred-Value", code)
        alpha3 = langcodes.Language.get(current, normalize=False).to_alpha3() if len(current) == 2 else current
        assert key is None or key.partition("_")[0] in (alpha3, macrolanguage(alpha3)), code
        assert (key is None) == (entry.get("Scope") in ("collection", "special")), code


EXTENDED = {
    (prefix, entry["Subtag"]) for entry in parse_registry() if entry["Type"] == "extlang" for prefix in entry["Prefix"]
}


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(SUBTAGS), st.sampled_from(SUBTAGS), st.sampled_from("-_"), st.booleans())
def test_a_pair_of_codes_is_never_its_second_language(first, second, mark, upper):
    """A pair is refused, or a registered tag, or its first language in a region whose code the second one shares."""
    first_tag, second_tag = first["Subtag"], second["Subtag"]
    code = f"{first_tag}{mark}{second_tag}"
    key = meaning(code.upper() if upper else code)
    if f"{first_tag}-{second_tag}" in whole_tags() or (first_tag, second_tag) in EXTENDED:
        return
    assert key is None or len(second_tag) == 2
    if key is not None:
        assert key.partition("_")[0] == meaning(first_tag).partition("_")[0]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_key_or_one_line(code):
    key = meaning(code)
    assert key is None or canonical(key) == key


def test_names():
    names = {
        "jpn": "Japanese",
        "zho_Hant": "Chinese (Traditional)",
        "zh": "Chinese",
        "no": "Norwegian",
        "swh": "Swahili",
    }
    assert {code: language_name(code) for code in names} == names


def test_an_answer_says_what_it_rests_on():
    answer = distance("en", "ja")
    assert (answer.source, answer.target, answer.name, answer.imputed) == ("eng", "jpn", "syntactic", False)
    assert (answer.n_shared, answer.provenance) == (90, URIEL)
    assert answer.value == pytest.approx(0.4557, abs=1e-4)
    assert distance("en", "ja", imputed=True).n_shared == 90
    assert distance("en", "ja", "genetic", imputed=True).imputed is False
    with pytest.raises(FrozenInstanceError):
        answer.value = 0.0


@given(KEYS, KEYS, st.sampled_from(DISTANCES))
def test_distances_are_symmetric_in_the_unit_interval_and_0_at_home(a, b, name):
    forward, back, home = (distance(*pair, name, imputed=True).value for pair in ((a, b), (b, a), (a, a)))
    assert forward == back
    assert 0 <= forward <= 1
    assert home == 0


@pytest.mark.parametrize(
    ("key", "others", "expected"),
    [
        ("srp_Latn", ("srp",), "language"),
        ("no", ("nor", "swe"), "language"),
        ("swe", ("jpn", "deu"), "branch"),  # both Germanic
        ("swa", ("zul",), "branch"),  # both Atlantic-Congo, Volta-Congo
        ("tur", ("uzb",), "branch"),  # both Common Turkic
        ("spa", ("deu", "jpn"), "family"),  # Indo-European: Italic and Germanic
        ("hye", ("hin", "eng"), "family"),  # Armenian has no other branch
        ("hun", ("fin",), "family"),  # URIEL has no branch of Uralic for Hungarian
        ("tel", ("tam",), "family"),  # Central and South Dravidian
        ("mya", ("zho",), "family"),  # Burmo-Qiangic and Sinitic
        ("jpn", ("kor", "zho", "eng"), "none"),
        ("eus", ("spa", "fra"), "none"),  # an isolate
        ("epo", ("eng", "ido"), "none"),  # `Artificial Language` is no family
        ("deu", (), "none"),
    ],
)
def test_the_closest_relation_by_family_and_branch(key, others, expected):
    assert relation(key, others) == expected


def test_families_run_from_wide_to_narrow():
    assert families("deu")[:4] == ("Indo-European", "Germanic", "Northwest Germanic", "West Germanic")
    assert families("cmn") == families("zho") == ("Sino-Tibetan", "Sinitic", "Northern Chinese", "Mandarinic")
    assert families("eus") == ()


def test_coordinates():
    assert coordinates("eng") == pytest.approx((53, -1), abs=0.1)
    assert coordinates("jpn") == pytest.approx((35, 135), abs=0.1)


def test_the_script_does_not_matter_and_aliases_are_one_language():
    assert distance("eng", "zho_Hant").value == distance("eng", "cmn").value
    assert distance("eng", "npi").n_shared == distance("eng", "ne").n_shared > 17


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (
            ("eng", "ajp"),
            f"`ajp` (South Levantine Arabic) has no syntactic data in {URIEL}. Choose one of its nearest covered "
            f"relatives (`acy`, `apc`, `ara`), or set `distance.imputed=true` to use predicted features, or{OWN}",
        ),
        (
            ("eng", "nno"),
            f"`nno` (Norwegian Nynorsk) has no syntactic data in {URIEL}, and no families by which to find relatives. Set"
            f" `distance.imputed=true` to use predicted features, or{OWN}",
        ),
        (
            ("eng", "eus", "genetic"),
            f"`eus` (Basque) has no genetic data in {URIEL}, and no families by which to find relatives. G{OWN[2:]}",
        ),
        (
            ("aah", "akz"),
            f"`aah` and `akz` share 0 syntactic features in {URIEL}, and an angle needs 2. "
            f"Set `distance.imputed=true` to use predicted features, or choose another distance, or{OWN}",
        ),
        (
            ("eng", "zha", "phonological"),
            f"`eng` and `zha` share 1 phonological features in {URIEL}, and an angle needs 2. "
            f"Set `distance.imputed=true` to use predicted features, or choose another distance, or{OWN}",
        ),
        (
            ("aal", "adl", "phonological"),
            "The phonological features that `aal` and `adl` share are all 0 for `adl`, so their cosine is not defined. "
            f"Choose another distance, or{OWN}",
        ),
        (
            ("eng", "jpn", "syntactc"),
            "Distance `syntactc` is not known. Did you mean `syntactic`? "
            "Choose from: featural, genetic, geographic, inventory, phonological, syntactic.",
        ),
    ],
)
def test_no_data_is_an_error_that_names_what_else_there_is(args, text):
    assert message(distance, *args) == text


def test_imputation_fills_in_for_languages_without_data():
    answer = distance("eng", "nno", imputed=True)
    assert (answer.n_shared, answer.imputed) == (0, True)
    assert 0 < answer.value < 1


def test_a_matrix_keeps_no_and_nan_as_languages(tmp_path):
    path = table(tmp_path, "lang,no,nan,yes\nen,0.1,2.5,\nyes,0.7,0,0\n")
    answer = distance("en", "no", "syntactic", matrix=path)
    assert (answer.target, answer.name, answer.value, answer.imputed) == ("nor", "matrix", 0.1, False)
    assert answer.provenance == f"mine.csv sha256:{sha256(path.read_bytes()).hexdigest()[:8]}"
    assert distance("eng", "nan", matrix=path).value == 2.5
    assert distance("nan", "eng", matrix=path).value == 2.5
    assert message(distance, "eng", "yes", matrix=path) == (
        f"`{path}` has no distance between `eng` and `yes`. Add one in row `eng`, column `yes`."
    )
    assert message(distance, "eng", "zho_Hant", matrix=path).startswith(f"`{path}` has no distance between")
    assert distances("en", ["nan", "no"], matrix=path).by("genetic").name == "genetic"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x,de\nen,-1\n", ", row 2 (`eng`), column 2 (`deu`): `-1` " + NO_DISTANCE),
        ("x,de,ja\nen,1,nan\n", ", row 2 (`eng`), column 3 (`jpn`): `nan` " + NO_DISTANCE),
        ("x,de\nen,1,2\n", ", row 2: 3 cells, but the first row has 2. Make them equal."),
        ("x,de,xx\nen,1,2\n", ", row 1, column 3: Language code `xx` is not known." + FORMS),
        ("x,zh\nen,1\neng,2\n", ", row 3, column 1: `eng` is `eng`, listed before. Remove one of them."),
    ],
)
def test_errors_in_a_matrix_name_file_row_and_column(tmp_path, text, error):
    path = table(tmp_path, text)
    assert message(distance, "eng", "deu", matrix=path) == f"`{path}`{error}"


def test_a_matrix_must_be_a_table(tmp_path):
    missing = tmp_path / "gone.csv"
    assert message(distance, "eng", "deu", matrix=missing) == (
        f"Distance table `{missing}` is not a file. Give the path of a CSV file as `distance.matrix`."
    )
    empty = table(tmp_path, "\n")
    assert message(distance, "eng", "deu", matrix=empty) == (
        f"Distance table `{empty}` is empty. Put codes in its first row and column, distances in the cells."
    )


def test_near_and_far_split_at_the_median():
    answer = distances("en", TARGETS, imputed=True)
    assert answer.near == ("deu", "fra", "ind", "ita", "por", "rus", "spa")
    assert answer.far == ("ara", "fas", "jpn", "kor", "tur", "zho")
    assert answer.values == {target: distance("eng", target, imputed=True).value for target in TARGETS}
    assert distances("en", ["de", "ja"]).far == ("jpn",)


def test_by_changes_the_distance_and_keeps_the_languages():
    answer = distances("en", TARGETS, imputed=True)
    assert answer.by("") is answer.by("syntactic") is answer
    assert answer.by("phonological") == distances("eng", TARGETS, "phonological", imputed=True)
    assert message(answer.by, "shufled") == (
        "Distance `shufled` is not known. Did you mean `shuffled`? "
        "Choose from: featural, genetic, geographic, inventory, phonological, shuffled, syntactic."
    )


@settings(max_examples=30)
@given(st.permutations(TARGETS), st.integers(2, len(TARGETS)), st.integers(0, 2**32))
def test_shuffled_gives_every_target_the_distance_of_another(order, n, seed):
    chosen = sorted(TARGETS[:n])
    control = distances("eng", [t for t in order if t in chosen], seed=seed).by("shuffled")
    assert control.values == distances("eng", chosen, seed=seed).by("shuffled").values
    assert sorted(control.values.values()) == sorted(distances("eng", chosen).values.values())
    assert all(control.values[target] != distance("eng", target).value for target in chosen)


def test_shuffled_draws_every_derangement_equally_often():
    between = distances("eng", ["deu", "jpn", "kor", "tur"])
    drawn = Counter(tuple(replace(between, seed=seed).by("shuffled").values.values()) for seed in range(900))
    assert len(drawn) == 9  # of the 24 permutations of 4, those without a fixed point
    assert 60 < min(drawn.values()) <= max(drawn.values()) < 140  # 100 of each on average, with a deviation of 9.4


def test_shuffled_is_the_same_in_another_process():
    code = (
        f"import json, distxfer.languages as l; print(json.dumps(l.distances('eng', {TARGETS}).by('shuffled').values))"
    )
    data = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    control = distances("eng", TARGETS).by("shuffled")
    assert control.values == data
    assert control.entries["ara"].provenance == f"{URIEL}, syntactic distance of fra"
    assert (control.name, control.entries["ara"].name, control.entries["ara"].target) == ("shuffled", "shuffled", "ara")


def test_many_targets_report_all_errors_at_once():
    assert message(distances, "eng", []) == (
        "Distances need at least one target language, and there is none. Name the target languages."
    )
    assert message(distances, "eng", ["zh", "cmn", "xx"]) == (
        "Target `cmn` is the language `zho`, which is listed before. Remove one.\nLanguage code `xx` is not known."
        + FORMS
    )
    assert message(distances("eng", ["ja"]).by, "shuffled") == (
        "Distance `shuffled` needs at least 2 targets, and there is `jpn`. Add targets."
    )


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [
        ("uniform", [1, 1, 1, 1]),
        ("linear", [0, 1, 1, 2]),
        ("power", [0, 4 / 6, 4 / 6, 16 / 6]),
        ("rank", [0.4, 1, 1, 1.6]),
        ("softmax", [4 / 17, 8 / 17, 8 / 17, 4 * 12 / 17]),
    ],
)
def test_weights_known_by_hand(weighting, expected):
    values = {"aaa": 0.0, "bbb": 0.1, "ccc": 0.1, "ddd": 0.2}
    if weighting == "softmax":  # f = 1, 2, 2, 12
        values = {key: math.log(f) / 2 for key, f in zip(values, (1, 2, 2, 12), strict=True)}
    assert list(weights(values, weighting, temperature=0.5).values()) == pytest.approx(expected)


@given(VALUES, st.sampled_from(WEIGHTINGS), st.randoms(use_true_random=False))
def test_weights_have_mean_1_grow_with_distance_and_ignore_the_order(values, weighting, stream):
    if weighting in ("linear", "power") and not any(values.values()):
        values = dict.fromkeys(values, 1.0)
    answer = weights(values, weighting)
    assert sum(answer.values()) / len(answer) == pytest.approx(1)
    assert min(answer.values()) >= 0
    in_order = [answer[key] for key in sorted(values, key=values.__getitem__)]
    assert in_order == sorted(in_order)
    shuffled = stream.sample(sorted(values), len(values))
    assert weights({key: values[key] for key in shuffled}, weighting) == answer


@pytest.mark.parametrize(
    ("values", "weighting", "temperature", "text"),
    [
        ({"jpn": 1.0}, "sofmax", 0.1, "Weighting `sofmax` is not known. Did you mean `softmax`? "
         "Choose from: linear, power, rank, softmax, uniform."),
        ({}, "rank", 0.1, "Weights need at least one language, and there is none. Name the target languages."),
        ({"jpn": math.nan}, "rank", 0.1, "Distance `nan` of `jpn` " + NO_WEIGHT),
        ({"jpn": -1.0}, "linear", 0.1, "Distance `-1.0` of `jpn` " + NO_WEIGHT),
        ({"jpn": 0.0}, "linear", 0.1, "Weighting `linear` needs a distance above 0, and all are 0. "
         "Use the weighting `uniform`."),
        ({"jpn": 1.0}, "softmax", 0.0, "Temperature `0.0` is not positive. Give a number above 0, such as `0.1` or `2`."),
    ],
)  # fmt: skip
def test_weights_that_cannot_be(values, weighting, temperature, text):
    assert message(weights, values, weighting, temperature=temperature) == text
