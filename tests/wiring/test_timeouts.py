"""Timeouts from the configuration: the upstream's, and the route's in their place."""

from __future__ import annotations

from dataclasses import fields

from gateway.config import models
from gateway.upstream.options import Timeouts
from gateway.wiring.timeouts import timeouts_of


def test_a_timeout_has_one_name_in_the_upstream_the_route_and_the_exchange() -> None:
    names = [field.name.removesuffix("_s") for field in fields(Timeouts)]
    assert names == [*models.UpstreamTimeouts.model_fields] == [*models.RouteTimeouts.model_fields]


def test_a_route_replaces_the_timeouts_that_it_sets() -> None:
    general = models.UpstreamTimeouts.model_validate(
        {"connect": "1s", "first_byte": "2s", "idle": "3s"}
    )
    assert timeouts_of(general) == Timeouts(1.0, 2.0, 3.0, None)
    own = models.RouteTimeouts.model_validate({"first_byte": "20s", "total": "40s"})
    assert timeouts_of(general, own) == Timeouts(1.0, 20.0, 3.0, 40.0)
