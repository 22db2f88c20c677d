"""Listening sockets of one gateway, which a master inherits from the one before it, or binds."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.config import Config
from gateway.processes import sockets

_INHERITED = "GATEWAY_SOCKETS"
"""Name of the environment variable with the descriptors that the previous master passes on."""


@dataclass(slots=True)
class Listeners:
    """Listening sockets of one gateway."""

    public: list[socket.socket]
    """One socket for each worker, if the kernel spreads connections over them, else one for all."""
    admin: socket.socket | None
    demo: socket.socket | None
    secure: bool = False
    """True if the public sockets speak TLS."""

    @classmethod
    def of(cls, config: Config) -> Listeners:
        """Return the sockets of a configuration: those that the previous master passed on, if they
        have the configured address, otherwise new ones. Raise CannotStart.
        """
        server = config.server
        passed = _inherited()
        public = _kept_or_bound(passed[0], server.listen, server.workers, "server.listen")
        admin = demo = None
        if config.admin is not None:
            (admin,) = _kept_or_bound(passed[1], config.admin.listen, 1, "admin.listen")
        if config.demo is not None:
            (demo,) = _kept_or_bound(passed[2], config.demo.listen, 1, "demo.listen")
        return cls(public, admin, demo, server.tls is not None)

    @property
    def open(self) -> Sequence[socket.socket]:
        """Open sockets, the public ones first."""
        every = (*self.public, self.admin, self.demo)
        return [one for one in every if one is not None and one.fileno() >= 0]

    @property
    def urls(self) -> tuple[str, str | None]:
        """URLs of the gateway and of its admin listener, if it has one."""
        admin = None if self.admin is None else sockets.url_of(self.admin)
        public = sockets.url_of(self.public[0])
        return public.replace("http:", "https:", 1) if self.secure else public, admin

    def close_public(self) -> None:
        """Close the public sockets. The kernel refuses connections once no process has them."""
        for one in self.public:
            one.close()

    def close(self) -> None:
        """Close all sockets."""
        for one in self.open:
            one.close()

    def reopen(self, kept: Sequence[socket.socket]) -> list[socket.socket]:
        """Replace those of the `kept` public sockets that were closed, each in its place, and
        return `kept` with the new ones. Raise OSError.
        """
        replaced = list(kept)
        for index, one in enumerate(self.public):
            if one in replaced and one.fileno() < 0:
                open_one = next(other for other in self.public if other.fileno() >= 0)
                (self.public[index],) = sockets.beside(open_one, 1)
                replaced[replaced.index(one)] = self.public[index]
        return replaced

    def pass_on(self) -> dict[str, str]:
        """Return the environment variable for a new master. The caller must also pass it the
        descriptors of the open sockets.
        """
        groups = (
            [one for one in self.public if one.fileno() >= 0],
            [self.admin] if self.admin else [],
            [self.demo] if self.demo else [],
        )
        text = ";".join(",".join(str(one.fileno()) for one in group) for group in groups)
        return {_INHERITED: text}


def _inherited() -> Sequence[list[socket.socket]]:
    """Return the sockets that the previous master passed on: public, admin, demo."""
    text = os.environ.pop(_INHERITED, "")
    return [
        [socket.socket(fileno=int(number)) for number in group.split(",") if number]
        for group in f"{text};;".split(";")[:3]  # an older version passes fewer groups
    ]


def _kept_or_bound(
    passed: list[socket.socket], address: str, count: int, setting: str
) -> list[socket.socket]:
    if passed and sockets.listens_on(passed[0], address):
        return passed + sockets.beside(passed[0], max(0, count - len(passed)))
    for each in passed:
        each.close()
    return sockets.bind(address, count, setting)
