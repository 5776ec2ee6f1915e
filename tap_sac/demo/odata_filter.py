"""OData ``$filter`` expressions, as far as SAC documents them.

``eq ne gt ge lt le``, ``and or not``, parentheses, ``contains``, ``startswith`` and ``endswith``,
with string, number and null literals (OData URL Conventions 4.0, 5.1.1).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any

Predicate = Callable[[Mapping[str, Any]], bool]
_Operand = Callable[[Mapping[str, Any]], Any]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^']|'')*')
      | (?P<number>[+-]?\d+(?:\.\d+)?)
      | (?P<word>[^\W\d]\w*(?:\.\w+)?)
      | (?P<symbol>[(),])
    )""",
    re.VERBOSE,
)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_FUNCTIONS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


class FilterError(ValueError):
    """An expression is malformed."""


class InListError(FilterError):
    """An expression has a list, such as ``Version in ('a','b')``.

    Live tenants parse it, but fail to translate it to SQL.
    """


def parse_filter(expression: str, columns: Collection[str]) -> Predicate:
    """Convert an expression to a predicate on rows.

    Args:
        expression: The expression, such as ``Version eq 'public.Actual' and not (Date lt
            '202601')``.
        columns: The names that it may contain.

    Raises:
        FilterError: If the expression is malformed or names an unknown column.
        InListError: If it has a list.
    """
    parser = _Parser(_tokens(expression), columns)
    predicate = parser.disjunction()
    if parser.position < len(parser.tokens):
        msg = f"nothing may follow at {parser.tokens[parser.position][1]!r}"
        raise FilterError(msg)
    return predicate


def _tokens(expression: str) -> list[tuple[str, str]]:
    tokens = []
    position, end = 0, len(expression.rstrip())
    while position < end:
        match = _TOKEN.match(expression, position)
        if match is None or match.lastgroup is None:
            msg = f"unreadable at {expression[position:][:20]!r}"
            raise FilterError(msg)
        tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


class _Parser:
    """A recursive-descent parser with one method per level of precedence."""

    def __init__(self, tokens: list[tuple[str, str]], columns: Collection[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self._columns = columns

    def disjunction(self) -> Predicate:
        predicate = self._conjunction()
        while self._accept("word", "or"):
            predicate = _either(predicate, self._conjunction())
        return predicate

    def _conjunction(self) -> Predicate:
        predicate = self._negation()
        while self._accept("word", "and"):
            predicate = _both(predicate, self._negation())
        return predicate

    def _negation(self) -> Predicate:
        if self._accept("word", "not"):
            negated = self._negation()
            return lambda row: not negated(row)
        if self._accept("symbol", "("):
            predicate = self.disjunction()
            self._expect("symbol", ")")
            return predicate
        return self._comparison()

    def _comparison(self) -> Predicate:
        _, text = self._peek()
        if text in _FUNCTIONS:
            return self._function()
        left = self._operand()
        _, name = self._next("word")
        if name == "in" and self._accept("symbol", "("):
            msg = "lists are not understood"
            raise InListError(msg)
        if name not in _COMPARISONS:
            msg = f"{name!r} is no comparison"
            raise FilterError(msg)
        right = self._operand()
        return _compare(_COMPARISONS[name], left, right)

    def _function(self) -> Predicate:
        _, name = self._next("word")
        self._expect("symbol", "(")
        text = self._operand()
        self._expect("symbol", ",")
        part = self._operand()
        self._expect("symbol", ")")
        function = _FUNCTIONS[name]
        return lambda row: function(str(text(row) or ""), str(part(row)))

    def _operand(self) -> _Operand:
        kind, text = self._next("string", "number", "word")
        if kind == "string":
            literal = text[1:-1].replace("''", "'")
            return lambda _: literal
        if kind == "number":
            number = Decimal(text)
            return lambda _: number
        if text == "null":
            return lambda _: None
        if text not in self._columns:
            msg = f"there is no column {text!r}"
            raise FilterError(msg)
        return lambda row: row.get(text)

    def _peek(self) -> tuple[str, str]:
        return self.tokens[self.position] if self.position < len(self.tokens) else ("end", "")

    def _next(self, *kinds: str) -> tuple[str, str]:
        token = self._peek()
        if token[0] not in kinds:
            msg = f"{' or '.join(kinds)} expected instead of {token[1] or 'the end'!r}"
            raise FilterError(msg)
        self.position += 1
        return token

    def _accept(self, *token: str) -> bool:
        if self._peek() != token:
            return False
        self.position += 1
        return True

    def _expect(self, kind: str, text: str) -> None:
        if not self._accept(kind, text):
            msg = f"{text!r} expected instead of {self._peek()[1] or 'the end'!r}"
            raise FilterError(msg)


def _either(left: Predicate, right: Predicate) -> Predicate:
    return lambda row: left(row) or right(row)


def _both(left: Predicate, right: Predicate) -> Predicate:
    return lambda row: left(row) and right(row)


def _compare(compare: Callable[[Any, Any], bool], left: _Operand, right: _Operand) -> Predicate:
    """Compare like OData: null is neither greater nor less than anything."""

    def predicate(row: Mapping[str, Any]) -> bool:
        first, second = left(row), right(row)
        if compare in {operator.eq, operator.ne}:
            return compare(first, second)
        comparable = isinstance(first, str) == isinstance(second, str)
        return comparable and first is not None and second is not None and compare(first, second)

    return predicate
