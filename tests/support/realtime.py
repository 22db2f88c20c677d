"""Backend for OpenAI's Realtime API on a WebSocket: text only, as far as the SDK needs it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from tests.support.block import AsyncBlock

WORDS = ("Hello ", "there, ", "wörld")
USAGE = {
    "total_tokens": 12,
    "input_tokens": 9,
    "output_tokens": 3,
    "input_token_details": {"text_tokens": 9, "audio_tokens": 0, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 3, "audio_tokens": 0},
}


class RealtimeBackend(AsyncBlock):
    """Backend that answers every `response.create` with WORDS, as an async context manager."""

    def __init__(self) -> None:
        self.handshakes: list[tuple[str, dict[str, str]]] = []
        """Path and headers of each handshake, with header names in lower case."""
        self.audio_bytes = 0
        """Size of the base64 text that was appended."""
        self._server: Server | None = None
        self._ids = itertools.count()

    @property
    def url(self) -> str:
        """URL for `endpoints: [{url: ...}]`."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _enter(self) -> None:
        self._server = await serve(self._talk, "127.0.0.1", 0, select_subprotocol=_choose)

    async def _leave(self, error: BaseException | None) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _talk(self, socket: ServerConnection) -> None:
        asked = socket.request
        assert asked is not None
        headers = {name.lower(): value for name, value in asked.headers.raw_items()}
        self.handshakes.append((asked.path, headers))
        session = {"type": "realtime", "object": "realtime.session", "id": "sess_1"}
        await self._say(socket, "session.created", session=session)
        async for message in socket:
            event = orjson.loads(message)
            match event["type"]:
                case "session.update":
                    await self._say(
                        socket, "session.updated", session={**session, **event["session"]}
                    )
                case "input_audio_buffer.append":
                    self.audio_bytes += len(event["audio"])
                case "conversation.item.create":
                    item = {"id": "item_1", "object": "realtime.item", **event["item"]}
                    await self._say(socket, "conversation.item.added", item=item)
                case "response.create":
                    await self._answer(socket)
                case kind:
                    error = {"type": "invalid_request_error", "message": f"no such event: {kind}"}
                    await self._say(socket, "error", error=error)

    async def _answer(self, socket: ServerConnection) -> None:
        response: dict[str, Any] = {"object": "realtime.response", "id": "resp_1", "output": []}
        place = {
            "response_id": "resp_1",
            "item_id": "item_2",
            "output_index": 0,
            "content_index": 0,
        }
        await self._say(socket, "response.created", response={**response, "usage": None})
        for word in WORDS:
            await self._say(socket, "response.output_text.delta", delta=word, **place)
        await self._say(socket, "response.output_text.done", text="".join(WORDS), **place)
        whole = {**response, "status": "completed", "usage": USAGE}
        await self._say(socket, "response.done", response=whole)

    async def _say(self, socket: ServerConnection, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": f"event_{next(self._ids)}", **fields}
        await socket.send(orjson.dumps(event).decode())


def _choose(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Choose the subprotocol. Browsers offer one, SDKs none."""
    return Subprotocol("realtime") if "realtime" in offered else None
