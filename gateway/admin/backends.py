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
from gateway.upstream.waking import Waking
from gateway.wiring.served_routes import ServedRoutes

_NAMED = 200
"""Number of models of an upstream that a document names."""


def of_worker(
    upstreams: Mapping[str, Upstream],
    deployments: Mapping[str, Deployments],
    served: ServedRoutes | None = None,
) -> dict[str, Any]:
    """Return the document of one worker. `served` has the models that are discovered."""
    return {
        "upstreams": [
            {**_upstream(upstream), "models": None if served is None else _models(name, served)}
            for name, upstream in upstreams.items()
        ],
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
        "share": deployment.load.provider.share(now),
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
        "start": _start(upstream.waking),
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


def _start(waking: Waking | None) -> dict[str, Any] | None:
    """Return the document of an upstream that scales from zero; None for others."""
    if waking is None:
        return None
    return {
        "waking": waking.is_waking,
        "for_s": round(waking.for_s, 1),
        "waiting": waking.waiting,
        "starts": waking.starts,
        "timeouts": waking.timeouts,
    }


def _models(name: str, served: ServedRoutes) -> dict[str, Any] | None:
    """Return the document of the models that an upstream lists; None without discovery."""
    polling, found = served.polling.get(name), served.merged.by_upstream.get(name)
    if polling is None or found is None:
        return None
    lists = polling.lists
    return {
        "served": len(found.served),
        "names": found.served[:_NAMED],
        "configured": found.configured[:_NAMED],
        "hidden": found.hidden,
        "cut": found.cut,
        "failing": {key: one.failing for key, one in lists.items() if one.failing is not None},
        "listed_at": max((one.listed_at or 0.0 for one in lists.values()), default=0.0) or None,
        "workers": 1,
    }


def _merge_models(whole: dict[str, Any], models: dict[str, Any] | None) -> None:
    """Add what a worker knows of an upstream's models to what others know."""
    known = whole["models"]
    if models is None or known is None:
        whole["models"] = known or models
        return
    known["workers"] += known["names"] == models["names"] and known["served"] == models["served"]
    known["failing"] |= models["failing"]
    known["listed_at"] = max(known["listed_at"] or 0.0, models["listed_at"] or 0.0) or None


def _merge_start(whole: dict[str, Any], start: dict[str, Any] | None) -> None:
    """Add what a worker knows of an upstream's start to what others know."""
    known = whole["start"]
    if start is None or known is None:
        whole["start"] = known or start
        return
    known["waking"] = known["waking"] or start["waking"]
    known["for_s"] = max(known["for_s"], start["for_s"])
    for name in ("waiting", "starts", "timeouts"):
        known[name] += start[name]


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
                    "models": None,
                    "start": None,
                    "endpoints": {},
                },
            )
            whole["counts"].update(upstream["counts"])
            whole["pending"] += upstream["pending"]
            whole["panicking"] = whole["panicking"] or upstream["panicking"]
            _merge_models(whole, upstream["models"])
            _merge_start(whole, upstream["start"])
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
                whole["share"] = min(whole["share"], deployment["share"])
                for name in ("ttft_s", "tpot_s"):
                    known = [value for value in (whole[name], deployment[name]) if value]
                    whole[name] = max(known, default=None)
    return [{"name": name, "deployments": list(seen.values())} for name, seen in merged.items()]
