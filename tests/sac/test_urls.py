"""URLs that users paste, and those that are derived from them."""

from __future__ import annotations

import pytest

from tap_sac.sac.errors import SACError
from tap_sac.sac.urls import derive_token_url, tenant_origin

TOKEN_URL = "https://acme.authentication.eu10.hana.ondemand.com/oauth/token"


@pytest.mark.parametrize(
    ("tenant_url", "token_url"),
    [
        ("https://acme.eu10.hcs.cloud.sap/", TOKEN_URL),
        ("https://acme.eu10.sapanalytics.cloud/api/v1/dataexport", TOKEN_URL),
        ("acme.eu10.hcs.cloud.sap", TOKEN_URL),
        (
            "https://my-co.us10-002.hcs.cloud.sap",
            "https://my-co.authentication.us10-002.hana.ondemand.com/oauth/token",
        ),
        ("https://acme.eu10.hanacloudservices.cloud.sap/", TOKEN_URL),
        (
            "My-Co-1.jp10.hanacloudservices.cloud.sap/sap/fpa/ui/app.html",
            "https://my-co-1.authentication.jp10.hana.ondemand.com/oauth/token",
        ),
    ],
)
def test_token_url_is_derived(tenant_url: str, token_url: str) -> None:
    assert derive_token_url(tenant_origin(tenant_url, "The setting tenant_url")) == token_url


@pytest.mark.parametrize(
    ("tenant_url", "told"),
    [
        ("https://acme.eu1.sapanalytics.cloud", "Neo.*Cloud Foundry.*--check"),
        ("https://acme.eu1.hanacloudservices.cloud.sap", "Neo.*Cloud Foundry.*--check"),
        ("https://acme.eu10.hanacloudservices.cloud.sap.evil.example", "token_url"),
        ("https://acme.eu10.evilhanacloudservices.cloud.sap", "token_url"),
        ("https://analytics.acme.example", "analytics.acme.example.*token_url"),
        ("https://acme.eu20.analytics.cloud.sap", "token_url"),
        ("https://acme.eu10.hcs.cloud.sap.evil.example", "token_url"),
    ],
)
def test_token_url_that_cannot_be_derived_is_requested(tenant_url: str, told: str) -> None:
    with pytest.raises(SACError, match=told):
        derive_token_url(tenant_origin(tenant_url, "The setting tenant_url"))


@pytest.mark.parametrize(
    "tenant_url", ["http://acme.eu10.hcs.cloud.sap", "https://", "ftp://x/", "https://[::1"]
)
def test_tenant_url_that_is_not_an_https_address_is_refused(tenant_url: str) -> None:
    with pytest.raises(SACError, match="tenant_url"):
        tenant_origin(tenant_url, "The setting tenant_url")


@pytest.mark.parametrize(
    "tenant_url",
    [
        "https://zürich.example",
        "https://acme..example",
        "https://-acme.example",
        "https://*.acme.example",
        "https://[::1]",
        "https://user:password@acme.example",
        "https://acme.example\\@evil.example",
        "https://acme.example:port",
    ],
)
def test_host_that_no_tenant_has_is_refused(tenant_url: str) -> None:
    with pytest.raises(SACError, match="setting tenant_url"):
        tenant_origin(tenant_url, "The setting tenant_url")
