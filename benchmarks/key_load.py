"""Many keys and teams in a Redis, and load on gateways that share it, counted to the unit.

Each request names the number of tokens that its answer uses. What was answered is summed here, and
compared with what the gateways have counted for the teams.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import web
from redis.asyncio import Redis

from gateway.auth import holders, stored_keys
from gateway.auth.allowance import Allowance
from gateway.auth.api_key import ApiKey, generate
from gateway.auth.holders import Holder
from gateway.stores.redis.client import PREFIX
from gateway.stores.redis.records import RedisRecords

PROVIDER = "keys"
_BATCH = 1000
_PROMPT = 3
_MOST_TOKENS = 40
_TIGHT_EVERY = 10
"""Every tenth team has a budget that the load uses up."""
_TIGHT = 500
_WIDE = 10**11
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """Addresses of a running gateway."""

    public: str
    admin: str


@dataclass(slots=True)
class Counts:
    """What became of the requests, and of the changes meanwhile."""

    statuses: Counter[int] = field(default_factory=Counter)
    tokens: int = 0
    """Tokens of all answers."""
    counted: int = 0
    """Tokens that the gateways have counted for the teams."""
    over: int = 0
    """Teams with more tokens counted than their budget has."""
    changes: int = 0


def config(redis_url: str, backend_port: int) -> dict[str, Any]:
    """Return the configuration of the gateways."""
    return {
        "admin": {"listen": "127.0.0.1:0"},
        "store": {"url": redis_url},
        "auth": {PROVIDER: {"type": "api_key"}},
        "telemetry": {"traces": None, "log": {"format": "json", "access": False}},
        "upstreams": {"main": {"endpoints": [{"url": f"http://127.0.0.1:{backend_port}"}]}},
        "models": {"m": {"upstream": "main", "price": {"input": 1, "output": 1}}},
        "routes": [{"name": "main", "path": "/v1/", "auth": [PROVIDER], "models": ["m"]}],
    }


async def fill(redis_url: str, keys: int, teams: int) -> list[str]:
    """Store so many teams and keys, and return the keys. Each team has a budget of tokens, and
    every tenth a tight one.
    """
    now, secrets = datetime.now(UTC), list[str]()
    redis = Redis.from_url(redis_url)
    try:
        await _put_all(
            redis,
            holders.KIND,
            {one.key: one.dump() for number in range(teams) for one in [_team(number, now)]},
        )
        values: dict[str, bytes] = {}
        for number in range(keys):
            secret, key_id, salt, digest = generate()
            owner, team = f"user-{number}", _name(number % teams) if teams else None
            key = ApiKey(key_id, salt, digest, owner, now, team=team)
            values[key_id] = stored_keys.dump(key)
            secrets.append(secret)
            if len(values) == _BATCH:
                await _put_all(redis, stored_keys.kind_of(PROVIDER), values)
                values = {}
        await _put_all(redis, stored_keys.kind_of(PROVIDER), values)
    finally:
        await redis.aclose()
    # Records that are put one by one tell the gateways of a change.
    records = RedisRecords(redis_url)
    for number in range(min(teams, 1)):
        await holders.put(records, _team(number, now))
    await records.close()
    return secrets


def _name(number: int) -> str:
    return f"team-{number:06}"


def _team(number: int, now: datetime) -> Holder:
    size = _WIDE if (number + 1) % _TIGHT_EVERY else _TIGHT
    limits = Allowance(budgets=(f"{size} tokens/month", f"{_WIDE} USD/month"))
    per_user = Allowance(budgets=(f"{_WIDE} tokens/day",))
    return Holder(kind="team", name=_name(number), created=now, limits=limits, per_user=per_user)


async def _put_all(redis: Redis, kind: str, values: Mapping[str, bytes]) -> None:
    """Store records in a few commands. One by one, a million takes minutes."""
    items = list(values.items())
    for start in range(0, len(items), _BATCH):
        part = items[start : start + _BATCH]
        pipe = redis.pipeline(transaction=False)
        pipe.mset({f"{PREFIX}record:{kind}:{key}": value for key, value in part})
        pipe.zadd(f"{PREFIX}index:{kind}", {key: float("inf") for key, _ in part})
        await pipe.execute()


@asynccontextmanager
async def backend() -> AsyncIterator[int]:
    """Serve a backend whose answers use the tokens that a request names. Yield its port."""

    async def answer(request: web.Request) -> web.Response:
        tokens = json.loads(await request.read())["max_tokens"]
        usage = {"prompt_tokens": _PROMPT, "completion_tokens": tokens}
        choice = {"index": 0, "message": {"role": "assistant", "content": ""}}
        return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def ready(gateways: Sequence[Gateway], secret: str) -> None:
    """Wait until every gateway has read the keys."""
    headers = {"Authorization": f"Bearer {secret}"}
    async with asyncio.timeout(_PATIENCE_S), aiohttp.ClientSession() as session:
        for gateway in gateways:
            status = 0
            while status != 200:
                async with session.get(f"{gateway.public}/v1/models", headers=headers) as response:
                    status = response.status
                await asyncio.sleep(0.05)


async def load(
    gateways: Sequence[Gateway],
    secrets: Sequence[str],
    requests: int,
    *,
    at_once: int = 32,
    changing: bool = True,
    seed: int = 0,
) -> Counts:
    """Send requests with random keys to all gateways in turn, while keys, teams and budgets change.
    Return what was answered. `counted` and `over` are left for `settle`.
    """
    chance, counts = random.Random(seed), Counts()
    left = iter(range(requests))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def send() -> None:
            for number in left:
                gateway = gateways[number % len(gateways)]
                tokens = chance.randint(1, _MOST_TOKENS)
                body = {"model": "m", "messages": [], "max_tokens": tokens}
                headers = {"Authorization": f"Bearer {chance.choice(secrets)}"}
                url = f"{gateway.public}/v1/chat/completions"
                async with session.post(url, json=body, headers=headers) as response:
                    await response.read()
                counts.statuses[response.status] += 1
                if response.status == 200:
                    counts.tokens += _PROMPT + tokens

        changes = asyncio.create_task(_change(session, gateways, secrets, chance, counts))
        if not changing:
            changes.cancel()
        try:
            await asyncio.gather(*(send() for _ in range(at_once)))
        finally:
            changes.cancel()
            await asyncio.gather(changes, return_exceptions=True)
    return counts


async def _change(
    session: aiohttp.ClientSession,
    gateways: Sequence[Gateway],
    secrets: Sequence[str],
    chance: random.Random,
    counts: Counts,
) -> None:
    """Change keys, teams and budgets over all gateways until cancelled."""
    teams = await _teams(session, gateways[0])
    made = list[str]()
    while True:
        admin = chance.choice(gateways).admin
        key = chance.choice(secrets).split("-")[2]
        team = chance.choice(teams)
        name, settings = team["name"], {"limits": team["limits"], "per_user": team["per_user"]}
        order: Any = None
        match chance.randrange(8):
            case 0:  # another budget beside those of the team
                limits = {**team["limits"], "concurrency": chance.randint(50, 90)}
                order = ("PUT", f"/api/teams/{name}", {**settings, "limits": limits})
            case 1:
                budgets = [f"{chance.randint(10**6, 10**9)} tokens/week"]
                order = ("PATCH", f"/api/keys/{key}", {"allowance": {"budgets": budgets}})
            case 2:  # a key moves to another team
                order = ("PATCH", f"/api/keys/{key}", {"team": name})
            case 3:
                order = ("POST", f"/api/keys/{key}/rotate", {"overlap": "1h"})
            case 4:
                order = ("POST", f"/api/keys/{key}/suspend", {})
            case 5:
                order = ("POST", f"/api/keys/{key}/resume", {})
            case 6:
                order = ("POST", "/api/keys", {"owner": "new", "team": name})
            case 7:
                order = ("PUT", f"/api/users/user-{chance.randrange(50)}", settings_of_user())
        method, path, body = order
        async with session.request(method, admin + path, json=body) as response:
            document = await response.json()
        if response.status == 200:
            counts.changes += 1
            made += [document["key"]["id"]] if "secret" in document else []
        if len(made) > 20:
            async with session.delete(f"{admin}/api/keys/{made.pop(0)}"):
                counts.changes += 1


def settings_of_user() -> dict[str, Any]:
    """Return the settings of a user whose budget is never used up."""
    return {"limits": {"budgets": [f"{_WIDE} tokens/day"]}}


async def _teams(session: aiohttp.ClientSession, gateway: Gateway) -> list[dict[str, Any]]:
    """Return all teams with their budgets."""
    found, after = list[dict[str, Any]](), ""
    while True:
        url = f"{gateway.admin}/api/teams?limit=1000&after={after}"
        async with session.get(url) as response:
            document = await response.json()
        assert response.status == 200, document
        found += document["teams"]
        if document["next"] is None:
            return found
        after = document["next"]


async def settle(gateway: Gateway, counts: Counts) -> Counts:
    """Wait until the teams have what was answered, and return the counts with what they have.
    Corrections are sent after an answer. After a while, what differs stays so.
    """
    async with aiohttp.ClientSession() as session:
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            teams = await _teams(session, gateway)
            of_tokens = [
                one
                for team in teams
                for one in team["budgets"] or ()
                if one["budget"].endswith("tokens/month")
            ]
            known = all(team["budgets"] is not None for team in teams)
            counted = round(sum(one["used"] for one in of_tokens))
            if (known and counted == counts.tokens) or asyncio.get_running_loop().time() > deadline:
                over = sum(one["used"] > one["size"] for one in of_tokens)
                return replace(counts, counted=counted, over=over)
            await asyncio.sleep(0.2)
