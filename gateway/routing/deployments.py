"""Deployments of a model: which of them serves a request, and who is asked after it failed."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence, Set

from multidict import CIMultiDictProxy

from gateway.dialects.paths import answers_text, generates
from gateway.exchange import Exchange
from gateway.routing.target import HintOf, Target
from gateway.upstream.balancing.balancer import Balancer, Hint
from gateway.upstream.deployment import Assignment, Deployment
from gateway.upstream.upstream import Upstream


class Deployments:
    """Deployments of one model, shared by all routes."""

    def __init__(
        self,
        deployments: Sequence[Deployment],
        balancer: Balancer,
        *,
        balance: object = None,
    ) -> None:
        """`balance` is the balancer's setting. A reload that leaves it unchanged keeps the
        balancer's state.
        """
        self.all = tuple(sorted(deployments, key=lambda one: one.priority))
        self.balance = balance
        self._balancer = balancer
        self._groups = [
            [one for one in self.all if one.priority == priority]
            for priority in sorted({one.priority for one in self.all})
        ]

    def choose(self, hint: Hint, tokens: float, tried: Collection[str] = ()) -> Deployment | None:
        """Return the deployment to ask, of those whose keys are not in `tried`. `tokens` are those
        that the request may use. None if none has room.

        Deployments with a lower priority number come first. One that asked for a pause, or whose
        endpoints are out of service, is asked only if there is no other.
        """
        now = time.monotonic()
        for group in self._groups:
            ready = [one for one in group if one.key not in tried and one.is_ready(tokens, now)]
            if len(ready) > 1:
                for one in ready:
                    one.weigh(now)
                return ready[self._balancer.pick(ready, hint)]
            if ready:
                return ready[0]
        left = (one for one in self.all if one.key not in tried and one.has_room(tokens, now))
        return next(left, None)

    def inherit(self, other: Deployments) -> None:
        """Take over the loads, and the balancer if its setting is the same."""
        known = {one.key: one for one in other.all}
        for one in self.all:
            if one.key in known:
                one.inherit(known[one.key])
        if self.balance == other.balance:
            self._balancer = other._balancer


class DeployedModel:
    """Deployments of one model, with the target that one route has for each of them."""

    def __init__(
        self,
        deployments: Deployments,
        targets: Mapping[str, Target],
        hint: HintOf,
        most: int | None,
    ) -> None:
        """`targets` by key of the deployment. `most` is the maximum number of tokens in an answer
        of the model, if known.
        """
        self._deployments = deployments
        self._targets = dict(targets)
        self._hint = hint
        self._most = most

    def choose(
        self,
        exchange: Exchange,
        headers: CIMultiDictProxy[str],
        body: bytes | None,
        tried: Collection[str] = (),
    ) -> tuple[Target, Assignment] | None:
        """Choose a deployment for the request. Return its target, and what `assign` takes; None if
        no deployment has room.
        """
        tokens = 0.0
        if generates(exchange.method, exchange.path):
            text = answers_text(exchange.path)
            tokens = float(exchange.asked.reserved(self._most, text=text).total)
        chosen = self._deployments.choose(self._hint(exchange, headers, body), tokens, tried)
        if chosen is None:
            return None
        return self._targets[chosen.key], Assignment(chosen, tokens)

    def has_other(self, upstream: Upstream) -> bool:
        """Tell whether a deployment at another upstream is ready."""
        now, latest = time.monotonic(), upstream.latest
        return any(
            one.upstream.latest is not latest and one.is_ready(0.0, now)
            for one in self._deployments.all
        )

    def healths(self, name: str) -> Set[str]:
        """Return the health of all deployments."""
        return {
            target.upstream.latest.health(target.rename_to or name)
            for target in self._targets.values()
        }


def assign(exchange: Exchange, assignment: Assignment) -> None:
    """Count the request at this deployment, and no longer at another one."""
    unassign(exchange)
    assignment.enter(time.monotonic())
    exchange.assignment = assignment
    exchange.at_end(unassign)


def reassign(exchange: Exchange, left: Assignment) -> None:
    """Count the request again at the deployment that it had left, if that still has room.
    Otherwise `Fallbacks` chooses another one.
    """
    deployment = left.deployment
    if deployment.has_room(left.tokens, time.monotonic()):
        assign(exchange, Assignment(deployment, left.tokens))


def unassign(exchange: Exchange) -> None:
    """Count the request out of its deployment, if it has one."""
    assignment, exchange.assignment = exchange.assignment, None
    if assignment is not None:
        usage = exchange.usage
        assignment.leave(0.0 if usage is None else usage.total, time.monotonic())
