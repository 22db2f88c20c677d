"""The table: its names are what OpenTelemetry and Prometheus take for names."""

from __future__ import annotations

import re

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics, http_metrics
from opentelemetry.semconv.attributes import error_attributes, http_attributes

from gateway.telemetry.metrics import instruments
from gateway.telemetry.metrics.instruments import ALL, ATTRIBUTES, Instrument, InstrumentKind

CONVENTIONAL = [one for one in ALL.values() if one.name.startswith(("http_", "gen_ai_"))]
KNOWN_METRICS = {
    value
    for module in (gen_ai_metrics, http_metrics)
    for value in vars(module).values()
    if isinstance(value, str)
}
KNOWN_ATTRIBUTES = {
    value
    for module in (gen_ai_attributes, http_attributes, error_attributes)
    for value in vars(module).values()
    if isinstance(value, str)
}


@pytest.mark.parametrize("one", CONVENTIONAL, ids=lambda one: one.name)
def test_names_are_those_of_the_semantic_conventions(one: Instrument) -> None:
    assert one.otel in KNOWN_METRICS
    assert one.name.removesuffix("_seconds") == one.otel.replace(".", "_")


def test_labels_with_dots_are_those_of_the_semantic_conventions() -> None:
    assert set(ATTRIBUTES.values()) <= KNOWN_ATTRIBUTES
    for one in ALL.values():
        for label in one.labels:
            assert label in ATTRIBUTES or not label.startswith(("http", "gen_ai", "error"))


@pytest.mark.parametrize("one", ALL.values(), ids=lambda one: one.name)
def test_rows_are_whole(one: Instrument) -> None:
    assert re.fullmatch(r"(gateway|http|gen_ai)_[a-z_]+[a-z]", one.name)
    assert not one.name.endswith("_total")
    assert one.help.endswith(".") or one.help.endswith(";") or "; " in one.help
    assert one.unit
    assert list(one.buckets) == sorted(set(one.buckets))
    assert bool(one.buckets) == (one.kind is InstrumentKind.HISTOGRAM)
    assert all(re.fullmatch(r"[a-z_]+", label) and label != "le" for label in one.labels)


def test_every_row_has_a_name_in_the_code() -> None:
    named = [one for one in vars(instruments).values() if isinstance(one, Instrument)]
    assert sorted(one.name for one in named) == sorted(ALL)
    rows = instruments.PAGE.partition("\n## Buckets")[0].count("\n| `")
    assert len(ALL) == rows
