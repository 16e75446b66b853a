"""The code blocks of the documentation, by the name after their language: ```` ```python by_page ````."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "examples" / "README.md",
    *(ROOT / "docs").glob("*.md"),
]

_FENCE = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its name if it has one, and its text."""

    page: Path
    line: int
    language: str
    name: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(*pages: Path) -> Iterator[Block]:
    """Yield every fenced block of the pages, of all pages if none is given."""
    for page in pages or PAGES:
        text = page.read_text(encoding="utf-8")
        for found in _FENCE.finditer(text):
            yield Block(page, text.count("\n", 0, found.start()) + 2, found[1], found[2], found[3])


def module(name: str) -> str:
    """Return the named Python block of the authors' guide as a module, with the guide's prelude."""
    named = {block.name: block.text for block in blocks(ROOT / "docs" / "authoring.md") if block.language == "python"}
    return f"{named['prelude']}\n\n{named[name]}"
