"""Transport of a connection without a socket, for a request of a session."""

from __future__ import annotations

import asyncio
from abc import abstractmethod


class VirtualTransport(asyncio.Transport):
    """Base of transports that no bytes pass through: the request comes parsed, and a receiver takes
    the response (see `AnswerReceiver`). It is never congested.
    """

    @abstractmethod
    def close(self) -> None:
        """Close the connection, in a later turn of the event loop."""

    def abort(self) -> None:
        self.close()

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass
