"""A demo backend on a port of its own, and how to ask it and read its streams."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import pytest

from gateway.demo import DemoBackend
from tests.support.client import request
from tests.support.waiting import eventually

PROMPT = "Why is the sky blue?"
PROMPT_TOKENS = 5
MANY = 1000
"""More tokens than any answer has."""
NEVER_S = 3600.0
"""A pace at which no test lives to see a token."""

OPENAI = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
TRIP = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 2, "maximum": 5},
        "with": {"type": "array", "items": {"enum": ["friends", "nobody"]}, "minItems": 1},
    },
    "required": ["city", "days", "with"],
    "additionalProperties": False,
}
PLAN_TRIP = {"type": "function", "function": {"name": "plan_trip", "parameters": TRIP}}
RESPONSES = "/v1/responses"
ANTHROPIC = "/v1/messages"
OLLAMA_CHAT = "/api/chat"
OLLAMA_GENERATE = "/api/generate"
GENERATING = (OPENAI, COMPLETIONS, RESPONSES, ANTHROPIC, OLLAMA_CHAT, OLLAMA_GENERATE)
"""Every path that answers with generated text."""

Body = dict[str, Any]


class StartBackend(Protocol):
    """Starts a demo backend that the test's end stops."""

    async def __call__(self, *, pace_s: float = 0.0) -> DemoBackend: ...


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; `data` is JSON, read, or the text that is none."""

    name: str | None
    data: Any


@pytest.fixture
async def start_backend() -> AsyncIterator[StartBackend]:
    running: list[DemoBackend] = []

    async def start(*, pace_s: float = 0.0) -> DemoBackend:
        backend = DemoBackend(pace_s=pace_s)
        await backend.start()
        running.append(backend)
        return backend

    yield start
    for backend in running:
        await backend.stop()


@pytest.fixture
async def backend(start_backend: StartBackend) -> DemoBackend:
    return await start_backend()


@pytest.fixture
async def client(backend: DemoBackend) -> AsyncIterator[httpx.AsyncClient]:
    # Nothing here is TLS; `verify` off spares each test the reading of every CA.
    async with httpx.AsyncClient(base_url=backend.url, trust_env=False, verify=False) as client:
        yield client


def chat(**fields: Any) -> Body:
    """A chat with room for the whole answer, as all three dialects understand it."""
    messages = [{"role": "user", "content": PROMPT}]
    return {"model": "demo", "messages": messages, "max_tokens": MANY, **fields}


def asked(prompt: str = PROMPT, most: int = MANY, **fields: Any) -> Body:
    """What to say to a prompt, in the words of every `GENERATING` path at once: each reads its own.

    Not streamed, unless `fields` say so.
    """
    body = chat(messages=[{"role": "user", "content": prompt}], max_tokens=most, stream=False)
    lengths = {"max_output_tokens": most, "options": {"num_predict": most}}
    return body | lengths | {"prompt": prompt, "input": prompt} | fields


def get(path: str) -> bytes:
    """The bytes of a GET, for a raw client."""
    return request("GET", path)


def post(path: str, body: Body, *headers: str) -> bytes:
    """The bytes of a POST, for a raw client."""
    return request("POST", path, headers=headers, body=json.dumps(body).encode())


async def answer(client: httpx.AsyncClient, path: str, body: Body) -> Any:
    """The document a request is answered with."""
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("application/json")
    return response.json()


async def events(client: httpx.AsyncClient, path: str, body: Body) -> list[Event]:
    """Every event of the stream a request is answered with."""
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return parse_events(response.text)


async def lines(client: httpx.AsyncClient, path: str, body: Body) -> list[Any]:
    """Every line of the NDJSON stream a request is answered with."""
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]


def parse_events(text: str) -> list[Event]:
    """Whole events, each of one data line and perhaps a name; anything else is a failure."""
    if not text:
        return []
    assert text.endswith("\n\n"), f"the last event is not whole: {text[-80:]!r}"
    return [_event(block) for block in text[:-2].split("\n\n")]


async def until(condition: Callable[[], bool]) -> None:
    """Return once it holds: the backend's counters tell nobody when they change."""
    await eventually(condition)


def _event(block: str) -> Event:
    *named, data = block.split("\n")
    assert len(named) <= 1, block
    assert data.startswith("data: "), block
    assert all(line.startswith("event: ") for line in named), block
    name = named[0].removeprefix("event: ") if named else None
    value = data.removeprefix("data: ")
    return Event(name, json.loads(value) if value.startswith("{") else value)
