"""What Prometheus reads: both formats, parsed again by its own client."""

from __future__ import annotations

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.exposition import exposed
from gateway.telemetry.metrics.merge import Merge, Merged
from gateway.telemetry.metrics.registry import Registry

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
AWKWARD = 'a"b\\c\nd'
COMMON = ("chat", "openai", "m", "mm", "r", "u")


def counted() -> Merged:
    registry = Registry()
    registry.count(table.TENANT_REQUESTS, AWKWARD, "2xx").value += 3
    for seconds in (0.002, 0.003, 1000.0):
        registry.distribution(table.TENANT_FIRST_TOKEN, "a").add(seconds, "ab" * 16)
    for kind, tokens in (("input", 7), ("output", 5)):
        registry.distribution(table.TOKEN_USAGE, *COMMON, kind).add(tokens)
    registry.distribution(table.OPERATION_DURATION, *COMMON, "").add(1.0)
    return Merge(10).merge({0: ("x", registry.snapshot())})


def test_text_is_what_prometheus_client_reads() -> None:
    page, content_type = exposed(counted(), "text/plain")
    assert content_type.startswith("text/plain; version=")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }
    assert samples["gateway_tenant_requests_total", (("code", "2xx"), ("tenant", AWKWARD))] == 3
    name = table.TENANT_FIRST_TOKEN.name
    assert samples[f"{name}_count", (("tenant", "a"),)] == 3
    assert samples[f"{name}_bucket", (("le", "0.001"), ("tenant", "a"))] == 0
    assert samples[f"{name}_bucket", (("le", "0.005"), ("tenant", "a"))] == 2
    assert samples[f"{name}_bucket", (("le", "320.0"), ("tenant", "a"))] == 2
    assert samples[f"{name}_bucket", (("le", "+Inf"), ("tenant", "a"))] == 3
    assert b"# {" not in page


def test_openmetrics_has_exemplars_with_trace_ids() -> None:
    page, content_type = exposed(counted(), OPENMETRICS)
    assert content_type.startswith(OPENMETRICS)
    read = openmetrics.text_string_to_metric_families
    families = list(read(page.decode()))  # type: ignore[no-untyped-call]
    found = [
        (sample.labels["le"], sample.exemplar.labels, sample.exemplar.value)
        for family in families
        for sample in family.samples
        if sample.exemplar is not None
    ]
    trace = {"trace_id": "ab" * 16}
    assert found == [("0.005", trace, 0.003), ("+Inf", trace, 1000.0)]


def test_the_newer_names_say_the_same() -> None:
    old = exposed(counted(), "text/plain")[0].decode()
    new = exposed(counted(), "text/plain", newer=True)[0].decode()
    assert "gen_ai_client_token_usage" in old
    assert "gen_ai_client_token_usage" not in new
    assert "gen_ai_client_operation_duration" not in new
    samples = {
        sample.name: sample
        for family in text_string_to_metric_families(new)
        for sample in family.samples
        if sample.name.startswith("gen_ai")
    }
    assert samples["gen_ai_client_inference_operation_input_tokens_sum"].value == 7
    assert samples["gen_ai_client_inference_operation_output_tokens_sum"].value == 5
    assert samples["gen_ai_client_inference_duration_seconds_count"].value == 1
    usage = samples["gen_ai_client_inference_operation_input_tokens_sum"]
    assert "gen_ai_token_type" not in usage.labels
