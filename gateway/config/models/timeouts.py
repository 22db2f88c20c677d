"""Timeouts of upstream exchanges: of an upstream, and those that a route sets in their place.

`Timeouts` in `gateway/upstream/options.py` has the same fields, with the unit in their names.
"""

from __future__ import annotations

from pydantic import Field

from gateway.config.models.section import Section
from gateway.config.units import Duration


class UpstreamTimeouts(Section):
    """Timeouts for the phases of an upstream exchange."""

    connect: Duration = Field(
        5.0, gt=0, description="Longest time for TCP and TLS; then 504 upstream_connect_timeout."
    )
    first_byte: Duration = Field(
        60.0,
        gt=0,
        description="Longest time from the request sent to the response's first byte; then 504 "
        "upstream_first_byte_timeout.",
    )
    idle: Duration = Field(300.0, gt=0, description="Longest silence inside a response body.")
    total: Duration | None = Field(
        None,
        gt=0,
        description="Longest time from the request's arrival to the response's last byte; then "
        "504 upstream_total_timeout. A client may ask for less with `x-request-timeout: 30s`.",
    )


class RouteTimeouts(Section):
    """Timeouts of this route that differ from those of its upstreams."""

    connect: Duration | None = Field(None, gt=0, description="Longest time for TCP and TLS.")
    first_byte: Duration | None = Field(
        None, gt=0, description="Longest time from the request sent to the response's first byte."
    )
    idle: Duration | None = Field(
        None, gt=0, description="Longest silence inside the response body."
    )
    total: Duration | None = Field(
        None,
        gt=0,
        description="Longest time from the request's arrival to the response's last byte.",
    )
