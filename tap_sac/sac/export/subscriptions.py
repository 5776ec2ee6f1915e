"""Lists, checks and deletes the subscriptions behind delta links."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tap_sac.sac.errors import DeltaLostError, ForeignAnswerError, ResponseError, SACError
from tap_sac.sac.export.delta import bare_id, was_read
from tap_sac.sac.odata.links import entity_set_of
from tap_sac.sac.urls import is_same_server, on_host_of
from tap_sac.safety.text import log_safe

if TYPE_CHECKING:
    from tap_sac.sac.export.client import SACClient
    from tap_sac.sac.export.delta import DeltaLink
    from tap_sac.sac.odata.model import Provider

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subscriptions:
    """The change-tracking subscriptions of one entity set, including those of other clients.

    Attributes:
        stream: Its stream, for messages.
    """

    client: SACClient
    provider: Provider
    entity_set: str
    stream: str

    def list(self) -> list[dict[str, Any]]:
        """List them, or raise a `SACError` if SAC does not."""
        subscriptions = self.client.subscriptions(self.provider)
        return [item for item in subscriptions if item.get("EntitySetName") == self.entity_set]

    def is_own_link(self, link: str) -> bool:
        """Return whether a link leads to this entity set, at either address of the tenant."""
        url, link = self._url, self.on_own_host(link)
        return is_same_server(link, url) and entity_set_of(link) == entity_set_of(url)

    def on_own_host(self, link: str) -> str:
        """Convert a link to the tenant's other address to its configured address."""
        return on_host_of(self._url, link)

    @property
    def _url(self) -> str:
        return self.client.entity_set_url(self.provider, self.entity_set)

    def check_unread(self, link: DeltaLink, otherwise: str) -> None:
        """Check that SAC does not consider the changes read: it would not send them again.

        `otherwise` says why they are lost if it does.

        Raises:
            DeltaLostError: If it does, or if that is unknown.
            ForeignAnswerError: If that is unknown because a proxy or gateway answered.
        """
        foreign = None
        try:
            subscriptions = self.list()
        except SACError as error:
            reason = error.reason if isinstance(error, ResponseError) else error
            logger.warning("SAC does not list the subscriptions of %s: %s", self.stream, reason)
            subscriptions = []
            foreign = error if isinstance(error, ForeignAnswerError) else None
        if was_read(link, subscriptions):
            raise foreign or DeltaLostError(otherwise)

    def signed(self, link: DeltaLink) -> DeltaLink:
        """Sign the link of a subscription that this client opened."""
        signature = self.client.sign(link.subscription_id or "")
        return replace(link, signature=signature)

    def is_proven(self, link: DeltaLink) -> bool:
        """Return whether a link proves that this client opened its subscription.

        The signature requires the client secret.
        """
        return self.client.has_signed(link.subscription_id or "", link.signature or "")

    def delete_chain(self, link: DeltaLink) -> None:
        """Delete a subscription that this client opened and no longer needs: it burdens SAC.

        Subscriptions without a valid signature are not deleted, because bookmarks may come from
        anywhere, nor are those with an ExternalID, which somebody created by hand.
        """
        subscription_id = link.subscription_id
        if subscription_id is None or not self.is_own_link(link.url):
            return
        try:
            listed = [
                item
                for item in self.list()
                if bare_id(item.get("SubscriptionID")) == subscription_id
            ]
            if listed and not self.is_proven(link):
                logger.warning(
                    "The subscription %s of %s is no longer needed, but is not deleted, because "
                    "the state does not prove that this tap opened it: delete it under Data "
                    "Management > API Subscriptions.",
                    log_safe(subscription_id),
                    self.stream,
                )
            elif own := [item["SubscriptionID"] for item in listed if not item.get("ExternalID")]:
                self.client.delete_chain(self.provider, own[0])
                logger.info("Deleted the subscription %s of %s.", subscription_id, self.stream)
        except SACError as error:
            logger.warning(
                "The subscription %s of %s is no longer needed, but could not be deleted: %s. "
                "Delete it under Data Management > API Subscriptions.",
                log_safe(subscription_id),
                self.stream,
                error.what,
            )
