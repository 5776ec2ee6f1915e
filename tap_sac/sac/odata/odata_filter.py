"""OData ``$filter`` expressions: which names they use, and what in them SAC will not take.

The little reader here knows comparisons, ``in`` lists, ``and``, ``or``, ``not``, parentheses and
``contains``, ``startswith`` and ``endswith`` (OData URL Conventions 4.0, 5.1.1), and how people
write these by mistake. SAC knows more, such as nodes of hierarchies: about an expression with
anything else in it, nothing is said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# What a column holds, as far as filters are concerned.
ColumnKind = Literal["text", "number", "other"]

# Word processors make curly quotes of straight ones.
_TOKEN = re.compile(
    r"""
      (?P<string> '(?:[^']|'')*' )
    | (?P<quoted> "[^"]*" | [\u201c\u201e][^\u201c\u201d]*[\u201c\u201d] | \u2018[^\u2019]*\u2019 )
    | (?P<sign>   [=!<>]= | <> | [=<>] )
    | (?P<mark>   [(),] )
    | (?P<word>   [^\s'"\u2018\u2019\u201c-\u201e(),=<>!]+ )
    | (?P<other>  \S )
    """,
    re.VERBOSE,
)
_NAME = re.compile(r"[^\W\d]\w*")
_NAME_OR_TEXT = re.compile(r"[^\W\d][\w.-]*")
_PLAIN_TEXT = re.compile(r"[\w.#&+:-]+")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_COMPARISONS = {"eq", "ne", "gt", "ge", "lt", "le"}
_SIGNS = {
    "=": "eq",
    "==": "eq",
    "!=": "ne",
    "<>": "ne",
    ">": "gt",
    ">=": "ge",
    "<": "lt",
    "<=": "le",
}
_RESERVED = {*_COMPARISONS, "and", "or", "not", "in", "has", "add", "sub", "mul", "div", "mod"}
_LITERALS = {"null", "true", "false", "INF", "NaN"}
_FUNCTIONS = {"contains", "startswith", "endswith"}
_PARENT = "_PARENTID"  # what the columns of hierarchies end with
_VALUES = {"string", "quoted", "number", "name", "text"}


@dataclass(frozen=True)
class Reading:
    """What an expression says.

    Attributes:
        columns: The columns that it names, in its order.
        unknown: The names in it that are no columns.
        slips: What SAC will not take, a clause each.
        corrected: The expression without its slips; None if it has none, or only its author can
            know what was meant.
    """

    columns: tuple[str, ...]
    unknown: tuple[str, ...]
    slips: tuple[str, ...]
    corrected: str | None


def names_in_filter(text: str) -> set[str]:
    """Return the names in an expression: columns, and operators and functions too."""
    words = [token.text for token in _tokens(text) if token.kind == "word"]
    return {*words, *(name for word in words for name in _NAME.findall(word))}


def read_filter(
    text: str, columns: Mapping[str, ColumnKind] | None, others: Collection[str] = ()
) -> Reading | None:
    """Read an expression.

    Args:
        text: Such as ``Version eq 'public.Actual' and not (Date lt '202601')``.
        columns: The columns that it may name; None if any name may be one.
        others: Columns of other tables, of which SAC may know parts, too.

    Returns:
        None if the expression is not understood.
    """
    reader = _Reader(text, columns, others)
    try:
        reader.read()
    except _NotUnderstoodError:
        return None
    return Reading(
        tuple(reader.named), tuple(reader.unknown), tuple(reader.slips), reader.corrected()
    )


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


class _Operand(NamedTuple):
    """One side of a comparison; `kind` is one of `_VALUES`, ``column`` or ``literal``."""

    kind: str
    token: _Token
    column: str = ""


_END = _Token("end", "", -1, -1)


class _NotUnderstoodError(Exception):
    """The expression has something that the reader does not know."""


def _tokens(text: str) -> list[_Token]:
    return [
        _Token(str(match.lastgroup), match[0], match.start(), match.end())
        for match in _TOKEN.finditer(text)
    ]


class _Reader:
    """Goes through an expression once; precedence does not matter here, so there is no tree."""

    def __init__(
        self, text: str, columns: Mapping[str, ColumnKind] | None, others: Collection[str]
    ) -> None:
        self.named: dict[str, None] = {}
        self.unknown: dict[str, None] = {}
        self.slips: dict[str, None] = {}
        self._text = text
        self._columns = columns
        self._others = {*(columns or ()), *others}
        self._tokens = _tokens(text)
        self._position = 0
        self._edits: dict[int, tuple[int, str]] = {}
        self._is_correctable = True

    def read(self) -> None:
        depth = 0
        while True:
            depth += self._open()
            self._term()
            while self._accept("mark", ")"):
                depth -= 1
            if depth < 0:
                raise _NotUnderstoodError
            if self._peek() is _END and depth == 0:
                return
            if not (self._accept("word", "and") or self._accept("word", "or")):
                raise _NotUnderstoodError

    def corrected(self) -> str | None:
        if not self._edits or not self._is_correctable:
            return None
        return self._edited(0, len(self._text))

    def _edited(self, start: int, end: int) -> str:
        """Return a part of the expression with its edits, and forget those."""
        parts = []
        for position in sorted(item for item in self._edits if start <= item < end):
            edit_end, replacement = self._edits.pop(position)
            parts += [self._text[start:position], replacement]
            start = edit_end
        return "".join([*parts, self._text[start:end]])

    def _open(self) -> int:
        """Take ``not`` and opening parentheses; returns how many of the latter."""
        depth = 0
        while True:
            if self._accept("mark", "("):
                depth += 1
            elif self._peek()[:2] == ("word", "not") and not self._is_comparison(self._peek(1)):
                self._position += 1
            else:
                return depth

    def _term(self) -> None:
        """Take a comparison, or a function that gives a Boolean."""
        if self._peek().text in _FUNCTIONS and self._peek(1).text == "(":
            self._position += 2
            left = self._operand()
            self._expect(",")
            self._judge(left, self._operand(), is_comparison=False)
            self._expect(")")
            return
        left = self._operand()
        operator = self._next()
        if operator.kind == "sign":
            self._write_operator(operator)
        elif operator.text == "in" and self._accept("mark", "("):
            self._list(left)
            return
        elif operator.text not in _COMPARISONS:
            raise _NotUnderstoodError
        self._judge(left, self._operand())

    def _list(self, left: _Operand) -> None:
        """Take an ``in`` list from its first value on, and write it as comparisons.

        Live tenants answer HTTP 500 to it, "SQL Statement cannot be prepared".
        """
        items: list[_Operand] = []
        while not items or self._accept("mark", ","):
            items.append(self._operand())
            if items[-1].kind == "column":
                raise _NotUnderstoodError
            self._judge(left, items[-1])
        self._expect(")")
        start, end = left.token.start, self._tokens[self._position - 1].end
        column = self._edited(start, left.token.end)
        values = [self._edited(item.token.start, item.token.end) for item in items]
        comparisons = " or ".join(f"{column} eq {value}" for value in values)
        self._edits[start] = (end, f"({comparisons})")
        self.slips["SAC answers HTTP 500 [1205] to a list after in, so use or"] = None

    def _operand(self) -> _Operand:
        token, after = self._next(), self._peek()
        is_prefix = after.start == token.end and after.kind in {"string", "quoted", "word"}
        if is_prefix or after.text == "(":  # Such as date'2026-01-01' and year(Date).
            raise _NotUnderstoodError
        if token.kind in {"string", "quoted"}:
            return _Operand(token.kind, token)
        if token.kind != "word":
            raise _NotUnderstoodError
        word = token.text
        if self._columns is not None and word in self._columns:
            return self._named(token, word)
        if _NUMBER.fullmatch(word):
            return _Operand("number", token)
        if word in _LITERALS:
            return _Operand("literal", token)
        if word in _RESERVED or not _PLAIN_TEXT.fullmatch(word):
            raise _NotUnderstoodError
        if not _NAME_OR_TEXT.fullmatch(word):
            return _Operand("text", token)
        return self._named(token, word) if self._columns is None else _Operand("name", token)

    def _judge(self, left: _Operand, right: _Operand, *, is_comparison: bool = True) -> None:
        """See that both sides go together: text with text, and numbers with numbers."""
        left, right = self._resolved(left, right), self._resolved(right, left)
        if left.kind == "name" and right.kind != "column":
            left = self._find(left)
        elif right.kind == "name" and left.kind != "column":
            right = self._find(right)
        for side in (left, right):
            if side.kind == "quoted":
                literal = side.token.text[1:-1].replace("'", "''")
                self._edit(side.token, f"'{literal}'", "text needs single quotes")
        for column, value in ((left, right), (right, left)):
            if column.kind != "column" or value.kind not in _VALUES:
                continue
            kind = (self._columns or {}).get(column.column, "other")
            if kind == "text":
                self._judge_text(column.column, value, is_comparison=is_comparison)
            elif kind == "number" and is_comparison:
                self._judge_number(column.column, value)

    def _judge_text(self, column: str, value: _Operand, *, is_comparison: bool) -> None:
        text = value.token.text
        if value.kind in {"name", "text"}:
            self._edit(value.token, f"'{text}'", f"the text {text} needs single quotes")
        elif value.kind == "number" and is_comparison:
            self._edit(value.token, f"'{text}'", f"{column} is text, so {text} needs single quotes")

    def _judge_number(self, column: str, value: _Operand) -> None:
        if value.kind == "name":
            self._find(value)
        elif value.kind in {"string", "quoted"}:
            number = value.token.text[1:-1].strip()
            if _NUMBER.fullmatch(number):
                slip = f"{column} is a number, so {number} needs no quotes"
                self._edit(value.token, number, slip)
            else:
                self.slips[f"{column} is a number, and {value.token.text} is not"] = None
                self._is_correctable = False

    def _resolved(self, operand: _Operand, other: _Operand) -> _Operand:
        """Take what is in double quotes for a column, as SQL does, if it is compared with none."""
        name = operand.token.text[1:-1]
        if operand.kind != "quoted" or other.kind == "column" or name not in (self._columns or ()):
            return operand
        self._edit(operand.token, name, "text needs single quotes, and a column none")
        return self._named(operand.token, name)

    def _find(self, operand: _Operand) -> _Operand:
        """Find a column that differs from a name in its case alone, and note the name.

        Raises:
            _NotUnderstoodError: If it may be SAC's name for a part of a column, or a hierarchy.
        """
        name = operand.token.text
        if any(
            name.startswith((f"{item}.", f"{item}___"))
            or (item.endswith(_PARENT) and name.endswith(item.removesuffix(_PARENT)))
            for item in self._others
        ):
            raise _NotUnderstoodError
        self.unknown[name] = None
        same = [item for item in self._columns or () if item.casefold() == name.casefold()]
        if len(same) != 1:
            self._is_correctable = False
            return operand
        self._edits[operand.token.start] = (operand.token.end, same[0])
        return _Operand("column", operand.token, same[0])

    def _named(self, token: _Token, column: str) -> _Operand:
        self.named[column] = None
        return _Operand("column", token, column)

    def _write_operator(self, sign: _Token) -> None:
        before, after = self._text[sign.start - 1], self._text[sign.end : sign.end + 1]
        word = _SIGNS[sign.text]
        padded = f"{'' if before.isspace() else ' '}{word}{'' if after.isspace() else ' '}"
        self._edit(sign, padded, f"OData writes {word} instead of {sign.text}")

    def _edit(self, token: _Token, replacement: str, slip: str) -> None:
        self._edits[token.start] = (token.end, replacement)
        self.slips[slip] = None

    def _is_comparison(self, token: _Token) -> bool:
        return token.kind == "sign" or token.text in {*_COMPARISONS, "in"}

    def _peek(self, ahead: int = 0) -> _Token:
        position = self._position + ahead
        return self._tokens[position] if position < len(self._tokens) else _END

    def _next(self) -> _Token:
        token = self._peek()
        self._position += 1
        return token

    def _accept(self, kind: str, text: str) -> bool:
        if self._peek()[:2] != (kind, text):
            return False
        self._position += 1
        return True

    def _expect(self, mark: str) -> None:
        if not self._accept("mark", mark):
            raise _NotUnderstoodError
