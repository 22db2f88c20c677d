"""Stores that wait for their Redis or SQLite file as long as a busy machine may take.

In production, a decision on limits waits 40 ms for Redis and 1 s for a file, and a look for a
stored answer 0.5 s; then the gateway goes on without the store. A test in which the store is to
answer uses the fixture `patient_stores`, or runs `stores_wait` in a process first.
"""

from __future__ import annotations

import pytest

from gateway.stores.redis.answers import RedisAnswers
from gateway.stores.redis.limits import RedisLimits
from gateway.stores.sqlite.limits import SqliteLimits
from tests.support.waiting import PATIENCE_S


def stores_wait(seconds: float = PATIENCE_S) -> str:
    """Return code that runs first in a gateway process: its stores wait for so long."""
    return f"""
from gateway.stores.redis.answers import RedisAnswers
from gateway.stores.redis.limits import RedisLimits
from gateway.stores.sqlite.limits import SqliteLimits
for store in (RedisAnswers, RedisLimits, SqliteLimits):
    store.__init__.__kwdefaults__["timeout_s"] = {seconds}
"""


def make_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stores of this process wait."""
    for store in (RedisAnswers, RedisLimits, SqliteLimits):
        monkeypatch.setitem(store.__init__.__kwdefaults__ or {}, "timeout_s", PATIENCE_S)
