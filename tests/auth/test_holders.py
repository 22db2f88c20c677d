"""Teams and users above API keys: what they bound, and how soon."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.auth import api_key, holders, stored_keys
from gateway.auth.allowance import Allowance, GrantLevel
from gateway.auth.api_key import ApiKey
from gateway.auth.api_keys import ApiKeyProvider
from gateway.auth.holders import Holder, Holders
from gateway.auth.key_file import KeyFile, editing
from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected
from gateway.auth.stored_keys import StoredKeys
from gateway.errors import AuthUnavailable
from gateway.store import polling
from gateway.store.records import Changes, StoreUnavailable
from gateway.stores.memory.records import MemoryRecords
from tests.support.waiting import asked_until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEAM = Holder(
    kind="team",
    name="search",
    created=NOW,
    models=("a", "b"),
    limits=Allowance(budgets=("10 USD/day",)),
    per_user=Allowance(requests="5/minute"),
    per_key=Allowance(concurrency=2),
)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "EVERY_S", 0.001)


def make(**fields: object) -> tuple[str, ApiKey]:
    text, key_id, salt, digest = api_key.generate()
    return text, ApiKey(key_id, salt, digest, "ann", NOW, **fields)  # type: ignore[arg-type]


def started(records: MemoryRecords) -> ApiKeyProvider:
    provider = ApiKeyProvider("keys", StoredKeys(records, "keys"), Holders(records))
    provider.start()
    return provider


async def outcome(provider: ApiKeyProvider, text: str) -> Principal | str:
    """The principal of a key, or why it is rejected."""
    try:
        return await provider.verify(text)
    except (Rejected, AuthUnavailable) as exc:
        return str(exc)


async def until(provider: ApiKeyProvider, text: str, wanted: str) -> None:
    await asked_until(lambda: outcome(provider, text), lambda found: wanted in str(found))


async def admitted(provider: ApiKeyProvider, text: str) -> Principal:
    await until(provider, text, "Principal(")
    return await provider.verify(text)


async def test_a_key_is_bounded_by_its_user_and_team() -> None:
    records = MemoryRecords()
    user = Holder(kind="user", name="ann", created=NOW, models=("b", "c"))
    await holders.put(records, TEAM)
    await holders.put(records, user)
    own = Allowance(tokens="100/minute")
    text, key = make(team="search", models=("a", "b", "c"), allowance=own, tags=("ci",))
    await stored_keys.put(records, "keys", key)
    provider = started(records)
    principal = await admitted(provider, text)
    assert principal.models == frozenset({"b"})
    assert (principal.team, principal.tags) == ("search", ("ci",))
    assert [(grant.level, grant.holder, grant.allowance) for grant in principal.grants] == [
        (GrantLevel.KEY, f"key:{key.id}", own),
        (GrantLevel.KEY, f"team:search/{key.id}", TEAM.per_key),
        (GrantLevel.USER, "team:search/ann", TEAM.per_user),
        (GrantLevel.TEAM, "team:search", TEAM.limits),
    ]
    assert await provider.verify(text) is principal
    provider.close()


async def test_a_key_may_use_what_its_patterns_and_those_of_its_team_match() -> None:
    records = MemoryRecords()
    await holders.put(records, TEAM.model_copy(update={"models": ("vllm/*", "gpt-4o")}))
    text, key = make(team="search", models=("*llama*", "gpt-*"))
    await stored_keys.put(records, "keys", key)
    provider = started(records)
    models = (await admitted(provider, text)).models
    provider.close()
    assert models is not None
    names = ["vllm/llama-3", "vllm/qwen", "ollama/llama-3", "gpt-4o", "gpt-5"]
    assert [name for name in names if name in models] == ["vllm/llama-3", "gpt-4o"]


async def test_a_change_of_a_team_reaches_its_keys() -> None:
    records = MemoryRecords()
    await holders.put(records, TEAM)
    text, key = make(team="search")
    await stored_keys.put(records, "keys", key)
    provider = started(records)
    before = await admitted(provider, text)
    await holders.put(records, TEAM.model_copy(update={"suspended": NOW}))
    await until(provider, text, "suspended")
    assert not provider.is_valid(before)
    await holders.put(records, TEAM)
    again = await admitted(provider, text)
    assert again == before
    await holders.remove(records, TEAM)
    await until(provider, text, "does not exist")
    provider.close()


async def test_a_change_of_another_team_keeps_the_principal() -> None:
    records = MemoryRecords()
    text, key = make()
    await stored_keys.put(records, "keys", key)
    known = Holders(records)
    provider = ApiKeyProvider("keys", StoredKeys(records, "keys"), known)
    provider.start()
    principal = await admitted(provider, text)
    version = known.version
    await holders.put(records, TEAM)
    await asked_until(lambda: outcome(provider, text), lambda _: known.version > version)
    assert await provider.verify(text) is principal
    provider.close()


async def test_a_key_that_moves_to_another_team_is_bounded_by_that_one() -> None:
    records = MemoryRecords()
    await holders.put(records, TEAM)
    await holders.put(records, TEAM.model_copy(update={"name": "ads", "models": ("c",)}))
    text, key = make(team="search")
    await stored_keys.put(records, "keys", key)
    provider = started(records)
    before = await admitted(provider, text)
    await stored_keys.put(records, "keys", replace(key, team="ads"))
    await until(provider, text, "team='ads'")
    after = await provider.verify(text)
    assert after.models == frozenset({"c"})
    # A stream that began before is settled with the team that it was counted for.
    assert [grant.holder for grant in before.grants][-1] == "team:search"
    assert [grant.holder for grant in after.grants] == [
        f"team:ads/{key.id}",
        "team:ads/ann",
        "team:ads",
    ]
    assert provider.is_valid(before)
    provider.close()


async def test_a_suspended_user_or_key_is_refused() -> None:
    records = MemoryRecords()
    text, key = make()
    await stored_keys.put(records, "keys", replace(key, suspended=NOW))
    provider = started(records)
    await until(provider, text, "suspended")
    await stored_keys.put(records, "keys", key)
    await admitted(provider, text)
    user = Holder(kind="user", name="ann", created=NOW, suspended=NOW)
    await holders.put(records, user)
    await until(provider, text, "The owner of the API key is suspended")
    provider.close()


async def test_a_record_that_is_no_team_is_skipped_and_said() -> None:
    records, said = MemoryRecords(), list[str]()
    await records.put(holders.KIND, "team/x", b"{}")
    known = Holders(records, report=said.append)
    known.start()
    await asked_until(lambda: records.version("-"), lambda _: known.ready)
    assert known.team("x") is None
    assert said == ["skipped team/x: not a record of a team or user"]
    known.close()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"requests": "many"}, "not a rate"),
        ({"requests": "0/minute"}, "more than 0"),
        ({"budgets": ["5 dollars/day"]}, "not a budget"),
        ({"budgets": ["5 USD/day", "6 USD/day"]}, "one for each"),
        ({"burst": 5}, "burst belongs to requests"),
        ({"warn_at": 0.5}, "warn_at belongs to budgets"),
        ({"budgets": ["5 USD/day"], "warn_at": 1.5}, "less than 1"),
        ({"concurrency": 0}, "greater than or equal to 1"),
        ({"request": "1/minute"}, "not permitted"),
    ],
)
def test_an_allowance_that_makes_no_sense_says_why(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Allowance.model_validate(fields)


def test_what_is_kept_of_a_team_reads_back_as_it_was() -> None:
    assert holders.parse(TEAM.dump()) == TEAM


class AwayRecords(MemoryRecords):
    """A store that does not answer."""

    async def changes(self, kind: str, since: str | None) -> Changes:
        raise StoreUnavailable("gone fishing")


async def test_while_the_store_never_answered_keys_of_a_file_work_unless_they_have_a_team(
    tmp_path: Path,
) -> None:
    file = tmp_path / "keys.yaml"
    (text, key), (of_team, other) = make(), make(team="search")
    with editing(file) as keys:
        keys.update({key.id: key, other.id: other})
    provider = ApiKeyProvider("keys", KeyFile(file), Holders(AwayRecords()))
    provider.start()
    assert provider.not_ready() is None
    assert (await provider.verify(text)).subject == "ann"
    with pytest.raises(AuthUnavailable):
        await provider.verify(of_team)
    provider.close()
