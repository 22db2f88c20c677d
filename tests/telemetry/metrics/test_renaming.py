"""Newer names of metrics: the same values, and token usage as two metrics."""

from __future__ import annotations

from gateway.telemetry.metrics.instruments import OPERATION_DURATION, REQUESTS, TOKEN_USAGE
from gateway.telemetry.metrics.merge import Value
from gateway.telemetry.metrics.registry import Labels
from gateway.telemetry.metrics.renaming import RENAMED, renamed

Series = dict[Labels, Value]


def test_a_metric_in_no_newer_convention_keeps_its_name() -> None:
    series: Series = {("r",): 1.0}
    assert [*renamed([(REQUESTS, series)])] == [(REQUESTS, series)]


def test_a_renamed_metric_keeps_its_series() -> None:
    series: Series = {("a",) * len(OPERATION_DURATION.labels): 1.0}
    [(instrument, same)] = renamed([(OPERATION_DURATION, series)])
    assert (instrument.name, instrument.otel) == RENAMED[OPERATION_DURATION.name]
    assert same == series


def test_token_usage_becomes_a_metric_for_each_type_without_that_label() -> None:
    place = TOKEN_USAGE.labels.index("gen_ai_token_type")

    def labels(kind: str) -> tuple[str, ...]:
        return tuple(kind if at == place else "x" for at in range(len(TOKEN_USAGE.labels)))

    series: Series = {labels("input"): 3.0, labels("output"): 5.0}
    read, written = renamed([(TOKEN_USAGE, series)])
    rest = ("x",) * (len(TOKEN_USAGE.labels) - 1)
    assert (read[1], written[1]) == ({rest: 3.0}, {rest: 5.0})
    assert "gen_ai_token_type" not in read[0].labels
    assert read[0].name != written[0].name
