"""Makers of the Redis store; see `gateway.stores.makers`."""

from __future__ import annotations

from collections.abc import Callable

from gateway.store.location import Location
from gateway.stores.redis.answers import RedisAnswers
from gateway.stores.redis.channels import RedisChannels
from gateway.stores.redis.limits import RedisLimits
from gateway.stores.redis.records import RedisRecords
from gateway.stores.redis.streams.sharing import RedisSharing


def open_limits(location: Location) -> RedisLimits:
    return RedisLimits(location.url)


def open_records(location: Location) -> RedisRecords:
    return RedisRecords(location.url)


def open_channels(location: Location, report: Callable[[str, str], None]) -> RedisChannels:
    return RedisChannels(location.url, report=report)


def open_sharing(location: Location, report: Callable[[str, str], None]) -> RedisSharing:
    return RedisSharing(location.url, report=report)


def open_answers(location: Location, cap_bytes: int) -> RedisAnswers:
    return RedisAnswers(location.url, cap_bytes)
