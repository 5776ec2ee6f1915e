"""The namespaces of a tenant: which of them are read, what is in them, and which SAC refuses."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING

from tap_sac.discovery.naming import MOST_LABELS, matches, no_match
from tap_sac.sac.errors import SACError, TransientError, is_of_one_part
from tap_sac.sac.failures import Failure
from tap_sac.safety.text import log_safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_sac.sac.export.client import SACClient
    from tap_sac.sac.odata.model import Provider

logger = logging.getLogger(__name__)

_MODELS = "sac"  # the namespace that every tenant has
_NOT = "!"  # in front of an entry of the setting `models`: leave out what it matches


class Namespaces:
    """What the settings `namespaces` and `models` choose among.

    The newer namespaces (public dimensions, currencies, units) are listed by some tenants that
    answer 403 or 404 when asked for their providers.
    """

    def __init__(self, client: SACClient, names: Sequence[str] | None) -> None:
        """Keep what decides; nothing is requested yet.

        Args:
            client: Asks SAC.
            names: The setting `namespaces`; None if it is not set.
        """
        self._client = client
        self._names = names
        self._refused: dict[str, SACError] = {}

    @cached_property
    def listed(self) -> list[str]:
        """All namespaces of the tenant.

        Raises:
            SACError: If SAC does not list them.
        """
        return list(dict.fromkeys(self._client.namespaces()))

    @cached_property
    def chosen(self) -> list[str]:
        """Those to read, in SAC's order.

        Raises:
            SACError: If the setting names one that SAC does not list.
        """
        names = self.listed if self._names is None else self._names
        for name in names:
            if name not in self.listed:
                hint = no_match("namespace", name, self.listed)
                msg = f"The setting namespaces has {name!r}, {hint}"
                raise SACError(msg)
        return [name for name in self.listed if name in names]

    @property
    def everything(self) -> list[Provider]:
        """The models, and the like, of all namespaces, also of those that are not read.

        Stream names are unique among all of them, so that they do not change with the settings.

        Raises:
            SACError: If SAC does not list those of a namespace that a run cannot be without.
        """
        return [provider for providers in self._providers.values() for provider in providers]

    @property
    def providers(self) -> list[Provider]:
        """The models, and the like, of the chosen namespaces.

        Raises:
            SACError: As `everything`, or if there are none.
        """
        chosen = [item for name in self.chosen for item in self._providers[name]]
        if not chosen:
            for error in self._refused.values():
                raise error
            msg = "SAC lists no model at all for the OAuth client of the setting client_id"
            if self._names is not None:
                msg += f" in the namespaces {', '.join(map(log_safe, self.chosen))}"
            raise SACError(msg, Failure.NO_MODELS)
        return chosen

    def skips(self, namespace: str, error: SACError) -> bool:
        """Return whether the others are read without a namespace that SAC does not serve.

        Args:
            namespace: Which one.
            error: What came instead of its providers.
        """
        if namespace not in self.chosen:
            logger.info(
                "SAC does not list what is in the namespace %s, which the setting namespaces "
                "leaves out: %s",
                log_safe(namespace),
                error,
            )
            return True
        if (self._names is None and namespace == _MODELS) or not is_of_one_part(error):
            return False
        logger.warning("Skipping the namespace %s: %s", log_safe(namespace), error)
        self._refused[namespace] = error
        return True

    @property
    def has_gaps(self) -> bool:
        """Whether SAC does not serve a chosen namespace."""
        return bool(self._refused)

    @property
    def served(self) -> list[str]:
        """The chosen namespaces that SAC has not refused."""
        return [name for name in self.chosen if name not in self._refused]

    def failures(self, *, lacks_streams: bool) -> list[str]:
        """Say which namespaces a run is incomplete without.

        They are those that the setting names, those that SAC may serve later, and all of them if
        the catalog selects streams that may be in them.

        Args:
            lacks_streams: Whether the catalog selects streams that are not there.
        """
        return [
            f"The namespace {log_safe(name)} was not read. {error} Leave it out of the setting "
            "namespaces if it is not needed."
            for name, error in self._refused.items()
            if self._names is not None or lacks_streams or isinstance(error, TransientError)
        ]

    def models(self, entries: Sequence[str]) -> set[Provider]:
        """Choose models.

        Args:
            entries: The setting `models`: ids, names or globs, and with ``!`` in front, of those
                to leave out.

        Raises:
            SACError: As `providers`, or if an entry matches none, or all are left out.
        """
        excluding = [entry for entry in entries if entry.startswith(_NOT)]
        including = [entry for entry in entries if not entry.startswith(_NOT)] or ["*"]
        named = {item for entry in including for item in self._matching(entry)}
        chosen = named - {item for entry in excluding for item in self._matching(entry)}
        if not chosen:
            names = [log_safe(item.name) for item in self.providers if item in named][:MOST_LABELS]
            msg = (
                f"The setting models leaves out all models that it names ({', '.join(names)}): "
                f"correct its entries {', '.join(map(repr, excluding))}."
            )
            raise SACError(msg)
        return chosen

    @cached_property
    def _providers(self) -> dict[str, list[Provider]]:
        """The models, and the like, of each namespace that SAC lists them of."""
        found: dict[str, list[Provider]] = {}
        for namespace in self.listed:
            found[namespace] = []
            try:
                providers = self._client.providers(namespace, is_vital=namespace in self.chosen)
            except SACError as error:
                if not self.skips(namespace, error):
                    raise
            else:
                found[namespace] = list(dict.fromkeys(providers))
        return found

    def _matching(self, entry: str) -> list[Provider]:
        """Return the models that an entry of the setting `models` names, to read or leave out.

        Raises:
            SACError: If there are none.
        """
        pattern = entry.removeprefix(_NOT)

        def is_named(item: Provider) -> bool:
            return matches(pattern, item.provider_id, item.name)

        if found := list(filter(is_named, self.providers)):
            return found
        if others := {item.namespace_id for item in filter(is_named, self.everything)}:
            msg = (
                f"The setting models has {entry!r}, which matches only what is in the namespace "
                f"{', '.join(map(log_safe, sorted(others)))}: add it to the setting namespaces, or "
                "correct the entry."
            )
            raise SACError(msg)
        labels = [label for item in self.providers for label in (item.name, item.provider_id)]
        msg = f"The setting models has {entry!r}, {no_match('model', pattern, labels)}"
        if self._refused:
            msg += f" SAC did not list what is in {', '.join(map(log_safe, self._refused))}."
        raise SACError(msg)
