"""Sections `cache` and `mirror`: answers that are used again, and requests that are copied."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.config.models.section import Section
from gateway.config.types import HeaderName, Name
from gateway.config.units import Duration, Share, Size


class CacheSettings(Section):
    """Response cache of a route: a request with the same content as an earlier one gets the stored
    answer. `cache: {}` uses all the defaults.
    """

    ttl: Duration = Field(
        3600.0,
        gt=0,
        le=30 * 86400.0,
        description="Longest time that an answer is used. A backend's `max-age` may shorten it.",
    )
    scope: Literal["tenant", "subject", "route"] = Field(
        "tenant",
        description="Callers who share answers: those of one tenant, each subject alone, or all "
        "callers of the route. A caller without a tenant shares with nobody; on an anonymous "
        "route each address is a caller.",
    )
    max_answer: Size = Field(
        1024**2,
        ge=1024,
        le=16 * 1024**2,
        description="Largest answer that is stored.",
    )
    max_request: Size = Field(
        256 * 1024,
        ge=1024,
        le=4 * 1024**2,
        description="Largest request body that is looked up; larger ones pass by the cache.",
    )
    only_deterministic: bool = Field(
        False,
        description="Use the cache for embeddings, and for requests with `temperature: 0`; others "
        "pass by it.",
    )
    tools: bool = Field(
        False, description="Also use the cache for requests that offer tools to the model."
    )
    vary: tuple[HeaderName, ...] = Field(
        (
            *("Accept", "OpenAI-Beta", "OpenAI-Organization", "OpenAI-Project"),
            *("Anthropic-Version", "Anthropic-Beta"),
        ),
        description="Request headers that are part of the cache key: requests that differ in "
        "them share no answer.",
    )
    backend_cache_control: Literal["obey", "ignore"] = Field(
        "obey",
        description="`obey`: a backend's Cache-Control may forbid or shorten storing. `ignore`: "
        "for backends that send `no-cache` with every answer.",
    )
    count_hits: bool = Field(
        True,
        description="Count hits as requests, in limits on requests. false: a hit gives back all "
        "that it has taken of limits. Tokens and money are given back in any case.",
    )
    single_flight: Literal["whole", "all", "off"] = Field(
        "whole",
        description="Requests that wait for the answer of an equal request in progress. "
        "`whole`: those whose answer is no stream. `all`: streams, too, which then begin when "
        "the other has ended. `off`: none. With a Redis store, requests of all workers and "
        "replicas wait for one another; otherwise those of one worker.",
    )
    max_wait: Duration = Field(
        60.0, gt=0, le=3600.0, description="Longest time that a request waits for an equal one."
    )


class MirrorSettings(Section):
    """Shadow traffic: a share of requests is copied to another model. Its answers are counted, and
    dropped.
    """

    to: Name = Field(description="Model that receives the copies.")
    share: Share = Field(
        0.05, gt=0, le=1, description="Share of the requests with status 200, such as 5%."
    )
    concurrency: int = Field(
        16, ge=1, le=10_000, description="Copies in progress in each worker; others are dropped."
    )
    timeout: Duration = Field(
        120.0, gt=0, le=3600.0, description="Longest duration of a copy, which is then cancelled."
    )
    max_request: Size = Field(
        256 * 1024, ge=1024, le=4 * 1024**2, description="Largest request body that is copied."
    )
