"""GenAI metrics under the newer names of the GenAI conventions' own repository."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from gateway.telemetry.metrics.instruments import OPERATION_DURATION, TOKEN_USAGE, Instrument
from gateway.telemetry.metrics.merge import Value
from gateway.telemetry.metrics.registry import Labels

RENAMED: Mapping[str, tuple[str, str]] = {
    OPERATION_DURATION.name: (
        "gen_ai_client_inference_duration_seconds",
        "gen_ai.client.inference.duration",
    ),
    f"{TOKEN_USAGE.name}/input": (
        "gen_ai_client_inference_operation_input_tokens",
        "gen_ai.client.inference.operation.input_tokens",
    ),
    f"{TOKEN_USAGE.name}/output": (
        "gen_ai_client_inference_operation_output_tokens",
        "gen_ai.client.inference.operation.output_tokens",
    ),
}
"""Names in the GenAI conventions' own repository. Token usage is split by the type of token."""
_TYPE = "gen_ai_token_type"
_Found = tuple[Instrument, dict[Labels, Value]]


def renamed(found: Iterable[_Found]) -> Iterator[_Found]:
    """Rename the metrics. Token usage becomes two metrics, without the label for the type."""
    for instrument, series in found:
        if instrument.name in RENAMED:
            name, otel = RENAMED[instrument.name]
            yield replace(instrument, name=name, otel=otel), series
        elif _TYPE in instrument.labels and f"{instrument.name}/input" in RENAMED:
            place = instrument.labels.index(_TYPE)
            for kind in ("input", "output"):
                name, otel = RENAMED[f"{instrument.name}/{kind}"]
                yield (
                    replace(
                        instrument, name=name, otel=otel, labels=_without(instrument.labels, place)
                    ),
                    {
                        _without(labels, place): value
                        for labels, value in series.items()
                        if labels[place] == kind
                    },
                )
        else:
            yield instrument, series


def _without(labels: Labels, place: int) -> Labels:
    return (*labels[:place], *labels[place + 1 :])
