"""The command line of the tap: files, environment, signals, and one line for each failure.

This is one of the two modules that use private names of the SDK (the other is
`singer.page_stream`); tests/project/test_sdk.py lists them.
"""

from __future__ import annotations

import abc
import logging
import os
import signal
import sys
import threading
from functools import cached_property, partial
from typing import IO, TYPE_CHECKING, Any, cast

import click
from singer_sdk import Tap
from singer_sdk.cli import plugin_cli
from singer_sdk.configuration._dict_config import parse_environment_config
from singer_sdk.exceptions import ConfigValidationError, SingerSDKError
from singer_sdk.helpers._classproperty import classproperty
from singer_sdk.metrics import METRICS_LOGGER_NAME
from singer_sdk.plugin_base import SingerCommand, _ConfigInput
from singer_sdk.singerlib import Catalog
from singer_sdk.tap_base import CliTestOptionValue
from typing_extensions import override

from tap_sac.commands.check import check as run_check
from tap_sac.commands.models import models as list_models
from tap_sac.commands.options import JSON, OPTIONS, Content
from tap_sac.commands.trial import try_streams
from tap_sac.environment import env_file, misspelt_variables, read_environment
from tap_sac.inputs import read_catalog, read_settings, read_state
from tap_sac.sac.errors import SACError
from tap_sac.sac.http.pace import PATIENCE, SHORT_PATIENCE
from tap_sac.safety.log_guard import guard_logs, warn_in_handler
from tap_sac.safety.masks import mask_secret
from tap_sac.safety.text import log_safe
from tap_sac.safety.waiting import wake_for_signals
from tap_sac.settings import with_defaults
from tap_sac.singer.messages import MessageWriter
from tap_sac.singer.sdk_logs import quiet
from tap_sac.tenant import connect
from tap_sac.validation import ignored_settings, secrets_in, settings_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from singer_sdk import Stream
    from typing_extensions import Self

    from tap_sac.discovery.offer import Offer
    from tap_sac.inputs import Choice
    from tap_sac.sac.export.client import SACClient


class CommandLineTap(Tap, abc.ABC):
    """A tap with a command line for people.

    Attributes:
        most_tries: The maximum number of attempts per request, whatever the settings say.
        patience: The maximum seconds that a request waits when SAC limits the rate.
    """

    most_tries, patience = sys.maxsize, PATIENCE
    message_writer_class = MessageWriter

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Mask secrets in the log, and lower the SDK's routine messages to DEBUG."""
        guard_logs(is_own_process=False)
        for name in (self.logger.name, parse_environment_config.__module__, METRICS_LOGGER_NAME):
            quiet(name)
        super().__init__(*args, **kwargs)
        self.metrics_logger.setLevel(logging.NOTSET)  # The SDK's INFO would hide them.

    @cached_property
    @abc.abstractmethod
    def choice(self) -> Choice:
        """The settings, the catalog and the state."""

    @cached_property
    @abc.abstractmethod
    def offer(self) -> Offer:
        """What the tenant offers, by the settings, the catalog and the state."""

    @abc.abstractmethod
    def streams_of(self, offer: Offer) -> Mapping[str, Stream]:
        """Make the streams of an offer, and their stream maps, which may change the keys."""

    @cached_property
    def client(self) -> SACClient:
        """The client of the tenant, which `connect` makes."""
        return self.connect_to(self.config.get("tenant_url"))

    def connect_to(self, tenant_url: str | None) -> SACClient:
        """Make a client like `client` for another address of the tenant."""
        tries = min(self.most_tries, self.config["backoff_max_tries"])
        settings = {**self.config, "backoff_max_tries": tries, "tenant_url": tenant_url}
        return connect(settings, patience=self.patience)

    def print_line(self, text: str) -> None:
        """Write plain text to stdout, with the same error handling as Singer messages."""
        cast("MessageWriter", self.message_writer).write_line(text)

    @override
    def setup_mapper(self) -> None:
        """Prepare the stream maps, also of streams that are not selected.

        The SDK would leave those without columns, and then reject their maps because the key is
        missing; ``--test`` selects some of them later.
        """
        streams = self.streams  # Made first, because the catalog may reduce their keys.
        super(Tap, self).setup_mapper()  # `Tap` adds the maps of all streams.
        selected = {name for name, stream in streams.items() if stream.selected}
        entries = {name: entry for name, entry in self.catalog.items() if name in selected}
        self.mapper.register_raw_streams_from_catalog(Catalog(entries))
        for name, stream in streams.items():
            if name not in selected:
                self.mapper.register_raw_stream_schema(name, stream.schema, stream.primary_keys)

    @override
    def run_discovery(self) -> str:
        text: str = self.catalog_json_text
        self.print_line(text)
        return text

    @classmethod
    @override
    def invoke(
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        check: bool = False,
        report: str | None = None,
        report_changes: bool = False,
        test: str = CliTestOptionValue.Disabled.value,
        login: bool = False,
        no_browser: bool = False,
        redirect_uri: str | None = None,
        models: str | None = None,
        config: _ConfigInput | None = None,
        state: IO[Any] | None = None,
        catalog: IO[Any] | None = None,
        **_: Any,
    ) -> None:
        if about:
            cls.print_about(about_format)
            return
        config = config or _ConfigInput()
        parts: dict[str, Any] = {"config": config.config, "parse_env_config": config.parse_env}
        if login:
            cls._login(parts, redirect_uri=redirect_uri, opens_browser=not no_browser)
            return
        if no_browser or redirect_uri:
            msg = "--no-browser and --redirect-uri require --login."
            raise click.UsageError(msg)
        if models:  # Meltano's catalog may lack models, so this ignores it; reports do, too.
            tap = cls._with_little_patience(parts)
            sys.exit(list_models(tap.choice, tap.client, tap.print_line, as_json=models == JSON))
        parts |= {
            "state": None if state is None else read_state(state),
            "catalog": None if catalog is None else read_catalog(catalog),
        }
        if report is not None:
            from tap_sac.commands.report import report as write_report  # noqa: PLC0415  (no other run needs it)

            run, version = partial(cls._check, {**parts, "catalog": None}), cls.plugin_version
            sys.exit(write_report(report, run, version, with_changes=report_changes))
        if report_changes:
            msg = "--report-changes requires --report."
            raise click.UsageError(msg)
        if check:
            sys.exit(cls._check(parts, MessageWriter().write_line, run_check))
        if test != CliTestOptionValue.Disabled.value:
            tap = cls._with_little_patience(parts)
            sys.exit(try_streams(tap, is_of_schemas=test == CliTestOptionValue.Schema.value))
        cls._sync(parts)

    @classmethod
    def _sync(cls, parts: dict[str, Any]) -> None:
        try:
            tap = cls(**parts, setup_mapper=False)
        finally:  # The settings decide whether the first line names the sample tenant.
            cls.print_version(print_fn=cls.logger.info)
        try:
            tap.setup_mapper()
            tap.sync_all()
        except (SACError, SingerSDKError) as error:
            cls.logger.error("%s", error)  # noqa: TRY400  (no stack trace)
            sys.exit(1)
        finally:
            if tap.config["demo"]:
                cls.logger.warning("This was the sample tenant, a made-up company, not SAC.")

    @classmethod
    def _check(
        cls, parts: dict[str, Any], print_line: Callable[[str], None], run: Callable[..., int]
    ) -> int:
        try:
            tap = cls._with_little_patience(parts)
        except ConfigValidationError as error:
            for message in error.errors:
                print_line(f"FAILED  settings: {message}")
            return 1
        tap.most_tries = 2  # The first failure tells as much.
        return run(tap, print_line)

    @classmethod
    def _with_little_patience(cls, parts: dict[str, Any]) -> Self:
        tap = cls(**parts, setup_mapper=False)
        tap.patience = SHORT_PATIENCE
        return tap

    @classmethod
    def _login(cls, parts: dict[str, Any], **options: Any) -> None:
        from tap_sac.commands.login import login  # noqa: PLC0415  (with oauthlib, which no other run needs)

        tap = cls(**parts, setup_mapper=False)
        login(tap.config, tap.print_line, **options)

    @classmethod
    @override
    def cb_config(
        cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]
    ) -> _ConfigInput:
        """Read the files as bytes, because the SDK assumes UTF-8 without a byte order mark."""
        paths = [path for path in value if path != "ENV"]
        return _ConfigInput(config=read_settings(paths), parse_env=len(paths) < len(value))

    @plugin_cli
    @override
    def cli(cls) -> click.Command:  # noqa: N805
        """The command line; without a stack trace where the log cannot be set up."""
        try:
            return super().cli
        except Exception as error:  # noqa: BLE001  (of any logging configuration)
            sys.exit(
                f"Logging cannot be set up ({log_safe(str(error))}): correct the environment "
                "variables TAP_SAC_LOGLEVEL, LOGLEVEL and SINGER_SDK_LOG_CONFIG, or unset them."
            )

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        command = ConciseErrorCommand.like(super().get_singer_command())
        for option in command.params:
            if option.name in {"catalog", "state"}:
                option.type = Content("rb")
            if option.name == "test":  # The SDK's has exit code 0 whatever fails.
                option.callback, option.expose_value = None, True
        command.params += OPTIONS
        return command

    @classproperty
    @override
    def _env_var_config(cls) -> dict[str, Any]:  # noqa: N805
        """Read the settings from the environment, and warn of misspelt names."""
        cls.append_builtin_config(cls.config_jsonschema)
        prefix, settings = cls._env_var_prefix, cls.config_jsonschema["properties"]
        parse = partial(parse_environment_config, dotenv_path=env_file())
        parse({}, prefix)  # This adds the variables of the file.
        for text in misspelt_variables(os.environ, prefix, settings):
            cls.logger.warning("%s", text)
        return read_environment(os.environ, prefix, settings, parse)

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings, with messages that never show a value, which may be a secret."""
        given = {
            name: value for name, value in self._config.items() if value is not None and value != ""
        }
        schema = self.config_jsonschema
        self.append_builtin_config(schema)
        for secret in secrets_in(given, schema):
            mask_secret(secret)
        errors = settings_errors(given, schema)
        if errors and raise_errors:
            msg = "Config validation failed"
            raise ConfigValidationError(msg, errors=errors, schema=schema)
        if given.get("demo") and not errors:
            self.logger.warning(
                "Reading the sample tenant, a made-up company, not SAC, because demo is true."
            )
        for text in ignored_settings(given, schema["properties"]):
            self.logger.warning("%s", text)
        user_agent = f"{self.name}/{self.plugin_version}"
        self._config = {"user_agent": user_agent, **with_defaults(given, schema)}
        return errors

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Exit with the code of a signal: the SDK's 0 would count as a complete run.

        No state is written here, because that could split a message. Bookmarks move only after a
        complete read, which writes them itself.
        """
        warn_in_handler(self.logger, "Stopped by signal %d: the run is incomplete.", signum)
        if client := vars(self).get("client"):  # Not if it was never needed.
            client.transport.stop()
        if isinstance(self.message_writer, MessageWriter):
            self.message_writer.stop(signum)

    @override
    def _setup_signal_handlers(self) -> None:
        """Treat SIGHUP like SIGTERM, unless it is ignored (nohup)."""
        super()._setup_signal_handlers()
        if (
            threading.current_thread() is threading.main_thread()
            and hasattr(signal, "SIGHUP")
            and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
        ):
            signal.signal(signal.SIGHUP, self._handle_termination)


class ConciseErrorCommand(SingerCommand):
    """Prints expected errors as one line instead of a stack trace."""

    @classmethod
    def like(cls, command: click.Command) -> Self:
        """Make a command with all attributes of another one."""
        new = cls.__new__(cls)
        vars(new).update(vars(command))
        return new

    @override
    def main(self, *args: Any, **kwargs: Any) -> Any:
        guard_logs(is_own_process=True)
        wake_for_signals()
        # The SDK does this later, after the options that are commands, such as --discover.
        sys.excepthook = self.excepthook
        try:
            return super().main(*args, **kwargs)
        except (SACError, SingerSDKError) as error:
            for message in error.errors if isinstance(error, ConfigValidationError) else [error]:
                self.logger.error("%s", message)  # noqa: TRY400  (no stack trace)
        sys.exit(1)
