"""Teams of token callers: which team a claim names, and what team and user mean for the caller."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import jwt as pyjwt
import pytest

from gateway.auth import holders
from gateway.auth.allowance import Allowance, GrantLevel
from gateway.auth.claims import ClaimMap
from gateway.auth.holders import Holder, Holders
from gateway.auth.jwk import VerificationKey
from gateway.auth.jwt import REVOKED, JwtProvider
from gateway.auth.key_sets import StaticKey
from gateway.auth.membership import TeamClaim, TokenTeams
from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected
from gateway.errors import AuthUnavailable
from gateway.store import polling
from gateway.store.record_watcher import RecordWatcher
from gateway.stores.memory.records import MemoryRecords
from tests.support.waiting import asked_until

SECRET = b"a-secret-of-thirty-two-characters-or-more"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SEARCH = Holder(
    kind="team",
    name="search",
    created=NOW,
    models=("a", "b"),
    limits=Allowance(budgets=("10 USD/day",)),
    per_user=Allowance(requests="5/minute"),
    per_key=Allowance(concurrency=2),
)
ADS = Holder(kind="team", name="ads", created=NOW)
ANN = Holder(
    kind="user", name="ann", created=NOW, models=("b", "c"), limits=Allowance(concurrency=9)
)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "EVERY_S", 0.001)


def started(records: MemoryRecords, names: TeamClaim, cap: int = 100) -> JwtProvider:
    key = pyjwt.get_algorithm_by_name("HS256").prepare_key(SECRET)
    provider = JwtProvider(
        "corp",
        keys=StaticKey(VerificationKey(None, "HS256", key)),
        issuer="https://sso.test",
        audience=("llm",),
        leeway_s=10.0,
        claims=ClaimMap(),
        revoked=RecordWatcher(records, REVOKED),
        teams=TokenTeams(Holders(records, cap=cap), names),
    )
    provider.start()
    return provider


def token(**claims: Any) -> str:
    standard = {"iss": "https://sso.test", "aud": "llm", "sub": "ann", "exp": time.time() + 600}
    return pyjwt.encode({**standard, **claims}, SECRET, algorithm="HS256")


async def outcome(provider: JwtProvider, text: str) -> Principal | str:
    """The principal of a token, or why it is rejected."""
    try:
        return await provider.verify(text)
    except (Rejected, AuthUnavailable) as exc:
        return str(exc)


async def until(provider: JwtProvider, text: str, wanted: str) -> None:
    await asked_until(
        lambda: outcome(provider, text), lambda found: wanted in str(found), patience_s=20.0
    )


@pytest.mark.parametrize(
    ("names", "claims", "expected"),
    [
        (TeamClaim("team", {}), {"team": "ads"}, (["ads"], True)),
        (TeamClaim("team", {}), {"team": ["x", "ads", 7, ""]}, (["x", "ads"], False)),
        (TeamClaim("team", {}), {}, ([], True)),
        (TeamClaim("team", {}), {"team": {"name": "ads"}}, ([], True)),
        (TeamClaim("realm.team", {}), {"realm": {"team": "ads"}}, (["ads"], True)),
        (
            TeamClaim("groups", {"/eng/search": "search", "/ads": "ads"}),
            {"groups": ["/all", "/ads", "/eng/search"]},
            (["search"], True),
        ),
        (TeamClaim("groups", {"/ads": "ads"}), {"groups": ["ads"]}, ([], True)),
    ],
)
def test_a_claim_names_the_team_by_the_configuration(
    names: TeamClaim, claims: dict[str, Any], expected: tuple[list[str], bool]
) -> None:
    found, must_exist = names.candidates(claims)
    assert list(found) == expected[0]
    assert must_exist or expected[1] is False


async def test_a_token_is_bounded_by_its_team_and_user() -> None:
    records = MemoryRecords()
    for holder in (SEARCH, ANN):
        await holders.put(records, holder)
    provider = started(records, TeamClaim("team", {}))
    text = token(team="search")
    await until(provider, text, "Principal(")
    principal = await provider.verify(text)
    assert (principal.team, principal.models) == ("search", frozenset({"b"}))
    assert [(grant.level, grant.holder, grant.allowance) for grant in principal.grants] == [
        (GrantLevel.USER, "user:ann", ANN.limits),
        (GrantLevel.USER, "team:search/ann", SEARCH.per_user),
        (GrantLevel.TEAM, "team:search", SEARCH.limits),
    ]
    assert await provider.verify(text) is principal
    provider.close()


async def test_a_change_of_team_or_user_reaches_tokens_that_were_verified_before() -> None:
    records = MemoryRecords()
    await holders.put(records, SEARCH)
    provider = started(records, TeamClaim("team", {}))
    text = token(team="search")
    await until(provider, text, "Principal(")
    before = await provider.verify(text)
    await holders.put(records, ADS)
    await holders.put(records, SEARCH.model_copy(update={"suspended": NOW}))
    await until(provider, text, "The team of the token is suspended")
    assert not provider.is_valid(before)
    await holders.put(records, SEARCH)
    await until(provider, text, "Principal(")
    assert await provider.verify(text) == before
    assert provider.is_valid(before)
    await holders.put(records, ANN.model_copy(update={"suspended": NOW}))
    await until(provider, text, "The user of the token is suspended")
    await holders.remove(records, ANN)
    await until(provider, text, "Principal(")
    await holders.remove(records, SEARCH)
    await until(provider, text, "The team of the token does not exist")
    assert not provider.is_valid(before)
    provider.close()


async def test_a_caller_is_not_recalled_after_a_change_of_a_team_or_user() -> None:
    records = MemoryRecords()
    await holders.put(records, SEARCH)
    provider = started(records, TeamClaim("team", {}))
    text = token(team="search")
    await until(provider, text, "Principal(")
    provider.recall(await provider.verify(text), provider.epoch)  # of the first reading
    principal, epoch = await provider.verify(text), provider.epoch
    assert provider.recall(principal, epoch)
    await holders.put(records, SEARCH.model_copy(update={"suspended": NOW}))
    await until(provider, text, "The team of the token is suspended")
    assert not provider.recall(principal, epoch)
    provider.close()


async def test_of_a_list_of_groups_the_first_that_is_a_team_counts() -> None:
    records = MemoryRecords()
    for holder in (SEARCH, ADS):
        await holders.put(records, holder)
    provider = started(records, TeamClaim("groups", {}, default="ads"))
    await until(provider, token(groups=["everyone", "search", "ads"]), "team='search'")
    without: list[dict[str, Any]] = [{"groups": ["everyone"]}, {"groups": []}, {}]
    for claims in without:
        await until(provider, token(**claims), "team='ads'")
    assert "does not exist" in str(await outcome(provider, token(groups="everyone")))
    provider.close()


async def test_a_token_without_a_team_is_refused_unless_there_is_a_default() -> None:
    records = MemoryRecords()
    await holders.put(records, SEARCH)
    provider = started(records, TeamClaim("groups", {"/search": "search"}))
    await until(provider, token(groups=["/search"]), "Principal(")
    without: list[dict[str, Any]] = [{"groups": ["search"]}, {"groups": None}, {}]
    for claims in without:
        assert await outcome(provider, token(**claims)) == "claim groups names no team"
    provider.close()


async def test_tokens_wait_for_the_first_reading_of_the_teams() -> None:
    provider = started(MemoryRecords(), TeamClaim("team", {}))
    assert "cannot be verified at the moment" in str(await outcome(provider, token(team="x")))
    await until(provider, token(team="x"), "does not exist")
    provider.close()


async def test_beyond_the_local_copy_teams_and_users_are_fetched() -> None:
    records = MemoryRecords()
    for number in range(12):
        other = {"kind": "team", "name": f"team-{number}"}
        await holders.put(records, SEARCH.model_copy(update=other))
    await holders.put(records, ANN)
    provider = started(records, TeamClaim("groups", {}, default="team-3"), cap=4)
    await until(provider, token(groups=["a", "b", "team-7"]), "team='team-7'")
    await until(provider, token(groups=["a", "b"]), "team='team-3'")
    provider.close()
