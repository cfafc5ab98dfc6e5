"""Writes the parts of docs/ that are made from the code: the words of prompts and events, the errors, the axes.

    python tools/docs.py             write them
    python tools/docs.py --check     fail if what is committed is not what the code gives

A part stands between two comments in its page, ``<!-- made: NAME -->`` and ``<!-- /made -->``.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import keepworld_runtime.serving
import numpy as np
from keepworld import errors
from keepworld.camera import CONVENTIONS
from keepworld_runtime.engine.errors import RequestError
from keepworld_runtime.families.diorama import event_words, vocabulary
from keepworld_runtime.serving.exports.errors import OperationError
from numpy.typing import NDArray

DOCS = Path(__file__).resolve().parents[1] / "docs"
_PART = re.compile(r"(<!-- made: (?P<name>[a-z-]+) -->\n).*?(<!-- /made -->)", re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def prompt_words() -> str:
    """What a prompt can say, by heading."""
    rows = [
        (heading, f"**{word}**", others or "–")
        for heading, words in vocabulary.SYNONYMS.items()
        for word, others in words.items()
    ]
    return table(("of what", "word", "other ways of saying it"), rows)


def event_phrases() -> str:
    """Events as they can be asked for, by heading."""
    return table(
        ("of what", "for instance"),
        (
            (heading, " · ".join(f"`{example}`" for example in examples))
            for heading, examples in event_words.EXAMPLES.items()
        ),
    )


def event_subjects() -> str:
    """What events can be about."""
    rows = [
        (heading, f"**{subject}**", others or "–")
        for heading, subjects in event_words.SUBJECTS.items()
        for subject, others in subjects.items()
    ]
    return table(("of what", "subject", "other ways of saying it"), rows)


def server_errors() -> str:
    """Every reason that a server can give."""
    rows = []
    for error in sorted(_all_errors(), key=lambda error: error.reason):
        ends_a_call = not issubclass(error, OperationError)
        kind = errors.kind_of(error.status, error.reason) if ends_a_call else errors.ExportError
        again, status = "yes" if kind.retryable else "no", f"`{error.status}`" if ends_a_call else "–"
        rows.append((f"`{error.reason}`", _first_line(error), f"`{kind.__name__}`", again, status))
    return table(("`code`", "what happened", "raised as", "worth a retry", "gRPC status"), rows)


def client_errors() -> str:
    """Every class of the SDK's."""
    classes = [
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.KeepworldError)
    ]
    rows = [
        (f"`{kind.__name__}`", _first_line(kind), f"`{kind.code}`", "yes" if kind.retryable else "no")
        for kind in classes
    ]
    return table(("class", "what happened", "`code` if the server gave none", "worth a retry"), rows)


def axes() -> str:
    """Every convention, from its matrices."""
    rows = [
        (
            f"`{name}`",
            _axes_of(there.world),
            "left" if there.left_handed else "right",
            _axes_of(there.camera),
            "centimetre" if there.scale == 100 else "metre",
        )
        for name, there in CONVENTIONS.items()
    ]
    return table(("`to(...)`", "world x, y, z", "handed", "camera x, y, z", "unit"), rows)


def _file(name: str, language: str) -> Callable[[], str]:
    def block() -> str:
        return f"```{language}\n{(DOCS.parent / 'deploy' / name).read_text()}```\n"

    return block


PARTS: dict[str, Callable[[], str]] = {
    "prompt-words": prompt_words,
    "event-phrases": event_phrases,
    "event-subjects": event_subjects,
    "server-errors": server_errors,
    "client-errors": client_errors,
    "axes": axes,
    "server-toml": _file("server.toml", "toml"),
    "systemd": _file("keepworld.service", "ini"),
    "dockerfile": _file("Dockerfile", "dockerfile"),
}


def _axes_of(matrix: NDArray[np.float64]) -> str:
    """Which way a program's x, y and z point."""
    words = (("left", "right"), ("up", "down"), ("back", "forward"))  # of our x, y, z: negative, positive
    named = []
    for row in matrix:
        ours = int(abs(row).argmax())
        named.append(words[ours][int(row[ours] > 0)])
    return ", ".join(named)


def _all_errors() -> Iterator[type[RequestError]]:
    for module in pkgutil.iter_modules(keepworld_runtime.serving.__path__, "keepworld_runtime.serving."):
        importlib.import_module(module.name)
    seen, todo = set(), [RequestError]
    while todo:
        for error in todo.pop().__subclasses__():
            todo.append(error)
            if "reason" in vars(error) and error.reason not in seen:
                seen.add(error.reason)
                yield error


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def made(text: str) -> str:
    """A page with its made parts as they should be."""

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}\n{PARTS[match['name']]()}\n{match[3]}"

    return _PART.sub(fill, text)


def main() -> int:
    """Write, or with --check compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not as it should be")
    options = parser.parse_args()
    stale = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        if (fresh := made(text)) != text:
            stale.append(page.name)
            if not options.check:
                page.write_text(fresh)
    if options.check and stale:
        print("not what the code gives; run tools/docs.py: " + ", ".join(stale))
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
