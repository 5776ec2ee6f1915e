"""The settings: declaration, defaults and validation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import singer_sdk.typing as th

from tap_sac.safety.text import did_you_mean, log_safe, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jsonschema import ValidationError

_NEARNESS_OF_SETTINGS = 0.75
# What a tenant needs, and with the sign-in of a user, what `demo` would silently override.
REQUIRED = ("tenant_url", "client_id", "client_secret")
_OF_A_TENANT = (*REQUIRED, "refresh_token")
_CERTIFICATE = "certificate"  # as service keys of SAP have it
_NO_CERTIFICATES = (
    "The setting certificate is ignored, because tap-sac does not support X.509 client "
    "certificates: it signs in with client_id and client_secret."
)

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
        description="Token URL that SAC shows under App Integration. Default: from tenant_url.",
    ),
    th.Property(
        "client_id",
        th.StringType,
        secret=True,
        title="Client ID",
        description="ID of an OAuth client with the access 'Data Export Service'.",
    ),
    th.Property(
        "client_secret",
        th.StringType,
        secret=True,
        title="Client secret",
        description="Secret of the OAuth client.",
    ),
    th.Property(
        "refresh_token",
        th.StringType,
        secret=True,
        title="Refresh token",
        description="A user's sign-in (tap-sac --login), whose permissions SAC then applies.",
    ),
    th.Property(
        "refresh_token_file",
        th.StringType,
        title="Refresh token file",
        description="File that stores rotating refresh tokens; it overrides refresh_token.",
    ),
    th.Property(
        "token_endpoint_auth_method",
        th.StringType,
        allowed_values=["client_secret_basic", "client_secret_post"],
        default="client_secret_basic",
        title="Token endpoint auth method",
        description="Whether the client secret is sent in a Basic header or in the body.",
    ),
    th.Property(
        "namespaces",
        th.ArrayType(th.StringType),
        title="Namespaces",
        description="Namespaces to read, such as sac_public_dimensions. Default: all listed.",
    ),
    th.Property(
        "models",
        th.ArrayType(th.StringType),
        title="Models",
        description="IDs, names or globs of models to read; a leading ! excludes. Default: all.",
    ),
    th.Property(
        "filters",
        th.ObjectType(additional_properties=th.StringType),
        title="Filters",
        description='OData filters by stream or glob: {"*_fact_data": "Date ge \'202601\'"}.',
    ),
    th.Property(
        "partition_by",
        th.ObjectType(additional_properties=th.StringType),
        title="Partition by",
        description='Read in parallel slices, by stream or glob: {"*_fact_data": "Version"}.',
    ),
    th.Property(
        "verify_counts",
        th.StringType,
        allowed_values=["fail", "warn", "off"],
        default="fail",
        title="Verify counts",
        description="If a read is incomplete, or several facts have the same key: fail or warn.",
    ),
    th.Property(
        "verify_totals",
        th.BooleanType,
        default=False,
        title="Verify totals",
        description="Compare the sum of each measure with SAC's own after a full read of facts.",
    ),
    th.Property(
        "page_size",
        th.IntegerType(minimum=1),
        title="Page size",
        description="Rows per page. Default: SAC's own.",
    ),
    th.Property(
        "stream_naming",
        th.StringType,
        allowed_values=["name", "id"],
        default="name",
        title="Stream naming",
        description="Whether streams are named after the name or the ID of their model.",
    ),
    th.Property(
        "default_replication_method",
        th.StringType,
        allowed_values=["FULL_TABLE", "LOG_BASED"],
        default="FULL_TABLE",
        title="Default replication method",
        description="Read whole tables or only changes, where SAC can track them.",
    ),
    th.Property(
        "on_delta_lost",
        th.StringType,
        allowed_values=["full_refresh", "fail"],
        default="full_refresh",
        title="On delta lost",
        description="If the changes since the last run are lost: read the whole table, or fail.",
    ),
    th.Property(
        "start_date",
        th.DateTimeType,
        title="Start date",
        description="Time from which the first run reads audit data.",
    ),
    th.Property(
        "audit_overlap",
        th.IntegerType(minimum=0, maximum=31_536_000),
        default=0,
        title="Audit overlap",
        description="Seconds before the bookmark from which audit data is read again.",
    ),
    th.Property(
        "use_singer_decimal",
        th.BooleanType,
        default=False,
        title="Use Singer decimal",
        description="Write decimals as strings, for targets that turn numbers into floats.",
    ),
    th.Property(
        "request_timeout",
        th.IntegerType(minimum=1, maximum=86_400),
        default=300,
        title="Request timeout",
        description="Seconds without a byte after which a request has failed.",
    ),
    th.Property(
        "backoff_max_tries",
        th.IntegerType(minimum=1),
        default=8,
        title="Backoff max tries",
        description="Maximum number of attempts per request.",
    ),
    th.Property(
        "max_parallel_requests",
        th.IntegerType(minimum=1, maximum=100),
        default=4,
        title="Max parallel requests",
        description="Maximum number of requests at the same time.",
    ),
    th.Property(
        "demo",
        th.BooleanType,
        default=False,
        title="Demo",
        description="Read the built-in sample tenant instead of SAC. No other setting is needed.",
    ),
    th.Property(
        "user_agent",
        th.StringType(pattern=r"^[!-~]([ -~]*[!-~])?$(?!\n)"),
        title="User agent",
        description="The User-Agent header. Default: tap-sac and its version.",
    ),
    th.Property(
        "emit_activate_version_messages",
        th.BooleanType,
        default=True,
        title="Emit ACTIVATE_VERSION messages",
        description="After a complete read, let targets remove the rows that are gone from SAC.",
    ),
).to_dict()


# What the SDK assumes about its setting batch_config.
_BATCH_CONFIG = {
    "type": "object",
    "required": ["encoding", "storage"],
    "additionalProperties": False,
    "properties": {
        "encoding": {
            "type": "object",
            "required": ["format"],
            "additionalProperties": False,
            "properties": {"format": {}, "compression": {}},
        },
        "storage": {
            "type": "object",
            "required": ["root"],
            "additionalProperties": False,
            "properties": {"root": {}, "prefix": {}, "params": {}},
        },
        "batch_size": {"type": ["integer", "null"], "minimum": 1},
    },
}


def settings_errors(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """List the errors in the settings, one sentence each, without showing any value.

    Args:
        config: The settings of a user; unset ones are absent.
        schema: `SETTINGS`, and the settings that the SDK adds.
    """
    validator = th.DEFAULT_JSONSCHEMA_VALIDATOR(schema)
    errors = [
        *_misspelt(config, schema["properties"]),
        *(_schema_error(error) for error in validator.iter_errors(config)),
    ]
    errors = errors or [*_text_errors(config), *_start_date_errors(config), *_batch_errors(config)]
    errors += [
        f"The setting {name} is an empty list: name the {name} to read, or remove the setting."
        for name in ("namespaces", "models")
        if config.get(name) == []
    ]
    if config.get("demo"):
        errors += _demo_errors(config)
    else:
        errors += [
            f"The setting {name} is missing: set it in the file of --config, or as "
            f"TAP_SAC_{name.upper()} with --config=ENV; or set demo to true to try the tap."
            for name in REQUIRED
            if name not in config
        ]
        if _CERTIFICATE in config and "client_secret" not in config:
            errors.append(_NO_CERTIFICATES)
    return errors


def with_defaults(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, with defaults for those that are unset."""
    defaults = {
        name: setting["default"]
        for name, setting in schema["properties"].items()
        if "default" in setting
    }
    return {**defaults, **config}


def ignored_settings(config: Mapping[str, Any], known: Iterable[str]) -> Iterator[str]:
    """Warn about settings that the tap does not have, one sentence each."""
    for name in _unknown(config, known):
        is_certificate = name == _CERTIFICATE
        yield _NO_CERTIFICATES if is_certificate else f"Ignoring unknown setting {log_safe(name)}."


def _unknown(config: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    return sorted(config.keys() - set(known))


def _misspelt(config: Mapping[str, Any], known: Iterable[str]) -> Iterator[str]:
    """Find likely misspellings: an ignored ``filter`` would filter nothing."""
    for name in _unknown(config, known):
        if hint := did_you_mean(name, known, cutoff=_NEARNESS_OF_SETTINGS):
            yield f"The setting {log_safe(name)} is unknown to tap-sac: {hint}"


def _schema_error(error: ValidationError) -> str:
    setting = ".".join(str(part) for part in error.absolute_path)
    expected: Any = error.validator_value
    match error.validator:
        case "type":
            rule = f"must be of type {' or '.join(name for name in expected if name != 'null')}"
        case "enum":
            rule = f"must be one of {', '.join(map(str, expected))}"
        case "minimum":
            rule = f"must be at least {expected}"
        case "maximum":
            rule = f"must be at most {expected}"
        case "anyOf" | "oneOf":
            rule = "does not match any format shown by tap-sac --about"
        case _:
            rule = f"violates the {error.validator} {expected}"
    return f"The setting {setting} {rule}: correct it in the configuration of tap-sac."


def _demo_errors(config: Mapping[str, Any]) -> Iterator[str]:
    """Refuse to load the sample company for someone who has set up a tenant."""
    if found := [name for name in _OF_A_TENANT if name in config]:
        yield (
            f"The setting demo cannot be combined with {', '.join(found)}: to read your tenant, "
            "add `--environment=prod`, or unset demo; to read the sample tenant, unset the others "
            "(configuration, TAP_SAC_..., .env)."
        )


def _text_errors(config: Mapping[str, Any]) -> Iterator[str]:
    for name, value in config.items():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # noqa: PERF203  (a handful of settings)
            yield f"The setting {name} contains invalid Unicode: correct it."


def _start_date_errors(config: Mapping[str, Any]) -> Iterator[str]:
    try:
        utc_text(config.get("start_date") or "1970-01-01")
    except (ValueError, OverflowError):
        yield "The setting start_date is not a valid time: write it like 2026-01-31T00:00:00Z."


def _batch_errors(config: Mapping[str, Any]) -> Iterator[str]:
    raw = config.get("batch_config")
    if raw and not th.DEFAULT_JSONSCHEMA_VALIDATOR(_BATCH_CONFIG).is_valid(raw):
        yield (
            "The setting batch_config needs an encoding (format, compression), a storage (root, "
            "prefix) and, if any, a batch_size of at least 1."
        )
