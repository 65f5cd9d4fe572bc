"""The grammar of sentence templates, and the task `intents` that is expanded from them."""

import re
import sys
from collections import Counter, defaultdict
from importlib import resources
from itertools import permutations
from pathlib import Path

import hypothesis.strategies as st
import pytest

from distxfer.data import _intents, load_task, task_languages
from distxfer.data._intents import INTENTS, LANGUAGES, PARTS, read_language, read_templates
from distxfer.data._templates import Grammar, Reference, expand, lists_of, parse
from distxfer.errors import InputError
from distxfer.languages import canonical
from helpers import given, message

pytest.importorskip("home_assistant_intents")
TASKS_PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
TARGETS = ("deu", "tha", "zho", "isl")
RULES = {"the": "[the|my] ", "lamp": "<the>(lamp|light)"}
LISTS = {"color": ["red", "[dark] blue"], "level": ["1", "2"]}
GRAMMAR = Grammar(
    {name: parse(rule) for name, rule in RULES.items()},
    {name: tuple(map(parse, values)) for name, values in LISTS.items()},
)


def every_expansion(template):
    """The texts of a template, over every sequence of choices."""
    node, texts, path = parse(template), set(), []
    while True:
        sizes = []

        def choose(n, sizes=sizes):
            sizes.append(n)
            if len(sizes) > len(path):
                path.append(0)
            return path[len(sizes) - 1]

        texts.add(plain("".join(text for text, _ in expand(node, GRAMMAR, choose))))
        while path and path[-1] == sizes[len(path) - 1] - 1:
            path.pop()
        if not path:
            return texts
        path[-1] += 1


def plain(text):
    return " ".join(text.split())


def rewritten(text):
    """The same by rewriting strings: references become groups, and innermost groups one text after the other."""
    while reference := re.search(r"<(\w+)>|\{(\w+)(?::\w+)?\}", text):
        rule, name = reference.groups()
        text = text.replace(reference[0], f"({RULES[rule]})" if rule else f"({'|'.join(LISTS[name])})")
    innermost = re.search(r"\(([^()\[\]]*)\)|\[([^()\[\]]*)\]", text)
    if not innermost:
        return {plain(text)}
    content = innermost[1] if innermost[2] is None else innermost[2]
    texts = (
        [f" {' '.join(order)} " for order in permutations(content.split(";"))] if ";" in content else content.split("|")
    )
    options = texts if innermost[2] is None else [*texts, ""]
    return set().union(*(rewritten(text[: innermost.start()] + option + text[innermost.end() :]) for option in options))


@pytest.mark.parametrize(
    ("template", "texts"),
    [
        ("turn on", {"turn on"}),
        ("lamp[s]", {"lamp", "lamps"}),
        ("[please] go", {"go", "please go"}),
        ("[a|b]c", {"ac", "bc", "c"}),
        ("(a|b|)c", {"ac", "bc", "c"}),
        ("a|b c", {"a", "b c"}),
        ("(on;the light)", {"on the light", "the light on"}),
        ("x(1;2;3)y", {f"x {a} {b} {c} y" for a, b, c in permutations("123")}),
        ("<lamp> on", {f"{the}{lamp} on" for the in ("", "the ", "my ") for lamp in ("lamp", "light")}),
        ("to {color:shade}", {"to red", "to blue", "to dark blue"}),
        (r"a \(b\) \\ c\|d", {r"a (b) \ c|d"}),
        ("", {""}),
    ],
)
def test_a_template_has_these_expansions(template, texts):
    assert every_expansion(template) == texts


def groups(inner):
    parts = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        parts.map("".join),
        parts.map(lambda texts: f"({'|'.join(texts)})"),
        parts.map(lambda texts: f"[{'|'.join(texts)}]"),
        parts.map(lambda texts: f"({';'.join(texts)})"),
    )


@given(
    st.recursive(st.sampled_from(["a", "b ", " c", "<the>", "<lamp>", "{color}", "{level:x}"]), groups, max_leaves=5)
)
def test_expansions_are_those_of_rewriting_the_text(template):
    assert every_expansion(template) == rewritten(template)


@pytest.mark.parametrize("template", ["(a", "a)", "[a)", "(a|b;c)", "{a", "a>", "<>"])
def test_what_is_no_template_is_refused(template):
    assert message(parse, template).startswith(f"The template `{template}` ")


def test_lists_are_found_in_rules_and_pieces_name_theirs():
    grammar = Grammar({"to": parse("to {color}")}, {"color": ("red",)})
    template = parse("[<to>] {level}")
    assert set(lists_of(template, grammar.rules)) == {"color", "level"}
    assert list(expand(Reference("rule", "to"), grammar, lambda n: 0)) == [("to ", ""), ("red", "color")]


# The task


@pytest.fixture(scope="module")
def task():
    return load_task("intents", "eng", TARGETS, target_labels=True)


def parts_of(task, language):
    return {**{part: task.examples(part, language) for part in task.splits}, "unlabelled": task.unlabelled[language]}


def test_every_language_has_every_label_and_ids_of_its_own(task):
    assert task.labels == INTENTS
    assert set(task_languages("intents")) == set(LANGUAGES)
    ids = set()
    for language in ("eng", *TARGETS):
        parts = parts_of(task, language)
        assert {example.label for example in parts["test"]} == set(range(len(INTENTS)))
        assert {example.label for example in parts["unlabelled"]} == {None}
        language_ids = [example.id for examples in parts.values() for example in examples]
        assert len(set(language_ids)) == len(language_ids)
        assert not ids & set(language_ids)
        ids |= set(language_ids)
    assert {example.label for example in task.examples("train", "eng")} == set(range(len(INTENTS)))
    assert 1500 <= len(task.examples("train", "eng")) <= 2500


def test_labels_are_the_intents_of_the_templates(task):
    intents = {text: INTENTS[example.label] for example in task.examples("test", "eng") for text in (example.text,)}
    assert intents["cancel all my Capella timers"] == "CancelAllTimers"
    assert {intents[text] for text in intents if re.search(r"\b(weather|temperature)\b", text)} <= {
        "GetWeather", "ClimateGetTemperature", "LightSet",
    }  # fmt: skip


@pytest.mark.parametrize("language", ["eng", *TARGETS])
def test_no_template_and_no_text_is_in_two_parts_nor_of_two_intents(task, language):
    stars = {name: part for part, content in PARTS.items() for name in content.names.split()}
    assert len(stars) == sum(len(content.names.split()) for content in PARTS.values())
    parts: dict[str, set] = defaultdict(set)
    labels: dict[str, set] = defaultdict(set)
    for part, examples in parts_of(task, language).items():
        for example in examples:
            assert {stars[star] for star in stars if star in example.text} <= {part}
            text = re.sub("|".join(stars), "STAR", example.text)
            text = re.sub(r"[\s?!.,'’%-]+", "", re.sub(r"\d+", "0", text)).casefold()
            for key in (example.id.partition("-")[0], text):
                parts[key].add(part)
                labels[key].add(example.label)
    assert {len(names) for names in parts.values()} == {1}
    assert {len(numbers) for numbers in labels.values()} == {1}


def test_training_labels_of_targets_are_read_on_request_and_change_nothing_else(task):
    without = load_task("intents", "eng", TARGETS)
    assert set(without.splits["train"]) == {"eng"}
    assert {**without.splits, "train": None} == {**task.splits, "train": None}
    assert without.unlabelled == task.unlabelled


def test_the_split_is_the_one_it_always_was():
    fingerprint = load_task("intents", "eng", ("deu",)).fingerprint()
    assert fingerprint == "af51078a7206649690e7aed58a6ee11d25787e944c65868805f5084e85d1909b"


def test_languages_and_intents_are_those_of_the_rule():
    """Intents: 3 templates in English, one in 95 % of the files with 100; languages: all of these, the fuller variety."""
    files = sorted(path.name[:-5] for path in resources.files("home_assistant_intents").joinpath("data").iterdir())
    counts = {
        code: Counter({intent: len(nodes) for intent, nodes in read_templates(code)[1].items()}) for code in files
    }
    large = [code for code in files if counts[code].total() >= 100]
    shared = {
        intent
        for intent, n in counts["en"].items()
        if n >= 3 and sum(counts[code][intent] > 0 for code in large) >= 0.95 * len(large)
    }
    assert set(INTENTS) == shared
    chosen: dict[str, str] = {}
    for code in sorted(files, key=lambda code: -counts[code].total()):
        if all(counts[code][intent] for intent in INTENTS) and code not in ("fa", "he", "sr-Latn"):
            chosen.setdefault(canonical(code), code)
    assert chosen == LANGUAGES


def test_the_documented_counts_are_those_of_the_task(task):
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", TASKS_PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(LANGUAGES) <= set(rows)
    for language in ("eng", *TARGETS):
        read = read_language(language)
        texts = Counter(request.part for request in read.requests)
        counts = [f"{read.templates[part]} / {texts[part]:,}" for part in ("train", "unlabelled", "dev", "test")]
        assert rows[language] == " | ".join(counts)


@pytest.mark.parametrize(("key", "code", "intents"), [("heb", "he", 15), ("est", "et", 2)])
def test_a_language_with_too_few_templates_is_refused(monkeypatch, key, code, intents):
    assert "has no data for the language" in message(load_task, "intents", "eng", (key,))
    monkeypatch.setitem(LANGUAGES, key, code)
    text = message(load_task, "intents", "eng", (key,))
    assert text.startswith(
        f"`home_assistant_intents` has 28 test templates of {intents} intents in `{key}`, but at least 30"
    )


def test_a_missing_package_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "home_assistant_intents", None)
    with pytest.raises(
        InputError, match=r'`home_assistant_intents`, which is not installed. Run: pip install "distxfer'
    ):
        load_task("intents", "eng", ("deu",))


def test_left_out_texts_are_counted(task):
    counts = {(issue.language, issue.split, issue.what): (issue.n, issue.of) for issue in task.issues}
    read = read_language("zho")
    for (part, what), n in read.left_out.items():
        of = sum(request.part == part for request in read.requests)
        of += sum(count for (name, _), count in read.left_out.items() if name == part)
        assert counts["zho", part, what] == (n, of)
    assert {what for _, _, what in counts} <= {_intents.AMBIGUOUS, _intents.SHARED, _intents.REPEATED}
    assert "texts of two intents" in task.notes[0]
