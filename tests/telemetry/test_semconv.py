"""Values of the semantic conventions: routes and providers."""

from __future__ import annotations

import pytest

from gateway.telemetry.semconv import http_route, provider


@pytest.mark.parametrize(
    ("route", "path", "name"),
    [
        ("/v1/", "/v1/chat/completions", "/v1/chat/completions"),
        ("/", "/v1/messages", "/v1/messages"),
        ("/openai/", "/openai/v1/embeddings", "/openai/v1/embeddings"),
        ("/v1/", "/v1/files/abc", "/v1/"),
        ("/v1/", "/v1/made-up-by-a-client/chat/completions", "/v1/"),
        ("/v1/", "/v2/chat/completions", "/v1/"),
    ],
)
def test_a_route_names_an_operation_directly_below_it_and_nothing_else(
    route: str, path: str, name: str
) -> None:
    assert http_route(route, path) == name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "openai"),
        ("me.openai.azure.com", "azure.ai.openai"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "aws.bedrock"),
        ("vllm.internal", "the dialect"),
        ("api.openai.com.evil.test", "the dialect"),
    ],
)
def test_a_provider_is_known_by_its_host_or_else_by_its_dialect(host: str, name: str) -> None:
    assert provider("the dialect", host) == name
