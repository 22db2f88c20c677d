"""Fetching keys: fresh, stale, failing, rotating; with a clock of the test's own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from gateway.auth.key_sets import FRESH_S, STALE_S, UNKNOWN_KID_S, RemoteKeySet
from gateway.errors import AuthUnavailable

ISSUER = "https://sso.test"
_RSA = rsa.generate_private_key(65537, 2048)


def new_key(kid: str) -> dict[str, Any]:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    return {**json.loads(OKPAlgorithm.to_jwk(public)), "kid": kid}


_KEYS = {kid: new_key(kid) for kid in ("a", "b", "old", "new")}


def key_set(*kids: str) -> bytes:
    """The same key for the same name."""
    return json.dumps({"keys": [_KEYS[kid] for kid in kids]}).encode()


class Issuer:
    """Answers fetches as the test says, and counts them."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.urls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.now = 1000.0
        self.reports: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.urls.append(url)
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def keys(self, url: str | None = "https://sso.test/keys", **options: Any) -> RemoteKeySet:
        return RemoteKeySet(
            issuer=ISSUER,
            url=url,
            fetch=self.fetch,
            now=lambda: self.now,
            report=self.reports.append,
            **options,
        )


async def settle() -> None:
    """Let what is under way go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_keys_are_fetched_once_while_they_are_fresh() -> None:
    issuer = Issuer(key_set("a", "b"))
    keys = issuer.keys()
    for _ in range(100):
        assert await keys.find("a", "EdDSA")
        assert await keys.find("b", "EdDSA")
    assert len(issuer.urls) == 1


async def test_keys_are_found_at_once_unless_they_may_have_to_be_fetched() -> None:
    issuer = Issuer(key_set("a", "b"))
    keys = issuer.keys()
    assert keys.find_now("a", "EdDSA") is None
    found = await keys.find("a", "EdDSA")
    assert keys.find_now("a", "EdDSA") == found
    assert keys.find_now("new", "EdDSA") is None
    assert keys.find_now(None, "EdDSA") == await keys.find(None, "EdDSA") == ()
    issuer.now += STALE_S
    assert keys.find_now("a", "EdDSA") is None


async def test_requests_that_come_together_share_one_fetch() -> None:
    issuer = Issuer(key_set("a"))
    issuer.gate.clear()
    keys = issuer.keys()
    finds = [asyncio.create_task(keys.find("a", "EdDSA")) for _ in range(50)]
    await settle()
    issuer.gate.set()
    assert all(await asyncio.gather(*finds))
    assert len(issuer.urls) == 1


async def test_a_request_that_gives_up_does_not_stop_the_fetch_for_others() -> None:
    issuer = Issuer(key_set("a"))
    issuer.gate.clear()
    keys = issuer.keys()
    first, second = [asyncio.create_task(keys.find("a", "EdDSA")) for _ in range(2)]
    await settle()
    first.cancel()
    issuer.gate.set()
    assert await second


async def test_stale_keys_serve_while_they_are_fetched_anew() -> None:
    issuer = Issuer(key_set("a"))
    keys = issuer.keys()
    await keys.find("a", "EdDSA")
    issuer.now += FRESH_S
    issuer.gate.clear()
    assert await keys.find("a", "EdDSA")
    await settle()
    assert len(issuer.urls) == 2
    issuer.gate.set()


@pytest.mark.parametrize(
    "answer",
    [
        TimeoutError(),
        ConnectionRefusedError(),
        ValueError("status 500"),
        b"{",
        b"<html>",
        b"{}",
        b'{"keys":[]}',
    ],
)
async def test_stale_keys_serve_for_an_hour_of_failures_and_then_503(
    answer: bytes | Exception,
) -> None:
    issuer = Issuer(key_set("a"))
    keys = issuer.keys()
    await keys.find("a", "EdDSA")
    issuer.answer = answer
    for _ in range(59):
        issuer.now += 60.0
        assert await keys.find("a", "EdDSA")
        await settle()
    assert issuer.reports
    issuer.now += STALE_S - 59 * 60.0
    with pytest.raises(AuthUnavailable):
        await keys.find("a", "EdDSA")
    issuer.answer = key_set("a")
    issuer.now += 2.0
    assert await keys.find("a", "EdDSA")


async def test_a_cold_start_without_the_issuer_is_503_and_not_401() -> None:
    issuer = Issuer(ConnectionRefusedError())
    keys = issuer.keys()
    assert not keys.ready
    for _ in range(10):
        with pytest.raises(AuthUnavailable):
            await keys.find("a", "EdDSA")
    assert len(issuer.urls) == 1, "a failing issuer is asked once a second"


async def test_ten_thousand_unknown_kids_make_one_fetch() -> None:
    issuer = Issuer(key_set("a"))
    keys = issuer.keys()
    await keys.find("a", "EdDSA")
    issuer.now += UNKNOWN_KID_S
    for number in range(10_000):
        assert not await keys.find(f"random-{number}", "EdDSA")
    assert len(issuer.urls) == 2


async def test_an_unknown_kid_is_found_once_the_issuer_has_it() -> None:
    issuer = Issuer(key_set("old"))
    keys = issuer.keys()
    withdrawals: list[None] = []
    keys.changed = lambda: withdrawals.append(None)
    await keys.find("old", "EdDSA")
    issuer.answer = key_set("old", "new")
    issuer.now += UNKNOWN_KID_S
    assert await keys.find("new", "EdDSA")
    assert withdrawals == []
    issuer.answer = key_set("new")
    issuer.now += FRESH_S
    await keys.find("new", "EdDSA")
    await settle()
    assert not await keys.find("old", "EdDSA")
    assert len(withdrawals) == 1, "what the old key verified is forgotten"


async def test_another_key_under_the_same_name_withdraws_the_one_before() -> None:
    issuer = Issuer(key_set("a"))
    keys = issuer.keys()
    withdrawals: list[None] = []
    keys.changed = lambda: withdrawals.append(None)
    before = await keys.find("a", "EdDSA")
    issuer.answer = json.dumps({"keys": [new_key("a")]}).encode()
    issuer.now += FRESH_S
    assert await keys.find("a", "EdDSA") == before
    await settle()
    assert await keys.find("a", "EdDSA") != before
    assert len(withdrawals) == 1


async def test_keys_are_fetched_anew_though_only_known_tokens_come() -> None:
    issuer = Issuer(key_set("a"))
    keys = issuer.keys()
    await keys.find("a", "EdDSA")
    assert keys.current()
    await settle()
    assert len(issuer.urls) == 1
    issuer.now += FRESH_S
    assert keys.current()
    await settle()
    assert len(issuer.urls) == 2
    issuer.answer = TimeoutError()
    issuer.now += STALE_S
    assert not keys.current()
    await settle()


async def test_an_unknown_kid_while_the_issuer_is_away_is_503() -> None:
    issuer = Issuer(key_set("a"))
    keys = issuer.keys()
    await keys.find("a", "EdDSA")
    issuer.answer = TimeoutError()
    issuer.now += UNKNOWN_KID_S
    with pytest.raises(AuthUnavailable):
        await keys.find("new", "EdDSA")
    assert await keys.find("a", "EdDSA")


async def test_a_token_without_kid_takes_the_only_key_of_its_algorithm() -> None:
    one, two = Issuer(key_set("a")).keys(), Issuer(key_set("a", "b")).keys()
    assert await one.find(None, "EdDSA")
    assert not await one.find(None, "RS256")
    assert not await two.find(None, "EdDSA")


async def test_keys_of_one_name_are_all_tried_each_with_its_own_algorithm() -> None:
    one, other = {**new_key("twin")}, {**new_key("twin")}
    third = {**json.loads(RSAAlgorithm.to_jwk(_RSA.public_key())), "kid": "twin", "alg": "PS256"}
    issuer = Issuer(json.dumps({"keys": [one, third, other]}).encode())
    keys = issuer.keys()
    assert [key.algorithm for key in await keys.find("twin", "EdDSA")] == ["EdDSA"] * 2
    assert [key.algorithm for key in await keys.find("twin", "PS256")] == ["PS256"]
    assert [key.algorithm for key in await keys.find("twin", "RS256")] == ["EdDSA"]  # refuses it
    assert len(issuer.urls) == 1  # its name is known


async def test_no_token_makes_more_than_a_few_keys_be_tried() -> None:
    many = [new_key("a") for _ in range(50)]
    keys = Issuer(json.dumps({"keys": many}).encode()).keys()
    assert len(await keys.find("a", "EdDSA")) == 8


class Discovery(Issuer):
    """An issuer whose OpenID configuration names its keys."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(key_set("a"))
        self.document = {"issuer": ISSUER, "jwks_uri": "https://sso.test/keys", **fields}

    async def fetch(self, url: str) -> bytes:
        found = await super().fetch(url)
        if url.endswith("/.well-known/openid-configuration"):
            return json.dumps(self.document).encode()
        return found


async def test_the_keys_of_an_issuer_are_discovered() -> None:
    issuer = Discovery()
    assert await issuer.keys(url=None).find("a", "EdDSA")
    assert issuer.urls == [f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/keys"]


@pytest.mark.parametrize(
    "fields",
    [
        {"issuer": "https://evil.test"},
        {"jwks_uri": "http://sso.test/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
    ],
)
async def test_a_discovery_that_cannot_be_trusted_is_not_followed(fields: dict[str, Any]) -> None:
    issuer = Discovery(**fields)
    with pytest.raises(AuthUnavailable):
        await issuer.keys(url=None).find("a", "EdDSA")
    assert len(issuer.urls) == 1
