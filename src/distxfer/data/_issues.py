"""Counts the texts that an encoder truncates, skips or cannot tell apart, by language and part, in one tokenizer pass."""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizerBase

from distxfer.data._examples import Example, Issue
from distxfer.data._rows import Picked
from distxfer.data._task_type import Counts, TaskType, texts_cut

_BATCH = 1000
_SAMPLE = 10_000  # texts of a training part: enough to estimate a share, in some 2 seconds
_LISTED = 8  # languages named on a line
_MANY = 0.1  # share of texts without a known letter, from which on the encoder does not know the script
_SCORED = ("test", "dev")
# Name of an issue -> its text in messages; `{}` is the maximum length in tokens.
COUNTED = {
    "cut": "Texts cut off at `task.max_length` = {} tokens",
    "questions_cut": "Questions cut off at half of `task.max_length` = {} tokens",
    "words_cut": "Words longer than `task.max_length` = {} tokens, cut off",
    "words_without_token": "Words that have no token of their own",
    "no_known_token": "Texts in which the encoder knows no letter",
    "same_tokens": "Different texts that are the same tokens as an earlier one",
    "same_in_nfc": "Texts that differ from an earlier one in Unicode normalisation alone",
    "cut_when_measured": "Texts measured on their first {} tokens only (`task.max_length`)",
}

_ADVICE = {
    "no_known_token": " Choose another encoder (`model=`), or leave these languages out, such as by `task.targets=all,-hye`.",
}


def issues(
    task_type: TaskType,
    parts: Mapping[tuple[str, str], Sequence[Example]],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> tuple[tuple[Issue, ...], int]:
    """Return the issues of each part (split, language) with a count above 0, and the tokens of the longest text that is cut.

    `test` and `dev` are examined completely, other parts on a random sample of up to 10,000 texts (`of` is its size).
    Labelled parts (including `train`) are truncated as by `task_type`, others as by the collator.
    """
    found, longest = [], 0
    for (split, language), examples in parts.items():
        counts, tokens = _counts(task_type, split, examples, tokenizer, max_length)
        found += [Issue(language, split, name, n, of) for name, (n, of) in counts.items() if n]
        longest = max(longest, tokens)
    return tuple(found), longest


def issue_lines(issues: Sequence[Issue], max_length: int, longest: int, max_tokens: int) -> Iterator[str]:
    """Yield a line for each type of issue, with the languages and parts that have it, the largest share first.

    `longest` is the number of tokens of the longest text that is cut, `max_tokens` how many the encoder can read.
    """
    advice = {**_ADVICE, "cut": _advice_on_length(max_length, longest, max_tokens)}
    for name, group in groupby(sorted(issues, key=lambda issue: issue.what), key=lambda issue: issue.what):
        issues_of_kind = sorted(group, key=lambda issue: -issue.n / issue.of)
        places = [f"{issue.language} {issue.split} {issue.n:,} of {issue.of:,}" for issue in issues_of_kind[:_LISTED]]
        hidden = len(issues_of_kind) - len(places)
        suffix = f", and {hidden} more parts (`data_issues` of `validate --json`)" if hidden else ""
        phrase = COUNTED.get(name, name.capitalize())
        few = name == "no_known_token" and issues_of_kind[0].n < _MANY * issues_of_kind[0].of
        yield f"{phrase.format(max_length)}: {', '.join(places)}{suffix}.{'' if few else advice.get(name, '')}"


def _advice_on_length(max_length: int, longest: int, max_tokens: int) -> str:
    if max_length >= max_tokens:
        return " The encoder reads no more: shorten the texts."
    reason = "to read them whole" if longest <= max_tokens else "the most that the encoder reads"
    return f" Raise it to {min(longest, max_tokens)}{',' * (longest > max_tokens)} {reason}, or shorten the texts."


def _counts(
    task_type: TaskType, split: str, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[Counts, int]:
    """Return the counts of one part, and the tokens of its longest text that is cut."""
    if split not in _SCORED and len(examples) > _SAMPLE:
        random = np.random.default_rng(0)  # a random sample, since data are often periodic, such as alternating labels
        examples = Picked(examples, np.sort(random.choice(len(examples), _SAMPLE, replace=False)))
    totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    longest = 0
    texts_of_tokens: dict[int, int] = {}  # as hashes, to save memory
    texts_of_nfc: dict[int, int] = {}
    has_known_letter = _letters(tokenizer)
    for batch in _batches(examples):
        encoding = _encoding(tokenizer, batch)
        rows = [tuple(row) for row in encoding["input_ids"]]
        counts = dict(task_type.unread(batch, encoding, max_length) if split in (*_SCORED, "train") else {})
        cut = texts_cut(encoding, max_length)
        if not counts or "cut" in counts:
            counts["cut"] = cut
            longest = max(longest, *map(len, rows))
            rows = _truncated(rows, batch, tokenizer, max_length)
        elif split == "test":
            counts["cut_when_measured"] = cut
        texts = [(example.text, example.text_pair) for example in batch]
        counts["no_known_token"] = sum(not has_known_letter(row) for row in rows), len(batch)
        counts["same_tokens"] = _conflicts(texts_of_tokens, rows, texts), len(batch)
        normal = [tuple(part and unicodedata.normalize("NFC", part) for part in text) for text in texts]
        counts["same_in_nfc"] = _conflicts(texts_of_nfc, normal, texts), len(batch)
        for name, (n, of) in counts.items():
            totals[name][0] += n
            totals[name][1] += of
    return {name: (n, of) for name, (n, of) in totals.items()}, longest


def _letters(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[int]], bool]:
    """Return a function that tells whether the encoder knows a letter of a text, given its tokens, or all of its tokens.

    A known token is not enough: tokenizers know blanks, digits and punctuation also in scripts of which they know no letter.
    """
    unknown = tokenizer.unk_token_id
    special = {*tokenizer.all_special_ids, unknown}

    @cache
    def has_letter(token: int) -> bool:
        return any(map(str.isalpha, str(tokenizer.convert_ids_to_tokens(token))))

    def has_known_letter(row: Sequence[int]) -> bool:
        known = {*row} - special
        return bool(known) and (unknown not in row or any(map(has_letter, known)))

    return has_known_letter


def _batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Yield batches of either pairs or single texts."""
    batch: list[Example] = []
    for example in examples:
        if len(batch) == _BATCH or (batch and (batch[0].text_pair is None) != (example.text_pair is None)):
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch


def _encoding(tokenizer: PreTrainedTokenizerBase, batch: Sequence[Example], **settings: object) -> BatchEncoding:
    texts = [example.text for example in batch]
    pairs = None if batch[0].text_pair is None else [example.text_pair for example in batch]
    encoding: BatchEncoding = tokenizer(texts, pairs, verbose=False, **settings)
    return encoding


def _truncated(
    rows: list[tuple[int, ...]], batch: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[tuple[int, ...]]:
    """Return the tokens of each text as truncated by the collator."""
    places = [place for place, row in enumerate(rows) if len(row) > max_length]
    if places:
        long = [batch[place] for place in places]
        cut = _encoding(tokenizer, long, truncation=True, max_length=max_length)["input_ids"]
        for place, row in zip(places, cut, strict=True):
            rows[place] = tuple(row)
    return rows


def _conflicts(seen: dict[int, int], keys: Iterable[object], texts: Iterable[object]) -> int:
    """Return the number of texts with the key of an earlier, different text; `seen` maps key to text, as hashes."""
    return sum(seen.setdefault(hash(key), hash(text)) != hash(text) for key, text in zip(keys, texts, strict=True))
