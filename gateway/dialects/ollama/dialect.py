"""Ollama's dialect: https://github.com/ollama/ollama/blob/main/docs/api.md"""

from __future__ import annotations

from functools import partial

from gateway.dialects.dialect import (
    Chat,
    ChatBackend,
    Dialect,
    Embeddings,
    EmbeddingsBackend,
    ModelLists,
)
from gateway.dialects.json_lines import Lines
from gateway.dialects.ollama import answers, embeddings, errors, models, requests
from gateway.dialects.ollama.continuation import LinesAnswer
from gateway.dialects.ollama.paths import PATHS
from gateway.dialects.ollama.request_schemas import SCHEMAS
from gateway.dialects.openai.dialect import OPENAI

OLLAMA = Dialect(
    name="ollama",
    stream_type=b"application/x-ndjson",
    error_body=errors.error_body,
    error_event=errors.error_event,
    passed_error=errors.passed_error,
    paths=PATHS,
    request_schemas=SCHEMAS,
    models=ModelLists(
        OPENAI.models.list,  # Ollama serves OpenAI's API below /v1, too
        OPENAI.models.entry,
        others={"tags": models.tags, "ps": models.ps, "version": models.version},
        listed_at="/tags",
        read=models.read,
        details=("show", models.show),
    ),
    named_models=models.named_models,
    splitter=Lines,
    continuation=LinesAnswer,
    streams_by_default=True,
    chats={
        "/chat": Chat(
            requests.read_chat,
            partial(answers.write, shape=answers.chat),
            partial(answers.OllamaStreamWriter, shape=answers.chat),
        ),
        "/generate": Chat(
            requests.read_generate,
            partial(answers.write, shape=answers.generate),
            partial(answers.OllamaStreamWriter, shape=answers.generate),
        ),
    },
    chat_backend=ChatBackend("/chat", requests.write, answers.read, answers.OllamaStreamReader),
    embeddings={
        "/embed": Embeddings(embeddings.read, embeddings.write_answer),
        "/embeddings": Embeddings(embeddings.read_old, embeddings.write_old_answer),
    },
    embeddings_backend=EmbeddingsBackend("/embed", embeddings.write, embeddings.read_answer),
)
