"""Construction of the deployments of models, from their `deployments` settings."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import Config, models
from gateway.routing.deployments import Deployments
from gateway.upstream.deployment import Deployment, Quota
from gateway.upstream.upstream import Upstream
from gateway.wiring.balancers import balancer_of
from gateway.wiring.limits import per_second


def deployments(config: Config, upstreams: Mapping[str, Upstream]) -> Mapping[str, Deployments]:
    """Return the deployments of each model that has some."""
    share = 1.0 / config.server.workers
    return {
        name: Deployments(
            [_deployment(name, one, upstreams, share) for one in model.deployments],
            balancer_of(model.balance),
            balance=model.balance,
        )
        for name, model in config.models.items()
        if model.deployments
    }


def key_of(name: str, one: models.DeploymentSettings) -> str:
    """Return the key of a deployment of the model with this name."""
    return f"{one.upstream}/{one.model or name}"


def _deployment(
    name: str, one: models.DeploymentSettings, upstreams: Mapping[str, Upstream], share: float
) -> Deployment:
    """Return a deployment whose quota is the worker's share."""
    return Deployment(
        upstreams[one.upstream],
        key_of(name, one),
        Quota(_rate(one.requests, share), _rate(one.tokens, share)),
        model=one.model or name,
        weight=float(one.weight),
        priority=one.priority,
        cost=_cost(one),
        concurrency=one.concurrency,
    )


def _cost(one: models.DeploymentSettings) -> float:
    """Return the relative cost of a deployment: as configured, or by its price."""
    if one.cost is not None:
        return one.cost
    return 1.0 if one.price is None else one.price.input + one.price.output


def _rate(text: str | None, share: float) -> tuple[float, float] | None:
    if text is None:
        return None
    per_s, burst = per_second(text)
    return per_s * share, max(1.0, burst * share)
