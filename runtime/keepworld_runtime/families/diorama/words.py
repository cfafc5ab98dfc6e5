"""Words and phrases: cutting a text into words, and finding known phrases among them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

Phrase = tuple[str, ...]

MAX_SHOWN = 40  # characters of one unknown word, and unknown words, that a reading repeats

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def tokenize(text: str) -> list[str]:
    """Cut a text into lower-case words; any text will do. Possessive endings fall away."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [re.sub(r"['’]s$", "", word).replace("’", "'") for word in _WORD.findall(folded)]


STOP_WORDS = frozenset(
    tokenize("""a an the and or nor but with within of in on at by to from for into over under near beside behind around along
    across through between above below beyond as is are was be there here it its this that these those some any all
    my our your i we you me us where while when then than so very really quite rather just also please one two three
    few several many which who has have full made set lying standing stands sits during like scene world view landscape
    picture image place""")
)


def plural(phrase: str) -> str:
    """The regular English plural of a phrase's last word."""
    if phrase.endswith("y") and phrase[-2:-1] not in "aeiou":
        return phrase[:-1] + "ies"
    return phrase + ("es" if phrase.endswith(("s", "x", "ch", "sh")) else "s")


def phrasebook(entries: Iterable[tuple[str, T]]) -> dict[Phrase, T]:
    """Make a table of phrases, cut into words, from (phrase, meaning) pairs; the first meaning of a phrase stands."""
    book: dict[Phrase, T] = {}
    for phrase, meaning in entries:
        book.setdefault(tuple(tokenize(phrase)), meaning)
    return book


def find(words: list[str], book: Mapping[Phrase, T]) -> Iterator[tuple[int, int, T]]:
    """Find known phrases, longest first, without overlaps: (first word, word after the last, meaning) in order."""
    longest = max(map(len, book), default=0)
    at = 0
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            phrase = tuple(words[at : at + length])
            if phrase in book:
                yield at, at + length, book[phrase]
                at += length
                break
        else:
            at += 1


def unknown(words: Iterable[str]) -> tuple[str, ...]:
    """Those of some left-over words that say something: no stop words, each once, long ones cut, not endlessly many."""
    said = dict.fromkeys(word[:MAX_SHOWN] for word in words if word not in STOP_WORDS)
    return tuple(said)[:MAX_SHOWN]
