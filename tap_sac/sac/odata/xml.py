"""XML as it comes -> elements, also where it is not quite XML.

A server that joins texts by hand leaves out what XML asks for: an ``&`` that is not escaped, a
control character in a description. What such a text means is plain, but for the character that
was lost; names that held one are recognised by `MARK`.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from defusedxml.ElementTree import fromstring

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# Stands for a character that XML does not allow, as it does for one that cannot be decoded.
MARK = "\N{REPLACEMENT CHARACTER}"

_ENCODINGS_BY_MARK = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_DECLARED_ENCODING = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
# XML 1.0, 2.2: what is not a Char, and 4.1: what refers to none.
_NO_CHARACTER = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"
    "|&#0*(?:[0-8]|1[124-9]|2[0-9]|3[01]);|&#x0*(?:[0-8bcBCeEfF]|1[0-9a-fA-F]);"
)
# XML 1.0, 4.6: the entities that need no declaration.
_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9a-fA-F]+);)")


def parse_xml(document: bytes) -> tuple[Element, str | None]:
    """Parse a document, mended if need be.

    Returns:
        Its root, and what was mended; None if it is well-formed. In a mended document, `MARK`
        stands where a character was that XML does not allow.

    Raises:
        ParseError: If it is not XML all the same.
        DefusedXmlException: If it has a document type declaration.
        ValueError: If it cannot be decoded.
        LookupError: If its encoding is unknown.
    """
    document = document.lstrip(b"\r\n\t ")
    try:
        return fromstring(document, forbid_dtd=True), None
    except ParseError as error:
        text = document.decode(_encoding(document), errors="replace")
        text, characters = _NO_CHARACTER.subn(MARK, text)
        text, ampersands = _BARE_AMPERSAND.subn("&amp;", text)
        root: Element = fromstring(text, forbid_dtd=True)
        faults = ["has characters that XML does not allow"] if characters or MARK in text else []
        faults += ["does not escape &"] if ampersands else []
        return root, " and ".join(faults) or str(error)


def _encoding(document: bytes) -> str:
    for mark, encoding in _ENCODINGS_BY_MARK.items():
        if document.startswith(mark):
            return encoding
    declared = _DECLARED_ENCODING.match(document)
    return declared[1].decode() if declared else "utf-8"
