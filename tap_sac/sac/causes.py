"""Why something fails, and what to do then: the one table that every message draws on."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

APP_INTEGRATION = "System > Administration > App Integration"


class Cause(NamedTuple):
    """Why something may fail, and what to click or change then."""

    what: str
    next_step: str


NO_DATA_EXPORT = Cause(
    "the OAuth client may not export data",
    f"in SAC, under {APP_INTEGRATION}, give the OAuth client of the setting client_id the access "
    "'Data Export Service'",
)
WRONG_HOST = Cause(
    "the host is not that of the tenant, or belongs to the wrong family",
    "check that the setting tenant_url is the address of your SAC tenant "
    "(some tenants answer on only one of *.hcs.cloud.sap, *.sapanalytics.cloud and "
    "*.hanacloudservices.cloud.sap)",
)
NEO_TENANT = Cause(
    "the tenant is on SAP's Neo platform, whose regions have one digit (eu1)",
    "ask SAP about a tenant on Cloud Foundry, because Neo has no Data Export Service",
)
WRONG_SECRET = Cause(
    "the secret has expired or is mistyped",
    "check the settings client_id and client_secret (a secret may have expired)",
)
WRONG_TOKEN_URL = Cause(
    "the Token URL belongs to another tenant, or to SAML",
    f"copy the Token URL (not the OAuth2SAML Token URL) that SAC shows under {APP_INTEGRATION} "
    "into the setting token_url",
)
OLD_SIGN_IN = Cause(
    "the sign-in has expired or was revoked, or another run has used its refresh token up",
    "run tap-sac --login again, and put the refresh token that it prints into the setting "
    "refresh_token (if it expires often, or several runs share it, set refresh_token_file)",
)
OLD_SIGN_IN_IN_FILE = Cause(
    "the sign-in has expired or was revoked",
    "run tap-sac --login again with the same settings, which renews the file of the setting "
    "refresh_token_file",
)
USED_CODE = Cause(
    "the code of the sign-in is too old, or is not for this redirect URI",
    "run tap-sac --login again, and check that its redirect URI is registered exactly so with the "
    "OAuth client",
)
NO_SIGN_IN = Cause(
    "the OAuth client does not let people sign in",
    f"in SAC, under {APP_INTEGRATION}, give the OAuth client of the setting client_id the "
    "authorization grant 'Authorization Code'",
)
OTHER_REGION = Cause(
    "the token belongs to another tenant or region",
    "check that the settings tenant_url and token_url belong to the same tenant and region",
)
UNKNOWN_HOST = Cause(
    "the address is mistyped, or the network is down",
    "check the settings tenant_url and token_url, and the network",
)
PROXY = Cause(
    "a proxy is in the way",
    "check the environment variables HTTPS_PROXY and NO_PROXY, or ask your network team",
)
NO_APP = Cause(
    "the router in front of SAC does not reach it",
    "run the tap again later, and check the setting tenant_url if it persists",
)
NO_SOCKS = Cause(
    "a SOCKS proxy needs PySocks, which is not installed",
    "install PySocks next to the tap (pip install pysocks), or correct the environment variables "
    "HTTPS_PROXY and ALL_PROXY",
)
PLAIN_PORT = Cause(
    "the port does not speak TLS",
    "check the port in the settings tenant_url and token_url, and the scheme of the proxy in the "
    "environment variable HTTPS_PROXY (mostly http://)",
)
NO_CONNECTION = Cause(
    "the network, a firewall or SAC itself cut the connection",
    "check the settings tenant_url and token_url, the network and the proxy",
)
SLOW_ANSWER = Cause(
    "SAC takes longer than the tap waits",
    "raise the setting request_timeout, or lower page_size",
)
UNTRUSTED_CERTIFICATE = Cause(
    "the certificate is not trusted",
    "name your company's CA bundle in the environment variable REQUESTS_CA_BUNDLE",
)
NOT_SHARED = Cause(
    "the model is not shared with the OAuth client or the person who has signed in, or was deleted",
    "share the model with the OAuth client or the person who has signed in, or leave it out of the "
    "setting models",
)
LIVE_MODEL = Cause(
    "the model is a live connection, whose rows are not in SAC",
    "leave it out of the setting models, because SAC does not export live-connection models",
)
AUDIT_OFF = Cause(
    "Data Audit is off",
    "switch on Data Audit in the model preferences under Access and Privacy, or deselect "
    "the stream",
)
HUGE_PAGE = Cause(
    "SAC sends pages that are too large",
    "set page_size to a smaller number, or contact SAP support if it is small",
)
NO_MODELS = Cause(
    "this is another tenant, or it has no models",
    "check that tenant_url is the right tenant, and that it has models",
)
REFUSED_QUERY = Cause(
    "SAC does not understand a filter or the page size",
    "check the settings filters and page_size",
)
UNKNOWN_OPERATOR = Cause(
    "SAC cannot prepare a filter, such as one with an in list",
    "correct it in the setting filters (write an in list with or: Version eq 'a' or Version "
    "eq 'b')",
)
NOT_EXPORTABLE = Cause(
    "SAC lists the table, but cannot export it",
    "deselect the stream, or report it to SAP support with the correlation id",
)
LONG_URL = Cause(
    "the URL of the request is too long, because it names every selected column and the filter",
    "select all columns of the stream in the catalog, or far fewer, or shorten the filter",
)
NO_CONTENT = Cause(
    "the answer has no content, or only a part of it",
    "check the proxy in front of SAC, and report it to SAP support if there is none",
)
OLD_CATALOG = Cause(
    "the model has changed since the catalog was made",
    "run the discovery again (meltano run --refresh-catalog)",
)
TOO_MANY_REQUESTS = Cause(
    "the tenant gets more requests than it takes",
    "lower the setting max_parallel_requests, or run at another time",
)
SERVER_FAULT = Cause(
    "SAC, or a gateway in front of it, is down or overloaded",
    "run the tap again later, and give SAP the correlation id if it persists",
)
DAMAGED_ANSWER = Cause(
    "the answer was damaged on its way",
    "run the tap again later",
)
GARBLED_TEXT = Cause(
    "a text holds raw control characters, a stray backslash, or bytes that are not UTF-8",
    "correct the text in SAC, or deselect the column",
)
WRONG_VALUE = Cause(
    "a value does not match what $metadata says of its column",
    "run the discovery again, and deselect the column if it persists",
)
WRONG_FORM = Cause(
    "a value does not have the form of its type, such as 2024-02-30 in a column of dates",
    "correct it in SAC, or remove the format of the column from the catalog, so that it is written "
    "as plain text, or deselect the column",
)
NOT_FINITE = Cause(
    "a number is NaN or infinite, such as after a division by zero",
    "correct it in SAC, or deselect the column",
)
CUT_READ = Cause(
    "SAC cuts answers short",
    "set page_size to a smaller number, or read less with the setting filters",
)
PARTIAL_SLICES = Cause(
    "SAC does not list all values of a column, or understands a condition on it in another way",
    "name another column for this stream in the setting partition_by, or remove it from there",
)
ROWS_TWICE = Cause(
    "SAC pages rows in no fixed order",
    "run the tap again, and set page_size so that the table needs fewer pages if it persists",
)
WRONG_TOTAL = Cause(
    "rows are missing or came twice, or SAC adds them up in another way",
    "run the tap again, and report it with the log of the run if it persists",
)
SEVERAL_FACTS = Cause(
    "SAC stores several facts under one key, which add up",
    "select the stream ..._fact_data_aggregation instead, where SAC adds them up, or set "
    "table-key-properties of this stream to [] in the catalog's metadata, so that the target "
    "appends",
)
MORE_DIGITS = Cause(
    "a decimal has more digits than $metadata declares, which targets would round",
    "correct it in SAC, or set use_singer_decimal to false and run the discovery again, or "
    "deselect the column",
)
BROKEN_METADATA = Cause(
    "$metadata breaks the OData protocol",
    "leave the model out of the setting models, and report it to SAP support",
)
BROKEN_SET = Cause(
    "$metadata contradicts itself about an entity set",
    "report it to SAP support, and until then deselect the stream, or leave the model out of the "
    "setting models",
)
BROKEN_PROTOCOL = Cause(
    "the answer breaks the OData protocol",
    "report it to SAP support, because the answer breaks the OData protocol",
)

# SAC's stable error numbers, sent in square brackets at the end of `message`.
_BY_NUMBER = {
    1205: (NOT_EXPORTABLE, UNKNOWN_OPERATOR),
    1305: (WRONG_HOST, NOT_SHARED),
    1402: (OLD_CATALOG,),
    3401: (NO_DATA_EXPORT,),
    3707: (OLD_CATALOG,),
    3905: (AUDIT_OFF,),
}
_BY_STATUS: dict[int, tuple[Cause, ...]] = {
    HTTPStatus.NO_CONTENT: (NO_CONTENT,),
    HTTPStatus.PARTIAL_CONTENT: (NO_CONTENT,),
    HTTPStatus.BAD_REQUEST: (REFUSED_QUERY, OLD_CATALOG),
    HTTPStatus.UNAUTHORIZED: (OTHER_REGION, NO_DATA_EXPORT),
    HTTPStatus.FORBIDDEN: (NO_DATA_EXPORT, NOT_SHARED),
    HTTPStatus.NOT_FOUND: (WRONG_HOST, NOT_SHARED),
    HTTPStatus.PRECONDITION_FAILED: (LIVE_MODEL,),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (LONG_URL,),
    HTTPStatus.REQUEST_URI_TOO_LONG: (LONG_URL,),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (LONG_URL,),
    HTTPStatus.TOO_MANY_REQUESTS: (TOO_MANY_REQUESTS,),
}


def likely_causes(status: int, number: int | None) -> tuple[Cause, ...]:
    """Find what a refusal most likely means; nothing if neither code is known.

    Args:
        status: The HTTP status code.
        number: SAC's four-digit error number, which says more than the status.
    """
    return _BY_NUMBER.get(number or 0) or _BY_STATUS.get(status, ())
