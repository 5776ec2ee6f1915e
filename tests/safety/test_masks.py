"""Secrets in texts: in any spelling, at any place of a cut, and in every message with a value."""

from __future__ import annotations

import html
import json
import logging
import re
from base64 import b64encode, urlsafe_b64encode
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tap_sac.inputs import check_catalog
from tap_sac.sac.errors import DeltaLostError, SACError
from tap_sac.sac.odata.decimals import read_json
from tap_sac.sac.odata.entity_ids import EntityIds
from tap_sac.safety import masks
from tap_sac.safety.log_guard import guard_logs
from tap_sac.safety.masks import contains_secret, excerpt, mask_secret, mask_token, masked, one_line
from tap_sac.safety.text import log_safe
from tests.conftest import discover, select, sync
from tests.helpers.rows import one_column
from tests.helpers.stand_in import Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import RunCli, Serve

CLIENT_ID = "sb-2f0e!b12|client!b345"
MOST_READABLE = 7
MEBIBYTE = 1024**2


def wrapped(text: str, end: str = "\n") -> str:
    """Break a text into lines, as PEM, base64 (RFC 2045) and folded headers do.

    Not behind a backslash: whose it is, that of the text or that of an escape, nobody could say.
    """
    return end.join(re.findall(r".{1,16}(?<!\\)|.+", text))


def shown_by_python(text: str) -> str:
    return repr(text)[1:-1]


WAYS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quote": lambda text: quote(text, safe=""),
    "quote_plus": quote_plus,
    "quoted twice": lambda text: quote(quote_plus(text)),
    "every byte": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "latin-1": lambda text: quote(text.encode("utf-8" if "€" in text else "latin-1"), safe=""),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "JSON in a URL": lambda text: quote(json.dumps(text)[1:-1]),
    "HTML": html.escape,
    "HTML in HTML": lambda text: html.escape(html.escape(text)),
    "repr": shown_by_python,
    "repr of bytes": lambda text: repr(text.encode())[2:-1],
    "lines": wrapped,
    "lines of Windows": lambda text: wrapped(text, "\r\n"),
    "folded header": lambda text: wrapped(text, "\r\n\t "),
    "repr of lines": lambda text: shown_by_python(wrapped(text, "\r\n ")),
    "JSON of lines": lambda text: json.dumps(wrapped(text))[1:-1],
    "JSON in JSON of lines": lambda text: json.dumps(json.dumps(wrapped(text)))[3:-3],
    "lines in a URL": lambda text: quote(wrapped(text)),
    "base64": lambda text: b64encode(text.encode()).decode(),
    "base64 after 1": lambda text: b64encode(b"a" + text.encode() + b"b").decode(),
    "base64 after 2": lambda text: b64encode(b"ab" + text.encode() + b"\0c").decode(),
    "base64, URL-safe": lambda text: urlsafe_b64encode(text.encode()).decode(),
    "base64 after 1, URL-safe": lambda text: urlsafe_b64encode(b"\xff" + text.encode()).decode(),
    "base64 after 2, URL-safe": lambda text: urlsafe_b64encode(
        b"\xff\xff" + text.encode()
    ).decode(),
    "base64 without padding": lambda text: b64encode(text.encode()).decode().rstrip("="),
    "base64 in lines": lambda text: wrapped(b64encode(b"x" + text.encode()).decode()),
    "base64 in a URL": lambda text: quote_plus(b64encode(text.encode()).decode()),
    "Basic": lambda text: b64encode(f"{CLIENT_ID}:{text}".encode()).decode(),
    "Basic, URL-safe": lambda text: urlsafe_b64encode(f"{CLIENT_ID}:{text}".encode()).decode(),
    "Basic as RFC 6749": lambda text: b64encode(
        f"{quote_plus(CLIENT_ID)}:{quote_plus(text)}".encode()
    ).decode(),
    "Basic in a header": lambda text: b64encode(f"a: {CLIENT_ID}:{text}\r\n".encode()).decode(),
}
# Latin letters and others, digits, and what some encoding escapes or means something by. At both
# ends is what means nothing: of several backslashes there, some may be left.
LETTERS = st.sampled_from("abfnrtuvxUXACEeqz0123456789-_.")
SPECIALS = st.sampled_from([*" +/=~!|$&;%\\'\"<>#:@ü€", ""])
SECRETS = st.lists(st.tuples(LETTERS, SPECIALS), min_size=14, max_size=60).map(
    lambda pairs: f"Q9{''.join(map(''.join, pairs))}9Q"
)
# Also what looks like the start of an escape, or the rest of one.
AROUND = st.text(st.sampled_from("xyn014 \\%&;,\n'\"ä💰"), max_size=60)


@contextmanager
def only_known(secret: str, client_id: str = "", token: str = "") -> Iterator[None]:
    """Know a secret, and nothing else, until the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "known", masks.Secrets())
        mask_secret(secret, client_id=client_id)
        mask_token(token)
        yield


def assert_unreadable(written: str, text: str) -> None:
    """See that a text shows no part of a spelling of a secret that is worth something."""
    text, written = "".join(text.split()), "".join(written.split())
    parts = (written[at : at + MOST_READABLE + 1] for at in range(len(written) - MOST_READABLE))
    assert not [part for part in parts if part in text and part.strip("\\")]


def core(way: str, secret: str) -> str:
    """Spell a secret, without what is around it in the same encoding."""
    whole = WAYS[way](secret)
    if way.startswith("Basic"):
        return whole[-(-len(f"{quote_plus(CLIENT_ID)}:" if "RFC" in way else CLIENT_ID) * 4 // 3) :]
    return whole


@given(SECRETS, st.sampled_from([*WAYS]), AROUND, AROUND)
def test_no_part_of_a_secret_is_readable_in_any_spelling(
    secret: str, way: str, before: str, after: str
) -> None:
    with only_known(secret, CLIENT_ID):
        text = f"{before}{WAYS[way](secret)}{after}"
        for shown in (masked(text), one_line(text), log_safe(text)):
            assert_unreadable(core(way, secret), shown)
        assert contains_secret(text)


# With each character of base64 that URLs encode otherwise, at each alignment.
DIFFICULT = "Q9 \\n%41+/=~?\xfb\xff\xbf?>?>?>~~~&amp;'\"ü$9Q"


@pytest.mark.parametrize("way", WAYS)
def test_secret_is_masked_in_each_spelling(way: str) -> None:
    with only_known(DIFFICULT, CLIENT_ID):
        assert_unreadable(core(way, DIFFICULT), masked(f"x {WAYS[way](DIFFICULT)} y"))


@pytest.mark.parametrize(
    ("before", "secret", "after"),
    [
        ("%", "41-s3cr3t! and m0re+", ""),
        ("%2", "5f3-s3cr3t! and m0re", ""),
        ("\\", "n0-s3cr3t/and m0re+", ""),
        ("\\u00", "4141-s3cr3t! and m0re", ""),
        ("&lt", "; s3cr3t! and m0re", ""),
        ("", "s3cr3t! and m0re+%", "41"),
        ("", "s3cr3t! and m0re+&am", "p;"),
    ],
)
def test_secret_that_forms_an_escape_with_its_surroundings_is_masked(
    before: str, secret: str, after: str
) -> None:
    with only_known(secret):
        written = quote(secret, safe="%&;")
        assert_unreadable(written, masked(f"a text {before}{written}{after} goes on"))
        assert_unreadable(secret, masked(f"a text {before}{wrapped(secret)}{after} goes on"))


@given(SECRETS, st.sampled_from([*WAYS]), AROUND, st.integers(0, 200))
def test_no_part_of_a_secret_is_readable_before_a_cut(
    secret: str, way: str, before: str, longest: int
) -> None:
    with only_known(secret, CLIENT_ID):
        written = WAYS[way](secret)
        shown = excerpt(f"{before}{written}{'.' * 100}{written}", longest)
    assert_unreadable(core(way, secret), shown)
    assert len(shown) <= longest + len("***...")


@given(st.text(max_size=100), st.integers(0, 100))
@example("e\u0301💰\udc80", 2)
def test_text_without_a_secret_is_only_cut(text: str, longest: int) -> None:
    with only_known("s3cr3t-of-nobody"):
        assert masked(text) == text
        assert excerpt(text, longest) == (text if len(text) <= longest else f"{text[:longest]}...")


def test_text_around_a_secret_is_kept() -> None:
    with only_known("s3cr3t $=-_/+ü'x"):
        assert masked("ä s3cr3t $=-_/+ü'x\n, s3cr3t%20%24%3D-_/%2B%C3%BC'x\t.") == "ä ***\n, ***\t."


def test_secret_that_overlaps_itself_is_masked_whole() -> None:
    with only_known("12ab-12ab-12ab"):
        assert masked("x 12ab-12ab-12ab-12ab-12ab y") == "x *** y"


def test_short_secret_next_to_a_long_one_reveals_nothing() -> None:
    with only_known("k3y", token="an-k3y-in-a-t0ken-that-is-l0ng"):
        shown = log_safe("k3y and an-k3y-in-a-t0ken-that-is-l0ng", "k3y")
    assert shown == "*** and ***"


HOSTILE = {
    "backslashes": ("\\" * 999 + "x", "\\"),
    "percent signs": ("%25" * 333 + "!", "%25"),
    "one letter": ("a" * 999 + "b", "a"),
    "one letter, then another": ("b" + "a" * 999, "a"),
    "entities": ("&amp;" * 200, "&amp;"),
    "spaces": ("x" + " " * 998 + "1", " "),
    "line breaks": ("x1" * 500, "x1\r\n "),
}


@pytest.mark.parametrize(("token", "part"), HOSTILE.values(), ids=HOSTILE)
def test_message_of_an_endless_text_is_short_whatever_the_token_is(token: str, part: str) -> None:
    text = part * (MEBIBYTE // 8 // len(part))
    with only_known("", token=token):
        assert len(log_safe(text)) <= 306
        assert len(log_safe(f"x{text}")) <= 306
        assert len(masked(text)) <= len(text)


@pytest.mark.parametrize("token", [token for token, _ in HOSTILE.values()], ids=HOSTILE)
def test_error_of_a_mebibyte_is_a_short_line_whatever_the_token_is(
    serve: Serve, run_cli: RunCli, token: str
) -> None:
    tenant = StandIn(sales(sales_row(1)))
    tenant.fault = lambda _: error_response(400, token * (MEBIBYTE // len(token)))
    with only_known("", token=token):
        result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert max(map(len, result.stderr.splitlines())) < 1_500


@pytest.mark.parametrize("name", ["tap-sac.x", "urllib3.x"])
def test_line_of_the_log_has_an_end(caplog: pytest.LogCaptureFixture, name: str) -> None:
    guard_logs(is_own_process=False)
    logging.getLogger(name).warning("x%s", "y" * MEBIBYTE)
    assert caplog.records[-1].getMessage() == f"x{'y' * 7_999}..."


SECRET = "s3cr3t/Q7w2e9r5+t1y8u3i6o=p4a0s2d5f"
BEFORE = ("", "x" * 7, "x" * 30)
SPELLINGS = {
    way: spell(SECRET)
    for way, spell in WAYS.items()
    if way in {"as it is", "quote", "lines", "base64", "base64 after 1, URL-safe", "Basic"}
}


def messages_of(serve: Serve, tenant: StandIn, **more: Any) -> str:
    """Return what a sync says, which fails."""
    settings = {**serve(tenant), "client_id": CLIENT_ID, "client_secret": SECRET}
    with pytest.raises(SACError) as error:
        sync({**settings, **more})
    return str(error.value)


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("way", SPELLINGS)
def test_wrong_value_shows_no_part_of_a_secret(serve: Serve, way: str, before: str) -> None:
    value = before + SPELLINGS[way]
    columns = {"ID": "Edm.String*", "X": "Edm.Date", "Y": "Edm.Int32"}
    for row in ({"ID": value, "X": value}, {"ID": value, "Y": value}):
        tenant = StandIn(Model("C4T", "T", edmx(S=columns), {"S": [json.dumps(row)]}))
        told = messages_of(serve, tenant)
        assert "in the row of ID" in told
        assert_unreadable(core(way, SECRET), told)


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("way", SPELLINGS)
def test_wrong_input_shows_no_part_of_a_secret(serve: Serve, way: str, before: str) -> None:
    value = before + SPELLINGS[way]
    with only_known(SECRET, CLIENT_ID):
        settings = serve(StandIn(sales(sales_row(1))))
        catalog = select(discover(settings), "sales_fact_data")
        catalog["streams"][0]["selected"] = value
        with pytest.raises(SACError, match="which is neither") as error:
            check_catalog(catalog)
        assert_unreadable(core(way, SECRET), str(error.value))
        ids = EntityIds({"ID": "Edm.String"})
        with pytest.raises(DeltaLostError) as lost:
            ids.read(f"{'x' * 150}{value}")
        assert_unreadable(core(way, SECRET), str(lost.value))


@pytest.mark.parametrize("before", [1, 20, 38])
def test_number_that_does_not_fit_shows_no_part_of_a_secret(serve: Serve, before: int) -> None:
    secret = "840319562718304659172"
    value = f"0.{'1' * before}{secret}"
    tenant = one_column("Edm.Decimal", value)
    told = messages_of(serve, tenant, client_secret=secret, use_singer_decimal=True)
    assert "requires scale" in told
    assert_unreadable(secret, told)
    with only_known(secret), pytest.raises(ValueError, match="out of range") as error:
        read_json(f"1.{'1' * before}{secret}e99999999999999999999")
    assert_unreadable(secret, str(error.value))


@pytest.mark.parametrize(("way", "length"), [*product(SPELLINGS, (3_980, 270, 290))])
def test_error_shows_no_part_of_a_secret_that_is_cut(
    serve: Serve, run_cli: RunCli, way: str, length: int
) -> None:
    tenant = StandIn(sales(sales_row(1)))
    text = ("\n" if length > 300 else "x") * length + SPELLINGS[way] * 3
    tenant.fault = lambda _: error_response(403, f"x{text}")
    result = run_cli({**serve(tenant), "client_id": CLIENT_ID, "client_secret": SECRET})
    assert "SAC answered 403" in result.stderr
    assert_unreadable(core(way, SECRET), result.stderr)
