"""Words that translate each other within sentence pairs, by a dictionary or by a given word alignment."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from distxfer.data._examples import Data, Example, Pair
from distxfer.data._files import decoded_lines, language_paths, lines
from distxfer.data._freedict import freedict_paths, read_freedict
from distxfer.errors import InputError, listed

if TYPE_CHECKING:
    import numpy as np

Span = tuple[int, int]
End = TypeVar("End", int, Span)
Key = tuple[str, ...]  # a word as its atoms, folded

# Scripts without spaces between words: Han and Kana, Thai, Lao, Khmer, Myanmar.
_UNSPACED = re.compile(
    "[\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
    "\u3041-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f"
    "\u0e01-\u0e3a\u0e40-\u0e5b\u0e80-\u0eff\u1780-\u17d3\u17d7-\u17ff\u1000-\u1049\u1050-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f]"
)
_JOINERS = "'’.·״"  # within a word between its letters (Unicode's MidLetter and MidNumLet)
_STACKERS = "\u17d2\u1039"  # put the next consonant under the one before: Khmer coeng, Myanmar virama
_INVISIBLE = re.compile("[\u00ad\u200e\u200f\u2060\ufeff]")  # soft hyphens and direction marks, ignored in spelling
# Matches the classes of characters (`_character_class`): a word (w) with its marks (m) and joiners (j), white space (s), one
# character of an unspaced script (u) with its marks and stacked characters (v), or any other character.
_ATOM = re.compile("w(?:[wm]|jw)*|s+|u(?:m|vu?)*|.m*")
_LINK = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class WordPair:
    """Two words that translate each other, given as characters [start, end) of their sentences."""

    source: Example
    source_span: Span
    target: Example
    target_span: Span


def word_spans(text: str) -> list[Span]:
    """Return the spans of the words of a text, in order: characters [start, end).

    Words end at Unicode's word boundaries (UAX 29); in scripts without spaces (Han, Kana, Thai, Lao, Khmer, Myanmar)
    every character is a word, with its marks. White space, punctuation and symbols are not words.
    """
    return [span for _, span in _atoms(text) if _character_class(text[span[0]]) in "wu"]


def dictionary_pairs(pairs: Sequence[Pair], dictionary: Mapping[str, Collection[str]]) -> list[WordPair]:
    """Return the words of each sentence pair that translate each other by `dictionary`, source word -> target words.

    Only one-to-one links are returned: a word that occurs twice in its sentence, or with two of its translations in the
    other sentence, is left out with all its partners.

    Words are compared case-folded and in NFC. They end at Unicode's word boundaries (UAX 29), except in scripts without
    spaces (Han, Kana, Thai, Lao, Khmer, Myanmar), where any run of characters may be a word. Matching goes from left to
    right and takes the longest entry of the whole dictionary: with an entry for New York, the York in it is not a word;
    without one, a short entry may match inside a longer word of an unspaced script. Inflected forms that are not in the
    dictionary are not matched.

    The result is in sentence order, then by the position of the source word. Raises InputError for an entry that is a
    string instead of a collection of strings.

    Reference: Gaschi et al. 2023, who align pairs by dictionary; a word's vector is the sum of its sub-words.
    """
    return Lexicon(dictionary).pairs(pairs)


class Lexicon:
    """A dictionary, indexed for matching in many texts; entries that differ only in case or normalisation are merged."""

    def __init__(self, dictionary: Mapping[str, Collection[str]]) -> None:
        entries: dict[Key, dict[str, None]] = {}
        for word, translations in dictionary.items():
            if isinstance(translations, str):
                raise InputError(
                    f"`dictionary[{word!r}]` is the string {translations!r}; expected a collection of words: "
                    f"give [{translations!r}]."
                )
            entries.setdefault(_key(word), {}).update(dict.fromkeys(translations))
        self._translations = {word: tuple(translations) for word, translations in entries.items()}
        self._keys = {word: {*map(_key, translations)} for word, translations in entries.items()}
        self._targets: Collection[Key] = frozenset().union(*self._keys.values())
        self._source_lengths, self._target_lengths = _lengths(self._keys), _lengths(self._targets)

    def pairs(self, pairs: Sequence[Pair]) -> list[WordPair]:
        """Return `dictionary_pairs` of these sentence pairs."""
        word_pairs = []
        for pair in pairs:
            ends = defaultdict(list)
            for key, span in _occurrences(pair.target.text, self._targets, self._target_lengths):
                ends[key].append(span)
            links = [
                (start, end)
                for key, start in _occurrences(pair.source.text, self._keys, self._source_lengths)
                for translation in self._keys[key]
                for end in ends.get(translation, ())
            ]
            word_pairs += [WordPair(pair.source, start, pair.target, end) for start, end in _one_to_one(links)]
        return word_pairs

    def switch(self, text: str, share: float, random: "np.random.Generator") -> str:
        """Return the text with each word of the dictionary replaced by a translation with probability `share`.

        A word's translations are equally likely. Words are matched as by `dictionary_pairs`.
        """
        parts, end = [], 0
        for word, (start, stop) in _occurrences(text, self._translations, self._source_lengths):
            if random.random() < share:
                translations = self._translations[word]
                parts += [text[end:start], translations[int(random.integers(len(translations)))]]
                end = stop
        return "".join([*parts, text[end:]])


def read_dictionary(path: Path) -> dict[str, list[str]]:
    """Return source word -> target words from a file with one word pair per line, such as MUSE's.

    A line is a source word, a tab (or, on lines without tabs, white space), and a target word. Further translations are
    on lines of their own. Words that differ only in case are distinct here. A file `NAME.index` is one of FreeDict, with
    the entries in `NAME.dict.dz` or `NAME.dict` beside it; see `docs/data.md` for what is read of them.

    Raises InputError, naming file and line, for a line that is not two visible words or repeats an earlier line, and for
    a file that cannot be read or is empty.
    """
    if path.suffix == ".index":
        return read_freedict(path)
    dictionary: dict[str, dict[str, int]] = defaultdict(dict)  # word -> translation -> line number
    for number, line in lines(path):
        columns = [column.strip() for column in line.split("\t")] if "\t" in line else line.split()
        if len(columns) != 2 or not all(map(_is_visible, columns)):
            raise InputError(
                f"`{path}:{number}` is {line[:60]!r}; expected a source word, a tab or a blank, and a target word, both visible."
            )
        word, translation = columns
        if translation in dictionary[word]:
            raise InputError(
                f"`{path}:{number}` repeats {word!r} and {translation!r} of line {dictionary[word][translation]}. Remove one"
                " of the two lines."
            )
        dictionary[word][translation] = number
    if not dictionary:
        raise InputError(f"`{path}` has no words. Put a source word, a tab and a target word on each line.")
    return {word: list(translations) for word, translations in dictionary.items()}


def aligned_pairs(
    pairs: Sequence[Pair], alignments: Sequence[str], *, places: Sequence[str] | None = None
) -> list[WordPair]:
    """Return the words of each sentence pair that a word aligner linked one to one.

    `alignments[n]` is the Pharaoh line of `pairs[n]`: `i-j` for each link from token i to token j, counted from 0, of the
    sentences split at white space. So tokenise the texts as for the aligner; otherwise a full stop belongs to the word
    before it. Raises InputError for unequal lengths, another format, or a missing token. The message names the line by
    its entry in `places`, or by its number.
    """
    if len(pairs) != len(alignments):
        raise InputError(
            f"`alignments` has {len(alignments)} lines and `pairs` {len(pairs)}. Give one line per sentence pair, blank if"
            " nothing is aligned."
        )
    word_pairs = []
    for number, (pair, line) in enumerate(zip(pairs, alignments, strict=True)):
        place = places[number] if places else f"alignments[{number}]"
        tokens = [
            [match.span() for match in re.finditer(r"\S+", sentence.text)] for sentence in (pair.source, pair.target)
        ]
        links = sorted(set(_links(line, place)))
        for side, indices, spans in zip(("source", "target"), zip(*links, strict=True), tokens, strict=False):
            if max(indices) >= len(spans):
                raise InputError(
                    f"`{place}` links the token {max(indices)} of the {side}, which has {len(spans)}, counted from 0. Split the"
                    " sentences as for the aligner."
                )
        word_pairs += [WordPair(pair.source, tokens[0][i], pair.target, tokens[1][j]) for i, j in _one_to_one(links)]
    return word_pairs


def read_alignments(path: Path) -> list[str]:
    """Return the lines of a Pharaoh file, one per sentence pair, including blank ones (nothing aligned).

    Raises InputError, naming file and line, for anything but `i-j` links, and for a file that cannot be read.
    """
    alignments = []
    for number, line in decoded_lines(path):
        _links(line, f"{path}:{number}")
        alignments.append(line.strip())
    return alignments


def read_dictionary_folder(
    folder: Path, languages: Sequence[str], *, source: str = "eng"
) -> dict[str, dict[str, list[str]]]:
    """Return target language -> its dictionary, from a folder with one `{language}.txt` (or `.tsv`) per language.

    A language without such a file may have FreeDict's `freedict-{source}-{language}.index`, as in `/usr/share/dictd`.

    Raises InputError as `read_dictionary` does, and for a language without a file.
    """
    paths = freedict_paths(folder, source) | language_paths(folder, "*.t[xs][tv]")
    return {language: read_dictionary(_path_of(language, paths, folder, "txt")) for language in languages}


def read_aligned_folder(folder: Path, source: str, languages: Sequence[str]) -> dict[Pair, str]:
    """Return sentence pair -> its Pharaoh line, from a folder with parallel text and the output of a word aligner.

    Line n of `{language}.pharaoh` belongs to line n of `{language}.tsv`, for each of the languages.

    Raises InputError, naming file and line, for a pair without a line, a line without a pair, another format or a
    missing token, and for a language without one of the files.
    """
    from distxfer.data.parallel.folder import load as load_folder  # needs pyarrow, which completion must not import

    texts, aligned = language_paths(folder, "*.tsv"), language_paths(folder, "*.pharaoh")
    alignment_of: dict[Pair, str] = {}
    for language in languages:
        text, path = _path_of(language, texts, folder, "tsv"), _path_of(language, aligned, folder, "pharaoh")
        corpus = load_folder(Data(str(folder)), source, (language,))
        alignments = read_alignments(path)
        links = dict(enumerate(alignments, 1))
        for pair in (*corpus.train[language], *corpus.held_out[language]):
            number = int(pair.source.id)
            if number not in links:
                raise InputError(
                    f"`{text}:{number}` has no alignment, since `{path}` has {len(alignments)} lines: give one line per"
                    " sentence pair, blank if nothing is aligned."
                )
            alignment_of[pair] = links.pop(number)
            aligned_pairs([pair], [alignment_of[pair]], places=[f"{path}:{number}"])
        for number, line in links.items():
            if line:
                raise InputError(
                    f"`{path}:{number}` aligns a sentence pair that `{text}` does not have: give one line per sentence pair."
                )
    return alignment_of


def _path_of(language: str, paths: Mapping[str, Path], folder: Path, ending: str) -> Path:
    if language not in paths:
        raise InputError(
            f"`{folder}` has no `{language}.{ending}`. Add it, or restrict `languages` to those with a file:"
            f" {listed(paths) or 'none'}."
        )
    return paths[language]


def _links(line: str, place: str) -> list[tuple[int, int]]:
    links = []
    for link in line.split():
        match = _LINK.fullmatch(link)
        if match is None:
            raise InputError(
                f"`{place}` has {link[:20]!r}; expected links such as 0-0 1-2: "
                "the number of a source token, a hyphen, the number of a target token."
            )
        links.append((int(match[1]), int(match[2])))
    return links


def _one_to_one(links: Sequence[tuple[End, End]]) -> list[tuple[End, End]]:
    """Return the links whose ends have no other link."""
    starts, ends = Counter(start for start, _ in links), Counter(end for _, end in links)
    return [(start, end) for start, end in links if starts[start] == ends[end] == 1]


def _lengths(words: Collection[Key]) -> dict[str, list[int]]:
    """Return first atom -> the lengths in atoms of the words that begin with it, the largest first."""
    lengths: dict[str, set[int]] = defaultdict(set)
    for word in words:
        lengths[word[0]].add(len(word))
    return {first: sorted(sizes, reverse=True) for first, sizes in lengths.items()}


def _occurrences(text: str, words: Collection[Key], lengths: Mapping[str, list[int]]) -> Iterator[tuple[Key, Span]]:
    """Yield the occurrences of `words` in the text with their spans: from left to right, the longest match."""
    atoms = _atoms(text)
    folded = tuple(atom for atom, _ in atoms)
    at = 0
    while at < len(atoms):
        sizes = (size for size in lengths.get(folded[at], ()) if at + size <= len(atoms))
        size = next((size for size in sizes if folded[at : at + size] in words), 0)
        if size:
            yield folded[at : at + size], (atoms[at][1][0], atoms[at + size - 1][1][1])
        at += size or 1


def _key(word: str) -> Key:
    """Return the folded atoms of a dictionary's word. Raises InputError for an invisible word."""
    if not _is_visible(word):
        raise InputError(f"`dictionary` has the invisible word {word!r}. Remove it.")
    return tuple(folded for folded, _ in _atoms(word.strip()))


def _is_visible(word: str) -> bool:
    """Return whether a word has more than white space, format characters and control characters."""
    return any(not character.isspace() and unicodedata.category(character) not in ("Cc", "Cf") for character in word)


def _atoms(text: str) -> list[tuple[str, Span]]:
    """Return the units of the text inside of which no word begins or ends, folded, with their spans."""
    classes = "".join(map(_character_class, text))
    return [(_folded(text[slice(*match.span())]), match.span()) for match in _ATOM.finditer(classes)]


def _folded(atom: str) -> str:
    if atom.isspace():
        return " "
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", _INVISIBLE.sub("", atom)).casefold())
    return plain.replace("’", "'")


@cache
def _character_class(character: str) -> str:
    """Return the class of a character, a letter of `_ATOM`."""
    category = unicodedata.category(character)
    if character in _STACKERS:
        return "v"
    if character.isspace() or character == "\u200b":  # the zero-width space separates words in Thai, Khmer and Myanmar
        return "s"
    if category[0] == "M" or category == "Cf":
        return "m"
    if _UNSPACED.match(character):
        return "u"
    if category[0] in "LN" or category == "Pc":
        return "w"
    return "j" if character in _JOINERS else "o"
