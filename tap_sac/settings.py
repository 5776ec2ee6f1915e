"""The settings: what each is for, what is wrong with those of a user, and their defaults."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import singer_sdk.typing as th

from tap_sac.safety.text import did_you_mean, log_safe, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jsonschema import ValidationError

_NEARNESS_OF_SETTINGS = 0.75
# Settings of a real tenant, which `demo` would silently override.
_OF_A_TENANT = ("tenant_url", "client_id", "client_secret", "refresh_token")
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
        description=(
            "The Token URL that SAC shows under System > Administration > App Integration. "
            "Derived from tenant_url for hosts like <tenant>.<dc>.hcs.cloud.sap, "
            "<tenant>.<dc>.sapanalytics.cloud and <tenant>.<dc>.hanacloudservices.cloud.sap."
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
        "refresh_token",
        th.StringType,
        secret=True,
        title="Refresh token",
        description=(
            "A person's sign-in, as tap-sac --login prints it: SAC then applies that person's "
            "rights. Without one, the OAuth client reads as itself."
        ),
    ),
    th.Property(
        "refresh_token_file",
        th.StringType,
        title="Refresh token file",
        description=(
            "A file that keeps the refresh token, for tenants that issue a new one with each "
            "use. Once the file has a token, refresh_token is ignored."
        ),
    ),
    th.Property(
        "token_endpoint_auth_method",
        th.StringType,
        allowed_values=["client_secret_basic", "client_secret_post"],
        default="client_secret_basic",
        title="Token endpoint auth method",
        description=(
            "How the OAuth client identifies itself: in the Basic header or in the body of "
            "the token request."
        ),
    ),
    th.Property(
        "namespaces",
        th.ArrayType(th.StringType),
        title="Namespaces",
        description=(
            "Namespaces of SAC to read: sac (models), sac_public_dimensions, "
            "sac_currency_tables, sac_unit_conversion. All that the tenant lists if not set."
        ),
    ),
    th.Property(
        "models",
        th.ArrayType(th.StringType),
        title="Models",
        description=(
            "Ids, names or globs (* and ?) of the models to read, and with ! in front, of those to "
            "leave out. All if not set."
        ),
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
        "partition_by",
        th.ObjectType(additional_properties=th.StringType),
        title="Partition by",
        description=(
            "Read big tables in slices, several at once, one for each value of a column, by "
            'stream name or glob: {"*_fact_data": "Version"}. After a failure, the next run '
            "resumes where it stopped."
        ),
    ),
    th.Property(
        "verify_counts",
        th.StringType,
        allowed_values=["fail", "warn", "off"],
        default="fail",
        title="Verify counts",
        description=(
            "What to do if the rows read are proven to differ from SAC's count, or a key to have "
            "several facts: fail the stream, warn, or do not count."
        ),
    ),
    th.Property(
        "verify_totals",
        th.BooleanType,
        default=False,
        title="Verify totals",
        description=(
            "Compare the sum of each measure with SAC's own aggregation after a full read of "
            "facts, to the last digit; a stream whose totals differ fails, and a warning names "
            "totals that cannot be compared."
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
        description="What the streams of a model are named after: its name or its id.",
    ),
    th.Property(
        "default_replication_method",
        th.StringType,
        allowed_values=["FULL_TABLE", "LOG_BASED"],
        default="FULL_TABLE",
        title="Default replication method",
        description=(
            "How the entity sets that SAC can track are replicated, unless the catalog says "
            "otherwise: the whole table in each run, or only what changed since the last run."
        ),
    ),
    th.Property(
        "on_delta_lost",
        th.StringType,
        allowed_values=["full_refresh", "fail"],
        default="full_refresh",
        title="On delta lost",
        description=(
            "What to do if SAC cannot give the changes since the last run: read the whole table "
            "again, or stop."
        ),
    ),
    th.Property(
        "start_date",
        th.DateTimeType,
        title="Start date",
        description="The time from which the first run reads audit data.",
    ),
    th.Property(
        "audit_overlap",
        th.IntegerType(minimum=0, maximum=31_536_000),
        default=0,
        title="Audit overlap",
        description=(
            "Seconds before the bookmark from which audit data is read again, for rows that SAC "
            "writes late. Without a key, rows that are read twice are appended twice."
        ),
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
        description="Maximum number of times that a request is sent.",
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


# What the SDK takes for granted of its setting batch_config.
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
    """Say what is wrong with the settings, a sentence each, and never show a value.

    Args:
        config: The settings of a user; what is not set is not there.
        schema: `SETTINGS`, with what the SDK adds.
    """
    validator = th.DEFAULT_JSONSCHEMA_VALIDATOR(schema)
    errors = [
        *_misspelt(config, schema["properties"]),
        *(_schema_error(error) for error in validator.iter_errors(config)),
    ]
    errors = errors or [
        *_text_errors(config),
        *_start_date_errors(config),
        *_batch_errors(config),
    ]
    errors += [
        f"The setting {name} is an empty list: name the {name} to read, or leave it out to read "
        "all."
        for name in ("namespaces", "models")
        if config.get(name) == []
    ]
    if config.get("demo"):
        errors += _demo_errors(config)
    else:
        errors += [
            f"The setting {name} is missing: set it in the file of --config, or as "
            f"TAP_SAC_{name.upper()} with --config=ENV; or set demo to true to read the sample "
            "tenant."
            for name in ("tenant_url", "client_id", "client_secret")
            if name not in config
        ]
        if _CERTIFICATE in config and "client_secret" not in config:
            errors.append(_NO_CERTIFICATES)
    return errors


def with_defaults(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, with the default of each that is not set and has one."""
    defaults = {
        name: setting["default"]
        for name, setting in schema["properties"].items()
        if "default" in setting
    }
    return {**defaults, **config}


def ignored_settings(config: Mapping[str, Any], known: Iterable[str]) -> Iterator[str]:
    """Say which settings the tap does not have, a sentence each."""
    for name in _unknown(config, known):
        is_certificate = name == _CERTIFICATE
        yield _NO_CERTIFICATES if is_certificate else f"Ignoring unknown setting {log_safe(name)}."


def _unknown(config: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    return sorted(config.keys() - set(known))


def _misspelt(config: Mapping[str, Any], known: Iterable[str]) -> Iterator[str]:
    """Find settings that would be ignored, such as ``filter``, which then filters nothing."""
    for name in _unknown(config, known):
        if hint := did_you_mean(name, known, cutoff=_NEARNESS_OF_SETTINGS):
            yield f"The setting {log_safe(name)} is unknown to tap-sac: {hint}"


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


def _demo_errors(config: Mapping[str, Any]) -> Iterator[str]:
    """Refuse to load the sample company for someone who has set up a tenant."""
    if found := [name for name in _OF_A_TENANT if name in config]:
        yield (
            f"The setting demo does not go together with {', '.join(found)}: to read your tenant, "
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
            "prefix) and, if any, a batch_size of at least 1: correct it in the configuration of "
            "tap-sac."
        )
