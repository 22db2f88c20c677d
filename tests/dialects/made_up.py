"""A dialect that nobody speaks, complete in one file. Run as a program, it checks that the gateway
takes it up once it is registered.

A request is `{"model", "say": [texts], "stream"}` at `/talk/speak`; an answer is `{"reply"}`, or
lines `{"word"}` up to `{"over": true}`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

import gateway.dialects
from gateway.dialects.dialect import Chat, ChatBackend, Dialect, ModelLists, Paths
from gateway.dialects.json_lines import Lines, LineSplitter
from gateway.dialects.model_entry import ModelEntry
from gateway.dialects.translation.conversation import Conversation, Message, Role, Text, text_of
from gateway.dialects.translation.fields import Fields
from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.pieces import (
    CompleteAnswer,
    ContentEnd,
    MessageEnd,
    MessageStart,
    Piece,
    Stop,
    TextDelta,
    WriterContext,
    broken_off,
)
from gateway.errors import GatewayError


def read(document: dict[str, Any]) -> Conversation:
    fields = Fields(document)
    said = [Message(Role.USER, [Text(text)]) for text in fields.texts("say")]
    asked = Conversation(fields.needed("model"), said, stream=fields.flag("stream") or False)
    fields.end()
    return asked


def write(asked: Conversation, options: TranslationOptions) -> dict[str, Any]:
    texts = [text_of(message.parts) for message in asked.messages]
    return {"model": asked.model, "say": texts, "stream": asked.stream}


def read_answer(document: dict[str, Any]) -> list[Piece]:
    return [MessageStart("m"), TextDelta(document["reply"]), ContentEnd(Stop.END), MessageEnd()]


def write_answer(answer: CompleteAnswer, context: WriterContext) -> bytes:
    return orjson.dumps({"reply": answer.text})


class Reader:
    def __init__(self) -> None:
        self._splitter = LineSplitter()
        self._over = False

    def feed(self, data: bytes) -> Sequence[Piece]:
        pieces: list[Piece] = []
        for line in self._splitter.feed(data):
            document = orjson.loads(line)
            self._over = "over" in document
            if self._over:
                pieces += [ContentEnd(Stop.END), MessageEnd()]
            else:
                pieces += [MessageStart("m"), TextDelta(document["word"])]
        return pieces

    def flush(self) -> Sequence[Piece]:
        return () if self._over else [broken_off()]


class Writer:
    def __init__(self, context: WriterContext) -> None:
        pass

    def write(self, piece: Piece) -> bytes:
        match piece:
            case TextDelta(text):
                return orjson.dumps({"word": text}) + b"\n"
            case MessageEnd():
                return b'{"over":true}\n'
        return b""


def error_body(error: GatewayError, request_id: str) -> bytes:
    return orjson.dumps({"oops": error.message})


def listing(models: Iterable[ModelEntry]) -> bytes:
    return orjson.dumps([model.name for model in models])


def entry(model: ModelEntry) -> bytes:
    return orjson.dumps(model.name)


MADE_UP = Dialect(
    name="made-up",
    stream_type=b"application/x-ndjson",
    error_body=error_body,
    error_event=lambda error, request_id, tail: error_body(error, request_id) + b"\n",
    passed_error=lambda body: None,
    paths=Paths(
        base="/talk",
        holds_base=re.compile(r"/talk$"),
        generating=("/speak",),
        operations={"/talk/speak": "chat"},
    ),
    models=ModelLists(listing, entry, others={"names": listing}),
    splitter=Lines,
    chats={"/speak": Chat(read, write_answer, Writer)},
    chat_backend=ChatBackend("/speak", write, read_answer, Reader),
)
BODY = {"model": "m", "say": ["Hi"], "stream": True}
CONFIG = """
upstreams:
  own: {dialect: made-up, endpoints: [{url: URL}]}
models:
  mine: {upstream: own}
routes:
  - {name: talk, path: /talk/, dialect: made-up, auth: anonymous, models: [mine]}
  - {name: chat, path: /v1/, dialect: openai, auth: anonymous, models: [mine]}
  - {name: socket, path: /socket, bridge: {to: talk}, auth: anonymous}
"""


def main() -> None:
    """Register the dialect, and use it through the modules that ask the registry."""
    gateway.dialects.DIALECTS[MADE_UP.name] = MADE_UP

    from gateway.config.schema import json_schema
    from gateway.dialects.paths import generates, operation
    from gateway.dialects.translation.translation import Translation, translates

    assert "made-up" in str(json_schema())
    assert operation("/talk/speak") == "chat"
    assert generates("POST", "/talk/speak")
    context = WriterContext("r1", 0.0)
    for other, path in (("openai", "/v1/chat/completions"), ("anthropic", "/v1/messages")):
        assert translates("made-up", other, "/talk/speak")
        there = Translation("made-up", other, TranslationOptions())
        call = there.call("/talk/speak", BODY, context)
        assert call.path.at("") == path
        assert call.writer is not None
        assert call.writer.write(TextDelta("Hi")) == b'{"word":"Hi"}\n'
    asyncio.run(serve())


async def serve() -> None:
    """Send requests in this dialect and in OpenAI's through a gateway, to a backend of this one."""
    from aiohttp import ClientSession, web

    from tests.support.gateway import RunningGateway

    async def speak(request: web.Request) -> web.Response:
        body = await request.json()
        if body["stream"]:
            lines = [{"word": word} for word in body["say"]]
            text = b"".join(orjson.dumps(line) + b"\n" for line in [*lines, {"over": True}])
            return web.Response(body=text, content_type="application/x-ndjson")
        return web.json_response({"reply": " ".join(body["say"])})

    application = web.Application()
    application.router.add_post("/talk/speak", speak)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running = RunningGateway(
        CONFIG.replace("URL", f"http://127.0.0.1:{runner.addresses[0][1]}"), {}
    )
    await running.start()
    chat = {"model": "mine", "messages": [{"role": "user", "content": "Hi"}]}
    async with ClientSession(running.url) as session:
        async with session.post("/talk/speak", json={**BODY, "model": "mine"}) as answer:
            assert await answer.read() == b'{"word":"Hi"}\n{"over":true}\n'
        async with session.post("/v1/chat/completions", json=chat) as answer:
            assert (await answer.json())["choices"][0]["message"]["content"] == "Hi"
        async with session.post("/v1/chat/completions", json={**chat, "stream": True}) as answer:
            text = await answer.text()
            assert '"content":"Hi"' in text
            assert text.endswith("data: [DONE]\n\n")
        async with session.get("/talk/names") as answer:
            assert await answer.json() == ["mine"]
        async with session.post("/talk/speak", json={"model": "other"}) as answer:
            assert list(await answer.json()) == ["oops"]
    assert await running.stop() == []
    await runner.cleanup()


if __name__ == "__main__":
    main()
