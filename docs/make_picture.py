"""Draw the picture of the way that rows take: ``python docs/make_picture.py``."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

PICTURE = Path(__file__).with_name("way.svg")

_INK, _PAPER, _LINE, _ACCENT, _QUIET = "#1f2933", "#ffffff", "#7b8794", "#0b69a3", "#52606d"
_LINE_HEIGHT = 20


def text(x: float, y: float, words: str, style: str) -> str:
    """Write words, centred on a place."""
    return f'<text x="{x}" y="{y}" text-anchor="middle" {style}>{escape(words)}</text>'


def note(x: float, y: float, words: str) -> str:
    """Write what an arrow stands for."""
    return text(x, y, words, f'fill="{_QUIET}"')


def box(x: float, y: float, width: float, height: float, title: str, *lines: str) -> str:
    """Draw a box with a title, and what is in it."""
    middle = x + width / 2
    frame = f'rx="8" fill="{_PAPER}" stroke="{_LINE}" stroke-width="1.5"'
    parts = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" {frame}/>',
        text(middle, y + 28, title, f'fill="{_ACCENT}" font-weight="600" font-size="16"'),
    ]
    parts += [
        text(middle, y + 56 + number * _LINE_HEIGHT, line, f'fill="{_INK}"')
        for number, line in enumerate(lines)
    ]
    return "\n".join(parts)


def arrow(*points: tuple[float, float], is_dashed: bool = False) -> str:
    """Draw an arrow through points."""
    line = " ".join(f"{x},{y}" for x, y in points)
    dashes = ' stroke-dasharray="5 4"' if is_dashed else ""
    return (
        f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="2"{dashes} '
        'marker-end="url(#head)"/>'
    )


def picture() -> str:
    """Return the picture as SVG."""
    parts = [
        box(
            20,
            60,
            210,
            200,
            "SAP Analytics Cloud",
            "Data Export Service",
            "",
            "facts and changes",
            "members, hierarchies",
            "audit data",
            "counts and totals",
        ),
        box(
            350,
            60,
            210,
            200,
            "tap-sac",
            "1  sign in, discover",
            "2  count the rows",
            "3  read every page",
            "4  compare the counts",
            "5  let targets delete",
            "6  keep the bookmark",
        ),
        box(720, 60, 140, 200, "Target", "any Singer", "target, or", "Parquet files", "and COPY"),
        box(
            960,
            60,
            150,
            200,
            "Warehouse",
            "PostgreSQL",
            "DuckDB",
            "Snowflake",
            "BigQuery",
            "CSV ...",
        ),
        arrow((230, 132), (348, 132)),
        note(290, 122, "pages, as JSON"),
        arrow((350, 200), (232, 200)),
        note(290, 190, "requests, at most"),
        note(290, 220, "4 at once"),
        arrow((560, 132), (718, 132)),
        note(640, 122, "SCHEMA, RECORD"),
        note(640, 152, "or BATCH files"),
        arrow((560, 200), (718, 200)),
        note(640, 190, "ACTIVATE_VERSION"),
        note(640, 220, "when it is proven"),
        arrow((860, 160), (958, 160)),
        note(910, 150, "tables"),
        arrow((790, 260), (790, 310), (455, 310), (455, 262), is_dashed=True),
        note(622, 300, "STATE: bookmarks, delta links"),
        arrow((380, 260), (380, 335), is_dashed=True),
        note(380, 356, "log: one line per stream, and one sentence for what cannot be trusted"),
    ]
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1130 380" role="img"
font-family="system-ui, sans-serif" font-size="13">
<title>From SAP Analytics Cloud through tap-sac and a target into a warehouse</title>
<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"
orient="auto"><path d="M0 0 10 5 0 10z" fill="{_LINE}"/></marker></defs>
<rect width="1130" height="380" fill="#f5f7fa"/>
{body}
</svg>
"""


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
