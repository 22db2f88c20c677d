"""What every store of limits does alike: in memory, in a file, in a real Redis."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.limiting.advances import Advances
from gateway.limiting.demand import Demand, Kind
from gateway.limiting.store import Store
from gateway.stores.memory.limits import MemoryLimits
from gateway.stores.redis.limits import RedisLimits
from gateway.stores.sqlite.limits import SqliteLimits
from tests.support.figures import Report
from tests.support.redis import StartRedis

WORKER = """
import asyncio, sys
from pathlib import Path
from gateway.limiting.demand import Demand, Kind
from gateway.stores.redis.limits import RedisLimits
from gateway.stores.sqlite.limits import SqliteLimits

async def main() -> None:
    url = sys.argv[1]
    if url.startswith("redis"):
        store = RedisLimits(url, timeout_s=20.0)
    else:
        store = SqliteLimits(Path(url), timeout_s=20.0)
    demand = Demand(Kind.TAKE, "shared", 1.0, 100.0, 100 / 86400)
    said = await asyncio.gather(*(store.decide([demand]) for _ in range(1000)))
    print(sum(verdict.admitted for verdict in said))
    await store.close()

asyncio.run(main())
"""


@pytest.fixture(params=["memory", "sqlite", "advances", "redis"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, start_redis: StartRedis
) -> AsyncIterator[Store]:
    made: Store
    if request.param == "memory":
        made = MemoryLimits()
    elif request.param == "sqlite":
        made = SqliteLimits(tmp_path / "store.db", timeout_s=20.0)
    elif request.param == "advances":
        made = Advances(SqliteLimits(tmp_path / "store.db", timeout_s=20.0))
    else:
        made = RedisLimits((await start_redis()).url, timeout_s=20.0)
    yield made
    await made.close()


def take(key: str, amount: float = 1.0, size: float = 5.0, per_s: float = 0.001) -> Demand:
    return Demand(Kind.TAKE, key, amount, size, per_s)


def lease(key: str, holder: str, size: float = 2.0, ttl_s: float = 60.0) -> Demand:
    return Demand(Kind.LEASE, key, 1.0, size, ttl_s=ttl_s, holder=holder)


def spend(key: str, amount: float, size: float = 100.0) -> Demand:
    return Demand(Kind.SPEND, key, amount, size, ttl_s=1000.0)


async def posted(store: Store, *demands: Demand) -> None:
    """Post, and wait until a decision behind it has been made."""
    store.post(demands)
    await store.decide([take("behind", 0.001, 1e9, 1e9)])


async def test_a_decision_at_once_counts_with_the_awaited_ones(store: Store) -> None:
    if isinstance(store, RedisLimits):
        assert store.decide_now([take("k")]) is None  # type: ignore[func-returns-value]
        assert (await store.decide([take("k")])).levels[0].remaining == 4
        return
    for remaining in (4, 2, 0):
        verdict = store.decide_now([take("k")])
        assert verdict is not None
        assert verdict.levels[0].remaining == remaining
        await store.decide([take("k")])


async def test_a_decision_at_once_comes_after_what_was_posted(store: Store) -> None:
    await store.decide([lease("c", "first", size=1.0)])
    store.post([Demand(Kind.RELEASE, "c", holder="first")])
    verdict = store.decide_now([lease("c", "second", size=1.0)])
    assert verdict is None if isinstance(store, RedisLimits) else verdict and verdict.admitted


async def test_sqlite_decides_nothing_at_once_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteLimits(path, timeout_s=20.0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store.decide_now([take("k")]) is None
    waiting = asyncio.ensure_future(store.decide([take("k")]))
    await asyncio.sleep(0)
    other.execute("COMMIT")
    assert (await waiting).levels[0].remaining == 4
    verdict = store.decide_now([take("k")])
    assert verdict is not None
    assert verdict.levels[0].remaining == 3
    other.close()
    await store.close()


async def test_a_bucket_admits_its_burst_and_says_what_is_left(store: Store) -> None:
    said = [await store.decide([take("k")]) for _ in range(6)]
    assert [verdict.admitted for verdict in said] == [True] * 5 + [False]
    assert [verdict.levels[0].remaining for verdict in said] == [4, 3, 2, 1, 0, 0]
    assert said[5].levels[0].wait_s == pytest.approx(1000, abs=2)


async def test_a_bucket_refills(store: Store) -> None:
    fast = take("k", size=1.0, per_s=50.0)
    await store.decide([take("first")])  # connects
    assert (await store.decide([fast])).admitted
    refused = await store.decide([fast])
    assert not refused.admitted
    await asyncio.sleep(refused.levels[0].wait_s + 0.001)
    assert (await store.decide([fast])).admitted


async def test_all_demands_are_met_or_none(store: Store) -> None:
    await store.decide([take("small", size=1.0)])
    for _ in range(3):
        verdict = await store.decide([take("large"), take("small", size=1.0), spend("b", 1)])
        assert verdict.refused == 1
    assert (await store.decide([take("large")])).levels[0].remaining == 4
    assert (await store.decide([spend("b", 1)])).levels[0].remaining == 99


async def test_looking_says_what_is_left_and_takes_nothing(store: Store) -> None:
    await store.decide([take("t", 2.0), lease("l", "a"), spend("s", 30.0)])
    looks = [replace(one, amount=0.0) for one in (take("t"), lease("l", ""), spend("s", 0))]
    for _ in range(3):
        levels = (await store.decide(looks)).levels
        assert [level.remaining for level in levels] == [3, 1, 70]
    # Where nothing is left it says so, one at a time and together.
    await store.decide([take("t", 3.0), lease("l", "b"), spend("s", 70.0)])
    assert [level.remaining for level in (await store.decide(looks)).levels] == [0, 0, 0]


async def test_of_several_refusals_the_longest_wait_is_told(store: Store) -> None:
    for key, per_s in (("soon", 1.0), ("late", 0.001)):
        await store.decide([take(key, size=1.0, per_s=per_s)])
    verdict = await store.decide([take("soon", size=1.0, per_s=1.0), take("late", size=1.0)])
    assert verdict.refused == 1


async def test_a_correction_gives_back_or_takes_more(store: Store) -> None:
    await store.decide([take("k", 4.0)])
    await posted(store, Demand(Kind.ADJUST, "k", -3.0, 5.0, 0.001))
    assert (await store.decide([take("k")])).levels[0].remaining == 3
    await posted(store, Demand(Kind.ADJUST, "k", 10.0, 5.0, 0.001))
    refused = await store.decide([take("k")])
    assert not refused.admitted
    assert refused.levels[0].wait_s == pytest.approx(8000, abs=2)


async def test_giving_back_more_than_was_taken_fills_a_bucket_and_no_more(store: Store) -> None:
    await store.decide([take("k")])
    await posted(store, Demand(Kind.ADJUST, "k", -50.0, 5.0, 0.001))
    assert (await store.decide([take("k")])).levels[0].remaining == 4


async def test_slots_are_held_until_they_are_given_back(store: Store) -> None:
    assert (await store.decide([lease("c", "one")])).levels[0].remaining == 1
    assert (await store.decide([lease("c", "two")])).levels[0].remaining == 0
    assert not (await store.decide([lease("c", "three")])).admitted
    await posted(store, Demand(Kind.RELEASE, "c", holder="one"))
    assert (await store.decide([lease("c", "three")])).admitted


async def test_giving_a_slot_back_twice_frees_one(store: Store) -> None:
    await store.decide([lease("c", "one")])
    await store.decide([lease("c", "two")])
    release = Demand(Kind.RELEASE, "c", holder="one")
    await posted(store, release, release, Demand(Kind.RELEASE, "c", holder="nobody"))
    assert (await store.decide([lease("c", "three")])).admitted
    assert not (await store.decide([lease("c", "four")])).admitted


async def test_a_slot_that_is_not_renewed_expires_and_a_renewed_one_does_not(
    store: Store,
) -> None:
    await store.decide([lease("c", "killed", size=2.0, ttl_s=0.1)])
    await store.decide([lease("c", "alive", size=2.0, ttl_s=0.1)])
    await posted(store, Demand(Kind.RENEW, "c", size=2.0, ttl_s=60.0, holder="alive"))
    await posted(store, Demand(Kind.RENEW, "c", size=2.0, ttl_s=60.0, holder="never-held"))
    await asyncio.sleep(0.12)
    assert (await store.decide([lease("c", "next", size=2.0)])).admitted
    assert not (await store.decide([lease("c", "over", size=2.0)])).admitted


async def test_a_budget_is_spent_and_corrected(store: Store) -> None:
    assert (await store.decide([spend("b", 60)])).levels[0].remaining == 40
    assert not (await store.decide([spend("b", 50)])).admitted
    await posted(store, Demand(Kind.CORRECT, "b", -30.0, 100.0, ttl_s=1000.0))
    assert (await store.decide([spend("b", 50)])).levels[0].remaining == 20
    await posted(store, Demand(Kind.CORRECT, "b", 30.0, 100.0, ttl_s=1000.0))
    refused = await store.decide([spend("b", 0)])
    assert not refused.admitted
    assert refused.levels[0].remaining == 0


async def test_giving_back_more_than_was_spent_gives_no_credit(store: Store) -> None:
    assert (await store.decide([spend("b", 60)])).admitted
    await posted(store, Demand(Kind.CORRECT, "b", -70.0, 100.0, ttl_s=1000.0))
    assert (await store.decide([spend("b", 0)])).levels[0].remaining == 100


@pytest.mark.parametrize("amount", [1e9, 1e15, 1e20, 1e25])
async def test_r8_no_amount_is_too_much(store: Store, amount: float) -> None:
    # Callers say how many tokens they want; a full bucket lets them go into debt.
    assert (await store.decide([take("k", amount)])).admitted
    refused = await store.decide([take("k")])
    assert not refused.admitted
    assert refused.levels[0].wait_s > 1e9
    assert (await store.decide([take("another")])).admitted


@pytest.mark.parametrize(
    "key", ["a b", "*", "{x}{y}", "é\u2028", "k" * 500, "'; DROP TABLE buckets"]
)
async def test_r8_any_text_is_a_key_of_its_own(store: Store, key: str) -> None:
    assert (await store.decide([take(key, size=1.0)])).admitted
    assert not (await store.decide([take(key, size=1.0)])).admitted
    assert (await store.decide([take(key + "x", size=1.0)])).admitted


async def test_the_stores_agree_with_each_other(tmp_path: Path, start_redis: StartRedis) -> None:
    stores: list[Store] = [
        MemoryLimits(),
        SqliteLimits(tmp_path / "store.db", timeout_s=20.0),
        RedisLimits((await start_redis()).url, timeout_s=20.0),
    ]
    dice = random.Random(7)
    for _ in range(150):
        demands = [
            dice.choice(
                [
                    take(f"t{dice.randrange(3)}", dice.randrange(1, 8), 6.0, 0.0001),
                    lease(f"c{dice.randrange(2)}", f"h{dice.randrange(4)}", 2.0),
                    spend(f"b{dice.randrange(2)}", dice.randrange(30)),
                    Demand(Kind.ADJUST, f"t{dice.randrange(3)}", dice.uniform(-4, 4), 6.0, 0.0001),
                    Demand(Kind.RELEASE, f"c{dice.randrange(2)}", holder=f"h{dice.randrange(4)}"),
                ]
            )
            for _ in range(dice.randrange(1, 4))
        ]
        said = [await store.decide(demands) for store in stores]
        assert len({(verdict.refused is None) for verdict in said}) == 1, (demands, said)
        assert len({tuple(level.remaining for level in v.levels) for v in said}) == 1, (
            demands,
            said,
        )
    for store in stores:
        await store.close()


# -- shared by processes -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_r1_four_workers_share_a_limit_exactly(
    kind: str, tmp_path: Path, start_redis: StartRedis, report: Report
) -> None:
    where = (await start_redis()).url if kind == "redis" else str(tmp_path / "store.db")
    workers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WORKER, where),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for _ in range(4)
    ]
    said = [int((await worker.communicate())[0]) for worker in workers]
    report("R1", f"admitted of 4 x 1000 at limit 100, {kind}", sum(said))
    assert sum(said) == 100
