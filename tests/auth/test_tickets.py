"""Tickets: what one carries, and when it is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected
from gateway.auth.tickets import TicketProvider
from gateway.errors import AuthUnavailable
from gateway.model_names import allowed_models
from gateway.store.records import StoreUnavailable
from gateway.stores.memory.records import MemoryRecords

ANN = Principal(
    "ann",
    "corp",
    "acme",
    "gold",
    ("staff",),
    frozenset({"llm.use", "llm.big"}),
    frozenset({"llama-3"}),
    ("own",),
    "k1",
    "jti-1",
    4e9,
    {"sub": "ann", "n": 2**80, "nested": {"a": [1, None]}},
    "X-User: ann é\r\n".encode("latin-1"),
)


WITH_PATTERNS = replace(ANN, models=allowed_models([["llama-*"], ["*-3", "x"]]))


class OwnerProvider:
    """A provider that is_valid_now for everybody, while it does."""

    name = "corp"
    header: str | None = None
    sent_headers: frozenset[bytes] = frozenset()

    def __init__(self) -> None:
        self.is_valid_now = True

    def verify_now(self, credential: str) -> Principal | None:
        raise Rejected("never asked")

    async def verify(self, credential: str) -> Principal:
        raise Rejected("never asked")

    def is_valid(self, principal: Principal) -> bool:
        return self.is_valid_now

    def not_ready(self) -> str | None:
        return None

    def start(self) -> None: ...

    def close(self) -> None: ...


def provider(
    owner_provider: OwnerProvider | None = None, records: MemoryRecords | None = None
) -> TicketProvider:
    return TicketProvider(
        "tickets",
        MemoryRecords() if records is None else records,
        {"corp": owner_provider or OwnerProvider()},
        ttl_s=30.0,
    )


@pytest.mark.parametrize("principal", [ANN, WITH_PATTERNS], ids=["names", "patterns"])
async def test_a_ticket_speaks_for_whoever_got_it_with_all_that_is_known_of_them(
    principal: Principal,
) -> None:
    tickets = provider()
    found = await tickets.verify(await tickets.issue(principal))
    assert found == principal
    assert (found.claims, found.headers) == (ANN.claims, ANN.headers)


async def test_a_ticket_is_not_verified_at_once_and_so_not_used() -> None:
    tickets = provider()
    ticket = await tickets.issue(ANN)
    assert tickets.verify_now(ticket) is None  # type: ignore[func-returns-value]
    assert await tickets.verify(ticket) == ANN


async def test_a_principal_with_nothing_but_a_name_is_carried_too() -> None:
    tickets = provider()
    bare = Principal("bob", "corp")
    assert await tickets.verify(await tickets.issue(bare)) == bare


async def test_a_ticket_is_accepted_once() -> None:
    tickets = provider()
    ticket = await tickets.issue(ANN)
    await tickets.verify(ticket)
    with pytest.raises(Rejected, match="unknown, expired or used"):
        await tickets.verify(ticket)


async def test_a_ticket_expires() -> None:
    now = 0.0
    tickets = provider(records=MemoryRecords(lambda: now))
    early, late = await tickets.issue(ANN), await tickets.issue(ANN)
    now = 29.9
    await tickets.verify(early)
    now = 30.0
    with pytest.raises(Rejected, match="expired"):
        await tickets.verify(late)


async def test_a_ticket_is_worth_no_more_than_what_it_was_given_for() -> None:
    owner_provider = OwnerProvider()
    tickets = provider(owner_provider)
    ticket = await tickets.issue(ANN)
    owner_provider.is_valid_now = False
    with pytest.raises(Rejected, match="not accepted any more"):
        await tickets.verify(ticket)


async def test_a_ticket_is_random_and_the_store_does_not_hold_it() -> None:
    records = MemoryRecords()
    tickets = provider(records=records)
    made = {await tickets.issue(ANN) for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"tk-[A-Za-z0-9_-]{43}", ticket) for ticket in made)
    held = repr(await records.all("ticket"))
    assert not any(ticket in held or ticket[3:] in held for ticket in made)


@pytest.mark.parametrize(
    "credential", ["", "tk-", "tk-" + "a" * 43, "tk-" + "ä" * 43, "x" * 100_000]
)
async def test_what_is_no_ticket_is_refused(credential: str) -> None:
    with pytest.raises(Rejected):
        await provider().verify(credential)


async def test_without_the_store_nobody_can_tell() -> None:
    class Away(MemoryRecords):
        async def put(self, *_: object, **__: object) -> None:
            raise StoreUnavailable("away")

        async def take(self, *_: object) -> None:
            raise StoreUnavailable("away")

    tickets = provider(records=Away())
    with pytest.raises(AuthUnavailable):
        await tickets.issue(ANN)
    with pytest.raises(AuthUnavailable):
        await tickets.verify("tk-" + "a" * 43)
