"""Every SDK in front of every backend of another dialect: translated both ways."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest
from anthropic.types import TextBlock, ThinkingBlock, ToolUseBlock

from gateway.demo import DemoBackend
from tests.dialects.translation.wire import SHAPES
from tests.sdk.conftest import ANSWER, PROMPT, forget_settings, take_all
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    reply,
)

FIXTURES = Path(__file__).parents[1] / "dialects/fixtures"
DIALECTS = ("openai", "anthropic", "ollama")
PAIRS = [(one, other) for one in DIALECTS for other in DIALECTS if one != other]
PREFIXES = {"openai": "/o/", "anthropic": "/a/", "ollama": "/l/"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PACE_S = 0.001


@dataclass
class Heard:
    """An answer, in words of no SDK."""

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    finish: str | None = None
    tokens: tuple[int | None, int | None] = (None, None)


def config(urls: dict[str, str]) -> dict[str, Any]:
    """Every route serves, in its callers' dialect, the models of the other dialects' upstreams."""
    return {
        "upstreams": {
            name: {"dialect": name, "endpoints": [{"url": url}]} for name, url in urls.items()
        },
        "models": {
            **{f"at-{name}": {"upstream": name, "model": "demo"} for name in urls},
            **{
                f"{fault}-at-{name}": {"upstream": name, "model": f"demo-{fault}"}
                for name in urls
                for fault in ("reset", "error", "overloaded")
            },
        },
        "routes": [
            {
                "name": name,
                "path": path,
                "strip": True,
                "auth": "anonymous",
                "check_requests": True,
                "dialect": name,
                "models": [
                    f"{fault}at-{other}"
                    for other in urls
                    for fault in ("", "reset-", "error-", "overloaded-")
                ],
            }
            for name, path in PREFIXES.items()
        ],
    }


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_settings(monkeypatch)


@pytest.fixture
async def demo(start_gateway: StartGateway) -> AsyncIterator[RunningGateway]:
    backend = DemoBackend(pace_s=PACE_S)
    await backend.start()
    try:
        document = config(dict.fromkeys(DIALECTS, backend.url))
        yield await start_gateway(document)
    finally:
        await backend.stop()


# -- the three SDKs ----------------------------------------------------------------------------


async def ask_openai(url: str, model: str, *, stream: bool, tools: bool) -> Heard:
    wanted: Any = {}
    if tools:
        functions = [{"name": name, "parameters": SCHEMA} for name in ("get_weather", "get_time")]
        wanted["tools"] = [{"type": "function", "function": one} for one in functions]
    heard = Heard()
    async with openai.AsyncOpenAI(base_url=url + "/o/v1", api_key="k", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": PROMPT}]
        if not stream:
            whole = await client.chat.completions.create(model=model, messages=messages, **wanted)
            (choice,) = whole.choices
            said = choice.message
            heard.text, heard.finish = said.content or "", choice.finish_reason
            heard.thinking = getattr(said, "reasoning_content", "")
            heard.calls = [
                (call.function.name, json.loads(call.function.arguments))
                for call in said.tool_calls or ()
                if call.type == "function"
            ]
            assert whole.usage is not None
            heard.tokens = (whole.usage.prompt_tokens, whole.usage.completion_tokens)
            return heard
        calls: dict[int, list[str]] = {}
        pieces = await client.chat.completions.create(
            model=model,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
            **wanted,
        )
        async for piece in pieces:
            if piece.usage is not None:
                heard.tokens = (piece.usage.prompt_tokens, piece.usage.completion_tokens)
            for choice_ in piece.choices:
                delta = choice_.delta
                heard.text += delta.content or ""
                heard.thinking += getattr(delta, "reasoning_content", "")
                heard.finish = choice_.finish_reason or heard.finish
                for call_ in delta.tool_calls or ():
                    assert call_.function is not None
                    if call_.id:
                        calls[call_.index] = [call_.function.name or "", ""]
                    calls[call_.index][1] += call_.function.arguments or ""
        heard.calls = [(name, json.loads(text)) for name, text in calls.values()]
    return heard


async def ask_anthropic(url: str, model: str, *, stream: bool, tools: bool) -> Heard:
    wanted: Any = {}
    if tools:
        wanted["tools"] = [
            {"name": name, "input_schema": SCHEMA} for name in ("get_weather", "get_time")
        ]
    async with anthropic.AsyncAnthropic(base_url=url + "/a", api_key="k", max_retries=0) as client:
        asked: Any = {
            "model": model,
            "max_tokens": 100,
            "messages": [{"role": "user", "content": PROMPT}],
            **wanted,
        }
        if stream:
            async with client.messages.stream(**asked) as events:
                texts = [text async for text in events.text_stream]
                message = await events.get_final_message()
            said = "".join(b.text for b in message.content if isinstance(b, TextBlock))
            assert "".join(texts) == said
        else:
            message = await client.messages.create(**asked)
    blocks = message.content
    return Heard(
        "".join(block.text for block in blocks if isinstance(block, TextBlock)),
        "".join(block.thinking for block in blocks if isinstance(block, ThinkingBlock)),
        [(block.name, block.input) for block in blocks if isinstance(block, ToolUseBlock)],
        message.stop_reason,
        (
            message.usage.input_tokens
            + (message.usage.cache_read_input_tokens or 0)
            + (message.usage.cache_creation_input_tokens or 0),
            message.usage.output_tokens,
        ),
    )


async def ask_ollama(url: str, model: str, *, stream: bool, tools: bool) -> Heard:
    wanted: Any = {}
    if tools:
        functions = [{"name": name, "parameters": SCHEMA} for name in ("get_weather", "get_time")]
        wanted["tools"] = [{"type": "function", "function": one} for one in functions]
    messages = [{"role": "user", "content": PROMPT}]
    heard = Heard()
    async with ollama.AsyncClient(host=url + "/l") as client:
        if stream:
            pieces: list[Any] = [
                piece
                async for piece in await client.chat(
                    model=model, messages=messages, stream=True, **wanted
                )
            ]
        else:
            pieces = [await client.chat(model=model, messages=messages, **wanted)]
    for piece in pieces:
        heard.text += piece.message.content or ""
        heard.thinking += piece.message.thinking or ""
        heard.calls += [
            (call.function.name, dict(call.function.arguments))
            for call in piece.message.tool_calls or ()
        ]
    heard.finish = pieces[-1].done_reason
    heard.tokens = (pieces[-1].prompt_eval_count, pieces[-1].eval_count)
    assert [piece.done for piece in pieces].index(True) == len(pieces) - 1
    return heard


ASK = {"openai": ask_openai, "anthropic": ask_anthropic, "ollama": ask_ollama}
ENDED = {"openai": "stop", "anthropic": "end_turn", "ollama": "stop"}
CALLED = {"openai": "tool_calls", "anthropic": "tool_use", "ollama": "stop"}


# -- what they hear ----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("caller", "backend"), PAIRS)
async def test_a_chat_is_answered(
    demo: RunningGateway, caller: str, backend: str, stream: bool
) -> None:
    heard = await ASK[caller](demo.url, f"at-{backend}", stream=stream, tools=False)
    assert heard.text == ANSWER
    assert heard.finish == ENDED[caller]
    assert heard.tokens == (len(PROMPT.split()), len(ANSWER.split()))


def answers(name: str) -> Script:
    """The fixture of a dialect: whole, or the stream in small pieces."""
    suffix = "ndjson" if name == "ollama" else "sse"
    stream = (FIXTURES / f"{name}.{suffix}").read_bytes()
    whole = (FIXTURES / f"{name}.json").read_bytes()
    head = STREAM_HEAD
    if name == "ollama":
        head = head.replace(b"text/event-stream", b"application/x-ndjson")

    async def script(connection: UpstreamConnection) -> None:
        while True:
            asked = json.loads((await connection.read_request()).body)
            if asked.get("stream"):
                parts = [stream[at : at + 100] for at in range(0, len(stream), 100)]
                await connection.send(head + b"".join(map(chunk, parts)) + LAST_CHUNK)
            else:
                await connection.send(reply(whole))

    return script


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("caller", "backend"), PAIRS)
async def test_tools_are_called_thoughts_are_told_and_tokens_are_counted(
    start_gateway: StartGateway, caller: str, backend: str, stream: bool
) -> None:
    async with ScriptedUpstream(answers(backend)) as upstream:
        gateway = await start_gateway(config(dict.fromkeys(DIALECTS, upstream.url)))
        heard = await ASK[caller](gateway.url, f"at-{backend}", stream=stream, tools=True)
        (seen,) = upstream.requests
    assert heard.text == "Let me look that up: ☀."
    assert heard.thinking == "Two questions, two tools."
    assert heard.calls == [("get_weather", {"city": "Paris"}), ("get_time", {"zone": "CET"})]
    assert heard.finish == CALLED[caller]
    assert heard.tokens == (120, 42)
    assert len(json.loads(seen.body)["tools"]) == 2


def plays(stream: bytes, kind: bytes) -> Script:
    """A stream in small pieces."""
    head = STREAM_HEAD.replace(b"text/event-stream", kind)
    parts = [stream[at : at + 100] for at in range(0, len(stream), 100)]

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(head + b"".join(map(chunk, parts)) + LAST_CHUNK)

    return script


@pytest.mark.parametrize("caller", DIALECTS)
async def test_every_sdk_hears_the_same_of_every_shape_of_a_stream(
    start_gateway: StartGateway, caller: str
) -> None:
    for file, (thinking, text, calls, _) in SHAPES.items():
        backend = file.partition("/")[0]
        if backend == caller:
            continue
        kind = b"application/x-ndjson" if backend == "ollama" else b"text/event-stream"
        async with ScriptedUpstream(plays((FIXTURES / file).read_bytes(), kind)) as upstream:
            gateway = await start_gateway(config(dict.fromkeys(DIALECTS, upstream.url)))
            heard = await ASK[caller](gateway.url, f"at-{backend}", stream=True, tools=True)
        assert (heard.thinking, heard.text, heard.calls) == (thinking, text, calls), file
        assert heard.finish == (CALLED if calls else ENDED)[caller], file


@pytest.mark.parametrize(("caller", "backend"), PAIRS)
async def test_a_stream_that_breaks_off_raises(
    demo: RunningGateway, caller: str, backend: str
) -> None:
    heard: list[object] = []
    model = f"reset-at-{backend}"
    if caller == "openai":
        async with openai.AsyncOpenAI(base_url=demo.url + "/o/v1", api_key="k") as client:
            stream = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": PROMPT}], stream=True
            )
            with pytest.raises(openai.APIError, match="closed the connection"):
                await take_all(stream, heard)
    elif caller == "anthropic":
        async with (
            anthropic.AsyncAnthropic(base_url=demo.url + "/a", api_key="k") as claude,
            claude.messages.stream(
                model=model, max_tokens=100, messages=[{"role": "user", "content": PROMPT}]
            ) as events,
        ):
            with pytest.raises(anthropic.APIStatusError, match="closed the connection"):
                await take_all(events.text_stream, heard)
    else:
        async with ollama.AsyncClient(host=demo.url + "/l") as llama:
            lines = await llama.chat(
                model=model, messages=[{"role": "user", "content": PROMPT}], stream=True
            )
            with pytest.raises(ollama.ResponseError, match="closed the connection"):
                await take_all(lines, heard)
    assert heard


@pytest.mark.parametrize(("caller", "backend"), PAIRS)
@pytest.mark.parametrize(("fault", "status"), [("error", 500), ("overloaded", 429)])
async def test_a_refusal_of_the_backend_is_one_of_the_callers_dialect(
    demo: RunningGateway, caller: str, backend: str, fault: str, status: int
) -> None:
    raised = {
        "openai": openai.APIStatusError,
        "anthropic": anthropic.APIStatusError,
        "ollama": ollama.ResponseError,
    }[caller]
    with pytest.raises(raised, match="on purpose") as caught:
        await ASK[caller](demo.url, f"{fault}-at-{backend}", stream=True, tools=False)
    error = caught.value
    assert error.status_code == status  # type: ignore[attr-defined]
    if isinstance(error, openai.RateLimitError):
        assert error.type == "rate_limit_error"
    if isinstance(error, anthropic.RateLimitError):
        assert error.type == "rate_limit_error"
    if isinstance(error, (openai.APIStatusError, anthropic.APIStatusError)) and status == 429:
        assert error.response.headers["retry-after"] == "2"


async def test_what_cannot_be_carried_is_a_bad_request_that_names_it(demo: RunningGateway) -> None:
    async with openai.AsyncOpenAI(
        base_url=demo.url + "/o/v1", api_key="k", max_retries=0
    ) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                model="at-anthropic", messages=[{"role": "user", "content": "x"}], n=2
            )
    assert (caught.value.code, caught.value.param) == ("not_translatable", "n")


async def test_embeddings_cross_between_openais_and_ollamas_dialect(demo: RunningGateway) -> None:
    async with openai.AsyncOpenAI(
        base_url=demo.url + "/o/v1", api_key="k", max_retries=0
    ) as client:
        own = await client.embeddings.create(model="at-openai", input=["a", "b"])
        other = await client.embeddings.create(model="at-ollama", input=["a", "b"])
        with pytest.raises(openai.BadRequestError) as caught:
            await client.embeddings.create(model="at-anthropic", input="a")
    assert caught.value.code == "not_translatable"
    assert [one.embedding for one in other.data] == [one.embedding for one in own.data]
    assert other.usage == own.usage
    async with ollama.AsyncClient(host=demo.url + "/l") as llama:
        crossed = await llama.embed(model="at-openai", input=["a", "b"])
        direct = await llama.embed(model="at-ollama", input=["a", "b"])
        old = await llama.embeddings(model="at-openai", prompt="a")
    assert crossed.embeddings == direct.embeddings
    assert old.embedding == direct.embeddings[0]


async def test_a_prompt_of_ollamas_is_a_chat_to_the_others(demo: RunningGateway) -> None:
    async with ollama.AsyncClient(host=demo.url + "/l") as llama:
        for backend in ("openai", "anthropic"):
            whole = await llama.generate(model=f"at-{backend}", prompt=PROMPT)
            stream = await llama.generate(model=f"at-{backend}", prompt=PROMPT, stream=True)
            text = "".join([piece.response or "" async for piece in stream])
            assert text == whole.response == ANSWER


async def test_tokens_of_anthropics_are_not_counted_by_others(demo: RunningGateway) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=demo.url + "/a", api_key="k", max_retries=0
    ) as claude:
        with pytest.raises(anthropic.BadRequestError, match="cannot be translated"):
            await claude.messages.count_tokens(
                model="at-openai", messages=[{"role": "user", "content": "x"}]
            )
