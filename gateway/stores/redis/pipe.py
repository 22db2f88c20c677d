"""Connection to Redis whose calls follow one another without waiting for replies.

redis-py finds the server and connects to it (Sentinel, Cluster, TLS, credentials). From then on the
connection is this module's: a call is a write and a callback. Through the client of redis-py it
takes a connection of a pool, two timers and a task, and three times the CPU time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from hiredis import HiredisError, PushNotification, Reader

from gateway.store.records import StoreUnavailable
from gateway.stores.redis.client import PREFIX

_LAST_LOOK_S = 0.002
_INCOMPLETE = object()
Done = Callable[[object], None]
"""Function that is called with the reply, or with StoreUnavailable. Redis may have executed such a
call nevertheless.
"""


def packed(*words: bytes) -> bytes:
    """Return a command in Redis's protocol."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


class Pipe(asyncio.Protocol):
    """Connection to the server that has the gateway's keys."""

    def __init__(self, timeout_s: float) -> None:
        """`timeout_s` is the time after which a server that does not reply counts as lost."""
        self._timeout_s = timeout_s
        self._reader = Reader(notEnoughData=_INCOMPLETE)
        self._waiting: deque[tuple[float, Done]] = deque()
        """Calls without a reply, each with the time at which it was made."""
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self._writer: Any = None
        self._transport: Any = None
        self._retired = False

    @classmethod
    async def open(cls, client: Any, timeout_s: float) -> Pipe:
        """Connect with the settings of a client of redis-py. Raise its errors."""
        pipe = cls(timeout_s)
        if (pool := getattr(client, "connection_pool", None)) is not None:
            connection = pool.make_connection()
        else:  # a Cluster has one pool per node
            await client.initialize()
            node = client.get_node_from_key(PREFIX)
            connection = node.connection_class(**node.connection_kwargs)
        await connection.connect()
        # redis-py has no public way to its transport. Without a writer, the connection is closed
        # for it. The writer is kept because its end closes the transport.
        pipe._writer, connection._writer, connection._reader = connection._writer, None, None
        pipe.connection_made(pipe._writer.transport)
        pipe._transport.set_protocol(pipe)
        return pipe

    @property
    def is_open(self) -> bool:
        """True unless the connection is retired, or known to be lost."""
        return not (self._retired or self._transport.is_closing())

    def call(self, command: bytes, done: Done) -> None:
        """Send a command. `done` is called once, later."""
        self._waiting.append((self._loop.time(), done))
        self._transport.write(command)
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_s, self._look)

    def retire(self) -> None:
        """Close the connection once all calls have their replies."""
        self._retired = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Close the connection. Calls without a reply fail."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                if not isinstance(reply, PushNotification):
                    _, done = self._waiting.popleft()
                    self._tell(done, reply)
        except (HiredisError, IndexError):  # not a reply, or one that nobody has asked for
            self.close()
        if self._retired and not self._waiting:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        lost = StoreUnavailable(f"ConnectionError: {exc or 'closed by Redis'}")
        while self._waiting:
            _, done = self._waiting.popleft()
            self._tell(done, lost)

    def _tell(self, done: Done, reply: object) -> None:
        """Call `done`. A fault in it must not keep other calls from their replies."""
        try:
            done(reply)
        except Exception as exc:
            context = {"message": "A call of Redis failed after its reply.", "exception": exc}
            self._loop.call_exception_handler(context)

    def _look(self) -> None:
        """Give up the connection if the oldest call has waited too long."""
        self._watch = None
        if not self._waiting:
            return
        called_at, _ = self._waiting[0]
        left_s = called_at + self._timeout_s - self._loop.time()
        if left_s > 0.0:
            self._watch = self._loop.call_later(left_s, self._look)
        else:
            # The reply may have arrived without being read, because this process was busy.
            self._watch = self._loop.call_later(_LAST_LOOK_S, self._give_up, called_at)

    def _give_up(self, called_at: float) -> None:
        self._watch = None
        if self._waiting and self._waiting[0][0] == called_at:
            self.close()
        else:
            self._look()
