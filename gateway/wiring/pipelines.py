"""The order of a request: every policy, once, from top to bottom.

`gateway/pipeline.py` runs the phases of these policies. `gateway/wiring/policies.py` builds them; a
policy that a route does not need is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.config import Config
from gateway.dialects import DIALECTS
from gateway.errors import MethodNotAllowed
from gateway.middleware.errors import ErrorMapping
from gateway.middleware.resume import no_stream
from gateway.pipeline import Handler, OnEnd, Pipeline, Result
from gateway.request import Request
from gateway.wiring.channel_policies import ChannelPolicies
from gateway.wiring.parts import TelemetrySinks
from gateway.wiring.policies import OuterPolicies, RoutePolicies

_CHANNEL_METHODS = ("GET", "POST")


def pipeline_of(route: RoutePolicies, ended: OnEnd) -> Pipeline:
    """Return the pipeline of a route. `ended` counts a request out."""
    limits = route.limits
    body_first, first_limits = limits.need_body, limits.first
    # Rules change what limits reserve. Bodies are checked as they were sent.
    resolution = (route.resolution(), route.checks(), route.model_rules())
    return _pipeline(
        route.outer,
        route.errors(),
        _present(
            route.cors(),
            route.upgrade(),
            route.authentication(),
            route.stream_lifetime(),
            route.audit_prompts(),
            route.resume(),
            route.capture_answers(),
            # Limits that need no body are checked before it is read, the others right after.
            limits.head if body_first else None,
            route.description(),
            *(resolution if body_first else ()),
            first_limits or limits.all,
            route.publish_answer(),
            *route.plugins(),
            *(() if body_first else resolution),
            None if first_limits is None else limits.all,
            route.hooks(),
            route.capture_requests(),
            *route.served(),
            route.early_head(),
            route.cache(),
            route.mirror(),
            route.fallbacks(),
            route.admission(),
        ),
        route.handler(),
        ended,
    )


def streams_pipeline_of(route: RoutePolicies, ended: OnEnd) -> Pipeline:
    """Return the pipeline of the kept streams of a route, which have a path of their own."""
    policies = _present(
        route.cors(("GET", "DELETE")),
        route.upgrade(),
        route.authentication(),
        route.stream_lifetime(),
        route.resume(),
    )
    return _pipeline(route.outer, route.errors(), policies, no_stream, ended)


def self_service_pipeline_of(route: RoutePolicies, ended: OnEnd) -> Pipeline:
    """Return the pipeline of what callers read and change of their own on a route."""
    policies = _present(route.cors(("GET", "POST", "DELETE")), route.authentication())
    return _pipeline(route.outer, route.errors(), policies, route.self_service(), ended)


def followers_pipeline_of(
    route: RoutePolicies, channels: ChannelPolicies, ended: OnEnd
) -> Pipeline:
    """Return the pipeline of requests that follow a channel of a route."""
    policies = _present(
        route.cors(_CHANNEL_METHODS),
        channels.follower_upgrade(),
        channels.follower_authentication(),
        route.stream_lifetime(),
        channels.follower_limits(),
    )
    return _pipeline(route.outer, route.errors(), policies, channels.follow(), ended)


def publishers_pipeline_of(
    route: RoutePolicies, channels: ChannelPolicies, ended: OnEnd
) -> Pipeline:
    """Return the pipeline of requests that publish in a channel of a route."""
    policies = _present(
        route.cors(_CHANNEL_METHODS),
        channels.publisher_authentication(),
        channels.publisher_limits(),
    )
    return _pipeline(route.outer, route.errors(), policies, channels.publish(), ended)


def refusals_pipeline_of(route: RoutePolicies, allowed: str, ended: OnEnd) -> Pipeline:
    """Return the pipeline that refuses the methods which channels do not serve."""

    def refuse(request: Request) -> Result:
        raise MethodNotAllowed(allowed)

    return _pipeline(route.outer, route.errors(), (), refuse, ended)


def pipeline_without_route(
    config: Config, sinks: TelemetrySinks, dialect: str, handler: Handler, ended: OnEnd
) -> Pipeline:
    """Return the pipeline of requests that no route serves."""
    errors = ErrorMapping(DIALECTS[dialect], sinks.logger)
    return _pipeline(OuterPolicies(config, sinks), errors, (), handler, ended)


def _pipeline(
    outer: OuterPolicies,
    errors: ErrorMapping,
    policies: Sequence[object],
    handler: Handler,
    ended: OnEnd,
) -> Pipeline:
    return Pipeline(_outer(outer), errors, policies, handler, ended=ended, later=outer.later)


def _outer(policies: OuterPolicies) -> list[object]:
    return _present(
        policies.identity(),
        policies.access_log(),
        policies.metrics(),
        policies.compression(),
    )


def _present(*policies: object) -> list[object]:
    return [policy for policy in policies if policy is not None]
