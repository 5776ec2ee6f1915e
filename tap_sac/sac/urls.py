"""URLs of the tenant, its token endpoint and its entity sets, and SAC's links.

Query options and key predicates follow OData URL Conventions 4.0. Next links are relative to their
page (OData JSON Format 4.0, 4.5.5), or to SAC's idea of its root.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urljoin, urlsplit

from tap_sac.sac.errors import SACError
from tap_sac.sac.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sac.sac.odata.model import Provider

_TOKEN_PATH, _AUTHORIZE_PATH = "/oauth/token", "/oauth/authorize"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*", re.IGNORECASE | re.ASCII)
_MODEL = re.compile(r".*/dataexport/providers/[^/]+/[^/]+")
_SAFE_IN_QUERY = "(),':*@$/"
_FAMILY = r"(hcs\.cloud\.sap|sapanalytics\.cloud|hanacloudservices\.cloud\.sap)"
# SAP calls the host with api "direct API domain", and recommends it for programs.
_CLOUD_FOUNDRY_TENANT = re.compile(
    rf"(?P<tenant>[^.]+)\.(?P<api>api\.)?(?P<rest>(?P<region>[a-z]{{2,}}\d{{2}}(-\d+)?)\.{_FAMILY})"
)
_NEO_TENANT = re.compile(rf"[^.]+\.(api\.)?[a-z]{{2,}}\d\.{_FAMILY}")


def checked_url(text: str, subject: str) -> str:
    """Complete a pasted address, such as ``acme.eu10.hcs.cloud.sap/``.

    A missing scheme is https. The subject names the address in messages.

    Raises:
        SACError: If there is no host, or credentials would be sent in clear text.
    """
    url = text.strip()
    url = url if "://" in url else f"https://{url}"
    scheme, host, _ = _server(url)
    if not _HOST.fullmatch(host or "") or scheme not in _DEFAULT_PORTS:
        msg = f"{subject} is not a valid URL: write it like https://acme.eu10.hcs.cloud.sap."
        raise SACError(msg)
    if scheme == "http" and not _is_loopback(host or ""):
        msg = (
            f"{subject} would send credentials in clear text: write it with https instead of http."
        )
        raise SACError(msg)
    return url


def tenant_origin(tenant_url: str, subject: str) -> str:
    """Reduce an address, as `checked_url` completes it, to scheme, host and port."""
    parts = urlsplit(checked_url(tenant_url, subject))
    return f"{parts.scheme}://{parts.netloc}"


def derive_token_url(tenant_url: str) -> str:
    """Derive the Token URL that SAC's App Integration page shows.

    ``https://<tenant>.<dc>.hcs.cloud.sap`` (or ``.sapanalytics.cloud``, or
    ``.hanacloudservices.cloud.sap``), also with ``.api`` before ``<dc>``, has its tokens at
    ``https://<tenant>.authentication.<dc>.hana.ondemand.com/oauth/token`` (SAP Help, "Manage
    OAuth Clients").

    Raises:
        SACError: If the host has another format.
    """
    host = urlsplit(tenant_url).hostname or ""
    if match := _CLOUD_FOUNDRY_TENANT.fullmatch(host):
        tenant, region = match["tenant"], match["region"]
        return f"https://{tenant}.authentication.{region}.hana.ondemand.com{_TOKEN_PATH}"
    if _NEO_TENANT.fullmatch(host):
        msg = f"The Token URL of {host} is unknown (region with one digit)"
        raise SACError(msg, Failure.NEO_TENANT)
    msg = f"The Token URL cannot be derived from the host {host}"
    raise SACError(msg, Failure.NO_TOKEN_URL)


def derive_authorize_url(token_url: str) -> str:
    """Derive the URL where users sign in from the Token URL.

    It is ``/oauth/authorize`` on the same host (SAP Help, "Manage OAuth Clients").

    Raises:
        SACError: If the Token URL has another format.
    """
    parts = urlsplit(token_url)
    path = parts.path.rstrip("/")
    if not path.endswith(_TOKEN_PATH):
        msg = f"The Token URL does not end with {_TOKEN_PATH}, so the sign-in page is unknown"
        raise SACError(msg, Failure.NO_SIGN_IN_URL)
    path = path.removesuffix(_TOKEN_PATH) + _AUTHORIZE_PATH
    return parts._replace(path=path, query="", fragment="").geturl()


def tenant_name(origin: str) -> str:
    """Return the name and region of a tenant, the same for all its addresses; else the host."""
    host = _server(origin)[1] or ""
    match = _CLOUD_FOUNDRY_TENANT.fullmatch(host)
    return f"{match['tenant']}.{match['region']}" if match else host


def is_api_host(url: str) -> bool:
    """Return whether a URL has the tenant's direct API host, ``<tenant>.api.<dc>.<domain>``."""
    match = _CLOUD_FOUNDRY_TENANT.fullmatch(_server(url)[1] or "")
    return bool(match and match["api"])


def other_origin(origin: str) -> str | None:
    """Return the tenant's other address, with ``.api`` or without; None if it has only one."""
    scheme, host, port = _server(origin)
    match = _CLOUD_FOUNDRY_TENANT.fullmatch(host or "")
    if not match:
        return None
    suffix = "" if port == _DEFAULT_PORTS.get(scheme) else f":{port}"
    api = "" if match["api"] else "api."
    return f"{scheme}://{match['tenant']}.{api}{match['rest']}{suffix}"


def on_host_of(page_url: str, url: str) -> str:
    """Replace the host of a URL by a page's host if both belong to the same tenant.

    Scheme, port and user information stay.
    """
    page_host, host = _server(page_url)[1], _server(url)[1]
    if not host or not page_host or f"https://{host}" != other_origin(f"https://{page_host}"):
        return url
    netloc, rest = urlsplit(url).netloc, url.partition("://")[2]
    new_netloc = page_host + netloc[len(host) :]
    return f"{urlsplit(url).scheme}://{new_netloc}{rest.removeprefix(netloc)}"


def is_same_server(url: str, other: str) -> bool:
    """Return whether two URLs have the same scheme, host and port."""
    return _server(url) == _server(other)


def with_query(url: str, options: Mapping[str, str]) -> str:
    """Add query options; spaces become ``%20``, never ``+``, and ``$`` in names is kept."""
    if not options:
        return url
    pairs = (f"{name}={quote(value, safe=_SAFE_IN_QUERY)}" for name, value in options.items())
    return f"{url}?{'&'.join(pairs)}"


def absolute_link(link: object, page_url: str) -> str:
    """Resolve a link against its page, or, if it starts like the end of the page's path, there.

    The latter is a link relative to the service root, for a set with several path segments. A link
    to the tenant's other address (`other_origin`) is changed to the page's.

    Raises:
        TypeError: If it is not text.
        ValueError: If it is not a URL.
    """
    if not isinstance(link, str):
        raise TypeError
    if urlsplit(link).scheme:
        return _with_scheme_of(page_url, on_host_of(page_url, link))
    page_path, link_path = unquote(urlsplit(page_url).path), unquote(urlsplit(link).path)
    if not link.startswith("/") and page_path.endswith(f"/{link_path}"):
        depth = link_path.count("/")
        return urljoin(page_url, "../" * depth + link)
    return _with_scheme_of(page_url, on_host_of(page_url, urljoin(page_url, link)))


def path_segment(text: str) -> str:
    """Encode a name as a path segment."""
    return quote(text, safe="")


def model_path(url: str) -> str:
    """Return the path of the URL's model, or the URL's path if it has no model."""
    path = urlsplit(url).path
    found = _MODEL.match(path)
    return found[0] if found else path


def string_literal(text: str) -> str:
    """Encode a string for a key predicate in a URL."""
    return "'" + path_segment(text.replace("'", "''")) + "'"


def provider_key(provider: Provider) -> str:
    """Write the part of a key predicate that identifies a provider."""
    namespace, model = map(string_literal, (provider.namespace_id, provider.provider_id))
    return f"NamespaceID={namespace},ProviderID={model}"


def _server(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", None, None
    if "@" in parts.netloc or "\\" in parts.netloc:  # Parsers interpret such hosts differently.
        return parts.scheme, None, None
    try:
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return parts.scheme, None, None
    return parts.scheme, parts.hostname, port


def _with_scheme_of(page_url: str, url: str) -> str:
    """Change an http link to the server of an https page to https."""
    # unseen: a gateway that ends https, so that SAC takes requests for http
    page, server = _server(page_url), _server(url)
    is_same_host = server[1] == page[1] and server[2] in {_DEFAULT_PORTS["http"], page[2]}
    if (server[0], page[0]) != ("http", "https") or not is_same_host:
        return url
    netloc, rest = urlsplit(url).netloc, url.partition("://")[2]
    return f"https://{urlsplit(page_url).netloc}{rest.removeprefix(netloc)}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
