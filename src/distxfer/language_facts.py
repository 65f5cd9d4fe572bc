"""Facts about a language before training: its codes, distances, tokens, parallel text, and the score to expect."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from distxfer.analysis.known_scores import KnownScores, known_scores
from distxfer.config.recipe import Recipe
from distxfer.data import (
    Collator,
    Data,
    Example,
    Pair,
    lines,
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
_POOL = 100  # texts of a candidate for the source, and of the language, whose states are compared
_DEPTH = 2 / 3  # of the layers: ranks sources best in studies/sources
_UNSPACED = {"Hans", "Hant", "Hani", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"}  # no blanks between words
_UNKNOWN = 0.01  # share of unknown tokens above which whole words are lost
_TORN = 1.0  # tokens per character; more means byte fallback
_TEST_SIZES, _SEEDS = (100, 300, 1000), (3, 5, 10)


@dataclass(frozen=True)
class Fact:
    """One fact about a language, with the columns of `measurements.parquet` where they apply.

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
    code: str,
    recipe: Recipe,
    results: Path,
    *,
    text: Path | None = None,
    parallel: Path | None = None,
    is_labelled: bool = False,
    candidates: Sequence[str] = (),
) -> list[Fact]:
    """Return the facts about a language for a recipe's model and task: the sections of `distxfer language`.

    `text` is a file with one sentence per line, `parallel` has lines of source sentence, tab, translation. Scores are from
    finished runs of the recipe `plain` in `results`. `is_labelled`: whether there is a labelled test beside the task's.
    `candidates` are languages to rank as sources, or `all`: those of the task with labels.

    Raises InputError for an unknown code, task, model or distance, for an unreadable file, and for candidates without labels.
    """
    key, source = canonical(code), recipe.task.single_source
    check_distance(recipe.distance.name, recipe.distance.table)
    pairs = _pairs(parallel) if parallel else []
    texts = text_lines(text) if text else [target for _, target in pairs]
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
        *(_ranked_sources(key, recipe, texts, candidates) if candidates else ()),
    ]
    return [*_verdict(key, source, recipe, facts, is_labelled), *facts]


def seed_spread(recipe: Recipe, results: Path) -> float | None:
    """Return the standard deviation over seeds of a recipe's score in one language; None for fewer than 2 runs."""
    return known_scores(recipe, results, recipe.task.single_source).seed_sd


def _verdict(key: str, source: str, recipe: Recipe, facts: Sequence[Fact], is_labelled: bool) -> list[Fact]:
    """Return whether this language can be worked on, in one sentence, and the obstacles, by the other facts."""
    task, model, name = recipe.task.name, recipe.model.name, language_name(key)
    distance_name = "matrix" if recipe.distance.matrix else recipe.distance.name
    values = {(fact.measure, fact.language): fact.value for fact in facts}
    unreadable = _unreadable(key, source, values)
    missing = []
    if key != source and not is_labelled and key not in task_languages(recipe.task.data):
        missing.append(f"no labelled test in `{task}` (`distxfer new-language {key} --labelled FILE`)")
    if values.get(("tokens_per_character", key)) is None:
        missing.append("no text for testing the tokenizer (`--text`)")
    if not any(fact.value for fact in facts if fact.section == "parallel"):
        missing.append("no parallel text (`--parallel`): no alignment, only drift penalties, freezing and adapters")
    if values.get((f"distance_{distance_name}", key), 0.0) is None:
        missing.append(f"no {distance_name} distance: choose another, or bring your own (`distance.matrix`)")
    doubtful = [
        f"its {distance_name} distance {'is based only on predicted features' if '`n_shared`' in note else 'is exactly 0'}"
        for note in (fact.note for fact in facts if fact.measure == "doubtful")
        if note.startswith(f"The {distance_name} distance")
    ]
    doubts = "".join(f", but {doubt}" for doubt in doubtful)
    if unreadable:
        answer = f"No, not {name} with `{model}`: {'; '.join(unreadable)}. Choose another encoder (`model=`)."
    elif key == source:
        answer = f"No: {name} is the source itself, which needs no transfer."
    elif missing:
        answer = f"Missing for {name} on `{task}`: {'; '.join(missing)}{doubts}."
    else:
        answer = f"Yes: `{task}` tests {name}, the tokenizer of `{model}` reads it, and there is parallel text{doubts}."
    return [
        Fact("language", "answer", key, answer, note="; ".join(unreadable)),
        Fact("language", "in_the_way", key, "; ".join([*unreadable, *missing, *doubtful]) or "nothing"),
    ]


def _unreadable(key: str, source: str, values: Mapping[tuple[str, str], float | str | None]) -> list[str]:
    """Return the reasons why the tokenizer cannot read this language."""
    unknown, tokens = values.get(("unknown_rate", key)), values.get(("tokens_per_character", key))
    source_tokens = values.get(("tokens_per_character", source))
    reasons = []
    if isinstance(unknown, float) and unknown > _UNKNOWN:
        reasons.append(f"the tokenizer does not know {100 * unknown:.0f} % of the text")
    if isinstance(tokens, float) and isinstance(source_tokens, float) and tokens > max(_TORN, 2 * source_tokens):
        reasons.append(f"the tokenizer splits the text into {tokens:.1f} tokens per character")
    return reasons


def _identity(key: str) -> list[Fact]:
    tree, usual_script = families(key), script(key)
    try:
        place, note = "{:.1f}, {:.1f}".format(*coordinates(key)), ""
    except InputError as error:
        place, note = None, str(error)
    classified = "" if tree else "an isolate, or not classified"
    return [
        Fact("language", "name", key, language_name(key)),
        Fact("language", "families", key, " > ".join(tree[:3]) or None, note=classified),
        Fact("language", "script", key, usual_script, note="" if usual_script else "CLDR has no usual script"),
        Fact("language", "coordinates", key, place, note=note),
    ]


def _distances(key: str, source: str, recipe: Recipe) -> Iterator[Fact]:
    matrix, entries = recipe.distance.table, []
    for name in (*DISTANCES, *(["matrix"] if matrix else [])):
        try:
            override = matrix if name == "matrix" else None
            entry = distance(source, key, name, imputed=recipe.distance.imputed, matrix=override)
        except InputError as error:
            yield Fact("distance", f"distance_{name}", key, None, note=str(error))
            continue
        note = f"{'imputed, ' if entry.imputed else ''}{entry.provenance}"
        yield Fact("distance", f"distance_{name}", key, entry.value, entry.n_shared, note=note)
        entries.append(entry)
    for warning in distance_warnings(entries) if key != source else ():
        yield Fact("distance", "doubtful", key, None, note=warning)
    kin = ", ".join(
        f"{relative.key} ({language_name(relative.key)}, {relative.n_shared} families shared)"
        for relative in relatives(key)
    )
    yield Fact("distance", "nearest_relatives", key, kin or None, note="" if kin else "none has syntactic data")


def _tokens(
    key: str, source: str, recipe: Recipe, tokenizer: PreTrainedTokenizerBase, key_texts: Sequence[str]
) -> Iterator[Fact]:
    """Yield token statistics for this language, the source, and the task's nearest and farthest target."""
    targets = [code for code in task_languages(recipe.task.data) if code not in (key, source)]
    by_distance = sorted((value, code) for code, value in _values(source, targets, recipe).items())
    roles = {key: "this language", source: "the source"}
    if by_distance:
        roles |= {by_distance[-1][1]: "the farthest target of the task", by_distance[0][1]: "the nearest"}
    for code, role in roles.items():
        texts = list(key_texts) if code == key and key_texts else _texts(code, source, recipe)
        if not texts:
            yield Fact("tokenizer", "tokens_per_character", code, None, note=f"{role}; no text: add some with `--text`")
            continue
        token_ids = [token for row in tokenizer(texts[:_MOST], add_special_tokens=False)["input_ids"] for token in row]
        words = [word for text in texts[:_MOST] for word in text.split()]
        total, characters = len(token_ids), sum(map(len, words))
        unknown = token_ids.count(tokenizer.unk_token_id)
        yield Fact("tokenizer", "unknown_rate", code, unknown / max(1, total), total, note=role)
        yield Fact("tokenizer", "tokens_per_character", code, total / max(1, characters), characters, note=role)
        if script(code) in _UNSPACED:
            note = f"{role}; its script puts no blanks between words"
            yield Fact("tokenizer", "tokens_per_word", code, None, note=note)
        else:
            yield Fact("tokenizer", "tokens_per_word", code, total / max(1, len(words)), len(words), note=role)


def _texts(code: str, source: str, recipe: Recipe) -> list[str]:
    """Return the task's test texts in a language, or else those of built-in parallel text."""
    if code in task_languages(recipe.task.data):
        targets = () if code == source else (code,)
        return [example.text for example in load_task(recipe.task.data, source, targets).examples("test", code)]
    for name, about in parallel_names().items():
        data = _corpus(name, recipe)
        if not about.source and code != source and {code, source} <= set(parallel_languages(data)):
            try:
                return [pair.target.text for pair in _sentence_pairs(data, source, code)]
            except InputError:
                continue  # the section on parallel text reports what is missing
    return []


def _corpus(name: str, recipe: Recipe) -> Data:
    """Return a built-in corpus, with the location of its files if it is the recipe's own."""
    return recipe.parallel.data if name == recipe.parallel.name else Data(name)


def _sentence_pairs(data: Data, source: str, key: str) -> list[Pair]:
    corpus = load_parallel(data, source, (key,))
    return [*corpus.train.get(key, ()), *corpus.held_out.get(key, ())]


def _parallel_text(
    key: str, source: str, recipe: Recipe, path: Path | None, pairs: Sequence[tuple[str, str]]
) -> Iterator[Fact]:
    if path:
        repeated = len(pairs) - len(set(pairs))
        note = f"{path}; {counted(repeated, 'repeated lines')}" if repeated else str(path)
        yield Fact("parallel", "pairs", key, float(len(pairs)), len(pairs), note=note)
    for name, about in parallel_names().items():
        data = _corpus(name, recipe)
        n, note = None, about.description
        if key == source or not {source, key} <= set(parallel_languages(data)):
            n, note = 0, f"`{name}` has nothing between the two"
        elif about.source and not data.folder:  # never download anything here
            note = f"there are some, on the hub: {about.size}"
        else:
            try:
                n = len(_sentence_pairs(data, source, key))
            except InputError as error:
                note = f"there may be some: {error}"
        yield Fact("parallel", f"pairs_{name}", key, None if n is None else float(n), n, note=note)


def _expected(key: str, source: str, recipe: Recipe, measured: KnownScores) -> list[Fact]:
    """Return the expected score and the accuracy of that estimate, or the measured score if there is one."""
    distance_name = f"{recipe.distance.name} distance"
    which = f" of `{measured.settings}`, one of several settings" if measured.settings else ""
    which += f", {measured.data}" if measured.data else ""
    if key in measured.scores:
        note = f"measured, the mean over seeds{which}"
        return [Fact("expected", measured.metric, key, measured.scores[key], measured.seeds, note=note)]
    targets = [code for code in measured.scores if code != source]
    where = f"`{recipe.name}` on `{recipe.task.name}` with `{recipe.model.name}`"
    new = _values(source, [key], recipe).get(key)
    if not targets:
        note = f"no finished runs of {where}: `distxfer train recipe={recipe.name} task={recipe.task.name}` makes one"
        return [Fact("expected", measured.metric, key, None, 0, note=note)]
    if new is None:
        note = f"`{key}` has no {distance_name} to extrapolate by"
        return [Fact("expected", measured.metric, key, None, len(targets), note=note)]
    distances = _values(source, targets, recipe)
    guess = expected_score(list(distances.values()), [measured.scores[code] for code in distances], new)
    if guess.error is None or guess.error_of_mean is None:
        return [Fact("expected", measured.metric, key, None, guess.n, note=str(guess.reason))]
    note = f"a line on the {distance_name} over the languages of {where}, {counted(measured.seeds, 'seeds')}{which}."
    if new > max(distances.values()):
        note += " It is an extrapolation beyond all measured languages."
    if guess.error >= guess.error_of_mean:
        note += " Distance does not help here: the mean is as accurate."
    accuracy = (
        ("error_left_out", guess.error, "of the line, leaving out one language at a time"),
        ("error_left_out_mean", guess.error_of_mean, "of the mean of the other languages"),
        ("covered_left_out", guess.covered, "share inside the 95 % interval of the others"),
    )
    return [
        Fact("expected", measured.metric, key, guess.value, guess.n, guess.low, guess.high, note),
        *(Fact("expected", measure, key, value, guess.n, note=note) for measure, value, note in accuracy),
    ]


def _gains(key: str, measured: KnownScores, expected: Fact) -> list[Fact]:
    """Return the smallest detectable gain over a baseline in this language, by numbers of test sentences and seeds."""
    section, measure, accuracy, seed_sd = "smallest gain", "smallest_gain", expected.value, measured.seed_sd
    note = ""
    if not isinstance(accuracy, float) or seed_sd is None:
        note = "needs an expected score and at least 2 measured seeds"
    elif measured.metric != "accuracy" or task_type_named(measured.task_type).per == "token":
        note = f"{measured.metric} is not a share of correct sentences"
    elif not 0 < accuracy < 1:
        note = f"with an expected score of {accuracy:.3f}, methods cannot be distinguished"
    if note or not isinstance(accuracy, float) or seed_sd is None:
        return [Fact(section, measure, key, None, note=note)]
    facts = []
    for n in sorted(size for size in {*_TEST_SIZES, measured.test_size} if size > 1):
        for seeds in _SEEDS:
            gain = smallest_gain(n, seeds, accuracy=accuracy, seed_sd=seed_sd)
            note = f"{n} sentences, {seeds} seeds (which differ by {seed_sd:.3f})"
            facts.append(Fact(section, measure, key, gain, n, note=note))
    return facts


def _ranked_sources(key: str, recipe: Recipe, texts: Sequence[str], candidates: Sequence[str]) -> Iterator[Fact]:
    """Yield the candidates with the share of the nearest neighbours of this language's texts that they have, largest first."""
    from distxfer.encoders import load_encoder  # these need torch
    from distxfer.measure import neighbour_shares
    from distxfer.runs.snapshots import bare, snapshot
    from distxfer.training import Processes

    texts = texts or _texts(key, recipe.task.single_source, recipe)
    available = [code for code in task_languages(recipe.task.data) if code != key]
    codes = available if list(candidates) == ["all"] else [canonical(code) for code in candidates]
    task = load_task(recipe.task.data, codes[0], tuple(codes[1:]), target_labels=True)
    labelled = {code: task.examples("train", code) for code in codes}
    if missing := [code for code, examples in labelled.items() if not examples and list(candidates) != ["all"]]:
        raise InputError(
            f"The task `{task.name}` has no labelled training text of `{missing[0]}`. Leave it out of `--candidates`."
        )
    labelled = {code: examples for code, examples in labelled.items() if examples}
    if not texts or len(labelled) < 2:
        note = (
            "no text of this language: add some with `--text`" if not texts else "fewer than two candidates have labels"
        )
        yield Fact("sources", "neighbour_share", key, None, note=note)
        return
    encoder = load_encoder(
        recipe.model.name, model_folder(recipe.model.name, recipe.model.revision), task.labels, seed=0
    )
    collate = Collator(encoder.tokenizer, recipe.task.max_length, encoder.device)
    pools = {code: [bare(example) for example in examples[:_POOL]] for code, examples in labelled.items()}
    own = [Example("", key, text) for text in texts[:_POOL]]
    states = snapshot(encoder, collate, [own, *pools.values()], Processes(), logits=False)
    layer = round(_DEPTH * encoder.layers)
    shares = neighbour_shares(
        states.states(own)[layer], {code: states.states(pool)[layer] for code, pool in pools.items()}
    )
    for code, share in sorted(shares.items(), key=lambda item: -item[1]):
        yield Fact(
            "sources", "neighbour_share", code, share, len(own), note=counted(len(labelled[code]), "labelled texts")
        )


def _values(source: str, keys: Sequence[str], recipe: Recipe) -> dict[str, float]:
    """Return the recipe's distance of each language that has one."""
    values = {}
    for code in keys:
        with suppress(InputError):  # reported in the section on distances
            values[code] = recipe.distance.between(source, code).value
    return values


def text_lines(path: Path) -> list[str]:
    """Return the non-blank lines of a text file; raises InputError for an unreadable or empty file."""
    return [line.strip() for _, line in _numbered(path)]


def _pairs(path: Path) -> list[tuple[str, str]]:
    pairs = []
    for number, line in _numbered(path):
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) != 2 or not all(columns):
            raise InputError(
                f"`{path}:{number}` has {len(columns)} columns; expected a source sentence, one tab and its translation."
            )
        pairs.append((columns[0], columns[1]))
    return pairs


def _numbered(path: Path) -> list[tuple[int, str]]:
    numbered = list(lines(path))
    if not numbered:
        raise InputError(f"The text `{path}` is empty. Give a UTF-8 file with one sentence per line.")
    return numbered
