"""Words for refused credentials, by the reasons that providers give."""

from __future__ import annotations

import re
from pathlib import Path

import jwt
import pytest

from gateway.telemetry.traces.credential_words import credential_words

AT = 1_800_000_000.0
GATEWAY = Path(__file__).parents[3] / "gateway"


def said(reason: str) -> str:
    found = credential_words(reason, AT)
    assert found is not None, reason
    assert found[1].endswith(".")
    return found[0]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (
            "corp: InvalidAudienceError: aud is 'billing', expected one of ['llm', 'api']",
            "The token's `aud` is 'billing', expected 'llm', 'api' (provider 'corp').",
        ),
        (
            "corp: not of this issuer: iss is 'https://a.test', expected 'https://sso.test'",
            "The token's `iss` is 'https://a.test', expected 'https://sso.test' (provider 'corp').",
        ),
        ("corp: ExpiredSignatureError", "The token expired."),
        (
            "mtls: the certificate has expired",
            "The client certificate has expired (provider 'mtls').",
        ),
        (
            "corp: not a JWT; mtls: spiffe://a.test/x is not allowed",
            "The client certificate is for spiffe://a.test/x, which is not allowed "
            "(provider 'mtls').",
        ),
        (
            "mtls: the certificate has no uri",
            "The client certificate has no uri, which names the caller (provider 'mtls').",
        ),
        (
            "corp: not a JWT; mtls: a client certificate is needed",
            "The credential is not of a kind that the route accepts.",
        ),
        (
            f"corp: ExpiredSignatureError: exp is {AT - 5:.0f}",
            "The token expired 5 s before the request.",
        ),
        (
            f"corp: ExpiredSignatureError: exp is {AT - 600.0}",
            "The token expired 10 min before the request.",
        ),
        (
            f"corp: ExpiredSignatureError: exp is {AT - 36_000:.0f}",
            "The token expired 10 h before the request.",
        ),
        (
            f"corp: ExpiredSignatureError: exp is {AT - 9 * 86400:.0f}",
            "The token expired on 2027-01-06.",
        ),
        ("corp: ExpiredSignatureError: exp is -1", "The token expired before 1970."),
        ("corp: ExpiredSignatureError: exp is True", "The token expired."),
        (
            "corp: ImmatureSignatureError",
            "The token is not valid yet: `nbf` or `iat` is in the future.",
        ),
        (
            "corp: InvalidSignatureError",
            "The token's signature does not match the issuer's key (provider 'corp').",
        ),
        (
            "corp: no key for this token",
            "The token names a key that the issuer does not publish (provider 'corp').",
        ),
        (
            "corp: MissingRequiredClaimError",
            "The token lacks one of the claims exp, iss and aud.",
        ),
        (
            "corp: claim groups is not as required",
            "The token's claim `groups` is not as required (provider 'corp').",
        ),
        (
            "corp: claim sub is missing or not a string",
            "The token has no claim `sub`, which names the caller (provider 'corp').",
        ),
        ("keys: revoked", "The credential was revoked (provider 'keys')."),
        ("keys: expired", "The API key expired (provider 'keys')."),
        (
            "keys: unknown key, or a wrong secret",
            "The API key is not known (provider 'keys'), or its secret is wrong.",
        ),
        (
            "door: unknown, expired or used",
            "The ticket is unknown, expired, or was used before.",
        ),
        ("corp: DecodeError", "The token is malformed (provider 'corp')."),
        ("corp: exp, nbf or iat is not a number", "The token is malformed (provider 'corp')."),
        (
            "the ticket is of provider corp",
            "The caller was identified by a provider that the route does not accept.",
        ),
        ("no credential", "The request has no credential."),
        (
            "Authorization holds no token of the scheme Bearer",
            "The Authorization header has no token of the scheme Bearer.",
        ),
        (
            "more than one credential; X-Api-Key refused by keys: not an API key",
            "The request has several credentials that differ.",
        ),
        (
            "keys: not an API key; corp: not a JWT",
            "The credential is not of a kind that the route accepts.",
        ),
    ],
)
def test_a_reason_is_said_in_one_plain_sentence(reason: str, text: str) -> None:
    assert said(reason) == text


def test_the_provider_that_the_credential_was_meant_for_decides() -> None:
    reason = (
        "keys: not an API key; one: not of this issuer: iss is 'b', expected 'a'; "
        "two: InvalidAudienceError: aud is 'x; y', expected one of ['llm']"
    )
    assert said(reason) == "The token's `aud` is 'x; y', expected 'llm' (provider 'two')."


def test_values_of_a_token_cannot_become_a_template_or_another_reason() -> None:
    aud = "{by} {0} ; no credential"
    reason = f"corp: InvalidAudienceError: aud is '{aud}', expected one of ['llm']"
    assert aud in said(reason)


def test_every_reason_of_every_provider_has_words() -> None:
    """Reasons are read from the source, so that a new one is not forgotten."""
    sources = [*(GATEWAY / "auth").glob("*.py"), GATEWAY / "middleware/auth.py"]
    text = "\n".join(one.read_text() for one in sources)
    found = re.findall(r'(?:Rejected\(|Unauthenticated\([^)]*?reason=)\s*f?"([^"]+)"', text)
    reasons = [re.sub(r"\{[^}]*\}", "x", one) for one in found if one != "; "]
    errors = [
        one.__name__
        for one in vars(jwt).values()
        if isinstance(one, type) and issubclass(one, jwt.InvalidTokenError)
    ]
    assert len(reasons) > 15
    assert len(errors) > 8
    for reason in (*reasons, *errors):
        assert credential_words(f"corp: {reason}", AT) is not None, reason


@pytest.mark.parametrize(
    "reason",
    [
        *("suspended", "expired", "revoked", "The team of the API key does not exist"),
        *("The team of the token is suspended", "The team of the token does not exist"),
        *("The user of the token is suspended", "claim groups names no team"),
        *("The team of the API key is suspended", "The owner of the API key is suspended"),
    ],
)
def test_what_ends_a_key_has_words(reason: str) -> None:
    assert credential_words(f"keys: {reason}", AT) is not None


def test_a_reason_that_is_not_known_has_no_words() -> None:
    assert credential_words("corp: of a plug-in", AT) is None
