"""What each failure means and what to do about it: the one table behind every message.

`tap_sac.sac` raises kinds of failure and knows no settings. Importing this module sets
`SACError.explain`, so every `SACError` prints its likeliest cause and the next step.
"""

from __future__ import annotations

from typing import NamedTuple

from typing_extensions import override

from tap_sac.sac.errors import SACError
from tap_sac.sac.failures import Failure, Step

_APP_INTEGRATION = "System > Administration > App Integration"
_OTHERS = "Other causes: tap-sac --check."


class Cause(NamedTuple):
    """Why something may fail, and how to fix it.

    Attributes:
        what: The cause, as a clause; empty if the error's own text names it.
        next_step: What to do, as a sentence without its period.
    """

    what: str
    next_step: str

    @override
    def __str__(self) -> str:
        """Write both as sentences; the first one may follow a colon."""
        return f"{self.what}. {self.next_step}." if self.what else f"{self.next_step}."


NO_DATA_EXPORT = Cause(
    "the OAuth client may not export data",
    f"Give the OAuth client the access 'Data Export Service' under {_APP_INTEGRATION}",
)
WRONG_HOST = Cause(
    "tenant_url is not the address of your SAC tenant",
    "Correct it (with or without .api, and under hcs.cloud.sap, sapanalytics.cloud or "
    "hanacloudservices.cloud.sap)",
)
NEO_TENANT = Cause(
    "the tenant is on SAP's Neo platform, which has no Data Export Service",
    "Ask SAP about a tenant on Cloud Foundry",
)
WRONG_SECRET = Cause(
    "the client secret has expired or is mistyped", "Check the settings client_id and client_secret"
)
OTHER_AUTH_METHOD = Cause(
    "the token endpoint expects the client secret in the other place (header or body)",
    "Switch token_endpoint_auth_method between client_secret_basic and client_secret_post",
)
WRONG_TOKEN_URL = Cause(
    "token_url belongs to another tenant, or to SAML",
    f"Set it to the Token URL (not OAuth2SAML) under {_APP_INTEGRATION}",
)
OTHER_REGION = Cause(
    "the token belongs to another tenant or region",
    "Check that tenant_url and token_url belong to the same tenant and region",
)
PROXY = Cause(
    "a proxy or firewall is in the way",
    "Check HTTPS_PROXY and NO_PROXY, or ask your network team",
)
NOT_SHARED = Cause(
    "the model is not shared with the OAuth client or user, or was deleted",
    "Share the model, or exclude it in the setting models",
)
OLD_CATALOG = Cause(
    "the model has changed since discovery",
    "Run discovery again (meltano --environment=prod run --refresh-catalog)",
)
REFUSED_QUERY = Cause(
    "SAC rejects a filter or the page size", "Check the settings filters and page_size"
)
BAD_FILTER = Cause(
    "SAC does not support some filters, such as in lists",
    "Correct the setting filters (instead of an in list, write A eq 'x' or A eq 'y')",
)
NOT_EXPORTABLE = Cause(
    "SAC lists the table, but cannot export it",
    "Deselect the stream, or report the correlation id to SAP support",
)
UNSERVED_NAMESPACE = Cause(
    "SAC lists the namespace, but does not serve it", "Ask SAP support if you need the namespace"
)
BROKEN_METADATA = Cause(
    "SAC cannot describe the model",
    "Exclude the model in the setting models, and report it to SAP support",
)
DOWN = Cause(
    "SAC, or a gateway in front of it, is down or overloaded",
    "Run the tap again later, and give SAP the correlation id if it persists",
)
NETWORK = Cause(
    "the network, a firewall or SAC itself cut the connection",
    "Check the network and the proxy, and run the tap again",
)
BROKEN_PROTOCOL = Cause("the response violates the OData protocol", "Report it to SAP support")

# Failures with the same cause at every step.
_CAUSE: dict[Failure, Cause] = {
    Failure.CLIENT_NOT_ALLOWED: NO_DATA_EXPORT,
    Failure.LIVE_MODEL: Cause(
        "the model is a live connection without rows in SAC",
        "Load the data from its source",
    ),
    Failure.LONG_URL: Cause(
        "the URL is too long, because it names every selected column and the filter",
        "Select all columns of the stream, or far fewer, or shorten the filter",
    ),
    Failure.TOO_MANY_REQUESTS: Cause(
        "the tenant is rate-limiting requests",
        "Lower the setting max_parallel_requests, or run at another time",
    ),
    Failure.SERVER_FAULT: DOWN,
    Failure.BAD_FILTER: BAD_FILTER,
    Failure.NOT_EXPORTABLE: NOT_EXPORTABLE,
    Failure.OLD_CATALOG: OLD_CATALOG,
    Failure.AUDIT_OFF: Cause(
        "Data Audit is off",
        "Turn it on in the model preferences under Access and Privacy, or deselect the stream",
    ),
    Failure.NO_APP: Cause(
        "SAP's router finds no SAC running at this address",
        "Run the tap again later, and check the setting tenant_url if it persists",
    ),
    Failure.UNKNOWN_HOST: Cause(
        "the address is mistyped, or the network is down",
        "Check the settings tenant_url (with or without .api) and token_url, and the network",
    ),
    Failure.PROXY: PROXY,
    Failure.NO_SOCKS: Cause(
        "a SOCKS proxy needs PySocks, which is not installed",
        "Install it beside the tap (pip install pysocks), or correct HTTPS_PROXY and ALL_PROXY",
    ),
    Failure.PLAIN_PORT: Cause(
        "the port does not speak TLS",
        "Check the ports in tenant_url and token_url, and the scheme in HTTPS_PROXY (usually "
        "http://)",
    ),
    Failure.NO_CONNECTION: NETWORK._replace(
        next_step="Check the network, the proxy, and the settings tenant_url and token_url"
    ),
    Failure.SLOW_ANSWER: Cause(
        "SAC did not respond in time",
        "Raise the setting request_timeout, or lower page_size",
    ),
    Failure.UNTRUSTED_CERTIFICATE: Cause(
        "the certificate is not trusted",
        "Set the environment variable REQUESTS_CA_BUNDLE to your company's CA bundle",
    ),
    Failure.NO_CONTENT: Cause(
        "the response is empty or partial",
        "Check the proxy in front of SAC, and report it to SAP support if there is none",
    ),
    Failure.DAMAGED_ANSWER: Cause("the response was damaged in transit", "Run the tap again later"),
    Failure.HUGE_PAGE: Cause(
        "SAC sends pages that are too large",
        "Lower page_size; if it is already low, contact SAP support",
    ),
    Failure.GARBLED_TEXT: Cause(
        "a text contains control characters, a stray backslash, or invalid Unicode",
        "Correct the text in SAC, or deselect the column",
    ),
    Failure.WRONG_ENCODING: PROXY,
    Failure.OTHER_SERVER: Cause(
        "SAC or a proxy redirects to an address other than tenant_url",
        "Set tenant_url to that address if it belongs to your tenant",
    ),
    Failure.BROKEN_PROTOCOL: BROKEN_PROTOCOL,
    Failure.NO_MODELS: Cause(
        "this is another tenant, or it has no models",
        "Check that tenant_url is the right tenant, and that it has models",
    ),
    Failure.CREDENTIALS_PASTED: Cause(
        "client_id or client_secret starts or ends with a space, a line break or a quotation mark",
        "Paste both values again without it",
    ),
    Failure.CREDENTIALS_SWAPPED: Cause("client_id and client_secret are swapped", "Swap them"),
    Failure.GRANT_NOT_ALLOWED: Cause(
        "the OAuth client lacks the grant 'Client Credentials'",
        f"Give it that grant, or create a client with it, under {_APP_INTEGRATION}",
    ),
    Failure.SIGN_IN_EXPIRED: Cause(
        "the sign-in has expired, or another run has already used the refresh token",
        "Run tap-sac --login again, and set refresh_token to the new token, or refresh_token_file",
    ),
    Failure.SAVED_SIGN_IN_EXPIRED: Cause(
        "the sign-in has expired or was revoked",
        "Run tap-sac --login again, which renews the file of the setting refresh_token_file",
    ),
    Failure.SIGN_IN_NOT_ALLOWED: Cause(
        "the OAuth client does not let users sign in",
        f"Give it the grant 'Authorization Code' in SAC, under {_APP_INTEGRATION}",
    ),
    Failure.NO_SIGN_IN_URL: WRONG_TOKEN_URL,
    Failure.CODE_REFUSED: Cause(
        "the code has expired, or is for another redirect URI",
        "Run tap-sac --login again, with a redirect URI exactly as registered in SAC",
    ),
    Failure.UNSAVED_REFRESH_TOKEN: Cause(
        "the next run may fail to sign in with the old one",
        "Set refresh_token_file, so the tap saves the new one",
    ),
    Failure.PARTIAL_SLICES: Cause(
        "SAC does not list all values of the column, or filters on it differently",
        "Choose another column for this stream in the setting partition_by, or remove the entry",
    ),
    Failure.ROWS_TWICE: Cause(
        "SAC returns rows in no fixed order",
        "Run the tap again, or raise page_size to get fewer pages",
    ),
    Failure.WRONG_TOTAL: Cause(
        "rows are missing or duplicated, or SAC aggregates them differently",
        "Run the tap again; if it persists, open an issue with the log of the run",
    ),
}

# Next steps for failures whose own text names the cause.
_NEXT_STEP: dict[Failure, str] = {
    Failure.BROKEN_METADATA: BROKEN_METADATA.next_step,
    Failure.BROKEN_SET: (
        "Report it to SAP support; until then, deselect the stream, or exclude the model in the "
        "setting models"
    ),
    Failure.NO_TOKEN_URL: (
        "Check the setting tenant_url, or set token_url to the Token URL that SAC shows under "
        f"{_APP_INTEGRATION}"
    ),
    Failure.OTHER_USER: "Run the tap again",
    Failure.BAD_REDIRECT_URI: (
        "Set --redirect-uri to an https address, or to http://127.0.0.1:8484/callback"
    ),
    Failure.BUSY_PORT: "Choose another port with --redirect-uri, and register that URI in SAC",
    Failure.NOT_A_REDIRECT: "Run tap-sac --login again, and use its address only once",
    Failure.SIGN_IN_DENIED: (
        "Run tap-sac --login again and allow access, or ask your SAC administrator for "
        "permission to export data"
    ),
    Failure.SIGN_IN_FAILED: (
        f"Check the OAuth client in SAC, under {_APP_INTEGRATION}, and run tap-sac --login again"
    ),
    Failure.NO_REFRESH_TOKEN: "Run tap-sac --login with the same settings, which saves it there",
    Failure.TOKEN_FILE_PATH: "Correct the setting refresh_token_file",
    Failure.TOKEN_FILE_UNWRITABLE: "Set refresh_token_file to a file that the tap can write",
    Failure.TOKEN_FILE_UNREADABLE: "Check the path in refresh_token_file, and its permissions",
    Failure.TOKEN_FILE_DAMAGED: "Delete the file, and run tap-sac --login again",
    Failure.TOKEN_FILE_FULL: "Free disk space, and run tap-sac --login before the next run",
    Failure.WRONG_VALUE: "Run discovery again, and deselect the column if it persists",
    Failure.WRONG_FORMAT: (
        "Correct the value in SAC, deselect the column, or remove its format from the catalog "
        "to load plain text"
    ),
    Failure.NOT_FINITE: "Correct the value in SAC, or deselect the column",
    Failure.MORE_DIGITS: (
        "Correct the value in SAC, set use_singer_decimal to false and run discovery again, or "
        "deselect the column"
    ),
    Failure.CUT_READ: "Lower page_size, or read less with the setting filters",
    Failure.NO_ROW_AT_POSITION: (
        "Run the tap again later; if it persists, set verify_counts to warn"
    ),
    Failure.SEVERAL_FACTS: (
        "Select ..._fact_data_aggregation instead, where SAC adds them up, or set "
        "table-key-properties of this stream to [] in the catalog, so the target appends rows"
    ),
}

# Failures with several possible causes, most likely first.
_CAUSES: dict[Failure, tuple[Cause, ...]] = {
    Failure.BAD_REQUEST: (REFUSED_QUERY, OLD_CATALOG),
    Failure.UNAUTHORIZED: (OTHER_REGION, NO_DATA_EXPORT),
    Failure.FORBIDDEN: (NO_DATA_EXPORT, NOT_SHARED),
    Failure.NOT_FOUND: (WRONG_HOST, NOT_SHARED),
    Failure.UNPREPARED: (NOT_EXPORTABLE, BAD_FILTER),
    Failure.UNEXPECTED_STATUS: (WRONG_HOST, PROXY),
    Failure.FOREIGN_ANSWER: (PROXY, WRONG_HOST),
    Failure.WEB_PAGE: (WRONG_HOST, PROXY),
    Failure.NEO_TENANT: (NEO_TENANT, WRONG_TOKEN_URL),
    Failure.NOT_A_TOKEN_ENDPOINT: (WRONG_TOKEN_URL, PROXY),
    Failure.CLIENT_REFUSED: (WRONG_SECRET, WRONG_TOKEN_URL, OTHER_AUTH_METHOD),
    Failure.MISSING_COLUMN: (OLD_CATALOG, BROKEN_PROTOCOL),
}
# Once the tenant has listed its namespaces, its address is right and the client is accepted.
_AFTER_NAMESPACES = {
    Failure.UNAUTHORIZED: NO_DATA_EXPORT,
    Failure.FORBIDDEN: NOT_SHARED,
    Failure.NOT_FOUND: NOT_SHARED,
    **dict.fromkeys((Failure.UNEXPECTED_STATUS, Failure.FOREIGN_ANSWER), PROXY),
    **dict.fromkeys((Failure.WEB_PAGE, Failure.NOT_A_TOKEN_ENDPOINT, Failure.PLAIN_PORT), PROXY),
    Failure.UNKNOWN_HOST: NETWORK,
    Failure.NO_CONNECTION: NETWORK,
    Failure.NO_APP: DOWN,
}
# Failures whose causes depend on the step that failed.
_CAUSES_AT: dict[tuple[Failure, Step], tuple[Cause, ...]] = {
    **{
        (failure, step): (cause,)
        for failure, cause in _AFTER_NAMESPACES.items()
        for step in Step
        if step not in {Step.TOKEN, Step.NAMESPACES}
    },
    (Failure.BAD_REQUEST, Step.NAMESPACES): (WRONG_HOST, NO_DATA_EXPORT),
    (Failure.BAD_REQUEST, Step.METADATA): (BROKEN_METADATA,),
    (Failure.BAD_REQUEST, Step.SUBSCRIPTIONS): (BROKEN_PROTOCOL,),
    (Failure.UNAUTHORIZED, Step.NAMESPACES): (NO_DATA_EXPORT, OTHER_REGION, WRONG_HOST),
    (Failure.FORBIDDEN, Step.NAMESPACES): (NO_DATA_EXPORT, OTHER_REGION, WRONG_HOST),
    (Failure.FORBIDDEN, Step.PROVIDERS): (NO_DATA_EXPORT,),
    (Failure.NOT_FOUND, Step.NAMESPACES): (WRONG_HOST, NEO_TENANT, NO_DATA_EXPORT),
    (Failure.NOT_FOUND, Step.PROVIDERS): (UNSERVED_NAMESPACE, NO_DATA_EXPORT),
}


def causes_of(error: SACError) -> tuple[Cause, ...]:
    """Return the likely causes of an error, most likely first; none if its message names them."""
    if error.failure is None:
        return ()
    if error.failure in _NEXT_STEP:
        return (Cause("", _NEXT_STEP[error.failure]),)
    at_step = error.step and _CAUSES_AT.get((error.failure, error.step))
    return at_step or _CAUSES.get(error.failure) or (_CAUSE[error.failure],)


def explain(error: SACError) -> str:
    """Write the message of an error: what happened, the likeliest cause, and the next step."""
    causes = causes_of(error)
    if not causes:
        return error.what
    joint = ": " if causes[0].what else ". "
    others = f" {_OTHERS}" if len(causes) > 1 else ""
    return f"{error.what}{joint}{causes[0]}{others}"


SACError.explain = staticmethod(explain)
