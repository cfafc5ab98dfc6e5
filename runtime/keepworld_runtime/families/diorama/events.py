"""What an event asks for: from its words to the changes it brings about."""

from __future__ import annotations

import re
from dataclasses import dataclass

from keepworld_runtime.families.diorama.event_words import (
    GONE,
    PERHAPS_GONE,
    PHRASES,
    SEASON,
    TIME,
    Subject,
    known,
)
from keepworld_runtime.families.diorama.spec import SEASONS
from keepworld_runtime.families.diorama.words import find, tokenize, unknown
from keepworld_runtime.families.family import Reading

DAY = ("dawn", "morning", "noon", "afternoon", "sunset", "dusk", "night")

_JOINTS = re.compile(r"([,;.!?\n]+|\b(?:and|then|while|but|as|plus|with)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing an event does: something comes, or goes."""

    heading: str
    subject: str
    goes: bool = False


@dataclass(slots=True)
class _Clause:
    """A part of an event between two joints, as it was read."""

    joint: str
    subjects: list[tuple[Subject, str]]  # with the words that were used for each
    verbs: set[str]
    verb_first: bool
    left: list[str]


def parse_event(text: str) -> tuple[tuple[Change, ...], Reading]:
    """Read an event, which may have several clauses, as in "night falls and a campfire is lit".

    Raises:
        ValueError: nothing in it is known; the message lists what is.
    """
    pieces = ["", *_JOINTS.split(text)]
    clauses = [_read(joint.strip().lower(), words) for joint, words in zip(pieces[::2], pieces[1::2], strict=True)]
    goes = _who_goes(clauses)
    used: dict[Change, str] = {}
    left: list[str] = []
    for clause, gone in zip(clauses, goes, strict=True):
        left += clause.left
        for subject, phrase in clause.subjects:
            used.setdefault(_change(subject, gone), _show(subject, phrase, gone))
    if not used:
        shown = text.strip()[:80]
        raise ValueError(f"event {shown!r} is not one that this world can bring about; it knows {known()}")
    return tuple(used), Reading(used=tuple(used.values()), ignored=unknown(left))


def _read(joint: str, text: str) -> _Clause:
    words = tokenize(text)
    subjects: list[tuple[Subject, str]] = []
    verbs: set[str] = set()
    verb_first, left = False, set(range(len(words)))
    for start, end, meaning in find(words, PHRASES):
        left -= set(range(start, end))
        if isinstance(meaning, str):
            verb_first = verb_first or not subjects
            verbs.add(meaning)
        else:
            subjects.append((meaning, " ".join(words[start:end])))
    return _Clause(joint, subjects, verbs, verb_first, [words[i] for i in sorted(left)])


def _who_goes(clauses: list[_Clause]) -> list[bool]:
    """Whether the subjects of each clause go away. A verb may speak for its neighbour too:

    "remove the balloon and the boat", "the rain and the fog lift"; but not "the rain stops, fireworks".
    """
    goes = [GONE in clause.verbs or clause.verbs == {PERHAPS_GONE} for clause in clauses]
    for i in range(1, len(clauses)):
        if not clauses[i].verbs and goes[i - 1] and clauses[i - 1].verb_first:
            goes[i] = True
            clauses[i].verb_first = True
    for i in range(len(clauses) - 1, 0, -1):
        if not clauses[i - 1].verbs and goes[i] and not clauses[i].verb_first and clauses[i].joint == "and":
            goes[i - 1] = True
    return goes


def _change(subject: Subject, goes: bool) -> Change:
    """A change to bring about; what ends of itself goes over into what follows: night into dawn, winter into spring."""
    heading, word = subject
    for order, name in ((DAY, TIME), (SEASONS, SEASON)):
        if goes and heading == name:
            return Change(heading, order[(order.index(word) + 1) % len(order)])
    return Change(heading, word, goes)


def _show(subject: Subject, phrase: str, goes: bool) -> str:
    heading, word = subject
    if goes:
        return f"{heading}: no more {word}" + ("" if phrase == word else f" ({phrase})")
    return f"{heading}: {word}" + ("" if phrase == word else f" ({phrase})")
