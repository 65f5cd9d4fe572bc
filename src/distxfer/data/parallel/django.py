"""Out-of-domain parallel text: the short interface messages that the package `django` ships in nearly 100 languages."""

import gettext
import re
from collections import defaultdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from distxfer.data._examples import About, Data, Example, Pair, ParallelText, split_pairs
from distxfer.errors import InputError
from distxfer.languages import canonical

ABOUT = About(
    "short interface messages of Django in nearly 100 languages, with English; offline",
    task_type="",
    needs="distxfer[offline]",
    size="about 700 pairs a language",
    licence="BSD-3-Clause",
    citation="Django Software Foundation, message catalogues of Django",
)

# Placeholders (%s, %(name)s, {name}), markup and entities are removed.
_NO_TEXT = re.compile(r"%\(\w+\)\w|%[a-z]|\{\w*\}|<[^>]*>|&#?\w+;|\\n|\s+")
_SHORTEST, _LONGEST = 2, 120  # characters; long messages would take most of the time


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the corpus, including English."""
    return ("eng", *sorted(_catalogues()))


def load(data: Data, source: str, targets: tuple[str, ...]) -> ParallelText:
    """Return the messages that are in both source and target; a fixed fifth, by hash of the English, is held out."""
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
        train[target], held[target] = split_pairs(pairs)
    return ParallelText(name=data.name, train=train, held_out=held)


@cache
def _messages(language: str) -> dict[str, str]:
    """Return English message in the catalogues -> its plain text in `language`, sorted by the English."""
    if language == "eng":
        keys = {key for catalogue in ("deu", "fra", "jpn") for key in _messages(catalogue)}
        return {key: _plain(key) for key in sorted(keys)}
    messages: dict[str, str] = {}
    for path in _catalogues().get(language, []):
        with path.open("rb") as stream:
            # Only this private dictionary gives access to all messages of a catalogue.
            catalogue: dict[str | tuple[str, int], str] = gettext.GNUTranslations(stream)._catalog  # type: ignore[attr-defined]
        for key, text in catalogue.items():
            if isinstance(key, str) and _is_sentence(key) and _is_sentence(text):
                messages.setdefault(key, _plain(text))
    return dict(sorted(messages.items()))


def _plain(text: str) -> str:
    """Return a message without placeholders, markup, line ends and empty quotes."""
    return re.sub(r"\s+", " ", re.sub(r"[“„\"'«‘]\s*[”“\"'»’]", " ", _NO_TEXT.sub(" ", text))).strip()


def _is_sentence(text: str) -> bool:
    """Return whether a message has enough plain text, and is neither a URL nor a message with a context."""
    return _SHORTEST <= len(_plain(text)) <= _LONGEST and "://" not in text and "\x04" not in text


@cache
def _catalogues() -> dict[str, list[Path]]:
    """Return language key -> its compiled catalogues; locales without a region are preferred."""
    spec = find_spec("django")
    if spec is None or spec.origin is None:
        raise InputError(
            'The parallel text `django` needs the package `django`, which is not installed. Run: pip install "distxfer[offline]"'
        )
    root = Path(spec.origin).parent
    compiled: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(root.glob("**/locale/*/LC_MESSAGES/django*.mo")):
        compiled[path.parent.parent.name].append(path)
    catalogues: dict[str, tuple[str, list[Path]]] = {}
    for folder in sorted(root.glob("conf/locale/*/LC_MESSAGES")):
        locale = folder.parent.name
        key = canonical(locale.replace("_", "-"))
        if key != "eng" and (key not in catalogues or len(locale) < len(catalogues[key][0])):
            catalogues[key] = (locale, compiled[locale])
    return {key: paths for key, (_, paths) in catalogues.items()}
