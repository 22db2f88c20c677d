"""Requests that others with the same key wait for, in Redis: one lease for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.response_cache.store import LeadState
from gateway.stores.redis.client import PREFIX, answering_within

_LEASE_S = 6.0
"""Time after which the lead of a process that died is free."""
_FAILED_S = 1.0
"""Time for which waiting requests see that there is no answer to share."""
_LEADS = f"{PREFIX}answer-lead:"
_FAILED = "failed"
_TAKE = """
local held = redis.call('GET', KEYS[1])
if not held then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return ARGV[1]
end
return held
"""
_RENEW = """
for place, key in ipairs(KEYS) do
    if redis.call('GET', key) == ARGV[place] then
        redis.call('PEXPIRE', key, ARGV[#ARGV])
    end
end
"""
_GIVE_UP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    if ARGV[2] == '' then
        redis.call('DEL', KEYS[1])
    else
        redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    end
end
"""


class RedisAnswerLeads:
    """Leads among all gateways that use a Redis."""

    def __init__(self, client: Any, timeout_s: float, lease_s: float = _LEASE_S) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._lease_s = lease_s
        self.renewal_s = lease_s / 3

    async def take(self, key: str, owner: str) -> LeadState:
        async with answering_within(self._timeout_s):
            held = await self._client.eval(_TAKE, 1, _LEADS + key, owner, _ms(self._lease_s))
        if held == owner.encode():
            return LeadState.LEADS
        return LeadState.FAILED if held == _FAILED.encode() else LeadState.FOLLOWS

    async def renew(self, owners: Mapping[str, str]) -> None:
        keys = [_LEADS + key for key in owners]
        async with answering_within(self._timeout_s):
            await self._client.eval(_RENEW, len(keys), *keys, *owners.values(), _ms(self._lease_s))

    async def give_up(self, key: str, owner: str, *, failed: bool) -> None:
        word = _FAILED if failed else ""
        async with answering_within(self._timeout_s):
            await self._client.eval(_GIVE_UP, 1, _LEADS + key, owner, word, _ms(_FAILED_S))


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
