"""Check of the store."""

from __future__ import annotations

import json

from gateway.demo import DemoBackend
from tests.support.doctor import Doctor, of, one_model
from tests.support.redis import StartRedis


async def test_a_redis_is_asked_and_its_password_is_not_shown(
    doctor: Doctor, backend: DemoBackend, start_redis: StartRedis
) -> None:
    redis = await start_redis()
    config = one_model(backend.url) | {"store": {"url": redis.url}}
    assert of(await doctor(config), "store.url")["verdict"] == "ok"
    for url in (
        "redis://user:hidden@127.0.0.1:1/0",
        "redis+sentinel://:hidden@127.0.0.1:1/main?sentinel_password=hidden%40",
        "redis+sentinel://:hidden@127.0.0.1:1?sentinel_password=hidden",
    ):
        config["store"] = {"url": url}
        found = of(await doctor(config), "store.url")
        assert found["verdict"] == "failed"
        assert "hidden" not in json.dumps(found)
