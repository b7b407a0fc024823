"""Reads the README and docs/: fenced blocks, why some are not run, inline code, tables."""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = ("sh", "bash", "console", "shell")
_REASON = re.compile(r"<!-- not run: (.+?) -->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    """Line of the fence, counted from 1."""
    language: str
    code: str
    reason: str | None
    """Why the block is not run; None if it is run."""

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Fenced blocks of a page that name a language, with the reason in the comment above them."""
    found: list[Block] = []
    above = ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and token.map and token.info:
            reason = _REASON.fullmatch(above.strip())
            words = reason[1] if reason else None
            found.append(Block(page, token.map[0] + 1, token.info, token.content, words))
        above = token.content if token.type == "html_block" else ""
    return found


def experiments() -> str:
    """The commands that the README runs after `make demo`."""
    (block,) = [each for each in blocks(PAGES[0]) if "dvc exp run" in each.code]
    return block.code


def inline_code(page: Path) -> list[str]:
    """Inline code in the text and tables of a page."""
    tokens = MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
    return [
        child.content
        for token in tokens
        for child in token.children or ()
        if child.type == "code_inline"
    ]


def tables(page: Path) -> list[list[list[str]]]:
    """All tables of a page: a list of rows per table, a list of cells per row."""
    found: list[list[list[str]]] = []
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.level > 3:
            found[-1][-1].append(token.content)
    return found
