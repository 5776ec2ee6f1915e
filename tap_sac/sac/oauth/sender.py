"""Sends requests with an access token, and retries if time or a new token may help."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

import requests

from tap_sac.sac.failures import SACErrorNumber
from tap_sac.sac.http.refusals import asks_for_csrf_token, error_number, is_sac_refusal
from tap_sac.sac.http.transport import PAGE_LIMIT, Limit
from tap_sac.sac.urls import model_path
from tap_sac.safety import waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tap_sac.sac.http.answer import Answer
    from tap_sac.sac.http.transport import Transport
    from tap_sac.sac.oauth.bearer import BearerAuthenticator

logger = logging.getLogger(__name__)

_WAITS_FOR_THE_CLOCK = (1, 2, 4, 8)  # seconds


class Sender:
    """Sends requests with a token, from any number of threads."""

    def __init__(self, transport: Transport, authenticator: BearerAuthenticator) -> None:
        """Store both; nothing is sent yet."""
        self._transport = transport
        self._authenticator = authenticator
        self._has_waited_in_vain = False

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        on_response: Callable[[Answer], None] | None = None,
        *,
        limit: Limit = PAGE_LIMIT,
        repeats: bool = True,
        is_optional: bool = False,
    ) -> Answer:
        """Send a request, and retry it after a 401 or 403 that may be temporary.

        SAC may refuse a new token because its clock is behind the token endpoint's, so the token is
        retried for 15 seconds. Older tokens that are refused are replaced once.

        After a 429 with Retry-After, the request waits and is retried; after such a 503 only if it
        may be repeated, because SAC may have processed it. An optional one waits less long.

        Raises:
            SACError: If there is no response or no token, or the waits take too long.
        """
        waits = iter(_WAITS_FOR_THE_CLOCK)
        may_renew = True
        turn = self._transport.pace.turn(model_path(url), is_optional=is_optional)
        while True:
            with turn:
                request = self._prepared(method, url, headers)
                answer = turn.answer = self._transport.send(request, limit)
            if on_response:
                on_response(answer)
            if answer.status < HTTPStatus.MULTIPLE_CHOICES:
                self._authenticator.accept(request)
            elif turn.refused and (repeats or answer.status == HTTPStatus.TOO_MANY_REQUESTS):
                turn.check_patience()
                continue
            elif self._may_be_early(answer, request) and self._waits(waits):
                continue
            elif may_renew and self._renews_token(answer, request):
                may_renew = False
                continue
            return answer

    def _may_be_early(self, answer: Answer, request: requests.PreparedRequest) -> bool:
        return (
            answer.status == HTTPStatus.UNAUTHORIZED
            and error_number(answer) != SACErrorNumber.CLIENT_NOT_ALLOWED
            and self._authenticator.is_untried(request)
            and not self._has_waited_in_vain
        )

    def _waits(self, waits: Iterator[int]) -> bool:
        """Wait, or return False if all waits were in vain, so that the clocks are not the cause."""
        seconds = next(waits, None)
        if seconds is None:
            self._has_waited_in_vain = True
            return False
        logger.info("SAC does not accept the new token yet. Retrying in %d seconds.", seconds)
        waiting.sleep(seconds)
        return True

    def _renews_token(self, answer: Answer, request: requests.PreparedRequest) -> bool:
        """Expire the token after a 401, or, once per run, after a 403 without a reason.

        SAP's own scripts treat 403 like 401, so both may mean an expired token.
        """
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._authenticator.expire(request)
            return True
        return (
            answer.status == HTTPStatus.FORBIDDEN
            and is_sac_refusal(answer)
            and error_number(answer) is None
            and not asks_for_csrf_token(answer)
            and self._authenticator.expire_once(request)
        )

    def _prepared(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> requests.PreparedRequest:
        request = self._transport.session.prepare_request(
            requests.Request(
                method,
                url,
                headers={**headers, "x-sap-sac-custom-auth": "true"},
                auth=self._authenticator,
            ),
        )
        # requests would change some escapes, but links are opaque.
        request.url = url
        return request
