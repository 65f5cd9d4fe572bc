"""Finds texts that are nearly equal, by their character trigrams."""

from collections import Counter, defaultdict
from collections.abc import Iterable

Trigrams = frozenset[str]


class NearDuplicates:
    """The texts added so far, searched for those whose trigrams overlap with a new text's.

    Two texts are near-duplicates if |A & B| / |A | B| (Jaccard) of their sets of character trigrams, in lower case, is
    above the threshold. The search is exact: of the trigrams in one fixed order, the rarest first, two such sets share one
    of the first n - floor(threshold n), n being their size (prefix filter; Chaudhuri, Ganti and Kaushik 2006). `texts` are
    all texts to come; only the speed depends on them.
    """

    def __init__(self, texts: Iterable[str], threshold: float = 0.6) -> None:
        counts = Counter(trigram for text in set(texts) for trigram in trigrams(text))
        self._rank = {trigram: rank for rank, (trigram, _) in enumerate(reversed(counts.most_common()))}
        self._threshold = threshold
        self._by_trigram: dict[str, list[Trigrams]] = defaultdict(list)
        self._texts: set[str] = set()

    def add(self, text: str) -> None:
        """Add a text to those that later searches find."""
        self._texts.add(text.lower())
        new = trigrams(text)
        for trigram in self._prefix(new):
            self._by_trigram[trigram].append(new)

    def __contains__(self, text: str) -> bool:
        """Return whether an added text is a near-duplicate of a text, or equal to it in lower case."""
        if text.lower() in self._texts:
            return True
        new, threshold = trigrams(text), self._threshold
        shortest, longest = threshold * len(new), len(new) / threshold
        seen: set[Trigrams] = set()
        for trigram in self._prefix(new):
            for other in self._by_trigram.get(trigram, ()):
                if other not in seen and shortest < len(other) < longest:
                    seen.add(other)
                    both = len(new & other)
                    if both / (len(new) + len(other) - both) > threshold:
                        return True
        return False

    def _prefix(self, of_text: Trigrams) -> list[str]:
        in_order = sorted(of_text, key=lambda trigram: (self._rank.get(trigram, -1), trigram))
        return in_order[: len(in_order) - int(self._threshold * len(in_order))]


def trigrams(text: str) -> Trigrams:
    """Return the set of character trigrams of a text in lower case; of a shorter text, itself."""
    lower = text.lower()
    return frozenset(lower[start : start + 3] for start in range(max(1, len(lower) - 2)))
