"""Budgets are exact to the unit over two gateways and a Redis, while keys, teams and budgets
change.
"""

from __future__ import annotations

import asyncio

from benchmarks.key_load import Gateway, backend, config, fill, load, ready, settle
from tests.support.gateway import StartGatewayProcess
from tests.support.redis import StartRedis

PATIENT = """
from gateway.stores.redis.limits import RedisLimits
RedisLimits.__init__.__kwdefaults__["timeout_s"] = 5.0
"""
"""The machine may be busy: no count of a process of its own, because the store answers late."""


async def test_budgets_are_exact_over_two_gateways_while_keys_and_teams_change(
    start_gateway_process: StartGatewayProcess, start_redis: StartRedis
) -> None:
    redis = await start_redis()
    secrets = await fill(redis.url, keys=300, teams=60)
    async with backend() as port:
        running = await asyncio.gather(
            *(start_gateway_process(config(redis.url, port), first=PATIENT) for _ in range(2))
        )
        gateways = [
            Gateway(f"http://127.0.0.1:{one.port}", f"http://127.0.0.1:{one.admin_port}")
            for one in running
        ]
        await ready(gateways, secrets[0])
        counts = await load(gateways, secrets, 700)
        counts = await settle(gateways[1], counts)
    assert counts.counted == counts.tokens
    assert counts.over == 0
    assert counts.changes > 0
    assert counts.statuses[200] > 300
    assert set(counts.statuses) <= {200, 401, 429}
