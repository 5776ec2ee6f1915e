"""The pages of the documentation, and the code blocks in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SUBPAGES = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *SUBPAGES]

CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """Return what a page says, without its code blocks."""
    return CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))


def examples(language: str, pages: list[Path] = PAGES) -> list[str]:
    """Return the code blocks in a language, from all pages or some."""
    blocks = (block for page in pages for block in CODE_BLOCK.findall(page.read_text("utf-8")))
    return [code for found, code in blocks if found == language]


def loading_script(language: str) -> str:
    """Return what loads files as the page on warehouses says: into PostgreSQL, or DuckDB (SQL)."""
    (script,) = examples(language, [ROOT / "docs" / "warehouses.md"])
    return script
