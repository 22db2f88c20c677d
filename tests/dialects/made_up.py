"""A dialect that nobody speaks, complete in one file. Run as a program, it checks that the gateway
takes it up once it is registered.

A request is `{"model", "say": [texts], "stream"}` at `/talk/speak`; an answer is `{"reply"}`, or
lines `{"word"}` up to `{"over": true}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

import gateway.dialects
from gateway.dialects.dialect import Chat, ChatBackend, Dialect, ModelLists, Paths
from gateway.dialects.json_lines import Lines, LineSplitter
from gateway.dialects.translation.conversation import Conversation, Message, Role, Text, text_of
from gateway.dialects.translation.fields import Fields
from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.pieces import (
    Began,
    Ended,
    Piece,
    Said,
    Stop,
    Stopped,
    Telling,
    Whole,
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
    return [Began("m"), Said(document["reply"]), Stopped(Stop.END), Ended()]


def write_answer(answer: Whole, telling: Telling) -> bytes:
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
                pieces += [Stopped(Stop.END), Ended()]
            else:
                pieces += [Began("m"), Said(document["word"])]
        return pieces

    def flush(self) -> Sequence[Piece]:
        return () if self._over else [broken_off()]


class Writer:
    def __init__(self, telling: Telling) -> None:
        pass

    def write(self, piece: Piece) -> bytes:
        match piece:
            case Said(text):
                return orjson.dumps({"word": text}) + b"\n"
            case Ended():
                return b'{"over":true}\n'
        return b""


def error_body(error: GatewayError, request_id: str) -> bytes:
    return orjson.dumps({"oops": error.message})


def listing(names: Iterable[str]) -> bytes:
    return orjson.dumps(list(names))


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
    models=ModelLists(listing, orjson.dumps, others={"names": listing}),
    splitter=Lines,
    chats={"/speak": Chat(read, write_answer, Writer)},
    chat_backend=ChatBackend("/speak", write, read_answer, Reader),
)
BODY = {"model": "m", "say": ["Hi"], "stream": True}
CONFIG = """
upstreams:
  own: {dialect: made-up, endpoints: [{url: "http://10.0.0.1"}]}
  other: {endpoints: [{url: "http://10.0.0.2"}]}
models:
  mine: {upstream: own}
  theirs: {upstream: other}
routes:
  - {name: talk, path: /talk/, dialect: made-up, auth: anonymous, models: [mine, theirs]}
  - {name: chat, path: /v1/, dialect: openai, auth: anonymous, models: [mine, theirs]}
  - {name: socket, path: /socket, bridge: {to: talk}, auth: anonymous}
"""


def main() -> None:
    """Register the dialect, and use it through the modules that ask the registry."""
    gateway.dialects.DIALECTS[MADE_UP.name] = MADE_UP

    from gateway.config import load_text
    from gateway.config.schema import json_schema
    from gateway.dialects.paths import generates, operation
    from gateway.dialects.translation.translation import Translation, translates
    from gateway.proxy.model_listing import ModelListing

    config = load_text(CONFIG)
    assert [route.dialect for route in config.routes] == ["made-up", "openai", None]
    assert "made-up" in str(json_schema())
    assert operation("/talk/speak") == "chat"
    assert generates("POST", "/talk/speak")
    assert ModelListing("/talk/", "made-up").asked("/talk/names")

    telling = Telling("r1", 0.0)
    for other, path in (("openai", "/v1/chat/completions"), ("anthropic", "/v1/messages")):
        assert translates("made-up", other, "/talk/speak")
        call = Translation("made-up", other, TranslationOptions()).call(
            "/talk/speak", BODY, telling
        )
        assert call.path.at("") == path
        assert call.writer is not None
        assert call.writer.write(Said("Hi")) == b'{"word":"Hi"}\n'
        asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        back = Translation(other, "made-up", TranslationOptions()).call(path, asked, telling)
        assert back.path.at("") == "/talk/speak"
        assert orjson.loads(back.body)["say"] == ["Hi"]
        assert b"Ho" in back.whole(b'{"reply":"Ho"}')[0]
    error = Translation("openai", "made-up", TranslationOptions()).refusal(429, b"{}", "r1", "")
    assert error[0] == 429


if __name__ == "__main__":
    main()
