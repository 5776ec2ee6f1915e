"""Filters: the names and lists that are checked before SAC sees them, and what is left to SAC."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tap_sac.sac.errors import SACError
from tap_sac.sac.odata.filters import check_filter, names_in_filter
from tap_sac.sac.odata.model import EntitySet, Property
from tests.conftest import discover, select, sync
from tests.helpers.stand_in import Model, StandIn, edmx, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

    from tests.conftest import RunCli, Serve

FACT_COLUMNS = {
    "Version": "Edm.String*",
    "Date": "Edm.String*",
    "FLOW.ID_3f9a": "Edm.String*",
    "AMOUNT": "Edm.Decimal",
    "HEADCOUNT": "Edm.Int32",
    "Changed": "Edm.DateTimeOffset",
}
DOCUMENT = edmx(
    FactData=FACT_COLUMNS,
    ProductMaster={"ID": "Edm.String*", "COLOUR": "Edm.String", "Level": "Edm.String"},
    RegionMaster={"ID": "Edm.String*", "Level": "Edm.Decimal", "H1_PARENTID": "Edm.String"},
)
FACTS = "a_fact_data"


def tenant() -> StandIn:
    return StandIn(Model("C4A", "A", DOCUMENT, {"FactData": [], "ProductMaster": []}))


@pytest.fixture
def warnings(serve: Serve, caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    """Discover with a filter, and return what is warned about it."""

    def look(text: str, pattern: str = FACTS) -> list[str]:
        caplog.clear()
        discover({**serve(tenant()), "filters": {pattern: text}})
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    return look


@pytest.mark.parametrize(
    ("text", "corrected"),
    [
        ("Version in ('a','b''c')", "(Version eq 'a' or Version eq 'b''c')"),
        ("AMOUNT in( 1 , 2.5 )", "(AMOUNT eq 1 or AMOUNT eq 2.5)"),
        (
            "not Version in ('in (1)') and Date eq 'Date in (1)'",
            "not (Version eq 'in (1)') and Date eq 'Date in (1)'",
        ),
        ("(Version in ('a') or AMOUNT in (1))", "((Version eq 'a') or (AMOUNT eq 1))"),
    ],
)
def test_in_list_is_written_as_comparisons(
    warnings: Callable[..., list[str]], text: str, corrected: str
) -> None:
    (message,) = warnings(text)
    assert "which SAC does not support (HTTP 500 [1205])" in message
    assert message.endswith(f": write it as {corrected!r}.")
    assert not warnings(corrected)


@pytest.mark.parametrize(
    "text",
    [
        "Version eq 'public.Actual' and (Date ge '202401' or not (AMOUNT lt -5.5))",
        "Version eq 'it''s \"in (a,b)\" = COLOR'",
        "Version eq 'a\nb' and AMOUNT ne null and HEADCOUNT eq 1e3 and AMOUNT ne INF",
        "Changed ge 2026-01-01T00:00:00Z",
        "Changed ge '2026-01-01T00:00:00Z'",
        "Date ge 202401 and Version eq public.Actual and AMOUNT gt '5'",
        "Version = 'a' and AMOUNT <> 5",
        "contains(Version,'x') and endswith(Version, 'y') and not startswith(Version,'z')",
        "tolower(Colour) eq 'red'",
        "contains(tolower(Colour),'red')",
        "Version eq datetime'2026-01-01T00:00:00'",
        "hierarchyNode(Product,'H1','P-ALL')",
        "descendants($root/x,Product,H1,COLOR eq 'x') and COLOR eq 5",
        "Product/H1 eq 'P-ALL' and COLOR eq 'x'",
        "Version/H1/any(n: n eq 'x')",
        "Version___H1 eq 'x'",
        "Version.H1 eq 'x'",
        "FLOW.ID_3f9a.H1 eq 'x'",
        "H1 eq 'x'",
        "Region_H1 eq 'x'",
        "[Version].[H1] eq x",
        "Version eq @p",
        "AMOUNT add 5 gt HEADCOUNT",
        "Version eq Plan 2026",
        "COLOR eq 'x",
        "COLOR has 'x'",
        "COLOR",
        "and",
        "(" * 5_000,
        "not " * 5_000,
    ],
)
def test_filters_that_sac_may_support_are_not_refused(
    warnings: Callable[..., list[str]], text: str
) -> None:
    assert not warnings(text)


def test_filter_is_looked_at_before_anything_is_read(serve: Serve, run_cli: RunCli) -> None:
    stand_in = tenant()
    result = run_cli({**serve(stand_in), "filters": {FACTS: "Versoin eq 'x'"}})
    assert result.returncode == 1
    assert not stand_in.reads("/FactData")
    assert not result.stdout
    (line,) = [line for line in result.stderr.splitlines() if "Versoin" in line]
    assert "of 'a_fact_data' in the setting filters names columns that no entity set of" in line
    assert line.endswith("the model has: Versoin (did you mean Version?).")
    assert "Traceback" not in result.stderr


def test_check_looks_at_filters_too(serve: Serve, run_cli: RunCli) -> None:
    settings = serve(tenant())
    result = run_cli({**settings, "filters": {FACTS: "Versoin eq 'x'"}}, "--check")
    assert result.returncode == 1
    assert "FAILED  $metadata: The filter \"Versoin eq 'x'\"" in result.stdout
    result = run_cli({**settings, "filters": {FACTS: "AMOUNT in (5)"}}, "--check")
    assert result.returncode == 0
    assert result.stderr.count("write it as '(AMOUNT eq 5)'.") == 1


def test_column_of_another_entity_set_is_a_warning(warnings: Callable[..., list[str]]) -> None:
    (message,) = warnings("COLOUR eq 'red'")
    assert "names COLOUR, which is not a column of a_fact_data, but of ProductMaster." in message


def test_all_columns_that_are_not_there_are_reported_at_once(serve: Serve) -> None:
    filters = {FACTS: "verzion eq 'x' or 5 lt AMUONT or contains(Xyzzy,'x')"}
    with pytest.raises(SACError, match=r"verzion .*; AMUONT \(did you mean AMOUNT\?\); Xyzzy\."):
        discover({**serve(tenant()), "filters": filters})


@pytest.mark.parametrize("name", ["version", "VERSION", "Versoin"])
def test_near_misses_are_found_in_any_case(warnings: Callable[..., list[str]], name: str) -> None:
    (message,) = warnings(f"{name} eq 'x'", "a_fact_*")
    assert message.endswith(
        f"names {name}, which is not a column of a_fact_data (did you mean Version?)."
    )


@pytest.mark.parametrize("pattern", ["a_*", "*", "?_*"])
def test_glob_is_warned_of_columns_that_none_of_its_streams_has(
    warnings: Callable[..., list[str]], pattern: str
) -> None:
    messages = warnings("ID eq 'x' and (COLOR eq 'x' or SIZE eq 5)", pattern)
    assert [text.partition(" names ")[2] for text in messages] == [
        "ID, which is not a column of a_fact_data.",
        "COLOR, which is not a column of a_fact_data and 2 other streams (did you mean COLOUR?).",
        "SIZE, which is not a column of a_fact_data and 2 other streams.",
    ]


def test_glob_whose_streams_all_have_the_columns_is_not_warned_about(
    warnings: Callable[..., list[str]],
) -> None:
    assert not warnings("ID eq 'x'", "*_master")


def test_columns_of_the_providers_are_not_known(
    warnings: Callable[..., list[str]],
) -> None:
    assert not warnings("contains(ProviderName,'x') and Whatever eq 5", "providers")
    (message,) = warnings("ProviderName in ('x')", "provider*")
    assert message.endswith("write it as \"(ProviderName eq 'x')\".")


def test_streams_that_are_not_selected_do_not_count(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    config = serve(tenant())
    catalog = select(discover(config), "a_product_master")
    filters = {"*": "ID eq 'x' and COLOUR eq 'red'", FACTS: "Versoin = 'x'"}
    sync({**config, "filters": filters}, catalog)
    assert "setting filters" not in caplog.text


@pytest.mark.parametrize(
    ("column", "is_named"), [("PRICE.x", True), ("2026_PRICE", True), ("Date", False)]
)
def test_filter_on_a_measure_keeps_facts_from_being_compared_with_keys(
    serve: Serve, column: str, *, is_named: bool
) -> None:
    columns = {"Date": "Edm.String*", "PRICE.x": "Edm.Decimal", "2026_PRICE": "Edm.Decimal"}
    document = edmx(FactData=columns, FactDataAggregation=columns)
    rows = ['{"Date":"1","PRICE.x":1,"2026_PRICE":1}']
    sets: dict[str, Sequence[str]] = {"FactData": rows, "FactDataAggregation": rows}
    stand_in = StandIn(Model("C4A", "A", document, sets))
    config = {**serve(stand_in), "default_replication_method": "LOG_BASED"}
    catalog = select(discover(config), FACTS)
    literal = "'1'" if column == "Date" else "0"
    sync({**config, "filters": {FACTS: f"{column} ge {literal}"}}, catalog)
    counts = [target for target in stand_in.targets if "/FactDataAggregation" in target]
    assert (not counts) == is_named


# Filters that people may write, and all that they may hold.

LETTERS = st.characters(categories=["L"])
WORDS = st.characters(categories=["L", "Nd"], include_characters="_.")
NAMES = st.builds(str.__add__, LETTERS, st.text(WORDS, max_size=8))
# What means something else in other places.
AWKWARD = st.sampled_from(
    ["eq", "contains", "in", "and", "null", "INF", "not", "5", "2024_A", "or"]
)
TYPES = st.sampled_from(["Edm.String", "Edm.Decimal", "Edm.Int64", "Edm.Date"])
SPACES = st.text(" \t\n", min_size=1, max_size=2)
NUMBERS = st.from_regex(r"[+-]?[0-9]{1,9}(\.[0-9]{1,7})?([eE][+-]?[0-9])?", fullmatch=True)
COMPARISONS = st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"])


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@st.composite
def entity_sets(draw: DrawFn, names: SearchStrategy[str] = NAMES) -> EntitySet:
    columns = draw(st.dictionaries(names, TYPES, min_size=1, max_size=5))
    return EntitySet("FactData", tuple(Property(*item) for item in columns.items()), ())


def literals(column: Property) -> SearchStrategy[str]:
    if column.type == "Edm.String":
        return st.one_of(st.text().map(quoted), st.just("null"))
    if column.type == "Edm.Date":
        return st.dates().map(str)
    return st.one_of(NUMBERS, st.just("null"))


@st.composite
def valid_filters(draw: DrawFn, entity_set: EntitySet, depth: int = 2) -> str:
    if depth and draw(st.booleans()):
        parts = [draw(valid_filters(entity_set, depth - 1)) for _ in range(2)]
        shape = draw(st.sampled_from(["{0}{s}and{s}{1}", "{0}{s}or{s}{1}", "({0})", "not{s}({0})"]))
        return shape.format(*parts, s=draw(SPACES))
    column = draw(st.sampled_from(entity_set.properties))
    if column.type == "Edm.String" and draw(st.booleans()):
        function = draw(st.sampled_from(["contains", "startswith", "endswith"]))
        return f"{function}({column.name},{draw(st.text().map(quoted))})"
    sides = [column.name, draw(literals(column))]
    if draw(st.booleans()):
        sides.reverse()
    return draw(SPACES).join([sides[0], draw(COMPARISONS), sides[1]])


def warnings_of(entity_set: EntitySet, text: str) -> list[str]:
    return check_filter("It", text, {FACTS: entity_set}, [entity_set], is_strict=True)


@given(data=st.data())
def test_no_valid_filter_over_known_columns_is_warned_about(data: st.DataObject) -> None:
    entity_set = data.draw(entity_sets(st.one_of(NAMES, AWKWARD)))
    assert not warnings_of(entity_set, data.draw(valid_filters(entity_set)))


@given(data=st.data())
def test_each_column_that_is_not_there_is_reported(data: st.DataObject) -> None:
    entity_set = data.draw(entity_sets())
    wanted = data.draw(entity_sets())
    known = {column.name for column in entity_set.properties}
    text = data.draw(valid_filters(wanted))
    named = names_in_filter(text) & {column.name for column in wanted.properties}
    gone = {
        name for name in named - known if not any(name.startswith(f"{item}.") for item in known)
    }
    if not gone or gone != named - known:
        return
    with pytest.raises(SACError) as error:
        warnings_of(entity_set, text)
    assert all(re.search(rf"[ ]{re.escape(name)}[ ;.]", str(error.value)) for name in gone)


@given(text=st.one_of(st.text(), st.text("'\"(),=<> inotandeqA5._#")))
@example("A in (")
@example("A eq 'x' and")
@example("=")
@example("'''")
def test_any_text_is_read_without_a_failure(text: str) -> None:
    entity_set = EntitySet("FactData", (Property("A", "Edm.String"),), ())
    for message in check_filter("It", text, {FACTS: entity_set}, [], is_strict=False):
        assert message.startswith("It ")


def test_filters_of_the_documentation_are_not_warned_about(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    filters = {
        "*_fact_data": "Version eq 'public.Actual'",
        "providers": "contains(ProviderName,'S')",
    }
    discover({**serve(StandIn(sales(sales_row(1)))), "filters": filters})
    discover({"demo": True, "filters": filters})
    assert "setting filters" not in caplog.text
