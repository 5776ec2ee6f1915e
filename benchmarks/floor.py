"""The floor: receive pages, split them into rows, write the bytes of each row, and nothing else.

``--at-once`` writes the rows of a page at once, which no longer handles single rows at all.
"""

from __future__ import annotations

import sys

import msgspec
import requests


class Page(msgspec.Struct):
    """A page whose rows stay text."""

    value: list[msgspec.Raw]
    next_link: str | None = msgspec.field(name="@odata.nextLink", default=None)


def main() -> None:
    """Read the entity set that the first argument names."""
    url: str | None = sys.argv[1]
    at_once = "--at-once" in sys.argv
    begin, end = b'{"type":"RECORD","stream":"fact_data","record":', b"}\n"
    session = requests.Session()
    decoder = msgspec.json.Decoder(Page)
    output = sys.stdout.buffer
    while url:
        page = decoder.decode(session.get(url, timeout=300).content)
        if at_once:
            output.write(begin + (end + begin).join(page.value) + end)
        else:
            for row in page.value:
                output.write(begin + row + end)
        url = page.next_link


main()
