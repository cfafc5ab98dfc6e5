"""The code blocks of the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_BLOCK = re.compile(
    r"(?P<mark><!-- run -->\n)?^```(?P<language>\S*)[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A block: where it stands, what it is in, whether a shell runs it as it is."""

    page: Path
    language: str
    code: str
    is_run: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(DOCS)}: {self.code.splitlines()[0][:40]}"


def blocks(page: Path) -> list[Block]:
    """All of a page, in order."""
    return [
        Block(page, match["language"], match["code"], bool(match["mark"]))
        for match in _BLOCK.finditer(page.read_text())
    ]


ALL = [block for page in PAGES for block in blocks(page)]


def of(*languages: str) -> list[Block]:
    """All in one of these languages."""
    return [block for block in ALL if block.language in languages]
