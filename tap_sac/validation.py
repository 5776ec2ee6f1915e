"""Checks of the settings, one sentence per error, without showing any value."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import singer_sdk.typing as th

from tap_sac.safety.text import did_you_mean, log_safe, utc_text
from tap_sac.settings import REQUIRED, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jsonschema import ValidationError

_NEARNESS_OF_SETTINGS = 0.75
# Settings that `demo` would silently override.
_OF_A_TENANT = (*REQUIRED, "refresh_token")
_CERTIFICATE = "certificate"  # as service keys of SAP have it
_NO_CERTIFICATES = (
    "The setting certificate is ignored, because tap-sac does not support X.509 client "
    "certificates: it signs in with client_id and client_secret."
)
# IDs are declared as secrets so that user interfaces hide them, but they give no access.
_NOT_MASKED = {"client_id"}
_SECRET_NAME = re.compile("key|secret|token|pass|credential|connection_string", re.IGNORECASE)
_PASSWORD_IN_ROOT = re.compile(r"\w+://[^/@]*:[^/]*@", re.ASCII)
_LOCAL_ROOT = re.compile(r"(?!\w+:/?/)|(file|local):", re.ASCII)


def settings_errors(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """List the errors in the settings, one sentence each, without showing any value.

    The schema also has the settings that the SDK adds.
    """
    validator = th.DEFAULT_JSONSCHEMA_VALIDATOR(schema)
    of_maps = [*_map_errors(config)]  # The SDK's schema of maps breaks the validator on some.
    errors = [
        *_misspelt(config, schema["properties"]),
        *(of_maps or map(_schema_error, validator.iter_errors(config))),
    ]
    errors = errors or [
        *_text_errors(config),
        *_blank_errors(config),
        *_flattening_errors(config),
        *_start_date_errors(config),
        *_batch_errors(config),
    ]
    errors += [
        f"The setting {name} is an empty list: list the {name} to read, or remove the setting."
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


def secrets_in(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield secrets, also of the parameters of a storage, which go to libraries that may log."""
    for name, declared in schema["properties"].items():
        if declared.get("secret") and name not in _NOT_MASKED:
            yield str(config.get(name, ""))
    batches = config.get("batch_config")
    storage = batches.get("storage") if isinstance(batches, dict) else None
    params = storage.get("params") if isinstance(storage, dict) else None
    for name, value in params.items() if isinstance(params, dict) else ():
        if _SECRET_NAME.search(str(name)) and isinstance(value, str):
            yield value


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
        plain = name.lower().removeprefix("tap_sac_")  # as in the environment
        if hint := did_you_mean(plain, known, cutoff=_NEARNESS_OF_SETTINGS):
            looks_known = log_safe(name) in known or not name.isascii()
            shown = ascii(name) if looks_known else log_safe(name)
            yield f"The setting {shown} is unknown to tap-sac: {hint}"


def _schema_error(error: ValidationError) -> str:
    setting = ".".join(str(part) for part in error.absolute_path)
    expected: Any = error.validator_value
    match error.validator:
        case "type":
            types = [expected] if isinstance(expected, str) else expected
            rule = f"must be of type {' or '.join(name for name in types if name != 'null')}"
        case "pattern":  # of user_agent alone
            rule = "must be ASCII on one line, without spaces at the ends"
        case "enum":
            rule = f"must be one of {', '.join(map(str, expected))}"
        case "minimum":
            rule = f"must be at least {expected}"
        case "maximum":
            rule = f"must be at most {expected}"
        case "anyOf" | "oneOf":
            rule = "does not match any format shown by tap-sac --about"
        case "required" | "additionalProperties" if setting.startswith("batch_config"):
            return (
                "The setting batch_config needs an encoding (format, compression) and, if any, a "
                "storage (root, prefix, params) and a batch_size."
            )
        case _:
            rule = f"violates the {error.validator} {expected}"
    return f"The setting {setting} {rule}: correct it in the configuration of tap-sac."


def _demo_errors(config: Mapping[str, Any]) -> Iterator[str]:
    """Do not load the sample company if the settings name a tenant."""
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


def _blank_errors(config: Mapping[str, Any]) -> Iterator[str]:
    for name, value in config.items():
        if name in SETTINGS["properties"] and isinstance(value, str) and not value.strip():
            yield f"The setting {name} is blank: set it, or remove it."
    for setting in ("filters", "partition_by"):
        for glob, text in (config.get(setting) or {}).items():
            if not text.strip():
                yield (
                    f"The setting {setting} has a blank entry for {log_safe(glob)}: set it, or "
                    "remove it."
                )


def _map_errors(config: Mapping[str, Any]) -> Iterator[str]:
    """Find what is no stream map, or blank."""
    maps = config.get("stream_maps")
    maps = maps if isinstance(maps, dict) else {}
    for name, definition in {"all streams": maps, **maps}.items():
        entries = definition if isinstance(definition, dict) else {}
        if entries.get("__else__") not in (None, "__NULL__"):
            yield (
                f"The setting stream_maps has an __else__ for {log_safe(name)} that is neither "
                "null nor __NULL__: correct it."
            )
        if not isinstance(entries.get("__source__", ""), str):
            yield (
                f"The setting stream_maps has a __source__ for {log_safe(name)} that is not a "
                "stream name: correct it."
            )
        for column, text in entries.items():
            if isinstance(text, str) and not text.strip():
                yield (
                    f"The setting stream_maps has a blank entry for {log_safe(column)} of "
                    f"{log_safe(name)}: write an expression, or remove it."
                )


def _flattening_errors(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("flattening_enabled") and config.get("flattening_max_depth", -1) < 0:
        yield (
            "The setting flattening_enabled needs flattening_max_depth: set that to 0 or more, or "
            "remove both."
        )


def _start_date_errors(config: Mapping[str, Any]) -> Iterator[str]:
    try:
        utc_text(config.get("start_date") or "1970-01-01")
    except (ValueError, OverflowError):
        yield "The setting start_date is not a valid time: write it like 2026-01-31T00:00:00Z."


def _batch_errors(config: Mapping[str, Any]) -> Iterator[str]:
    batches = config.get("batch_config") or {}
    encoding, storage = batches.get("encoding") or {}, batches.get("storage") or {}
    if storage and not storage["root"].strip():
        yield "The setting batch_config has a blank root: set it, or remove storage."
    if _PASSWORD_IN_ROOT.match(storage.get("root", "")):
        yield (
            "The setting batch_config has a password in root, which messages and logs show: set it "
            "in params of storage, or in the environment, or use a key file."
        )
    is_sftp = storage.get("root", "").startswith(("sftp://", "ssh://"))
    if is_sftp and "known_hosts" not in storage.get("params", {}):
        yield (
            "The setting batch_config has no known_hosts in params of storage, so any server "
            "would be trusted: set it to the path of a known_hosts file."
        )
    if encoding.get("format") != "arrow":
        return
    if (encoding.get("compression") or "none") != "none":
        yield (
            "The setting batch_config asks for compression, which Arrow files do not support: "
            "remove compression, or use the format parquet."
        )
    if not _LOCAL_ROOT.match(storage.get("root", "")):
        yield (
            "The setting batch_config asks for Arrow files in remote storage, where targets do "
            "not look for them: set root to a local folder, or use the format parquet."
        )
