"""Metadata of issuers: what is refused, and how long it is used."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from gateway.auth.oidc.issuer_metadata import (
    FRESH_S,
    RETRY_S,
    STALE_S,
    IssuerDirectory,
    UnusableIssuer,
    parse_metadata,
)
from tests.support.operators import Clock

ISSUER = "https://id.example.com/realms/ops"
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
}


def test_the_endpoints_are_read() -> None:
    found = parse_metadata({**DOCUMENT, "end_session_endpoint": f"{ISSUER}/logout"}, ISSUER)
    assert found.token_endpoint == f"{ISSUER}/token"
    assert found.end_session_endpoint == f"{ISSUER}/logout"
    assert found.userinfo_endpoint is None
    assert (found.client_authentication, found.names_itself) == ("basic", False)


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example"},
        {"issuer": f"{ISSUER}/"},
        {"authorization_endpoint": None},
        {"token_endpoint": "http://id.example.com/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": 7},
        {"end_session_endpoint": "http://id.example.com/logout"},
    ],
)
def test_metadata_that_is_unsafe_or_another_issuers_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnusableIssuer):
        parse_metadata({**DOCUMENT, **changes}, ISSUER)


@pytest.mark.parametrize("document", [None, [], "text", 1])
def test_what_is_no_object_is_refused(document: object) -> None:
    with pytest.raises(UnusableIssuer):
        parse_metadata(document, ISSUER)


async def test_metadata_is_fetched_once_an_hour_and_used_while_the_issuer_is_away() -> None:
    clock, asked = Clock(), []
    is_away = False

    async def fetch(url: str) -> bytes:
        asked.append(url)
        if is_away:
            raise OSError("away")
        return orjson.dumps(DOCUMENT)

    directory = IssuerDirectory(ISSUER, fetch, now=clock)
    for _ in range(3):
        await directory.metadata()
    assert asked == [f"{ISSUER}/.well-known/openid-configuration"]
    is_away = True
    clock.now += FRESH_S
    for _ in range(3):
        assert (await directory.metadata()).issuer == ISSUER
    assert len(asked) == 2
    clock.now += STALE_S
    with pytest.raises(UnusableIssuer, match="away"):
        await directory.metadata()
    is_away = False
    clock.now += RETRY_S
    assert (await directory.metadata()).issuer == ISSUER


async def test_concurrent_sign_ins_wait_for_the_same_fetch() -> None:
    asked = []
    answered = asyncio.Event()

    async def fetch(url: str) -> bytes:
        asked.append(url)
        await answered.wait()
        return orjson.dumps(DOCUMENT)

    directory = IssuerDirectory(ISSUER, fetch, now=Clock())
    waiting = [asyncio.create_task(directory.metadata()) for _ in range(3)]
    await asyncio.sleep(0)
    answered.set()
    assert {one.issuer for one in await asyncio.gather(*waiting)} == {ISSUER}
    assert len(asked) == 1
