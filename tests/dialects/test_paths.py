"""What a request is for, as its path says."""

from __future__ import annotations

import pytest

from gateway.dialects.paths import OPERATION_PATHS, answers_text, generates, operation


@pytest.mark.parametrize(
    ("method", "path", "does"),
    [
        ("POST", "/v1/chat/completions", True),
        ("POST", "/generate", True),
        ("GET", "/v1/responses/resp_1", False),
        ("POST", "/v1/messages/count_tokens", False),
        ("POST", "/tokenize", False),
        ("POST", "/v1/models", False),
        ("POST", "/health/", False),
        ("POST", "/v1/files", False),
        ("POST", "/v1/uploads/upload_1/parts", False),
        ("POST", "/v1/messages/batches", False),
        ("POST", "/v1/responses/resp_1/cancel", False),
        ("POST", "/v1/chat/completions/chatcmpl_1", False),
        ("POST", "/api/pull", False),
        ("POST", "/files/v1/chat/completions", True),
        ("POST", "/files/chat/completions", True),
        ("POST", "/v1/responses/compact", True),
    ],
)
def test_counting_listing_and_storing_are_no_generation(method: str, path: str, does: bool) -> None:
    assert generates(method, path) is does


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/images/generations"])
def test_what_is_no_text_is_known_by_its_path(path: str) -> None:
    assert not answers_text(path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/completions", "text_completion"),
        ("/v1/responses/", "chat"),
        ("/v1/messages", "chat"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/audio/transcriptions", "generate_content"),
        ("/api/chat", "chat"),
        ("/api/generate", "text_completion"),
        ("/api/embed", "embeddings"),
        ("/v1/files", None),
        ("/v1/models", None),
        ("", None),
    ],
)
def test_an_operation_is_known_by_the_end_of_the_path(path: str, name: str | None) -> None:
    assert operation(path) == name
    assert path.rstrip("/").endswith(OPERATION_PATHS) is (name is not None)
