"""One request of a socket: to the gateway it is a connection of its own, with nothing behind it.

So it is a request like any other, from its head to its line in the log: the same chain, the same
relay, the same ways to end. What the gateway writes to it becomes messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gateway.bridge.answer import Answer
from gateway.errors import GatewayError, StreamCancelled
from gateway.exchange import Branch


class Call(asyncio.Transport):
    """The client's side of it."""

    def __init__(
        self,
        branch: Branch,
        answer: Answer,
        underneath: asyncio.Transport,
        *,
        say: Callable[[Sequence[bytes]], None],
        ended: Callable[[Call], None],
    ) -> None:
        """`underneath` is the socket's connection, and `say` sends messages on it. `ended` is told
        when the last message about it was said.
        """
        super().__init__()
        self.answer = answer
        self._branch = branch
        self._underneath = underneath
        self._say = say
        self._ended = ended
        self._closing = self._lost = False
        self._paused = False

    def begin(self, request: bytes) -> None:
        """Send it."""
        self._branch.connection_made(self)
        if not self._closing:
            self._branch.data_received(request)

    @property
    def generates(self) -> bool:
        """Whether the generation it reads ends with it, and not with another request."""
        exchange = self._branch.exchange
        return self.answer.stream is None or (exchange is not None and exchange.keeper is not None)

    def pause(self) -> None:
        """The socket takes no more for now."""
        if not (self._paused or self._lost):
            self._paused = True
            self._branch.pause_writing()

    def resume(self) -> None:
        """It does again."""
        if self._paused and not self._lost:
            self._paused = False
            self._branch.resume_writing()

    def cancel(self) -> None:
        """Its client wants no more of it: stop whoever generates."""
        said = self.answer.cancelled()
        self._branch.end(StreamCancelled())
        self.hang_up()
        self._tell(said)

    def fail(self, error: GatewayError) -> None:
        """The gateway ends it."""
        self._branch.end(error)  # which it is told of, unless it has no answer yet
        if not self.answer.over:
            self._tell(self.answer.closed(error))
        self.hang_up()

    def abandon(self, error: GatewayError) -> None:
        """Its client is sent away: it is told why. The policy for clients that leave decides what
        becomes of the generation.
        """
        self._tell(self.answer.closed(error))
        self.hang_up()

    def hang_up(self) -> None:
        """Its client is gone."""
        self._closing = True
        if not self._lost:
            self._lost = True
            self._branch.connection_lost(None)

    # The gateway's side calls these.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self._tell(self.answer.feed(data if isinstance(data, bytes) else bytes(data)))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self.answer.over:
                self._tell(self.answer.closed())
            asyncio.get_running_loop().call_soon(self.hang_up)

    def abort(self) -> None:
        self.close()

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        """Nothing waits here; whether the socket's client takes it is the socket's business."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass  # the request was sent

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return default
        return self._underneath.get_extra_info(name, default)

    # -- private -----------------------------------------------------------------------------

    def _tell(self, messages: Sequence[bytes]) -> None:
        if messages:
            self._say(messages)
            if self.answer.over:
                self._ended(self)
