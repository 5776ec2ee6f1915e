"""URLs: of the tenant and its token endpoint, of queries and keys, and of SAC's links.

Query options and key predicates are those of OData URL Conventions 4.0; links that continue a
page are relative to it, as OData JSON Format 4.0, 4.5.5 has it, or to what SAC takes for its root.
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
# SAP calls the form with api "direct API domain", and recommends it for programs.
_CLOUD_FOUNDRY_TENANT = re.compile(
    rf"(?P<tenant>[^.]+)\.(?P<api>api\.)?(?P<rest>(?P<region>[a-z]{{2,}}\d{{2}}(-\d+)?)\.{_FAMILY})"
)
_NEO_TENANT = re.compile(rf"[^.]+\.(api\.)?[a-z]{{2,}}\d\.{_FAMILY}")


def checked_url(text: str, subject: str) -> str:
    """Complete an address that a user pastes, such as ``acme.eu10.hcs.cloud.sap/``.

    A missing scheme is https. The subject is what messages call the address.

    Raises:
        SACError: If there is no host, or credentials would travel in clear text.
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
    """Build the Token URL that SAC's App Integration page shows.

    ``https://<tenant>.<dc>.hcs.cloud.sap`` (or ``.sapanalytics.cloud``, or
    ``.hanacloudservices.cloud.sap``), also with ``.api`` before ``<dc>``, has its tokens at
    ``https://<tenant>.authentication.<dc>.hana.ondemand.com/oauth/token`` (SAP Help, "Manage
    OAuth Clients").

    Raises:
        SACError: If the host has another form.
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
    """Build the address at which people sign in: beside the Token URL, as SAC shows them.

    It is ``/oauth/authorize`` on the same host (SAP Help, "Manage OAuth Clients").

    Raises:
        SACError: If it has another form.
    """
    parts = urlsplit(token_url)
    path = parts.path.rstrip("/")
    if not path.endswith(_TOKEN_PATH):
        msg = f"The Token URL does not end with {_TOKEN_PATH}, so the sign-in page is unknown"
        raise SACError(msg, Failure.NO_SIGN_IN_URL)
    path = path.removesuffix(_TOKEN_PATH) + _AUTHORIZE_PATH
    return parts._replace(path=path, query="", fragment="").geturl()


def tenant_name(origin: str) -> str:
    """Return what stays the same at each address of a tenant: its name and region, or its host."""
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
    """Write a URL with a page's host if its own host is the other one of the same tenant.

    Scheme, port and user information stay.
    """
    page_host, host = _server(page_url)[1], _server(url)[1]
    if not host or not page_host or f"https://{host}" != other_origin(f"https://{page_host}"):
        return url
    netloc, rest = urlsplit(url).netloc, url.partition("://")[2]
    new_netloc = page_host + netloc[len(host) :]
    return f"{urlsplit(url).scheme}://{new_netloc}{rest.removeprefix(netloc)}"


def is_same_server(url: str, other: str) -> bool:
    """Return whether two URLs lead to the same scheme, host and port."""
    return _server(url) == _server(other)


def with_query(url: str, options: Mapping[str, str]) -> str:
    """Add query options: blanks as ``%20``, never ``+``; ``$`` in names as it is."""
    if not options:
        return url
    pairs = (f"{name}={quote(value, safe=_SAFE_IN_QUERY)}" for name, value in options.items())
    return f"{url}?{'&'.join(pairs)}"


def absolute_link(link: object, page_url: str) -> str:
    """Resolve a link against its page, or, if it begins as the page's path ends, in its place.

    The latter is a link relative to the service root, of a set with more than one path segment.
    A link to the tenant's other address (`other_origin`) is one to the page's own.

    Raises:
        TypeError: If it is not a text.
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
    """Write a name as one segment of a path."""
    return quote(text, safe="")


def model_path(url: str) -> str:
    """Return the path of the model that a URL belongs to, or its own path if it has no model."""
    path = urlsplit(url).path
    found = _MODEL.match(path)
    return found[0] if found else path


def string_literal(text: str) -> str:
    """Write a string in a key predicate of a URL."""
    return "'" + path_segment(text.replace("'", "''")) + "'"


def provider_key(provider: Provider) -> str:
    """Write the part of a key predicate that names a provider."""
    namespace, model = map(string_literal, (provider.namespace_id, provider.provider_id))
    return f"NamespaceID={namespace},ProviderID={model}"


def _server(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", None, None
    if "@" in parts.netloc or "\\" in parts.netloc:  # Parsers do not agree on such hosts.
        return parts.scheme, None, None
    try:
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return parts.scheme, None, None
    return parts.scheme, parts.hostname, port


def _with_scheme_of(page_url: str, url: str) -> str:
    """Write an http link to the server of an https page with https."""
    # unseen: a gateway in front of SAC that hides from it that clients use https
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
