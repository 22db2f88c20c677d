"""Timeouts of an upstream exchange, built from the configuration."""

from __future__ import annotations

from gateway.config import models
from gateway.upstream.options import Timeouts


def timeouts_of(
    general: models.UpstreamTimeouts, own: models.RouteTimeouts | None = None
) -> Timeouts:
    """Return the timeouts of the upstream, with those of the route in their place where it sets
    them.
    """
    chosen = general.model_dump()
    if own is not None:
        chosen |= own.model_dump(exclude_none=True)
    return Timeouts(**{f"{name}_s": seconds for name, seconds in chosen.items()})
