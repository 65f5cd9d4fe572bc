"""Out-of-domain parallel text: the short interface messages that the package `django` ships in nearly 100 languages."""

import gettext
import re
from collections import defaultdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from distxfer.data._examples import About, Data, Example, Pair, ParallelText, held_out
from distxfer.errors import InputError
from distxfer.languages import canonical

ABOUT = About(
    "short interface messages of Django in nearly 100 languages, with English; offline",
    kind="parallel",
    needs="distxfer[offline]",
    size="about 700 pairs a language",
    licence="BSD-3-Clause",
    citation="Django Software Foundation, message catalogues of Django",
)

# Placeholders (%s, %(name)s, {name}), markup and entities: no text, so they are taken out of it.
_NO_TEXT = re.compile(r"%\(\w+\)\w|%[a-z]|\{\w*\}|<[^>]*>|&#?\w+;|\\n|\s+")
_SHORTEST, _LONGEST = 2, 120  # characters: long messages cost most of the time


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages the corpus has, English among them."""
    return ("eng", *sorted(_catalogues()))


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the messages that source and target both have; a fixed fifth, by hash of the English, is held out."""
    source_texts = _messages(source)
    train: dict[str, tuple[Pair, ...]] = {}
    held: dict[str, tuple[Pair, ...]] = {}
    for target in (target for target in targets if target in languages(data)):
        target_texts = _messages(target)
        pairs = [
            Pair(Example(key, source, source_texts[key]), Example(key, target, target_texts[key]))
            for key in source_texts
            if key in target_texts and source_texts[key] != target_texts[key]
        ]
        train[target] = tuple(pair for pair in pairs if not held_out(pair.source.id))
        held[target] = tuple(pair for pair in pairs if held_out(pair.source.id))
    return ParallelText(name=data.name, train=train, held_out=held)


@cache
def _messages(language: str) -> dict[str, str]:
    """Return English message, as it stands in the catalogues -> its plain text in `language`, in the English order."""
    if language == "eng":
        keys = {key for catalogue in ("deu", "fra", "jpn") for key in _messages(catalogue)}
        return {key: _plain(key) for key in sorted(keys)}
    found: dict[str, str] = {}
    for path in _catalogues().get(language, []):
        with path.open("rb") as stream:
            # The one way to all messages of a catalogue is its private dictionary.
            catalogue: dict[str | tuple[str, int], str] = gettext.GNUTranslations(stream)._catalog  # type: ignore[attr-defined]
        for key, text in catalogue.items():
            if isinstance(key, str) and _is_sentence(key) and _is_sentence(text):
                found.setdefault(key, _plain(text))
    return dict(sorted(found.items()))


def _plain(text: str) -> str:
    """Return a message without what is no text: placeholders, markup, line ends, and quotes around nothing."""
    return re.sub(r"\s+", " ", re.sub(r"[“„\"'«‘]\s*[”“\"'»’]", " ", _NO_TEXT.sub(" ", text))).strip()


def _is_sentence(text: str) -> bool:
    """Return whether enough plain text is left, and it is neither an address nor a message with a context."""
    return _SHORTEST <= len(_plain(text)) <= _LONGEST and "://" not in text and "\x04" not in text


@cache
def _catalogues() -> dict[str, list[Path]]:
    """Return language key -> its compiled catalogues; a locale without a region is preferred to one with it."""
    spec = find_spec("django")
    if spec is None or spec.origin is None:
        raise InputError(
            'The parallel text `django` needs the package `django`, which is not installed. Run: pip install "distxfer[offline]"'
        )
    root = Path(spec.origin).parent
    compiled: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(root.glob("**/locale/*/LC_MESSAGES/django*.mo")):
        compiled[path.parent.parent.name].append(path)
    found: dict[str, tuple[str, list[Path]]] = {}
    for folder in sorted(root.glob("conf/locale/*/LC_MESSAGES")):
        locale = folder.parent.name
        key = canonical(locale.replace("_", "-"))
        if key != "eng" and (key not in found or len(locale) < len(found[key][0])):
            found[key] = (locale, compiled[locale])
    return {key: paths for key, (_, paths) in found.items()}
