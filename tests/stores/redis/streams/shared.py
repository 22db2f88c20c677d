"""Configuration of gateways that share their streams by a Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.gateway import simple_config
from tests.support.redis import Redis
from tests.support.upstream import ScriptedUpstream


def config(upstream: ScriptedUpstream, redis: Redis, **resume: Any) -> Mapping[str, Any]:
    """Return the configuration. Keywords are the options of `resume`."""
    return {**simple_config(upstream.url, resume=resume), "store": {"url": redis.url}}
