"""People at the sample tenant: how they sign in there, and what each of them sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tap_sac.demo import Behaviour
from tap_sac.demo.service import SampleService
from tap_sac.sac.oauth.user import user_of
from tests.helpers.demo_client import (
    ANNA,
    BEN,
    SALES,
    WORKFORCE,
    Client,
    authorize,
    choose,
    exchange,
    refresh_token,
    tokens,
)

if TYPE_CHECKING:
    from tests.conftest import Serve

REGION = "XX_REGION"
BENS_REGIONS = {"AT", "CH", "#"}


@pytest.fixture
def settings(serve: Serve) -> dict[str, Any]:
    return serve(SampleService())


def client_of(settings: dict[str, Any], person: str) -> Client:
    return Client(settings, exchange(settings, choose(authorize(settings), person)).json())


def test_page_offers_the_people(settings: dict[str, Any]) -> None:
    page = requests.get(authorize(settings), timeout=5)
    assert page.status_code == 200
    assert ANNA in page.text
    assert BEN in page.text


def test_chosen_user_is_redirected_with_code_and_state(settings: dict[str, Any]) -> None:
    redirected = choose(authorize(settings), ANNA)
    assert redirected.startswith(f"{Behaviour.redirect_uri}?")
    answer = parse_qs(urlsplit(redirected).query)
    assert answer.keys() == {"code", "state"}
    assert answer["state"] == ["a state"]


def test_person_may_refuse(settings: dict[str, Any]) -> None:
    answer = parse_qs(urlsplit(choose(authorize(settings), "")).query)
    assert answer["error"] == ["access_denied"]
    assert answer["state"] == ["a state"]


@pytest.mark.parametrize(
    "changes",
    [{"redirect_uri": "http://127.0.0.1:8484/other<b>"}, {"client_id": "another"}],
)
def test_browser_is_only_redirected_to_registered_uris(
    settings: dict[str, Any], changes: dict[str, str]
) -> None:
    answer = requests.post(
        authorize(settings, **changes), {"person": ANNA}, timeout=5, allow_redirects=False
    )
    assert answer.status_code == 400
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": ""},
        {"code_challenge_method": "plain"},
        {"response_type": "token"},
    ],
)
def test_sign_in_without_a_challenge_is_refused(
    settings: dict[str, Any], changes: dict[str, str]
) -> None:
    assert "error=invalid_request" in choose(authorize(settings, **changes), ANNA)


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"redirect_uri": "http://127.0.0.1:8485/callback"},
        {"code": "another"},
    ],
)
def test_code_is_good_for_its_verifier_and_redirect_uri(
    settings: dict[str, Any], changes: dict[str, str]
) -> None:
    redirected = choose(authorize(settings), ANNA)
    answer = exchange(settings, redirected, **changes)
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_grant"


def test_code_is_good_once(settings: dict[str, Any]) -> None:
    redirected = choose(authorize(settings), ANNA)
    assert exchange(settings, redirected).status_code == 200
    assert exchange(settings, redirected).status_code == 400


def test_token_identifies_the_user(settings: dict[str, Any]) -> None:
    token = exchange(settings, choose(authorize(settings), BEN)).json()["access_token"]
    assert user_of(token).name == BEN
    assert user_of(token).id


def test_each_sees_what_rights_on_a_dimension_grant(settings: dict[str, Any]) -> None:
    everything, anna, ben = (
        Client(settings),
        client_of(settings, ANNA),
        client_of(settings, BEN),
    )
    facts = f"{SALES}/FactData"
    assert anna.rows(facts) == everything.rows(facts)
    assert ben.rows(facts) == [row for row in everything.rows(facts) if row[REGION] in BENS_REGIONS]
    assert {row["ID"] for row in ben.rows(f"{SALES}/{REGION}Master")} == BENS_REGIONS
    joined = ben.page(f"{SALES}/MasterData", "pagesize=9000")["value"]
    assert {row[f"{REGION}___ID"] for row in joined} == BENS_REGIONS
    sums = ben.rows(f"{SALES}/FactDataAggregation", f"$select={REGION},QUANTITY")
    assert {row[REGION] for row in sums} == BENS_REGIONS
    assert ben.rows(f"{SALES}/ProductMaster") == everything.rows(f"{SALES}/ProductMaster")


def test_counts_and_changes_are_those_that_the_person_sees(settings: dict[str, Any]) -> None:
    ben = client_of(settings, BEN)
    first = ben.page(f"{SALES}/FactData", "pagesize=9000&$count=true", Prefer="odata.track-changes")
    assert first["@odata.count"] == len(first["value"]) == 2160
    changed = requests.post(f"{settings['tenant_url']}/sample/change", timeout=5).json()
    assert changed["deleted"][3] == "#"
    entities = ben.follow(first["@odata.deltaLink"])["value"]
    assert {row.get(REGION) for row in entities} <= {*BENS_REGIONS, None}
    assert len(entities) == 2 + (changed["updated"][REGION] in BENS_REGIONS)


@pytest.mark.parametrize("is_refused", [False, True])
def test_audit_data_can_be_for_the_client_alone(serve: Serve, *, is_refused: bool) -> None:
    settings = serve(SampleService(Behaviour(audit_needs_client=is_refused)))
    path = f"{WORKFORCE}/AuditData"
    assert Client(settings).get(path).status_code == 200
    assert client_of(settings, ANNA).get(path).status_code == (403 if is_refused else 200)


def test_refresh_token_is_good_again_and_again(settings: dict[str, Any]) -> None:
    token = refresh_token(settings, ANNA)
    for _ in range(2):
        answer = tokens(settings, grant_type="refresh_token", refresh_token=token).json()
        assert answer["refresh_token"] == token
        assert user_of(answer["access_token"]).name == ANNA


def test_refresh_tokens_can_rotate(serve: Serve) -> None:
    settings = serve(SampleService(Behaviour(rotates_refresh_tokens=True)))
    token = refresh_token(settings, ANNA)
    answer = tokens(settings, grant_type="refresh_token", refresh_token=token).json()
    assert answer["refresh_token"] != token
    again = tokens(settings, grant_type="refresh_token", refresh_token=token)
    assert again.json()["error"] == "invalid_grant"
    assert tokens(settings, grant_type="refresh_token", refresh_token=answer["refresh_token"]).ok


def test_tokens_can_expire(serve: Serve) -> None:
    behaviour = Behaviour(token_seconds=7, refresh_token_seconds=0)
    settings = serve(SampleService(behaviour))
    redirected = choose(authorize(settings), ANNA)
    answer = exchange(settings, redirected).json()
    assert answer["expires_in"] == 7
    again = tokens(settings, grant_type="refresh_token", refresh_token=answer["refresh_token"])
    assert again.status_code == 400


def test_everybody_can_be_signed_out(serve: Serve) -> None:
    service = SampleService()
    settings = serve(service)
    token = refresh_token(settings, ANNA)
    service.sign_all_out()
    assert not tokens(settings, grant_type="refresh_token", refresh_token=token).ok


def test_wrong_secret_gets_no_tokens_of_people(settings: dict[str, Any]) -> None:
    token = refresh_token(settings, ANNA)
    answer = tokens(
        {**settings, "client_secret": "wrong"}, grant_type="refresh_token", refresh_token=token
    )
    assert answer.json()["error"] == "invalid_client"
