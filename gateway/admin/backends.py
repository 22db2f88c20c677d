"""Upstreams with their endpoints, and models with their deployments: of a worker, and of all."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.admin.fleet import WorkerReply
from gateway.routing.deployments import Deployments
from gateway.upstream.deployment import Deployment
from gateway.upstream.upstream import Upstream


def of_worker(
    upstreams: Mapping[str, Upstream], deployments: Mapping[str, Deployments]
) -> dict[str, Any]:
    """Return the document of one worker."""
    return {
        "upstreams": [_upstream(upstream) for upstream in upstreams.values()],
        "models": [
            {"name": name, "deployments": [_deployment(one) for one in model.all]}
            for name, model in deployments.items()
        ],
    }


def _deployment(deployment: Deployment) -> dict[str, Any]:
    now = time.monotonic()
    upstream, _, model = deployment.key.partition("/")
    return {
        "upstream": upstream,
        "model": model,
        "weight": deployment.weight,
        "priority": deployment.priority,
        "in_flight": deployment.in_flight,
        "ready": deployment.is_ready(0.0, now),
        "ttft_s": deployment.speed.first_token.at(now) or None,
        "tpot_s": deployment.speed.next_token.at(now) or None,
    }


def _upstream(upstream: Upstream) -> dict[str, Any]:
    return {
        "name": upstream.name,
        "panicking": upstream.panicking,
        "pending": upstream.pending,
        "retry_budget": round(upstream.budget.balance, 1),
        "counts": dataclasses.asdict(upstream.counts),
        "endpoints": [
            {
                "name": endpoint.key,
                "url": endpoint.url,
                "state": upstream.state(endpoint).value,
                "why": upstream.why(endpoint),
                "in_flight": endpoint.in_flight,
                "connections": endpoint.pool.open,
                "weight": endpoint.full_weight,
                "priority": endpoint.priority,
                "ejections": endpoint.health.ejections,
            }
            for endpoint in upstream.endpoints
        ],
    }


def merge_upstreams(replies: Sequence[WorkerReply]) -> list[dict[str, Any]]:
    """Combine the upstreams of all workers: each upstream once, with the sum of its loads, and the
    state of each endpoint in every worker.
    """
    merged: dict[str, dict[str, Any]] = {}
    for one in replies:
        for upstream in one.document["upstreams"]:
            whole = merged.setdefault(
                upstream["name"],
                {
                    "name": upstream["name"],
                    "pending": 0,
                    "panicking": False,
                    "counts": Counter(),
                    "endpoints": {},
                },
            )
            whole["counts"].update(upstream["counts"])
            whole["pending"] += upstream["pending"]
            whole["panicking"] = whole["panicking"] or upstream["panicking"]
            for endpoint in upstream["endpoints"]:
                seen = whole["endpoints"].setdefault(
                    endpoint["name"], {**endpoint, "in_flight": 0, "connections": 0, "states": []}
                )
                seen["in_flight"] += endpoint["in_flight"]
                seen["connections"] += endpoint["connections"]
                seen["states"].append(endpoint["state"])
                if endpoint["state"] != "healthy":
                    seen["state"] = endpoint["state"]
                seen["why"] = endpoint["why"] or seen["why"]
    return [{**one, "endpoints": list(one["endpoints"].values())} for one in merged.values()]


def merge_models(replies: Sequence[WorkerReply]) -> list[dict[str, Any]]:
    """Combine the deployments of all workers: each once, with the sum of its loads, and the number
    of workers in which it is ready.
    """
    merged: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for one in replies:
        for model in one.document["models"]:
            seen = merged.setdefault(model["name"], {})
            for deployment in model["deployments"]:
                key = deployment["upstream"], deployment["model"]
                whole = seen.setdefault(key, {**deployment, "in_flight": 0, "ready": 0})
                whole["in_flight"] += deployment["in_flight"]
                whole["ready"] += deployment["ready"]
                for name in ("ttft_s", "tpot_s"):
                    known = [value for value in (whole[name], deployment[name]) if value]
                    whole[name] = max(known, default=None)
    return [{"name": name, "deployments": list(seen.values())} for name, seen in merged.items()]
