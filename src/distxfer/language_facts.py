"""Facts on a language before training: its codes, distances, tokens, parallel text, and the score to expect."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from distxfer.analysis.known_scores import KnownScores, known_scores
from distxfer.config.recipe import Recipe
from distxfer.data import (
    Data,
    Pair,
    ParallelText,
    load_parallel,
    load_task,
    parallel_languages,
    parallel_names,
    task_languages,
    task_type_named,
)
from distxfer.encoders import load_tokenizer, model_folder
from distxfer.errors import InputError, counted
from distxfer.languages import (
    DISTANCES,
    Distance,
    canonical,
    check_distance,
    coordinates,
    distance,
    distance_warnings,
    families,
    language_name,
    relatives,
    script,
)
from distxfer.measure import expected_score, smallest_gain

_MOST = 1000  # texts per language, enough to judge a tokenizer
_UNSPACED = {"Hans", "Hant", "Hani", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"}  # no blanks between words
_UNKNOWN = 0.01  # share of unknown tokens above which whole words are lost
_TORN = 1.0  # tokens per character; more means byte fallback
_TEST_SIZES, _SEEDS = (100, 300, 1000), (3, 5, 10)


@dataclass(frozen=True)
class Fact:
    """One fact on a language, with the columns of `measurements.parquet` where they apply.

    `value` is a number, a text, or None, in which case `note` gives the reason. `n` is the size of its basis, `low` and
    `high` are its 95 % interval.
    """

    section: str
    measure: str
    language: str
    value: float | str | None
    n: int | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


def language_facts(
    code: str, recipe: Recipe, results: Path, *, text: Path | None = None, parallel: Path | None = None
) -> list[Fact]:
    """Return the facts on a language for a recipe's model and task: the sections of `distxfer language`.

    `text` is a file with one sentence per line, `parallel` has lines of source sentence, tab, translation. Scores are from
    finished runs of the recipe `plain` in `results`.

    Raises InputError for an unknown code, task, model or distance, and for an unreadable file.
    """
    key, source = canonical(code), canonical(recipe.task.source)
    check_distance(recipe.distance.name, Path(recipe.distance.matrix) if recipe.distance.matrix else None)
    sentences = text_lines(text) if text else []
    pairs = _pairs(parallel) if parallel else []
    texts = sentences or [target for _, target in pairs]
    folder = model_folder(recipe.model.name, recipe.model.revision)
    recipe, tokenizer = recipe.pooled_as(folder), load_tokenizer(folder)
    measured = known_scores(recipe, results, source)
    expected = _expected(key, source, recipe, measured)
    facts = [
        *_identity(key),
        *_distances(key, source, recipe),
        *_tokens(key, source, recipe, tokenizer, texts),
        *_parallel_text(key, source, recipe, parallel, pairs),
        *expected,
        *_gains(key, measured, expected[0]),
    ]
    return [*_verdict(key, source, recipe, facts), *facts]


def seed_spread(recipe: Recipe, results: Path) -> float | None:
    """Return the standard deviation over seeds of a recipe's score in one language; None for fewer than 2 runs."""
    return known_scores(recipe, results, canonical(recipe.task.source)).seed_sd


def _verdict(key: str, source: str, recipe: Recipe, facts: Sequence[Fact]) -> list[Fact]:
    """Return whether this language can be worked on, and the obstacles, by the other facts."""
    name = "matrix" if recipe.distance.matrix else recipe.distance.name
    values = {(fact.measure, fact.language): fact.value for fact in facts}
    pairs = [fact.value for fact in facts if fact.section == "parallel"]
    unknown, tokens = values.get(("unknown_rate", key)), values.get(("tokens_per_character", key))
    beside = values.get(("tokens_per_character", source))
    unreadable, missing, doubtful = [], [], []
    if key != source and key not in task_languages(recipe.task.data):
        missing.append(f"no labelled test in `{recipe.task.name}` (`distxfer new-language {key} --labelled FILE`)")
    if tokens is None:
        missing.append("no text for testing the tokenizer (`--text`)")
    if isinstance(unknown, float) and unknown > _UNKNOWN:
        unreadable.append(f"the tokenizer does not know {100 * unknown:.0f} % of the text")
    if isinstance(tokens, float) and isinstance(beside, float) and tokens > _TORN and tokens > 2 * beside:
        unreadable.append(f"the tokenizer splits the text into {tokens:.1f} tokens per character")
    if not any(pairs):
        missing.append("no parallel text (`--parallel`): no alignment, only drift penalties, freezing and adapters")
    if values.get((f"distance_{name}", key), 0.0) is None:
        missing.append(f"no {name} distance: choose another, or bring your own (`distance.matrix`)")
    for fact in facts:
        if fact.measure == "doubtful" and fact.note.startswith(f"The {name} distance"):
            fault = "is based only on predicted features" if "`n_shared`" in fact.note else "is exactly 0"
            doubtful.append(f"its {name} distance {fault}")
    against = "; ".join([*unreadable, *missing, *doubtful]) or "nothing"
    answer = _answer(key, source, recipe, unreadable, missing, doubtful)
    return [
        Fact("language", "answer", key, answer, note="; ".join(unreadable)),
        Fact("language", "in_the_way", key, against),
    ]


def _answer(
    key: str, source: str, recipe: Recipe, unreadable: list[str], missing: list[str], doubtful: list[str]
) -> str:
    """Return one sentence: yes, no, or what is missing."""
    task, model, name = recipe.task.name, recipe.model.name, language_name(key)
    doubts = "".join(f", but {doubt}" for doubt in doubtful)
    if unreadable:
        return f"No, not {name} with `{model}`: {'; '.join(unreadable)}. Choose another encoder (`model=`)."
    if key == source:
        return f"No: {name} is the source itself, which needs no transfer."
    if missing:
        return f"Missing for {name} on `{task}`: {'; '.join(missing)}{doubts}."
    return f"Yes: `{task}` tests {name}, the tokenizer of `{model}` reads it, and there is parallel text{doubts}."


def _identity(key: str) -> Iterator[Fact]:
    tree = families(key)
    yield Fact("language", "name", key, language_name(key))
    yield Fact(
        "language", "families", key, " > ".join(tree[:3]) or None, note="" if tree else "an isolate, or not classified"
    )
    yield Fact("language", "script", key, script(key), note="" if script(key) else "CLDR has no usual script")
    try:
        latitude, longitude = coordinates(key)
        yield Fact("language", "coordinates", key, f"{latitude:.1f}, {longitude:.1f}")
    except InputError as error:
        yield Fact("language", "coordinates", key, None, note=str(error))


def _distances(key: str, source: str, recipe: Recipe) -> Iterator[Fact]:
    matrix = Path(recipe.distance.matrix) if recipe.distance.matrix else None
    entries: list[Distance] = []
    for name in (*DISTANCES, *(["matrix"] if matrix else [])):
        try:
            override = matrix if name == "matrix" else None
            entry = distance(source, key, name, imputed=recipe.distance.imputed, matrix=override)
            note = f"{'imputed, ' if entry.imputed else ''}{entry.provenance}"
            yield Fact("distance", f"distance_{name}", key, entry.value, entry.n_shared, note=note)
            entries.append(entry)
        except InputError as error:
            yield Fact("distance", f"distance_{name}", key, None, note=str(error))
    for warning in distance_warnings(entries) if key != source else ():
        yield Fact("distance", "doubtful", key, None, note=warning)
    kin = relatives(key)
    names = ", ".join(
        f"{relative.key} ({language_name(relative.key)}, {relative.n_shared} families shared)" for relative in kin
    )
    yield Fact("distance", "nearest_relatives", key, names or None, note="" if kin else "none has syntactic data")


def _tokens(
    key: str, source: str, recipe: Recipe, tokenizer: PreTrainedTokenizerBase, key_texts: Sequence[str]
) -> Iterator[Fact]:
    """Yield token statistics for this language, the source, and the task's nearest and farthest target."""
    available = task_languages(recipe.task.data)
    candidates = sorted(
        (value, code) for code, value in _far_from(source, [c for c in available if c not in (key, source)], recipe)
    )
    roles = {key: "this language", source: "the source"}
    roles |= (
        {candidates[-1][1]: "the farthest target of the task", candidates[0][1]: "the nearest"} if candidates else {}
    )
    for code, role in roles.items():
        texts = list(key_texts) if code == key and key_texts else _texts(code, source, recipe)
        if not texts:
            yield Fact("tokenizer", "tokens_per_character", code, None, note=f"{role}; no text: add some with `--text`")
            continue
        yield from _tokenized(code, role, texts[:_MOST], tokenizer)


def _tokenized(code: str, role: str, texts: list[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[Fact]:
    tokens = tokenizer(texts, add_special_tokens=False)["input_ids"]
    total = sum(map(len, tokens))
    characters = sum(len("".join(text.split())) for text in texts)
    unknown = sum(token == tokenizer.unk_token_id for row in tokens for token in row)
    yield Fact("tokenizer", "unknown_rate", code, unknown / max(1, total), total, note=role)
    yield Fact("tokenizer", "tokens_per_character", code, total / max(1, characters), characters, note=role)
    if script(code) in _UNSPACED:
        yield Fact("tokenizer", "tokens_per_word", code, None, note=f"{role}; its script puts no blanks between words")
    else:
        words = sum(len(text.split()) for text in texts)
        yield Fact("tokenizer", "tokens_per_word", code, total / max(1, words), words, note=role)


def _texts(code: str, source: str, recipe: Recipe) -> list[str]:
    """Return the task's test texts in a language, or else those of built-in parallel text."""
    if code in task_languages(recipe.task.data):
        targets = tuple(target for target in (code,) if target != source)
        return [example.text for example in load_task(recipe.task.data, source, targets).examples("test", code)]
    for name, about in parallel_names().items():
        data = _corpus(name, recipe)
        if not about.source and code != source and {code, source} <= set(parallel_languages(data)):
            try:
                return [pair.target.text for pair in _all(load_parallel(data, source, (code,)), code)]
            except InputError:
                continue  # the section on parallel text reports what is missing
    return []


def _corpus(name: str, recipe: Recipe) -> Data:
    """Return a built-in corpus, with the location of its files if it is the recipe's own."""
    return recipe.parallel.data if name == recipe.parallel.name else Data(name)


def _parallel_text(
    key: str, source: str, recipe: Recipe, path: Path | None, pairs: Sequence[tuple[str, str]]
) -> Iterator[Fact]:
    if path:
        repeated = len(pairs) - len(set(pairs))
        note = f"{path}; {counted(repeated, 'repeated lines')}" if repeated else str(path)
        yield Fact("parallel", "pairs", key, float(len(pairs)), len(pairs), note=note)
    for name, about in parallel_names().items():
        data = _corpus(name, recipe)
        have = set(parallel_languages(data))
        if source not in have or key not in have or key == source:
            yield Fact("parallel", f"pairs_{name}", key, 0.0, 0, note=f"`{name}` has nothing between the two")
            continue
        if about.source and not data.folder:  # never download anything here
            yield Fact("parallel", f"pairs_{name}", key, None, note=f"there are some, on the hub: {about.size}")
            continue
        try:
            n = len(_all(load_parallel(data, source, (key,)), key))
        except InputError as error:
            yield Fact("parallel", f"pairs_{name}", key, None, note=f"there may be some: {error}")
            continue
        yield Fact("parallel", f"pairs_{name}", key, float(n), n, note=about.description)


def _all(corpus: ParallelText, key: str) -> list[Pair]:
    return [*corpus.train.get(key, ()), *corpus.held_out.get(key, ())]


def _expected(key: str, source: str, recipe: Recipe, measured: KnownScores) -> list[Fact]:
    """Return the expected score and the accuracy of that estimate, or the measured score if there is one."""
    section, name = "expected", f"{recipe.distance.name} distance"
    if key in measured.scores:
        note = f"measured, the mean over seeds{_which_runs(measured)}"
        return [Fact(section, measured.metric, key, measured.scores[key], measured.seeds, note=note)]
    targets = [code for code in measured.scores if code != source]
    where = f"`{recipe.name}` on `{recipe.task.name}` with `{recipe.model.name}`"
    if not targets:
        note = f"no finished runs of {where}: `distxfer train recipe={recipe.name} task={recipe.task.name}` makes one"
        return [Fact(section, measured.metric, key, None, 0, note=note)]
    try:
        new = dict(_far_from(source, [key], recipe))[key]
    except KeyError:
        return [
            Fact(section, measured.metric, key, None, len(targets), note=f"`{key}` has no {name} to extrapolate by")
        ]
    far = dict(_far_from(source, targets, recipe))
    guess = expected_score(list(far.values()), [measured.scores[code] for code in far], new)
    if guess.value is None:
        return [Fact(section, measured.metric, key, None, guess.n, note=str(guess.reason))]
    assert guess.error is not None
    assert guess.error_of_mean is not None
    outside = " It is an extrapolation beyond all measured languages." if new > max(far.values()) else ""
    better = "" if guess.error < guess.error_of_mean else " Distance does not help here: the mean is as accurate."
    runs = counted(measured.seeds, "seeds") + _which_runs(measured)
    note = f"a line on the {name} over the languages of {where}, {runs}.{outside}{better}"
    return [
        Fact(section, measured.metric, key, guess.value, guess.n, guess.low, guess.high, note),
        Fact(
            section, "error_left_out", key, guess.error, guess.n, note="of the line, leaving out one language at a time"
        ),
        Fact(
            section, "error_left_out_mean", key, guess.error_of_mean, guess.n, note="of the mean of the other languages"
        ),
        Fact(
            section,
            "covered_left_out",
            key,
            guess.covered,
            guess.n,
            note="share inside the 95 % interval of the others",
        ),
    ]


def _which_runs(measured: KnownScores) -> str:
    """Return the id of the scores if there are several, and whether the task's data have changed."""
    which = f" of `{measured.settings}`, one of several settings" if measured.settings else ""
    return which + (f", {measured.data}" if measured.data else "")


def _gains(key: str, measured: KnownScores, expected: Fact) -> Iterator[Fact]:
    """Yield the smallest detectable gain over a baseline in this language, by numbers of test sentences and seeds."""
    if not isinstance(expected.value, float) or measured.seed_sd is None:
        yield Fact(
            "smallest gain", "smallest_gain", key, None, note="needs an expected score and at least 2 measured seeds"
        )
        return
    if measured.metric != "accuracy" or task_type_named(measured.task_type).per == "token":
        note = f"{measured.metric} is not a share of correct sentences"
        yield Fact("smallest gain", "smallest_gain", key, None, note=note)
        return
    if not 0 < expected.value < 1:
        note = f"with an expected score of {expected.value:.3f}, methods cannot be distinguished"
        yield Fact("smallest gain", "smallest_gain", key, None, note=note)
        return
    for n in sorted(size for size in {*_TEST_SIZES, measured.test_size} if size > 1):
        for seeds in _SEEDS:
            gain = smallest_gain(n, seeds, accuracy=expected.value, seed_sd=measured.seed_sd)
            note = f"{n} sentences, {seeds} seeds (which differ by {measured.seed_sd:.3f})"
            yield Fact("smallest gain", "smallest_gain", key, gain, n, note=note)


def _far_from(source: str, keys: Sequence[str], recipe: Recipe) -> Iterator[tuple[str, float]]:
    """Yield the recipe's distance of each language that has one."""
    matrix = Path(recipe.distance.matrix) if recipe.distance.matrix else None
    for code in keys:
        try:
            entry = distance(source, code, recipe.distance.name, imputed=recipe.distance.imputed, matrix=matrix)
        except InputError:
            continue  # reported in the section on distances
        yield code, entry.value


def text_lines(path: Path) -> list[str]:
    """Return the non-blank lines of a text file; raises InputError for an unreadable or empty file."""
    try:
        sentences = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The text `{path}` cannot be read ({error}). Give a UTF-8 file with one sentence per line."
        ) from error
    if not sentences:
        raise InputError(f"The text `{path}` is empty. Give a UTF-8 file with one sentence per line.")
    return sentences


def _pairs(path: Path) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(text_lines(path), start=1):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2 or not all(columns):
            raise InputError(
                f"`{path}:{number}` has {len(columns)} columns; expected a source sentence, one tab and its translation."
            )
        pairs.append((columns[0], columns[1]))
    return pairs
