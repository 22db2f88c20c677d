"""Ranking of endpoints by their state and priority: which are used first, and which only before a
request is refused. Values in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health import EndpointState

Groups = tuple[tuple[Endpoint, ...], ...]
"""Groups of equivalent endpoints, in the order in which they are used."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Endpoints of an upstream in the order in which they are used. None that is drained."""

    in_service: Groups
    last_resort: Groups
    """Endpoints that are ejected, unhealthy or half-open, used before a request is refused."""
    panicking: bool
    """True if too few endpoints are healthy, so that ejected ones are in service, too."""


def ranked(states: Mapping[Endpoint, EndpointState], panic: float) -> Ranking:
    """Rank endpoints by their states. `panic` is the share of sound endpoints below which ejected
    ones are used again.
    """
    there = [e for e, state in states.items() if state is not EndpointState.DRAINING]
    unhealthy = [e for e in there if states[e] is EndpointState.UNHEALTHY]
    failed = [e for e in there if states[e] is EndpointState.EJECTED and not e.health.slow]
    slow = [e for e in there if states[e] is EndpointState.EJECTED and e.health.slow]
    well = [e for e in there if states[e] not in (EndpointState.UNHEALTHY, EndpointState.EJECTED)]
    sound = sum(states[e] is not EndpointState.PROBING and not e.health.failing for e in well)
    enough = panic * len(there)
    panicking = sound < enough
    if panicking:
        # Panic mode, as in Envoy: the remaining endpoints could not carry the load, so ejected ones
        # are used again. The slow ones come first, because they do answer.
        sound += len(slow)
        well, slow = well + slow, []
        if sound < enough:
            well, failed = well + failed, []
    groups = []
    for priority in sorted({e.priority for e in well}):
        group = [e for e in well if e.priority == priority]
        groups.append(tuple(e for e in group if states[e] is not EndpointState.COOLING))
    # Endpoints that asked for a pause come last, whatever their priority.
    groups.append(tuple(e for e in well if states[e] is EndpointState.COOLING))
    probing = [e for e in well if states[e] is EndpointState.PROBING]
    out = (tuple(group) for group in (slow, probing, failed, unhealthy))
    return Ranking(
        tuple(group for group in groups if group), tuple(group for group in out if group), panicking
    )
