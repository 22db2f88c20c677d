"""Limits in a SQLite file: kept over a restart, and locked by another process."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.limiting.demand import Demand, Kind
from gateway.store.records import StoreUnavailable
from gateway.stores.sqlite import limits
from gateway.stores.sqlite.limits import SqliteLimits
from tests.support.waiting import SLACK_S


def take(key: str) -> Demand:
    return Demand(Kind.TAKE, key, 1.0, 5.0, 0.001)


def spend(key: str, amount: float) -> Demand:
    return Demand(Kind.SPEND, key, amount, 100.0, ttl_s=1000.0)


async def test_a_budget_outlives_the_process(tmp_path: Path) -> None:
    first = SqliteLimits(tmp_path / "store.db")
    await first.decide([spend("b", 60)])
    await first.close()
    second = SqliteLimits(tmp_path / "store.db")
    assert (await second.decide([spend("b", 10)])).levels[0].remaining == 30
    await second.close()


async def test_a_process_that_pauses_with_the_lock_leaves_limits_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited_s = 0.0
    clock = SimpleNamespace(time=time.time, monotonic=lambda: waited_s)
    monkeypatch.setattr(limits, "time", clock)
    one = SqliteLimits(tmp_path / "store.db")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    calls = []
    for _ in range(8):  # one call for each turn of the loop
        calls.append(asyncio.ensure_future(one.decide([take("k")])))
        await asyncio.sleep(0)
    waited_s = 0.9
    await asyncio.sleep(0.01)  # several tries
    other.execute("ROLLBACK")
    verdicts = await asyncio.gather(*calls)
    assert [verdict.admitted for verdict in verdicts] == [True] * 5 + [False] * 3
    await one.close()
    other.close()


async def test_a_locked_file_is_waited_for_and_not_for_ever(tmp_path: Path) -> None:
    one = SqliteLimits(tmp_path / "store.db", timeout_s=0.04)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.perf_counter()
    with pytest.raises(StoreUnavailable, match="locked"):
        await one.decide([take("k")])
    assert time.perf_counter() - started < SLACK_S
    other.execute("ROLLBACK")
    assert (await one.decide([take("k")])).admitted
    await one.close()
    other.close()


async def test_a_correction_that_finds_the_file_locked_is_made_later(tmp_path: Path) -> None:
    one = SqliteLimits(tmp_path / "store.db", timeout_s=0.04)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    await one.decide([spend("b", 60)])
    other.execute("BEGIN IMMEDIATE")
    one.post([spend("b", 60).again(Kind.CORRECT, -50.0)])
    with pytest.raises(StoreUnavailable, match="locked"):
        await one.decide([take("k")])
    other.execute("ROLLBACK")
    await one.decide([take("k")])
    assert (await one.decide([spend("b", 0)])).levels[0].remaining == 90
    await one.close()
    other.close()
