"""Backend that lists its models in the exact format of vLLM, Ollama, OpenAI or Anthropic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.upstream import PeerGone, Request, ScriptedUpstream, UpstreamConnection

_PERMISSION = {
    "id": "modelperm-1",
    "object": "model_permission",
    "created": 1764500000,
    "allow_create_engine": False,
    "allow_sampling": True,
    "allow_logprobs": True,
    "allow_search_indices": False,
    "allow_view": True,
    "allow_fine_tuning": False,
    "organization": "*",
    "group": None,
    "is_blocking": False,
}


def vllm_list(
    *names: str, window: int = 8192, adapters: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return vLLM's answer to GET /v1/models. `adapters` maps LoRA adapters to their models."""
    shared = {
        "object": "model",
        "created": 1764500000,
        "owned_by": "vllm",
        "permission": [_PERMISSION],
    }
    models = [
        {"id": name, **shared, "root": name, "parent": None, "max_model_len": window}
        for name in names
    ]
    loras = [
        {"id": name, **shared, "root": f"/lora/{name}", "parent": parent, "max_model_len": None}
        for name, parent in (adapters or {}).items()
    ]
    return {"object": "list", "data": [*models, *loras]}


def openai_list(*names: str) -> dict[str, Any]:
    """Return OpenAI's answer to GET /v1/models."""
    entry = {"object": "model", "created": 1686935002, "owned_by": "openai"}
    return {"object": "list", "data": [{"id": name, **entry} for name in names]}


def anthropic_list(*names: str) -> dict[str, Any]:
    """Return Anthropic's answer to GET /v1/models."""
    data = [
        {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "2025-02-19T00:00:00Z",
            "max_input_tokens": 200_000,
            "max_tokens": 64_000,
        }
        for name in names
    ]
    return {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}


def ollama_tags(*names: str) -> dict[str, Any]:
    """Return Ollama's answer to GET /api/tags."""
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": "qwen3",
        "families": ["qwen3"],
        "parameter_size": "8.2B",
        "quantization_level": "Q4_K_M",
    }
    models = [
        {
            "name": name,
            "model": name,
            "modified_at": "2025-11-29T10:00:00.123456789Z",
            "size": 5225388164,
            "digest": "500a1f067a9f782620b40bee6f7b0c89e17ae61f686b92c24933e4ca4b2b8b41",
            "details": details,
        }
        for name in names
    ]
    return {"models": models}


def answer(document: Any, status: str = "200 OK", *fields: str) -> bytes:
    """Return a whole HTTP response with a document as JSON, or with these bytes."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", *fields]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


class ListingBackend(ScriptedUpstream):
    """Backend whose list of models, and whose way to answer it, a test may change at any time."""

    def __init__(self, document: Any, path: str = "/v1/models") -> None:
        super().__init__(self._serve)
        self.list: bytes | None = None
        """The whole response with the list; None if it never comes."""
        self.path = path
        self.lists = 0
        """Number of lists that were asked for."""
        self.list_requests: list[Request] = []
        self.chats: list[str] = []
        """Model that each chat named."""
        self.answers: dict[str, bytes] = {}
        """Other responses to chats, by model."""
        self.shows(document)

    def shows(self, document: Any) -> None:
        """List these models from now on."""
        self.list = answer(document)

    async def _serve(self, connection: UpstreamConnection) -> None:
        while True:
            try:
                request = await connection.read_request()
            except PeerGone:
                return
            if request.method == "GET" and request.target == self.path:
                self.lists += 1
                self.list_requests.append(request)
                if self.list is None:
                    await asyncio.Event().wait()
                    return
                await connection.send(self.list)
                continue
            model = json.loads(request.body)["model"] if request.body else ""
            self.chats.append(model)
            told: dict[str, Any] = {
                "id": "c",
                "object": "chat.completion",
                "model": model,
                "choices": [],
            }
            await connection.send(self.answers.get(model) or answer(told))


def discovering(*upstreams: tuple[str, str, Mapping[str, Any]], models: Sequence[str]) -> Any:
    """Return a configuration of upstreams (name, URL, settings), with a route for `models`."""
    return {
        "upstreams": {
            name: {"endpoints": [{"url": url}], **settings} for name, url, settings in upstreams
        },
        "routes": [{"name": "main", "path": "/v1/", "auth": "anonymous", "models": [*models]}],
    }
