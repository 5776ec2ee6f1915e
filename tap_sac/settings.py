"""The settings: declaration and defaults. `tap_sac.validation` checks them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import singer_sdk.typing as th

if TYPE_CHECKING:
    from collections.abc import Mapping

_Type = th.JSONTypeHelper[Any]

REQUIRED = ("tenant_url", "client_id", "client_secret")  # by a tenant


def _setting(
    name: str, kind: _Type | type[_Type], *, title: str | None = None, **options: Any
) -> th.Property[Any]:
    """Declare a setting; most titles are their names."""
    return th.Property(name, kind, title=title or name.replace("_", " ").capitalize(), **options)


SETTINGS: dict[str, Any] = th.PropertiesList(
    _setting(
        "tenant_url",
        th.StringType,
        title="Tenant URL",
        description=(
            "Address of the SAC tenant, such as https://acme.eu10.hcs.cloud.sap, or its direct API "
            "host, https://acme.api.eu10.hcs.cloud.sap."
        ),
    ),
    _setting(
        "token_url",
        th.StringType,
        title="Token URL",
        description="Token URL that SAC shows under App Integration. Default: from tenant_url.",
    ),
    _setting(
        "client_id",
        th.StringType,
        secret=True,
        title="Client ID",
        description="ID of an OAuth client with the access 'Data Export Service'.",
    ),
    _setting(
        "client_secret",
        th.StringType,
        secret=True,
        description="Secret of the OAuth client.",
    ),
    _setting(
        "refresh_token",
        th.StringType,
        secret=True,
        description="A user's sign-in (tap-sac --login), whose permissions SAC then applies.",
    ),
    _setting(
        "refresh_token_file",
        th.StringType,
        description="File that stores rotating refresh tokens; it overrides refresh_token.",
    ),
    _setting(
        "token_endpoint_auth_method",
        th.StringType,
        allowed_values=["client_secret_basic", "client_secret_post"],
        default="client_secret_basic",
        description="Whether the client secret is sent in a Basic header or in the body.",
    ),
    _setting(
        "namespaces",
        th.ArrayType(th.StringType),
        description="Namespaces to read, such as sac_public_dimensions. Default: all listed.",
    ),
    _setting(
        "models",
        th.ArrayType(th.StringType),
        description="IDs, names or globs of models to read; a leading ! excludes. Default: all.",
    ),
    _setting(
        "filters",
        th.ObjectType(additional_properties=th.StringType),
        description='OData filters by stream or glob: {"*_fact_data": "Date ge \'202601\'"}.',
    ),
    _setting(
        "partition_by",
        th.ObjectType(additional_properties=th.StringType),
        description='Read in parallel slices, by stream or glob: {"*_fact_data": "Version"}.',
    ),
    _setting(
        "verify_counts",
        th.StringType,
        allowed_values=["fail", "warn", "off"],
        default="fail",
        description="If a read is incomplete, or several facts have the same key: fail or warn.",
    ),
    _setting(
        "verify_totals",
        th.BooleanType,
        default=False,
        description="Compare the sum of each measure with SAC's own after a full read of facts.",
    ),
    _setting(
        "page_size",
        th.IntegerType(minimum=1),
        description="Rows per page. Default: SAC's own.",
    ),
    _setting(
        "stream_naming",
        th.StringType,
        allowed_values=["name", "id"],
        default="name",
        description="Whether streams are named after the name or the ID of their model.",
    ),
    _setting(
        "default_replication_method",
        th.StringType,
        allowed_values=["FULL_TABLE", "LOG_BASED"],
        default="FULL_TABLE",
        description="Read whole tables or only changes, where SAC can track them.",
    ),
    _setting(
        "on_delta_lost",
        th.StringType,
        allowed_values=["full_refresh", "fail"],
        default="full_refresh",
        description="If the changes since the last run are lost: read the whole table, or fail.",
    ),
    _setting(
        "start_date",
        th.DateTimeType,
        description="Time from which the first run reads audit data.",
    ),
    _setting(
        "audit_overlap",
        th.IntegerType(minimum=0, maximum=31_536_000),
        default=0,
        description="Read audit data again from this many seconds before the bookmark.",
    ),
    _setting(
        "use_singer_decimal",
        th.BooleanType,
        default=False,
        title="Use Singer decimal",
        description="Write decimals as strings, for targets that turn numbers into floats.",
    ),
    _setting(
        "request_timeout",
        th.IntegerType(minimum=1, maximum=86_400),
        default=300,
        description="Seconds without a byte before a request fails.",
    ),
    _setting(
        "backoff_max_tries",
        th.IntegerType(minimum=1),
        default=8,
        description="Maximum number of attempts per request.",
    ),
    _setting(
        "max_parallel_requests",
        th.IntegerType(minimum=1, maximum=100),
        default=4,
        description="Maximum number of requests at the same time.",
    ),
    _setting(
        "demo",
        th.BooleanType,
        default=False,
        description="Read the built-in sample tenant instead of SAC. No other setting is needed.",
    ),
    _setting(
        "user_agent",
        th.StringType(pattern=r"^[!-~]([ -~]*[!-~])?$(?!\n)"),
        description="The User-Agent header. Default: tap-sac and its version.",
    ),
    _setting(
        "emit_activate_version_messages",
        th.BooleanType,
        default=True,
        title="Emit ACTIVATE_VERSION messages",
        description="After a complete read, let targets remove rows that are no longer in SAC.",
    ),
    _setting(
        # The SDK's own declaration has no Arrow, and requires a storage.
        "batch_config",
        th.ObjectType(
            th.Property(
                "encoding",
                th.ObjectType(
                    th.Property(
                        "format",
                        th.StringType,
                        allowed_values=["jsonl", "parquet", "arrow"],
                        required=True,
                    ),
                    th.Property("compression", th.StringType, allowed_values=["gzip", "none"]),
                    additional_properties=False,
                ),
                required=True,
            ),
            th.Property(
                "storage",
                th.ObjectType(
                    th.Property("root", th.StringType, required=True),
                    th.Property("prefix", th.StringType),
                    th.Property("params", th.ObjectType(additional_properties=True)),
                    additional_properties=False,
                ),
            ),
            th.Property("batch_size", th.IntegerType(minimum=1)),
            additional_properties=False,
        ),
        description="Write rows to files, and their names to BATCH messages.",
    ),
).to_dict()


def with_defaults(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, with defaults for those that are unset."""
    defaults = {
        name: setting["default"]
        for name, setting in schema["properties"].items()
        if "default" in setting
    }
    filled = {**defaults, **config}
    if filters := config.get("filters"):
        filled["filters"] = {glob: text.strip() for glob, text in filters.items()}
    if batches := config.get("batch_config"):
        # As in version 0.55 of the SDK.
        temporary = {"root": Path(tempfile.gettempdir(), "tap-sac").as_uri()}
        filled["batch_config"] = {**batches, "storage": batches.get("storage") or temporary}
    return filled
