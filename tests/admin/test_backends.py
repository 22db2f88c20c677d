"""Upstreams and deployments, combined over the workers."""

from __future__ import annotations

from typing import Any

from gateway.admin.backends import merge_models, of_worker
from gateway.admin.fleet import WorkerReply
from gateway.config import load_text
from gateway.load.turn_writes import TurnWrites
from gateway.routing.deployments import Deployments
from gateway.upstream.tls import ClientContexts
from gateway.wiring.deployments import deployments
from gateway.wiring.upstreams import upstreams

CONFIG = """
server: {listen: 127.0.0.1:0}
upstreams:
  a: {endpoints: [{url: "http://10.0.0.1"}]}
  b: {endpoints: [{url: "http://10.0.0.2"}]}
models:
  small: {deployments: [{upstream: a, model: x/y, weight: 3}, {upstream: b, priority: 1}]}
routes:
- {name: r, path: /, auth: anonymous, models: [small]}
"""


def worker() -> tuple[dict[str, Any], Deployments]:
    config = load_text(CONFIG)
    found = upstreams(
        config, lambda *_: None, lambda *_: None, lambda *_: None, ClientContexts(), TurnWrites()
    )
    models = deployments(config, found)
    return of_worker(found, models), models["small"]


def test_deployments_are_told_with_their_load_and_whether_they_take_requests() -> None:
    document, _ = worker()
    assert document["models"] == [
        {
            "name": "small",
            "deployments": [
                {
                    "upstream": "a",
                    "model": "x/y",
                    "weight": 3.0,
                    "priority": 0,
                    "in_flight": 0,
                    "ready": True,
                    "share": 1.0,
                    "ttft_s": None,
                    "tpot_s": None,
                },
                {
                    "upstream": "b",
                    "model": "small",
                    "weight": 1.0,
                    "priority": 1,
                    "in_flight": 0,
                    "ready": True,
                    "share": 1.0,
                    "ttft_s": None,
                    "tpot_s": None,
                },
            ],
        }
    ]


def test_loads_of_workers_add_up_and_the_slowest_counts() -> None:
    replies = []
    for number in (1, 2):
        document, _ = worker()
        first = document["models"][0]["deployments"][0]
        first["in_flight"], first["ready"] = number, number == 1
        first["ttft_s"] = number / 10
        replies.append(WorkerReply(number, 200, document))
    (model,) = merge_models(replies)
    first, second = model["deployments"]
    assert (first["in_flight"], first["ready"], first["ttft_s"]) == (3, 1, 0.2)
    assert (second["in_flight"], second["ready"], second["ttft_s"]) == (0, 2, None)
