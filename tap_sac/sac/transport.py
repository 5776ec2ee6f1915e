"""One request, one whole answer: what the client and the authenticator share."""

from __future__ import annotations

import re
import sys
from http import HTTPStatus
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from tap_sac.sac.errors import DAMAGED_ANSWER, TransientError, connection_error, origin_of

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

# What requests and urllib3 raise. OSError is that of a CA bundle that is not there, ValueError
# that of a redirection to what is no URL, and OverflowError that of an endless Content-Length.
_CONNECTION_ERRORS = (requests.RequestException, HTTPError, OSError, ValueError, OverflowError)


# What a token may be made of, to be sent in a header.
HEADER_VALUE = re.compile(r"[!-~]+")


class DirectAdapter(HTTPAdapter):
    """Sends requests in clear text, which are for this machine alone, past every proxy.

    A proxy would read the credentials, and would not find the loopback of this machine.
    """

    @override
    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        return super().send(request, **{**options, "proxies": {}})


def new_session(pool_size: int) -> requests.Session:
    """Make a session that keeps so many connections to each host."""
    session = requests.Session()
    session.mount("https://", HTTPAdapter(pool_maxsize=pool_size))
    session.mount("http://", DirectAdapter(pool_maxsize=pool_size))
    return session


def exchange(
    session: requests.Session, request: requests.PreparedRequest, *, timeout: float
) -> requests.Response:
    """Send a request, and read its answer to the end; redirections are not followed.

    Args:
        session: Has the connections, and takes proxies and certificates from the environment.
        request: With all of its headers.
        timeout: Seconds without a byte.

    Raises:
        TransientError: If no whole answer came, but may come another time.
        SACError: If none can come.
    """
    url = request.url or ""
    settings = session.merge_environment_settings(url, {}, None, None, None)
    settings["stream"] = True
    try:
        response = session.send(request, timeout=timeout, allow_redirects=False, **settings)
        if response.status_code < HTTPStatus.OK:
            # The final answer is still to come, and would be taken for that to another request.
            response.close()
            what = f"{origin_of(url)} answered {response.status_code} and nothing more"
            raise TransientError(what, DAMAGED_ANSWER)
        # At once: requests itself would take the body in many small pieces.
        response._content = response.raw.read(decode_content=True)  # noqa: SLF001
    except _CONNECTION_ERRORS as error:
        raise connection_error(error, url) from None
    return response
