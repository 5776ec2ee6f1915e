"""The pages of the documentation, and the code blocks in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SUBPAGES = sorted((ROOT / "docs").rglob("*.md"))
OTHERS = sorted(
    page
    for pattern in ("*.md", ".github/**/*.md", "benchmarks/**/*.md", "examples/**/*.md")
    for page in ROOT.glob(pattern)
    if page != README
)
PAGES = [README, *OTHERS, *SUBPAGES]

CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """Return what a page says, without its code blocks."""
    return CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))


def examples(language: str) -> list[str]:
    """Return the code blocks in a language, from all pages."""
    blocks = (block for page in PAGES for block in CODE_BLOCK.findall(page.read_text("utf-8")))
    return [code for found, code in blocks if found == language]
