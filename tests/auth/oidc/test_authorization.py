"""Authorization requests, and every shape of response that a browser may bring."""

from __future__ import annotations

import dataclasses
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.oidc.authorization import (
    AuthorizationAnswer,
    BadAnswer,
    authorization_url,
    challenge,
    check_issuer,
    parse_answer,
)
from gateway.auth.oidc.issuer_metadata import IssuerMetadata

ISSUER = IssuerMetadata(
    "https://id.example.com",
    "https://id.example.com/authorize?tenant=a",
    "https://id.example.com/token",
    None,
    None,
    names_itself=True,
    client_authentication="basic",
)


def test_the_challenge_is_that_of_the_standard() -> None:
    # RFC 7636 appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_request_has_its_parameters_and_keeps_those_of_the_endpoint() -> None:
    url = authorization_url(
        ISSUER,
        client_id="a b&c",
        redirect_uri="https://gw.example.com/sign-in/callback",
        scopes=("openid", "groups"),
        state="s",
        nonce="n",
        verifier="v",
    )
    found = {name: one for name, [one] in parse_qs(urlsplit(url).query).items()}
    assert found == {
        "tenant": "a",
        "response_type": "code",
        "client_id": "a b&c",
        "redirect_uri": "https://gw.example.com/sign-in/callback",
        "scope": "openid groups",
        "state": "s",
        "nonce": "n",
        "code_challenge": challenge("v"),
        "code_challenge_method": "S256",
    }


@pytest.mark.parametrize(
    "query",
    [
        *("", "code=a", "state=s", "state=s&code=", "state=s&code=a&error=b"),
        *("state=s&state=t&code=a", "state=s&code=a&code=b", "state=s&code=%00"),
        *("state=s&code=" + "a" * 9000, "x=1&" * 60 + "state=s&code=a", "a" * 20_000),
    ],
)
def test_malformed_responses_are_refused(query: str) -> None:
    with pytest.raises(BadAnswer):
        parse_answer(query)


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(query: str) -> None:
    try:
        found = parse_answer(query)
    except BadAnswer:
        return
    assert found.state
    assert (found.code is None) != (found.error is None)
    assert found.sentence.isascii()


@given(st.text(min_size=1, max_size=50), st.from_regex(r"[!-~]{1,50}", fullmatch=True))
def test_a_code_arrives_as_it_was_sent(state: str, code: str) -> None:
    query = urlencode({"state": state, "code": code}, errors="surrogatepass")
    try:
        assert parse_answer(query) == AuthorizationAnswer(state, code)
    except BadAnswer:
        raise AssertionError(query) from None


def test_the_issuer_is_checked_wherever_it_is_named() -> None:
    silent = dataclasses.replace(ISSUER, names_itself=False)
    named = f"state=s&code=c&iss={ISSUER.issuer}"
    check_issuer(named, ISSUER)
    check_issuer(named, silent)
    check_issuer("state=s&code=c", silent)
    for query, metadata in (
        ("state=s&code=c", ISSUER),
        ("state=s&code=c&iss=https://evil.example", silent),
        ("state=s&code=c&iss=https://id.example.com/", ISSUER),
        (f"{named}&iss=https://evil.example", ISSUER),
    ):
        with pytest.raises(BadAnswer):
            check_issuer(query, metadata)
