"""What the configuration and OpenTelemetry's variables say of sampling and of the collector."""

from __future__ import annotations

import orjson
import pytest

from gateway.config import load_text
from gateway.config.models import Traces
from gateway.telemetry.traces.recording import TraceRecords
from gateway.usage import Usage
from gateway.wiring.traces import apply, disabled, head_sampling, misread, otlp_endpoint, tracing
from tests.support.gateway import config_text, simple_config


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (0.1, False)),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, (1.0, False)),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, (0.0, False)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, (1.0, True)),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, (0.0, True)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, (0.25, False)),
        (
            {
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0.5",
            },
            (0.5, True),
        ),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, (1.0, False)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "x"}, (1.0, False)),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"}, (1.0, False)),
        ({"OTEL_TRACES_SAMPLER": "unheard_of"}, (0.1, False)),
    ],
)
def test_the_environment_decides_where_the_file_is_silent(
    environ: dict[str, str], expected: tuple[float, bool]
) -> None:
    assert head_sampling(Traces(), environ) == expected


def test_the_file_decides_where_it_is_not() -> None:
    environ = {"OTEL_TRACES_SAMPLER": "parentbased_always_on"}
    assert head_sampling(Traces(sample=0.2), environ) == (0.2, False)
    assert head_sampling(Traces(sample=0.0, follow=True), {}) == (0.0, True)
    assert head_sampling(Traces(follow=True), {}) == (0.1, True)


@pytest.mark.parametrize(
    ("otlp", "environ", "expected"),
    [
        (None, {}, None),
        ("http://a", {}, "http://a"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b"}, "http://b"),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, "http://c"),
        ("http://a", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b"}, "http://a"),
        ("http://a", {"OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_where_spans_go(otlp: str | None, environ: dict[str, str], expected: str | None) -> None:
    assert otlp_endpoint(Traces(otlp=otlp), environ) == expected


URL = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}


@pytest.mark.parametrize(
    ("environ", "variables"),
    [
        ({}, []),
        (URL, []),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, []),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, ["OTEL_TRACES_SAMPLER"]),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "a tenth"},
            ["OTEL_TRACES_SAMPLER_ARG"],
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, ["OTEL_EXPORTER_OTLP_ENDPOINT"]),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            },
            [],
        ),
        (URL | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, ["OTEL_EXPORTER_OTLP_PROTOCOL"]),
        (URL | {"OTEL_BSP_SCHEDULE_DELAY": "5s"}, ["OTEL_BSP_SCHEDULE_DELAY"]),
        ({"OTEL_BSP_SCHEDULE_DELAY": "5s"}, []),  # nothing is sent
        ({"OTEL_TRACES_SAMPLER": "x", "OTEL_SDK_DISABLED": "true"}, []),
    ],
)
def test_a_variable_that_means_nothing_is_told_without_what_it_holds(
    environ: dict[str, str], variables: list[str]
) -> None:
    told = dict(misread(Traces(), environ))
    assert list(told) == variables
    assert not any(environ[name] in reason for name, reason in told.items())


def test_a_variable_the_file_overrules_may_hold_anything() -> None:
    environ = {"OTEL_TRACES_SAMPLER": "x", "OTEL_EXPORTER_OTLP_ENDPOINT": "y"}
    assert not list(misread(Traces(sample=1.0, otlp="http://c:4318"), environ))


@pytest.mark.parametrize(("value", "off"), [("true", True), ("TRUE", True), ("1", False)])
def test_all_of_it_can_be_turned_off(
    monkeypatch: pytest.MonkeyPatch, value: str, off: bool
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    assert disabled({"OTEL_SDK_DISABLED": value}) == off
    config = load_text(config_text(simple_config("http://127.0.0.1:1"), {}))
    assert (tracing(config, TraceRecords()) is None) == off


def test_usage_by_day_costs_what_budgets_count() -> None:
    document = simple_config("http://127.0.0.1:1", models=["m"])
    price = {"input": 30.0, "output": 60.0, "cache_read": 3.0}
    document["models"] = {"m": {"upstream": "main", "price": price}}
    records = TraceRecords()
    apply(load_text(config_text(document, {})), records)
    records.tally(("r", "m", "acme", "ann", "", "", "")).add(Usage(152_500, 1000, cached=150_000))
    (row,) = orjson.loads(records.take())["tallies"]
    assert row[-4:-2] == [pytest.approx(0.075 + 0.45 + 0.06), "USD"]
