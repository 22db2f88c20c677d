"""OpenAI's dialect: https://platform.openai.com/docs/api-reference"""

from __future__ import annotations

from gateway.dialects.dialect import (
    Chat,
    ChatBackend,
    Dialect,
    Embeddings,
    EmbeddingsBackend,
    ModelLists,
)
from gateway.dialects.openai import answers, embeddings, errors, models, requests
from gateway.dialects.openai.continuation import ChatAnswer
from gateway.dialects.openai.paths import PATHS
from gateway.dialects.openai.refused_fields import refused_field
from gateway.dialects.openai.request_schemas import SCHEMAS
from gateway.sse import EVENT_STREAM

OPENAI = Dialect(
    name="openai",
    stream_type=EVENT_STREAM.encode(),
    error_body=errors.error_body,
    error_event=errors.error_event,
    passed_error=errors.passed_error,
    paths=PATHS,
    headers=frozenset({b"openai-beta", b"openai-organization", b"openai-project"}),
    settings=frozenset(
        {"continue_final_message", "efforts", "max_tokens_field", requests.STREAM_OPTIONS}
    ),
    asks_for_usage=True,
    keeps_responses=True,
    request_schemas=SCHEMAS,
    models=ModelLists(models.listing, models.entry, read=models.read),
    continuation=ChatAnswer,
    chats={"/chat/completions": Chat(requests.read, answers.write, answers.OpenAIStreamWriter)},
    chat_backend=ChatBackend(
        "/chat/completions",
        requests.write,
        answers.read,
        answers.OpenAIStreamReader,
        optional=requests.OPTIONAL,
        refused_field=refused_field,
    ),
    embeddings={"/embeddings": Embeddings(embeddings.read, embeddings.write_answer)},
    embeddings_backend=EmbeddingsBackend("/embeddings", embeddings.write, embeddings.read_answer),
)
