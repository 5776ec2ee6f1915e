"""TapSAC: the settings, and which models become which streams."""

from __future__ import annotations

import io
import signal
import sys
import threading
from fnmatch import fnmatchcase
from functools import cached_property, partial
from typing import IO, TYPE_CHECKING, Any, cast

import click
from singer_sdk import Tap
from singer_sdk.cli import plugin_cli
from singer_sdk.configuration._dict_config import parse_environment_config
from singer_sdk.exceptions import ConfigValidationError, SingerSDKError
from singer_sdk.helpers._classproperty import classproperty
from singer_sdk.plugin_base import SingerCommand, _ConfigInput
from singer_sdk.singerlib import Catalog
from singer_sdk.singerlib.json import serialize_json

from tap_sac.catalog import check_catalog, check_state, read_catalog, read_state
from tap_sac.check import Check, CheckError
from tap_sac.naming import model_of, model_prefixes, stream_names
from tap_sac.sac.auth import ClientCredentialsAuthenticator, derive_token_url
from tap_sac.sac.client import SACClient, checked_url, tenant_origin
from tap_sac.sac.csdl import CSDLError, read_csdl
from tap_sac.sac.errors import BROKEN_METADATA, NO_MODELS, ResponseError, SACError, one_line
from tap_sac.sac.read_ahead import ReadAhead
from tap_sac.sac.transport import new_session
from tap_sac.settings import SETTINGS, did_you_mean, settings_errors, unknown_settings
from tap_sac.singer.messages import MessageWriter
from tap_sac.streams import (
    PROVIDERS_STREAM_NAME,
    ProvidersStream,
    SACStream,
    entity_set_stream,
)

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import PurePath
    from types import FrameType

    from tap_sac.sac.client import Provider
    from tap_sac.sac.csdl import EntitySet
    from tap_sac.sac.pages import Page
    from tap_sac.streams import EntitySetStream

_MOST_LABELS = 10
_MOST_TRIES_OF_A_CHECK = 2


class TapSAC(Tap):
    """Singer tap for SAP Analytics Cloud (SAC), through its Data Export Service."""

    name = "tap-sac"
    dynamic_catalog = True
    message_writer_class = MessageWriter

    config_jsonschema = SETTINGS

    def __init__(
        self, *, catalog: PurePath | str | dict[str, Any] | Catalog | None = None, **parts: Any
    ) -> None:
        """Make a tap.

        Args:
            catalog: What to read. The SDK overlooks ``replication-method`` in the metadata of a
                stream, which the Singer specification has for the user's choice.
            parts: As of `singer_sdk.Tap`.

        Raises:
            SACError: If the catalog or the state is none.
        """
        if isinstance(parts.get("state"), dict):
            check_state(parts["state"])
        if isinstance(catalog, dict) and not isinstance(catalog, Catalog):
            check_catalog(catalog)
            entries = cast("list[dict[str, Any]]", catalog.get("streams", []))
            catalog = {**catalog, "streams": list(map(_completed, entries))}
        super().__init__(catalog=catalog, **parts)

    @override
    def discover_streams(self) -> Sequence[SACStream]:
        """Find the streams: the providers, and each entity set of each model.

        With a catalog, only the models that have a stream selected in it are asked.

        Raises:
            SACError: If SAC refuses, a setting matches nothing, or nothing at all can be read.
        """
        providers = self._client.providers()
        streams = self._find_streams(providers, self._choose(providers))
        providers_stream = ProvidersStream(
            self,
            client=self._client,
            read_ahead=self._read_ahead,
            odata_filter=self._filter_of(PROVIDERS_STREAM_NAME),
        )
        return [providers_stream, *streams]

    @override
    def run_discovery(self) -> str:
        text: str = self.catalog_json_text
        self._print(text)
        return text

    def _print(self, text: str) -> None:
        """Write what is no message, with the sentences of messages if that fails."""
        cast("MessageWriter", self.message_writer).write_text(f"{text}\n")

    @override
    def setup_mapper(self) -> None:
        """Prepare the stream maps, also of discovered streams that are not selected.

        ``--test`` selects them later, when the SDK would have left them without columns.
        """
        super().setup_mapper()
        if self.input_catalog is None:
            for stream in self.streams.values():
                if not stream.selected:
                    self.mapper.register_raw_stream_schema(
                        stream.name, stream.schema, stream.primary_keys
                    )

    @property
    @override
    def catalog_dict(self) -> dict[str, Any]:
        catalog = super().catalog_dict
        for entry in catalog["streams"]:
            stream = self.streams[entry["tap_stream_id"]]
            if isinstance(stream, SACStream):
                stream.add_decimal_facets(entry["schema"])
        return catalog

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """End with the exit code of a signal: the SDK's 0 would count as a complete run.

        No state is written here, in the middle of whatever is being written: bookmarks move only
        with a complete read, which has written them.
        """
        self.logger.warning("Stopped by signal %d before all was read.", signum)
        if client := vars(self).get("_client"):
            client.stop()
        if isinstance(self.message_writer, MessageWriter):
            self.message_writer.stop(signum)

    @override
    def _setup_signal_handlers(self) -> None:
        """Also end with a whole line when the terminal is closed, unless that is ignored."""
        super()._setup_signal_handlers()
        if (
            threading.current_thread() is threading.main_thread()
            and hasattr(signal, "SIGHUP")
            and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
        ):
            signal.signal(signal.SIGHUP, self._handle_termination)

    @classmethod
    @override
    def invoke(
        cls,
        *,
        check: bool = False,
        config: _ConfigInput | None = None,
        state: IO[str] | None = None,
        catalog: IO[str] | None = None,
        **parts: Any,
    ) -> None:
        state_dict = None if state is None else read_state(state)
        catalog_dict = None if catalog is None else read_catalog(catalog)
        if check:
            config = config or _ConfigInput()
            try:
                tap = cls(
                    config=config.config,
                    state=state_dict,
                    catalog=catalog_dict,
                    parse_env_config=config.parse_env,
                    setup_mapper=False,
                )
            except ConfigValidationError as error:
                failures = (f"FAILED  settings: {message}\n" for message in error.errors)
                MessageWriter().write_text("".join(failures))
                sys.exit(1)
            sys.exit(tap.run_check())
        super().invoke(
            config=config,
            state=None if state_dict is None else io.StringIO(serialize_json(state_dict)),
            catalog=None if catalog_dict is None else io.StringIO(serialize_json(catalog_dict)),
            **parts,
        )

    @classmethod
    @override
    def cb_config(
        cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]
    ) -> _ConfigInput:
        try:
            return super().cb_config(ctx, param, value)
        except OSError as error:
            msg = f"A file that --config names cannot be read ({error}): check its path."
            raise SACError(msg) from None
        except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
            msg = f"A file that --config names cannot be read ({error}): write it as a JSON object."
            raise SACError(msg) from None

    def run_check(self) -> int:
        """Walk the way of a sync, and print what each step found.

        Returns:
            The exit code: 1 if a step failed, else 0.
        """
        # Someone waits for it, and the first failure tells as much as the last one.
        self._config["backoff_max_tries"] = min(
            _MOST_TRIES_OF_A_CHECK, self.config["backoff_max_tries"]
        )
        try:
            for step, found in Check(lambda: self._client, self._choose, self._offered).steps():
                self._print(f"ok      {step}: {found}")
        except CheckError as error:
            self._print(f"FAILED  {error.step}: {error}")
            if error.causes:
                self._print("Most likely causes, in this order:")
            for number, cause in enumerate(error.causes, 1):
                self._print(f"{number}. {cause.what}: {cause.next_step}.")
            return 1
        return 0

    @plugin_cli
    @override
    def cli(cls) -> click.Command:  # noqa: N805
        """The command line; without a stack trace where the log cannot be set up."""
        try:
            return super().cli
        except Exception as error:  # noqa: BLE001  (of whatever reads its configuration)
            sys.exit(
                f"The log cannot be set up ({one_line(str(error))}): correct the environment "
                "variables TAP_SAC_LOGLEVEL, LOGLEVEL and SINGER_SDK_LOG_CONFIG, or unset them."
            )

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        command = super().get_singer_command()
        check = click.Option(
            ["--check"],
            is_flag=True,
            help="Walk the way of a sync as far as one page, and tell why it ends where it ends.",
        )
        return _OneSentenceCommand(
            name=command.name,
            callback=command.callback,
            params=[*command.params, check],
            help=command.help,
            context_settings=command.context_settings,
            logger=cls.logger,
        )

    @classproperty
    @override
    def _env_var_config(cls) -> dict[str, Any]:  # noqa: N805
        """Read the settings from the environment, one by one, to name the one that is wrong."""
        cls.append_builtin_config(cls.config_jsonschema)
        config: dict[str, Any] = {}
        for name, schema in cls.config_jsonschema["properties"].items():
            try:
                config |= parse_environment_config(
                    {"properties": {name: schema}}, cls._env_var_prefix
                )
            except (ValueError, RecursionError):  # noqa: PERF203  (its message may show the value)
                msg = (
                    f"The environment variable {cls._env_var_prefix}{name.upper()} cannot be "
                    "read: write a number in digits, and a list or an object as JSON."
                )
                raise SACError(msg) from None
        return config

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings, with messages that never show a value, which may be a secret."""
        unset = [name for name, value in self._config.items() if value is None or value == ""]
        for name in unset:
            del self._config[name]
        self.append_builtin_config(self.config_jsonschema)
        errors = settings_errors(self._config, self.config_jsonschema)
        if errors and raise_errors:
            msg = "Config validation failed"
            raise ConfigValidationError(msg, errors=errors, schema=self.config_jsonschema)
        for name in unknown_settings(self._config, self.config_jsonschema["properties"]):
            self.logger.warning("Ignoring the setting %s, which tap-sac has not.", one_line(name))
        return errors

    @cached_property
    def _client(self) -> SACClient:
        settings = dict(self.config)
        session = new_session(settings["max_parallel_requests"])
        if settings["demo"]:
            from tap_sac import demo  # noqa: PLC0415  (only where the setting asks for it)

            settings |= demo.sample_tenant().settings
        session.headers["User-Agent"] = settings.get(
            "user_agent", f"{self.name}/{self.plugin_version}"
        )
        origin = tenant_origin(settings["tenant_url"])
        token_url = checked_url(settings.get("token_url") or derive_token_url(origin), "token_url")
        return SACClient(
            origin,
            session=session,
            authenticator=ClientCredentialsAuthenticator(
                token_url=token_url,
                client_id=settings["client_id"],
                client_secret=settings["client_secret"],
                auth_method=settings["token_endpoint_auth_method"],
                session=session,
                timeout=settings["request_timeout"],
            ),
            request_timeout=settings["request_timeout"],
            max_tries=settings["backoff_max_tries"],
            max_parallel_requests=settings["max_parallel_requests"],
        )

    @cached_property
    def _read_ahead(self) -> ReadAhead[Page]:
        return ReadAhead(
            self.config["max_parallel_requests"],
            lambda: {
                name: stream.pages_ahead
                for name, stream in self.streams.items()
                if isinstance(stream, SACStream) and stream.selected
            },
        )

    def _choose(self, providers: Sequence[Provider]) -> list[Provider]:
        """Pick the models that the setting `models` names and the catalog has streams of.

        Raises:
            SACError: If there are none at all, or an entry of the setting matches none.
        """
        if not providers:
            msg = "SAC lists no model at all for the OAuth client of the setting client_id"
            raise SACError(msg, NO_MODELS)
        entries = self.config.get("models", ["*"])
        chosen: set[Provider | None] = set()
        for entry in entries:
            matching = [item for item in providers if _matches(entry, item.provider_id, item.name)]
            if not matching:
                labels = [label for item in providers for label in (item.name, item.provider_id)]
                msg = (
                    f"The setting models has {entry!r}, {_matches_nothing('model', entry, labels)}"
                )
                raise SACError(msg)
            chosen.update(matching)
        wanted = self._selected_in_catalog()
        if wanted is not None:
            models = {prefix: model for model, prefix in self._prefixes(providers).items()}
            chosen &= {model_of(models, name) for name in wanted - {PROVIDERS_STREAM_NAME}}
        return [provider for provider in providers if provider in chosen]

    def _prefixes(self, providers: Sequence[Provider]) -> dict[Provider, str]:
        return model_prefixes(providers, by_id=self.config["stream_naming"] == "id")

    def _selected_in_catalog(self) -> set[str] | None:
        """Name the streams that the catalog selects; None without a catalog."""
        if self.input_catalog is None:
            return None
        return {
            name
            for name, entry in self.input_catalog.items()
            if entry.metadata.resolve_selection().get((), True)
        }

    def _offered(
        self, providers: Sequence[Provider], chosen: Sequence[Provider]
    ) -> list[EntitySetStream]:
        """Find the streams of models, as the catalog has them."""
        streams = self._find_streams(providers, chosen)
        if self.input_catalog is not None:
            for stream in streams:
                stream.apply_catalog(self.input_catalog)
        return streams

    def _find_streams(
        self, providers: Sequence[Provider], chosen: Sequence[Provider]
    ) -> list[EntitySetStream]:
        """Read the metadata of models, and make the streams of their entity sets.

        Args:
            providers: All models of the tenant, which share the names.
            chosen: Those to read.

        Raises:
            SACError: If a setting or the catalog names what is not there, or nothing can be read.
        """
        entity_sets = self._read_entity_sets(chosen)
        names = stream_names(
            self._prefixes(providers), [(provider, item.name) for provider, item in entity_sets]
        )
        offered = {PROVIDERS_STREAM_NAME, *names.values()}
        self._check_filters_match(offered)
        self._check_catalog_is_met(offered)
        return [
            entity_set_stream(
                self,
                name=(name := names[provider, entity_set.name]),
                provider=provider,
                entity_set=entity_set,
                client=self._client,
                read_ahead=self._read_ahead,
                odata_filter=self._filter_of(name),
            )
            for provider, entity_set in entity_sets
        ]

    def _read_entity_sets(self, providers: Sequence[Provider]) -> list[tuple[Provider, EntitySet]]:
        """Read the metadata of several models at a time; skip those that SAC does not export."""
        reads = {provider: partial(self._entity_sets_or_reason, provider) for provider in providers}
        read_ahead = ReadAhead(self.config["max_parallel_requests"], lambda: reads)
        try:
            found = [
                (provider, result)
                for provider, read in reads.items()
                for result in read_ahead.read(provider, read)
            ]
        finally:
            read_ahead.close()
        reasons = [result for _, result in found if isinstance(result, ResponseError)]
        if providers and len(reasons) == len(providers):
            msg = f"None of the {len(providers)} models can be read, SAC says {reasons[0].reason}"
            raise SACError(msg, *reasons[0].causes)
        return [
            (provider, entity_set)
            for provider, result in found
            if not isinstance(result, ResponseError)
            for entity_set in result
        ]

    def _entity_sets_or_reason(
        self, provider: Provider
    ) -> Iterator[list[EntitySet] | ResponseError]:
        try:
            yield self._entity_sets(provider)
        except ResponseError as error:
            if not error.is_not_exported:
                raise
            self.logger.warning("Skipping the model %s: %s", _label(provider), error)
            yield error

    def _entity_sets(self, provider: Provider) -> list[EntitySet]:
        """Read the metadata of a model.

        Raises:
            ResponseError: If SAC refuses.
            SACError: If it cannot be understood.
        """
        try:
            return read_csdl(self._client.metadata(provider))
        except CSDLError as error:
            msg = f"The model {_label(provider)} cannot be read, because {error}"
            raise SACError(msg, BROKEN_METADATA) from None

    def _filter_of(self, stream_name: str) -> str | None:
        filters = self.config.get("filters") or {}
        return _all_of([text for glob, text in filters.items() if _matches(glob, stream_name)])

    def _check_filters_match(self, offered: set[str]) -> None:
        """Tell which glob of the setting `filters` matches no stream, of SAC or of the catalog."""
        known = {*offered, *(self.input_catalog or ())}
        for pattern in self.config.get("filters") or {}:
            if not any(_matches(pattern, name) for name in known):
                msg = (
                    f"The setting filters has {pattern!r}, "
                    f"{_matches_nothing('stream', pattern, sorted(known))}"
                )
                raise SACError(msg)

    def _check_catalog_is_met(self, offered: set[str]) -> None:
        """Tell which selected streams are not there, rather than leave them out in silence."""
        wanted = self._selected_in_catalog()
        if not wanted or not (missing := sorted(wanted - offered)):
            return
        msg = (
            f"The catalog selects streams that SAC, or the setting models, does not offer: "
            f"{', '.join(missing)}. Run the discovery again (meltano run --refresh-catalog), or "
            "deselect them."
        )
        if wanted.isdisjoint(offered):
            raise SACError(msg)
        self.logger.warning(msg)


class _OneSentenceCommand(SingerCommand):
    """Ends with one sentence for what is not a bug of the tap."""

    @override
    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except ConfigValidationError as error:
            for message in error.errors:
                self.logger.error("%s", message)  # noqa: TRY400  (no stack trace)
        except (SACError, SingerSDKError) as error:
            self.logger.error("%s", error)  # noqa: TRY400  (no stack trace)
        sys.exit(1)


def _completed(entry: dict[str, Any]) -> dict[str, Any]:
    """Put into a catalog entry what the SDK expects.

    The replication method is taken from its metadata, if it is there. A key that is empty, there
    or in the entry, is no key, whatever the other place says. A stream about which the metadata
    says nothing is selected. The name of the stream is its id: another one would not be found.
    """
    metadata = [{**item, "metadata": {**item["metadata"]}} for item in entry.get("metadata") or []]
    roots = [item["metadata"] for item in metadata if not item["breadcrumb"]]
    if not roots:
        metadata.append({"breadcrumb": [], "metadata": {"selected": True}})
    completed = {**entry, "metadata": metadata, "stream": entry["tap_stream_id"]}
    if chosen := [root["replication-method"] for root in roots if root.get("replication-method")]:
        completed["replication_method"] = chosen[0]
    keys = [entry.get("key_properties"), *(root.get("table-key-properties") for root in roots)]
    if [] in keys:
        completed["key_properties"] = []
        for root in roots:
            root.pop("table-key-properties", None)
    return completed


def _label(provider: Provider) -> str:
    return f"{provider.name!r} ({provider.provider_id})"


def _matches(pattern: str, *labels: str) -> bool:
    """Compare with globs of ``*`` and ``?`` alone; brackets stand for themselves."""
    glob = pattern.replace("[", "[[]")
    return any(label == pattern or fnmatchcase(label, glob) for label in labels)


def _matches_nothing(kind: str, pattern: str, labels: list[str]) -> str:
    if not labels:
        return f"but there is no {kind} at all."
    there_are = ", ".join(map(one_line, labels[:_MOST_LABELS]))
    hint = did_you_mean(pattern, labels, cutoff=0.5) or f"there are {there_are}."
    return f"which matches no {kind}: {hint}"


def _all_of(filters: list[str]) -> str | None:
    if len(filters) > 1:
        return " and ".join(f"({text})" for text in filters)
    return filters[0] if filters else None
