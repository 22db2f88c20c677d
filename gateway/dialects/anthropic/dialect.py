"""Anthropic's dialect: https://docs.anthropic.com/en/api"""

from __future__ import annotations

from gateway.dialects.anthropic import answers, errors, models, requests
from gateway.dialects.anthropic.continuation import MessagesAnswer
from gateway.dialects.anthropic.paths import PATHS
from gateway.dialects.anthropic.request_schemas import SCHEMAS
from gateway.dialects.dialect import Chat, ChatBackend, Dialect, ModelLists
from gateway.sse import EVENT_STREAM

ANTHROPIC = Dialect(
    name="anthropic",
    stream_type=EVENT_STREAM.encode(),
    error_body=errors.error_body,
    error_event=errors.error_event,
    passed_error=errors.passed_error,
    paths=PATHS,
    headers=frozenset(
        {
            b"anthropic-beta",
            b"anthropic-dangerous-direct-browser-access",
            b"anthropic-version",
        }
    ),
    needed_headers={b"anthropic-version": b"2023-06-01"},
    credential=b"x-api-key: %b\r\n",
    settings=frozenset({"efforts", "max_tokens", "thinking"}),
    request_schemas=SCHEMAS,
    models=ModelLists(
        models.listing,
        models.entry,
        models.expects,
        listed_at="/models?limit=1000",
        read=models.read,
    ),
    continuation=MessagesAnswer,
    chats={"/messages": Chat(requests.read, answers.write, answers.AnthropicStreamWriter)},
    chat_backend=ChatBackend(
        "/messages", requests.write, answers.read, answers.AnthropicStreamReader, trims_prefill=True
    ),
)
