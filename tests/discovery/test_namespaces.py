"""Public dimensions, currencies and units: which are read, and what becomes of those that fail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tap_sac.demo.behaviour import Behaviour
from tap_sac.demo.service import Response, SampleService
from tap_sac.sac.errors import SACError
from tests.conftest import discover, read_messages, select, sync
from tests.helpers.stand_in import JSON, Model, StandIn, edmx, error_response, sales, sales_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tap_sac.demo.service import Request
    from tests.conftest import Messages, RunCli, Serve

ROWS = [sales_row(number) for number in range(3)]
DIMENSIONS, CURRENCIES = "sac_public_dimensions", "sac_currency_tables"
MEMBERS = ['{"ID":"1"}', '{"ID":"#"}']
MEMBERS_EDMX = edmx(
    PublicDimensionData={"ID": "Edm.String*"},
    PublicDimensionDataWithHierarchy={"ID": "Edm.String*", "H1_PARENTID": "Edm.String"},
)
RATES_EDMX = edmx(CurrencyTable={"ID": "Edm.String*", "Rate": "Edm.Decimal"})


def public(name: str = "Region", model_id: str = "t.X:REGION") -> Model:
    sets = {"PublicDimensionData": MEMBERS, "PublicDimensionDataWithHierarchy": MEMBERS}
    return Model(model_id, name, MEMBERS_EDMX, {**sets}, namespace=DIMENSIONS)


def rates(name: str = "Rates", model_id: str = "RATES") -> Model:
    rows = ['{"ID":"CHF","Rate":1.0634000}']
    return Model(model_id, name, RATES_EDMX, {"CurrencyTable": rows}, namespace=CURRENCIES)


def refusing(namespace: str, response: Response) -> Callable[[Request], Response | None]:
    return lambda request: response if f"'{namespace}'" in request.target else None


def read(result: Any) -> Messages:  # noqa: ANN401
    return read_messages(result.stdout)


def test_the_sample_tenant_has_each_namespace() -> None:
    messages = sync({"demo": True})
    expected = {
        "product_public_dimension_data": 14,
        "product_public_dimension_data_with_hierarchy": 14,
        "account_public_dimension_data": 13,
        "account_public_dimension_data_with_hierarchy": 13,
        "region_public_dimension_data": 8,
        "exchange_rates_currency_table": 24,
        "units_of_measure_conversion_rates": 6,
    }
    found = {
        name: len(messages.records(name)) for name in messages.streams if "planning" not in name
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "region_public_dimension_data_with_hierarchy" not in messages.streams
    assert "#" in {item["ID"] for item in messages.records("region_public_dimension_data")}
    unit = messages.records("units_of_measure_conversion_rates")[2]
    assert (unit["UnitOfMeasurement"], unit["IsBaseUnitInGroup"]) == ("LB", False)
    rate = messages.records("exchange_rates_currency_table")[2]
    assert (rate["fromCurr"], rate["toCurr"]) == ("CHF", "EUR")
    assert (rate["rate"], rate["exchangeRate"]) == ("ALPENGLOW_RATES_Exchange_Rates", "1.0634000")
    assert len({item["NamespaceID"] for item in messages.records("providers")}) == 4


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"sales", "region", "rates"}),
        ({"namespaces": ["sac"]}, {"sales"}),
        ({"namespaces": [CURRENCIES, "sac"]}, {"sales", "rates"}),
        ({"namespaces": [DIMENSIONS]}, {"region"}),
        ({"models": ["Region", "RATES"]}, {"region", "rates"}),
        ({"models": ["!Region"]}, {"sales", "rates"}),
        ({"models": ["!Region"], "namespaces": [DIMENSIONS, "sac"]}, {"sales"}),
        ({"models": ["R*"], "namespaces": [DIMENSIONS, "sac"]}, {"region"}),
    ],
)
def test_models_are_chosen_in_the_namespaces(
    serve: Serve, settings: dict[str, Any], expected: set[str]
) -> None:
    tenant = StandIn(sales(*ROWS), public(), rates())
    messages = sync({**serve(tenant), **settings})
    assert {name.partition("_")[0] for name in messages.streams} - {"providers"} == expected
    assert len([item for item in tenant.targets if item.endswith("$metadata")]) == len(expected)


def test_providers_are_those_of_the_chosen_namespaces(serve: Serve) -> None:
    config = serve(StandIn(sales(*ROWS), public(), rates()))
    messages = sync({**config, "namespaces": [CURRENCIES, "sac", "sac"], "models": ["Sales"]})
    providers = messages.records("providers")
    assert [item["NamespaceID"] for item in providers] == ["sac", CURRENCIES]
    assert messages.of("providers")[-1]["type"] == "ACTIVATE_VERSION"


@pytest.mark.parametrize(
    ("namespaces", "told"),
    [
        (["sac", "sac_public_dimension"], "did you mean sac_public_dimensions"),
        (["SAC"], "did you mean 'sac'"),
        (["sac_unit_conversion"], "sac_public_dimensions"),
    ],
)
def test_namespace_that_is_not_listed_is_an_error_with_near_misses(
    serve: Serve, namespaces: list[str], told: str
) -> None:
    config = {**serve(StandIn(sales(*ROWS), public())), "namespaces": namespaces}
    with pytest.raises(SACError, match=rf"namespaces has '{namespaces[-1]}'.*no namespace.*{told}"):
        discover(config)


def test_empty_list_of_namespaces_is_an_error(serve: Serve, run_cli: RunCli) -> None:
    result = run_cli({**serve(StandIn(sales(*ROWS))), "namespaces": []})
    assert result.returncode == 1
    assert "namespaces is an empty list: list the namespaces to read" in result.stderr


def test_error_names_the_excluded_namespace_of_a_model(serve: Serve) -> None:
    config = serve(StandIn(sales(*ROWS), public()))
    with pytest.raises(SACError, match=rf"'Region'.*only .*{DIMENSIONS}: .*setting namespaces"):
        discover({**config, "models": ["Region"], "namespaces": ["sac"]})


def test_namespace_without_providers_is_an_error_where_it_alone_is_read(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS), public())
    tenant.fault = refusing(DIMENSIONS, Response(200, b'{"value":[]}', JSON))
    config = serve(tenant)
    assert set(discover(config)) == {"providers", "sales_fact_data"}
    with pytest.raises(SACError, match=f"lists no models .* in the namespaces {DIMENSIONS}"):
        discover({**config, "namespaces": [DIMENSIONS]})


REFUSALS = [
    error_response(403, "no [3401]"),
    error_response(404, "not there"),
    error_response(501, "not implemented"),
    Response(404, b"<html>not found</html>"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=["403", "404", "501", "web page"])
def test_refused_namespace_that_is_not_named_is_a_warning(
    serve: Serve, run_cli: RunCli, refusal: Response
) -> None:
    tenant = StandIn(sales(*ROWS), public())
    tenant.fault = refusing(DIMENSIONS, refusal)
    filters = {"region_*": "ID ne '#'"}
    result = run_cli({**serve(tenant), "filters": filters})
    assert result.returncode == 0, result.stderr
    assert f"Skipping the namespace {DIMENSIONS}" in result.stderr
    assert len(read(result).records("sales_fact_data")) == len(ROWS)
    assert len([item for item in tenant.targets if f"'{DIMENSIONS}'" in item]) == 1


@pytest.mark.parametrize("refusal", REFUSALS, ids=["403", "404", "501", "web page"])
@pytest.mark.parametrize("namespace", [DIMENSIONS, "sac"])
def test_refused_namespace_that_the_setting_names_fails_after_everything_else(
    serve: Serve, run_cli: RunCli, namespace: str, refusal: Response
) -> None:
    tenant = StandIn(sales(*ROWS), public())
    tenant.fault = refusing(namespace, refusal)
    config = {**serve(tenant), "namespaces": ["sac", DIMENSIONS]}
    result = run_cli(config)
    assert result.returncode == 1
    messages = read(result)
    other = "sales_fact_data" if namespace != "sac" else "region_public_dimension_data"
    assert messages.records(other)
    assert messages.of(other)[-1]["type"] == "ACTIVATE_VERSION"
    assert messages.of("providers")[-1]["type"] == "RECORD"
    assert f"The namespace {namespace} was not read. " in result.stderr
    assert ": if you do not need it, exclude it in the setting namespaces" in result.stderr
    check = run_cli(config, "--check")
    assert check.returncode == 1
    assert f"FAILED  providers: The namespace {namespace} was not read." in check.stdout


def test_refused_namespace_whose_streams_the_catalog_selects_fails(
    serve: Serve, run_cli: RunCli, tmp_path: Path
) -> None:
    tenant = StandIn(sales(*ROWS), public())
    config = serve(tenant)
    catalog = discover(config)
    tenant.fault = refusing(DIMENSIONS, error_response(404, "not there"))
    path = tmp_path / "catalog.json"
    for streams, code in [(["region_public_dimension_data"], 1), ([], 0)]:
        path.write_text(json.dumps(select(catalog, "sales_fact_data", *streams)))
        result = run_cli(config, "--catalog", str(path))
        assert result.returncode == code
        assert len(read(result).records("sales_fact_data")) == len(ROWS)
        assert (f"The namespace {DIMENSIONS} was not read." in result.stderr) is bool(code)


def test_namespace_that_sac_may_serve_later_is_not_a_success(
    serve: Serve, run_cli: RunCli, waits: list[float]
) -> None:
    tenant = StandIn(sales(*ROWS), public())
    tenant.fault = refusing(DIMENSIONS, error_response(503, "busy"))
    config = {**serve(tenant), "backoff_max_tries": 3}
    result = run_cli(config)
    assert result.returncode == 1
    assert waits
    assert f"The namespace {DIMENSIONS} was not read. SAC answered 503" in result.stderr
    assert len(read(result).records("sales_fact_data")) == len(ROWS)
    discovery = run_cli(config, "--discover")
    assert (discovery.returncode, discovery.stdout) == (1, "")


@pytest.mark.parametrize("status", [404, 503])
def test_namespace_that_is_left_out_cannot_fail_a_run(
    serve: Serve, run_cli: RunCli, waits: list[float], status: int
) -> None:
    tenant = StandIn(sales(*ROWS), public())
    tenant.fault = refusing(DIMENSIONS, error_response(status, "no"))
    result = run_cli({**serve(tenant), "namespaces": ["sac"]})
    assert result.returncode == 0, result.stderr
    assert not waits
    assert read(result).of("providers")[-1]["type"] == "ACTIVATE_VERSION"


@pytest.mark.parametrize(
    ("namespaces", "code"), [({}, 0), ({"namespaces": ["sac", DIMENSIONS]}, 1)]
)
def test_namespace_may_be_refused_after_its_models_were_found(
    serve: Serve, run_cli: RunCli, namespaces: dict[str, Any], code: int
) -> None:
    tenant = StandIn(sales(*ROWS), public())
    asked: list[str] = []

    def fault(request: Request) -> Response | None:
        if f"'{DIMENSIONS}'" not in request.target:
            return None
        asked.append(request.target)
        return error_response(403, "no") if len(asked) > 1 else None

    tenant.fault = fault
    result = run_cli({**serve(tenant), **namespaces})
    assert result.returncode == code
    messages = read(result)
    assert len(messages.records("region_public_dimension_data")) == 2
    assert [item["NamespaceID"] for item in messages.records("providers")] == ["sac"]
    assert messages.of("providers")[-1]["type"] == "RECORD"


def test_models_may_be_refused_to_a_client_that_reads_public_dimensions(
    serve: Serve, run_cli: RunCli
) -> None:
    tenant = StandIn(sales(*ROWS), public())
    tenant.fault = refusing("sac", error_response(403, "no"))
    result = run_cli({**serve(tenant), "namespaces": [DIMENSIONS]})
    assert result.returncode == 0, result.stderr
    assert len(read(result).records("region_public_dimension_data")) == 2


@pytest.mark.parametrize("refusal", REFUSALS, ids=["403", "404", "501", "web page"])
def test_namespace_of_models_cannot_be_skipped_unless_others_are_named(
    serve: Serve, run_cli: RunCli, refusal: Response
) -> None:
    tenant = StandIn(sales(*ROWS), public())
    tenant.fault = refusing("sac", refusal)
    result = run_cli(serve(tenant))
    assert result.returncode == 1
    assert not result.stdout
    assert "Skipping the namespace" not in result.stderr


def test_only_namespace_that_is_refused_is_an_error(serve: Serve) -> None:
    tenant = StandIn(sales(*ROWS), public())
    tenant.fault = refusing(DIMENSIONS, error_response(403, "no [3401]"))
    with pytest.raises(SACError, match="3401"):
        sync({**serve(tenant), "namespaces": [DIMENSIONS]})


@pytest.mark.parametrize("entry", ["Region", "!Region"])
def test_error_names_a_refused_namespace_that_may_have_the_model(serve: Serve, entry: str) -> None:
    tenant = StandIn(sales(*ROWS), public())
    tenant.fault = refusing(DIMENSIONS, error_response(404, "not there"))
    with pytest.raises(
        SACError, match=rf"'{entry}'.*may be in {DIMENSIONS}, which SAC did not serve"
    ):
        discover({**serve(tenant), "models": [entry]})


@pytest.mark.parametrize(
    "response",
    [error_response(500, "cannot be prepared [1205]"), error_response(404, "gone [3707]")],
    ids=["1205", "3707"],
)
def test_public_dimension_that_is_listed_but_not_exported_is_skipped(
    serve: Serve, run_cli: RunCli, response: Response
) -> None:
    tenant = StandIn(sales(*ROWS), public(), public("Broken", "t.X:BROKEN"))
    tenant.fault = lambda request: (
        response if "BROKEN/Public" in request.target.replace("%3A", ":") else None
    )
    result = run_cli({**serve(tenant), "namespaces": ["sac", DIMENSIONS]})
    assert result.returncode == 0, result.stderr
    assert "Skipping the stream broken_public_dimension_data" in result.stderr
    assert len(read(result).records("region_public_dimension_data")) == 2


def test_public_dimension_without_a_hierarchy_may_be_described_with_one(
    serve: Serve, run_cli: RunCli
) -> None:
    tenant = StandIn(sales(*ROWS), public())
    tenant.fault = lambda request: (
        error_response(400, "no hierarchy") if "WithHierarchy" in request.target else None
    )
    result = run_cli(serve(tenant))
    assert result.returncode == 0, result.stderr
    assert "Skipping the stream region_public_dimension_data_with_hierarchy" in result.stderr


@pytest.mark.parametrize("naming", ["name", "id"])
def test_names_are_the_same_whatever_is_chosen_and_in_whatever_order(
    serve: Serve, naming: str
) -> None:
    twins = [
        sales(*ROWS, model_id="X", name="Region"),
        public("Region", "X"),
        rates("Region", "X"),
    ]
    config = {**serve(StandIn(*twins)), "stream_naming": naming}
    names = set(discover(config)) - {"providers"}
    assert len(names) == 4
    assert set(discover({**config, **serve(StandIn(*reversed(twins)))})) - {"providers"} == names
    parts = [
        set(discover({**config, "namespaces": [namespace]})) - {"providers"}
        for namespace in ("sac", DIMENSIONS, CURRENCIES)
    ]
    assert [len(part) for part in parts] == [1, 2, 1]
    assert set.union(*parts) == names


def test_catalog_names_the_origin_of_each_stream() -> None:
    catalog = discover({"demo": True})
    expected = {
        "sales_planning_fact_data": (
            "sac",
            "C4SALESPLK8M4X1QW6TBV2ZJ5C",
            "Sales Planning",
            "FactData",
        ),
        "product_public_dimension_data_with_hierarchy": (
            DIMENSIONS,
            "sap.epm.Alpenglow_Product:Product",
            "Product",
            "PublicDimensionDataWithHierarchy",
        ),
    }
    for name, origin in expected.items():
        root = metadata(catalog[name])[()]
        assert origin == tuple(
            root[f"sac-{key}"]
            for key in ("namespace-id", "provider-id", "provider-name", "entity-set")
        )
    for name in set(catalog) - {"providers"}:
        assert metadata(catalog[name])[()]["sac-entity-set"]


@pytest.mark.parametrize("naming", ["name", "id"])
def test_catalog_names_the_streams_that_have_the_members_of_dimensions(naming: str) -> None:
    catalog = discover({"demo": True, "stream_naming": naming})
    model = "workforce_planning" if naming == "name" else "c4workfrck5m2x8qw3tbv1zj7b"
    dimensions = {
        "Version": "version",
        "Date": "date",
        "Account": "account",
        "CostCenter": "cost_center",
        "Grade": "grade",
    }
    sets = ("fact_data", "fact_data_aggregation", "fact_data_difference", "audit_data")
    for name in sets:
        masters = {
            breadcrumb[1]: item["sac-master-stream"]
            for breadcrumb, item in metadata(catalog[f"{model}_{name}"]).items()
            if "sac-master-stream" in item
        }
        assert masters == {column: f"{model}_{part}_master" for column, part in dimensions.items()}
        assert set(masters.values()) <= set(catalog)
    for name in ("grade_master", "account_master_with_hierarchy", "master_data"):
        columns = metadata(catalog[f"{model}_{name}"]).values()
        assert not [item for item in columns if "sac-master-stream" in item]


def test_master_may_have_its_members_with_hierarchies_alone(serve: Serve) -> None:
    document = edmx(
        FactData={"Entity": "Edm.String*", "Lone": "Edm.String*", "AMOUNT": "Edm.Decimal"},
        EntityMasterWithHierarchy={"ID": "Edm.String*"},
        LeaderMaster={"ID": "Edm.String*", "Entity": "Edm.String"},
    )
    catalog = discover(serve(StandIn(Model("C4A", "A", document, {}))))
    columns = metadata(catalog["a_fact_data"])
    master = columns["properties", "Entity"]["sac-master-stream"]
    assert master == "a_entity_master_with_hierarchy"
    assert "sac-master-stream" not in columns["properties", "Lone"]
    attribute = metadata(catalog["a_leader_master"])["properties", "Entity"]
    assert "sac-master-stream" not in attribute  # of a member, and not of facts


def test_catalog_with_its_origins_can_be_read(serve: Serve) -> None:
    config = serve(StandIn(sales(*ROWS), public()))
    catalog = select(discover(config), "region_public_dimension_data")
    assert sync(config, catalog).streams == ["region_public_dimension_data"]


def metadata(entry: dict[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(item["breadcrumb"]): item["metadata"] for item in entry["metadata"]}


def test_sample_tenant_may_list_namespaces_that_it_does_not_serve(
    serve: Serve, run_cli: RunCli
) -> None:
    config = serve(SampleService(Behaviour(extra_namespaces=False)))
    result = run_cli({**config, "models": ["Budget"]})
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("Skipping the namespace") == 3
    assert {item["NamespaceID"] for item in read(result).records("providers")} == {"sac"}


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("\u00dcbersicht", "U\u0308bersicht"),
        ("U\u0308bersicht", "\u00dcbersicht"),
        ("\u00dcbersicht ", "\u00dcbersicht"),
        ("\u00dcbersicht", " \u00dcbersicht\u00a0"),
        ("\u00dcbersicht 2026", "U\u0308ber*"),
        ("caf\u00e9\u00a0", "cafe\u0301"),
    ],
)
@pytest.mark.parametrize("option", [(), ("--check",), ("--models",)])
def test_model_is_found_by_a_name_that_looks_the_same(
    serve: Serve, run_cli: RunCli, name: str, entry: str, option: tuple[str, ...]
) -> None:
    config = serve(StandIn(sales(*ROWS, name=name, model_id="C4A"), sales(*ROWS, name="Other")))
    result = run_cli({**config, "models": [entry]}, *option)
    assert result.returncode == 0, result.stderr
    assert "other_" not in result.stdout
    assert "1 chosen" in result.stdout or "--check" not in option


def test_exact_name_precedes_one_that_looks_the_same(serve: Serve) -> None:
    config = serve(StandIn(sales(*ROWS, name="A", model_id="C4A"), sales(*ROWS, name="A ")))
    assert [name for name in discover({**config, "models": ["A "]}) if "fact" in name] == [
        "a_c4sales_fact_data"
    ]


@pytest.mark.parametrize(
    ("name", "entry", "told"),
    [
        ("\u00dcber sicht", "\u00dcbersicht", r"'\xdcber sicht' (the setting has '\xdcbersicht')"),
        ("a\u00a0b", "a b", r"'a\xa0b' (the setting has 'a b')"),
        ("\ufb01nance", "finance", r"'\ufb01nance' (the setting has 'finance')"),
        ("Finance", "finance", "'Finance' (the setting has 'finance')"),
    ],
)
def test_name_that_nearly_looks_the_same_is_shown_with_escapes(
    serve: Serve, run_cli: RunCli, name: str, entry: str, told: str
) -> None:
    result = run_cli({**serve(StandIn(sales(*ROWS, name=name))), "models": [entry]})
    assert result.returncode == 1
    assert f"which matches no model: did you mean {told}?" in result.stderr
