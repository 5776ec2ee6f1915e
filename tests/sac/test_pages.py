"""Pages: what is read from an answer, and what is refused."""

from __future__ import annotations

import pytest

from tap_sac.sac.errors import SACError
from tap_sac.sac.http.answer import Answer
from tap_sac.sac.odata.pages import Page, read_page

URL = "https://acme.example/api/v1/dataexport/providers/sac/C4/FactData"


def read(body: str) -> Page:
    return read_page(Answer("GET", URL, 200, body=body.encode()))


@pytest.mark.parametrize("rows", ['[{"A":1},{"A":2}]', '[ {"A":1}, {"A":2} ]', "[]"])
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("@odata.nextLink", '"FactData?$skiptoken={}"'),
        ("@odata.deltaLink", '"FactData?deltaid={}"'),
        ("@odata.count", "{}"),
    ],
)
def test_member_twice_is_refused(rows: str, member: str, value: str) -> None:
    first, second = (f'"{member}":{value.format(number)}' for number in (1, 2))
    read(f'{{{first},"value":{rows}}}')
    for body in (f'{{{first},{second},"value":{rows}}}', f'{{{first},"value":{rows},{second}}}'):
        with pytest.raises(SACError, match=rf"has the member '{member}' more than once"):
            read(body)


def test_rows_twice_are_refused() -> None:
    with pytest.raises(SACError, match="has the member 'value' more than once"):
        read('{"value":[{"A":1}],"value":[{"A":2}]}')


def test_rows_may_hold_what_looks_like_a_member() -> None:
    text = r"\"value\":[{},{}],\"@odata.nextLink\":\"x\""
    page = read(f'{{"@odata.nextLink":"FactData?p=2","value":[{{"A":"{text}"}}]}}')
    assert [row["A"] for row in page.rows] == ['"value":[{},{}],"@odata.nextLink":"x"']
    assert page.next_url == f"{URL}?p=2"


@pytest.mark.parametrize("name", ["@odata.deltaLink", "@odata.deltalink"])
def test_link_is_found_in_both_spellings(name: str) -> None:
    assert read(f'{{"value":[],"{name}":"FactData?deltaid=a"}}').delta_url == f"{URL}?deltaid=a"
