"""The settings: what each is for, and what is wrong with those that a user gives."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import singer_sdk.typing as th
from singer_sdk.plugin_base import JSONSchemaValidator

from tap_sac.sac.errors import one_line
from tap_sac.singer.batches import batch_errors
from tap_sac.singer.messages import ENCODER
from tap_sac.streams import utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jsonschema import ValidationError

_MOST_NEAR_MISSES = 3
_NEARNESS_OF_SETTINGS = 0.75

SETTINGS: dict[str, Any] = th.PropertiesList(
    th.Property(
        "tenant_url",
        th.StringType,
        title="Tenant URL",
        description="Address of the SAC tenant, such as https://acme.eu10.hcs.cloud.sap.",
    ),
    th.Property(
        "token_url",
        th.StringType,
        title="Token URL",
        description=(
            "The Token URL that SAC shows under System > Administration > App Integration. "
            "Derived from tenant_url for hosts like <tenant>.<dc>.hcs.cloud.sap and "
            "<tenant>.<dc>.sapanalytics.cloud."
        ),
    ),
    th.Property(
        "client_id",
        th.StringType,
        secret=True,
        title="Client ID",
        description="Id of an OAuth client with the access 'Data Export Service'.",
    ),
    th.Property(
        "client_secret",
        th.StringType,
        secret=True,
        title="Client secret",
        description="Secret of the OAuth client.",
    ),
    th.Property(
        "token_endpoint_auth_method",
        th.StringType,
        allowed_values=["client_secret_basic", "client_secret_post"],
        default="client_secret_basic",
        title="Token endpoint auth method",
        description=(
            "How the OAuth client names itself: in the Basic header or in the body of the "
            "token request."
        ),
    ),
    th.Property(
        "models",
        th.ArrayType(th.StringType),
        title="Models",
        description="Ids, names or globs (* and ?) of the models to read. All if not set.",
    ),
    th.Property(
        "filters",
        th.ObjectType(additional_properties=th.StringType),
        title="Filters",
        description=(
            "OData filters that SAC applies, by stream name or glob: "
            '{"*_fact_data": "Version eq \'public.Actual\'"}. Several that fit one stream '
            "must all hold."
        ),
    ),
    th.Property(
        "page_size",
        th.IntegerType(minimum=1),
        title="Page size",
        description="Rows per page. SAC chooses if not set.",
    ),
    th.Property(
        "stream_naming",
        th.StringType,
        allowed_values=["name", "id"],
        default="name",
        title="Stream naming",
        description="What the streams of a model are called after: its name or its id.",
    ),
    th.Property(
        "default_replication_method",
        th.StringType,
        allowed_values=["FULL_TABLE", "LOG_BASED"],
        default="FULL_TABLE",
        title="Default replication method",
        description=(
            "How the entity sets that SAC can track are replicated, unless the catalog says "
            "otherwise: in whole, or by what changed since the last run."
        ),
    ),
    th.Property(
        "on_delta_lost",
        th.StringType,
        allowed_values=["full_refresh", "fail"],
        default="full_refresh",
        title="On delta lost",
        description=(
            "What to do when SAC cannot give the changes since the last run: read the whole "
            "table again, or stop."
        ),
    ),
    th.Property(
        "start_date",
        th.DateTimeType,
        title="Start date",
        description="From when on to read audit data, at the first run.",
    ),
    th.Property(
        "use_singer_decimal",
        th.BooleanType,
        default=False,
        title="Use Singer decimal",
        description=(
            "Write decimals as strings with the format x-singer.decimal, precision and "
            "scale, for targets that would turn numbers into floats."
        ),
    ),
    th.Property(
        "request_timeout",
        th.IntegerType(minimum=1, maximum=86_400),
        default=300,
        title="Request timeout",
        description="Seconds without a byte before a request counts as failed.",
    ),
    th.Property(
        "backoff_max_tries",
        th.IntegerType(minimum=1),
        default=8,
        title="Backoff max tries",
        description="How often a request is sent at most.",
    ),
    th.Property(
        "max_parallel_requests",
        th.IntegerType(minimum=1, maximum=100),
        default=4,
        title="Max parallel requests",
        description="How many requests are under way at once at most.",
    ),
    th.Property(
        "demo",
        th.BooleanType,
        default=False,
        title="Demo",
        description=("Read the built-in sample tenant instead of SAC. No other setting is needed."),
    ),
    th.Property(
        "user_agent",
        th.StringType(pattern=r"^[!-~]([ -~]*[!-~])?$(?!\n)"),
        title="User agent",
        description="The User-Agent header. tap-sac and its version if not set.",
    ),
    th.Property(
        "emit_activate_version_messages",
        th.BooleanType,
        default=True,
        title="Emit ACTIVATE_VERSION messages",
        description=(
            "Let targets remove rows that are no longer in SAC: after the last row of a "
            "complete read, never before."
        ),
    ),
).to_dict()


def settings_errors(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Tell what is wrong with the settings, a sentence each, and never show a value.

    Args:
        config: The settings of a user; what is not set is not there.
        schema: `SETTINGS`, with what the SDK adds.
    """
    validator = JSONSchemaValidator(schema)
    errors = [
        *_misspelt(config, schema["properties"]),
        *(_schema_error(error) for error in validator.iter_errors(config)),
    ]
    errors = errors or [
        *_text_errors(config),
        *_start_date_errors(config),
        *batch_errors(config),
    ]
    if config.get("models") == []:
        errors.append(
            "The setting models is an empty list: name the models to read, or leave it out to "
            "read all."
        )
    if not config.get("demo"):
        errors += [
            f"The setting {name} is missing: set it in the file of --config, or as "
            f"TAP_SAC_{name.upper()} with --config=ENV; or set demo to true to read the sample "
            "tenant."
            for name in ("tenant_url", "client_id", "client_secret")
            if name not in config
        ]
    return errors


def unknown_settings(config: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    """Name the settings that the tap does not have."""
    return sorted(config.keys() - set(known))


def did_you_mean(text: str, labels: Iterable[str], *, cutoff: float) -> str | None:
    """Ask for what is written nearly like a text; None if there is nothing.

    Args:
        text: What somebody wrote.
        labels: What there is.
        cutoff: From 0 for everything to 1 for the text itself.
    """
    near = get_close_matches(text, labels, n=_MOST_NEAR_MISSES, cutoff=cutoff)
    return f"did you mean {', '.join(map(one_line, near))}?" if near else None


def _misspelt(config: Mapping[str, Any], known: Iterable[str]) -> Iterator[str]:
    """Find settings that would be ignored, such as ``filter``, which then filters nothing."""
    for name in unknown_settings(config, known):
        if hint := did_you_mean(name, known, cutoff=_NEARNESS_OF_SETTINGS):
            yield f"The setting {one_line(name)} is not one of tap-sac: {hint}"


def _schema_error(error: ValidationError) -> str:
    setting = ".".join(str(part) for part in error.absolute_path)
    expected: Any = error.validator_value
    if error.validator == "type":
        types = [name for name in expected if name != "null"]
        rule = f"must be of the type {' or '.join(types)}"
    elif error.validator == "enum":
        rule = f"must be one of {', '.join(map(str, expected))}"
    elif error.validator == "minimum":
        rule = f"must be at least {expected}"
    elif error.validator == "maximum":
        rule = f"must be at most {expected}"
    elif error.validator in {"anyOf", "oneOf"}:
        rule = "has none of the forms that tap-sac --about shows"
    else:
        rule = f"breaks the rule {error.validator}: {expected}"
    return f"The setting {setting} {rule}: correct it in the configuration of tap-sac."


def _text_errors(config: Mapping[str, Any]) -> Iterator[str]:
    for name, value in config.items():
        try:
            ENCODER.encode(value)
        except UnicodeEncodeError:  # noqa: PERF203  (a handful of settings)
            yield f"The setting {name} has text that is not Unicode: correct it."


def _start_date_errors(config: Mapping[str, Any]) -> Iterator[str]:
    try:
        utc_text(config.get("start_date") or "1970-01-01")
    except (ValueError, OverflowError):
        yield "The setting start_date is no time: write it like 2026-01-31T00:00:00Z."
