"""Metrics of a gateway under test, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gateway.admin.worker_metrics import WorkerMetrics
from gateway.telemetry.metrics.exposition import exposed
from gateway.telemetry.metrics.merge import Merge
from tests.support.admin import admin
from tests.support.gateway import GatewayProcess, RunningGateway
from tests.support.waiting import PATIENCE_S, asked_until

_OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Samples:
    """Samples of one scrape."""

    def __init__(self, page: bytes) -> None:
        self.samples: list[Sample] = [
            sample
            for family in text_string_to_metric_families(page.decode())  # type: ignore[no-untyped-call]
            for sample in family.samples
        ]

    @property
    def series(self) -> int:
        """Number of series."""
        return len(self.samples)

    @property
    def labels(self) -> dict[str, set[str]]:
        """Label names of each metric."""
        found: dict[str, set[str]] = {}
        for sample in self.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
        return found

    def of(self, name: str, **labels: str) -> list[Sample]:
        """Return the samples of a metric that have these labels."""
        return [
            sample
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that `of` finds."""
        return sum(sample.value for sample in self.of(name, **labels))


async def read(gateway: RunningGateway) -> Samples:
    """Return the metrics of a gateway in the test's own event loop."""
    told = await WorkerMetrics(gateway.server, 0).snapshot()
    options = gateway.config.telemetry.metrics
    assert options is not None
    merged = Merge(options.tenants).merge({0: ("this", orjson.loads(orjson.dumps(told)))})
    return Samples(exposed(merged, _OPENMETRICS)[0])


async def scraped(gateway: GatewayProcess, token: str | None = None) -> Samples:
    """Return the metrics of all workers of a gateway process."""
    lines = [f"Accept: {_OPENMETRICS}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    response = await admin(gateway, "GET", "/metrics", None, *lines)
    assert response.status == 200, response.body
    return Samples(response.body)


async def read_until(gateway: RunningGateway, wanted: Callable[[Samples], bool]) -> Samples:
    """Read the metrics until `wanted` accepts them. Return them. Raise TimeoutError."""

    return await asked_until(lambda: read(gateway), wanted, patience_s=PATIENCE_S)


async def scraped_until(
    gateway: GatewayProcess, wanted: Callable[[Samples], bool], *, token: str | None = None
) -> Samples:
    """Scrape the metrics until `wanted` accepts them. Return them. Raise TimeoutError."""
    return await asked_until(
        lambda: scraped(gateway, token), wanted, patience_s=PATIENCE_S, pause_s=0.02
    )
