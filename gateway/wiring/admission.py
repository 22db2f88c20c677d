"""Construction of the queues in front of models and upstreams, from their `admission` settings."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.admission.gate import Gate, GateOptions
from gateway.config import Config, models
from gateway.middleware.admission import Admission, Shares


def admission(config: Config) -> Admission | None:
    """Return the admission middleware, or None if no model or upstream has a queue."""

    def gates(
        kind: str, sections: Mapping[str, models.Model] | Mapping[str, models.UpstreamSettings]
    ) -> dict[str, Gate]:
        return {
            name: Gate(
                f"{kind} {name}",
                GateOptions(found.concurrency, found.queue, found.max_wait),
            )
            for name, section in sections.items()
            if (found := section.admission) is not None
        }

    by_model, by_upstream = gates("model", config.models), gates("upstream", config.upstreams)
    if not by_model and not by_upstream:
        return None
    shares = Shares(config.shares.weights, config.shares.priorities)
    return Admission(by_model, by_upstream, shares)
