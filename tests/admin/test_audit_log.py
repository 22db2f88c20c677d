"""The audit log: its order, its bounds, and what happens while the store does not answer."""

from __future__ import annotations

from typing import Any

from structlog.testing import CapturingLogger

from gateway.admin.audit import AuditEntry, entry, parse, place, shell_entry
from gateway.admin.audit_log import AuditFilter, AuditLog
from gateway.admin.operator import Operator
from gateway.admin.roles import OperatorRole
from tests.support.operators import Clock, FailingStore

ANN = Operator("ann@example.com", "session", OperatorRole.ADMIN, "192.0.2.1", "sub-1")
EVERYTHING = AuditFilter()


class Kept:
    """Audit log with its clock, its store and its log lines."""

    def __init__(self, *, most: int = 1000, retention_s: float = 3600.0) -> None:
        self.clock = Clock()
        self.store = FailingStore(self.clock)
        self.lines = CapturingLogger()
        logger: Any = self.lines
        self.log = AuditLog(
            logger, self.store.records, retention_s=retention_s, most=most, now=self.clock
        )

    async def write(self, action: str, *, who: Operator = ANN, **what: Any) -> None:
        """Write an entry, one second after the one before."""
        self.clock.now += 1.0
        one = entry(who, action, **what)
        await self.log.write([AuditEntry(**{**one.document, "at": self.clock.now})])

    async def actions(self, wanted: AuditFilter = EVERYTHING) -> list[str]:
        """Return the actions that are kept, the newest first."""
        found, more = await self.log.find(wanted, "", 1000)
        assert more is None
        return [one.action for one in found]


async def test_the_newest_entry_is_the_first_and_pages_follow_one_another() -> None:
    kept = Kept()
    for number in range(5):
        await kept.write(f"key_{number}")
    first, more = await kept.log.find(EVERYTHING, "", 2)
    assert more is not None
    second, more = await kept.log.find(EVERYTHING, more, 2)
    assert more is not None
    third, more = await kept.log.find(EVERYTHING, more, 2)
    assert more is None
    found = [one.action for one in (*first, *second, *third)]
    assert found == ["key_4", "key_3", "key_2", "key_1", "key_0"]


async def test_entries_are_found_by_each_of_their_fields() -> None:
    kept = Kept()
    await kept.write("key_created", id="k7", before={"a": 1})
    await kept.write("team_changed", name="search", who=Operator("ci", "token", None, "::1"))
    await kept.write("key_revoked", id="k8", result="failed")
    assert await kept.actions(AuditFilter(who="ANN")) == ["key_revoked", "key_created"]
    assert await kept.actions(AuditFilter(who="sub-1")) == ["key_revoked", "key_created"]
    assert await kept.actions(AuditFilter(who="::1")) == ["team_changed"]
    assert await kept.actions(AuditFilter(action="key")) == ["key_revoked", "key_created"]
    assert await kept.actions(AuditFilter(object="key k7")) == ["key_created"]
    assert await kept.actions(AuditFilter(result="failed")) == ["key_revoked"]
    assert await kept.actions(AuditFilter(since=102.0, until=102.0)) == ["team_changed"]
    assert await kept.actions(AuditFilter(until=101.5)) == ["key_created"]


async def test_each_entry_is_a_log_line_with_who_what_and_the_difference() -> None:
    kept = Kept()
    before, after = {"expires": None}, {"expires": "2027-01-01"}
    await kept.write("key_changed", id="k7", before=before, after=after)
    [line] = kept.lines.calls
    assert (line.method_name, line.args) == ("warning", ("key_changed",))
    assert line.kwargs["by"] == "session ann@example.com from 192.0.2.1"
    assert line.kwargs["role"] == "admin"
    assert (line.kwargs["id"], line.kwargs["before"], line.kwargs["after"]) == ("k7", before, after)


async def test_an_operator_of_this_machine_is_named_once_in_the_log() -> None:
    kept = Kept()
    local = Operator("local", "local", OperatorRole.ADMIN, "127.0.0.1")
    await kept.write("key_created", id="k7", who=local)
    [line] = kept.lines.calls
    assert line.kwargs["by"] == "local from 127.0.0.1"


def test_secrets_and_long_values_are_left_out() -> None:
    one = entry(ANN, "key_changed", {"token": "canary7f3a"}, {"note": "Bearer canary7f3a"}, id="k")
    assert "canary7f3a" not in repr(one)
    big = entry(ANN, "config_reloaded", {"a": "x" * 20_000}, None, name="f")
    assert big.before is None
    assert "too large" in big.details["left_out"]


async def test_nothing_is_lost_while_the_store_is_away() -> None:
    kept = Kept()
    kept.store.away = True
    await kept.write("key_created", id="k7")
    await kept.write("key_revoked", id="k7")
    methods = [(line.method_name, line.args[0]) for line in kept.lines.calls]
    assert methods.count(("error", "audit_not_stored")) == 1
    kept.store.away = False
    assert await kept.actions() == ["key_revoked", "key_created"]


async def test_old_entries_are_dropped_by_age_and_by_number() -> None:
    kept = Kept(most=3, retention_s=10.0)
    for number in range(5):
        await kept.write(f"key_{number}")
    await kept.log.trim()
    assert await kept.actions() == ["key_4", "key_3", "key_2"]
    kept.clock.now += 8.5
    await kept.log.trim()
    assert await kept.actions() == ["key_4", "key_3"]
    kept.log.change(1.0, 1000)
    await kept.log.trim()
    assert await kept.actions() == []


async def test_refusals_cannot_push_other_entries_out() -> None:
    kept = Kept()
    for _ in range(100):
        kept.log.add(entry(ANN, "request_refused", result="refused", name="POST /api/reload"))
    await kept.log.flush()
    assert await kept.actions() == ["request_refused"]
    assert len(kept.lines.calls) == 1
    kept.clock.now += 61
    kept.log.add(entry(ANN, "request_refused", result="refused", name="POST /api/reload"))
    await kept.log.flush()
    assert len(await kept.actions()) == 2


async def test_strangers_cannot_push_other_entries_out_from_many_addresses() -> None:
    kept = Kept()
    for number in range(500):
        stranger = Operator("", "none", None, f"2001:db8::{number:x}")
        kept.log.add(entry(stranger, "sign_in_refused", result="refused", object="session"))
    await kept.log.flush()
    assert len(await kept.actions()) == 30
    await kept.write("key_created", id="k7")
    assert "key_created" in await kept.actions()


def test_a_command_is_done_by_the_user_of_the_machine() -> None:
    one = shell_entry("key_created", None, {"owner": "ann"}, id="k7")
    assert one.how == "shell"
    assert "@" in one.who
    assert (one.object, one.result) == ("key k7", "done")


def test_entries_of_another_version_are_passed_over() -> None:
    key, value = entry(ANN, "key_created", id="k7").record()
    assert parse(key, value) is not None
    assert parse(key, b"{}") is None
    assert parse(key, b"\xff") is None
    assert place(2.0) < place(1.0) < f"{place(1.0)}-aa"
