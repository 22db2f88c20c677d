"""A peer that runs on the core of what is measured."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import Peer, Place
from benchmarks.processes import cores, redis_server, running
from benchmarks.processor import family_of, workers_of
from benchmarks.tokens import bearer


@dataclass(frozen=True, slots=True)
class System:
    """Running peer."""

    port: int
    token: str | None
    """Token that callers need."""
    roots: tuple[int, ...]
    admin: int
    """Port of a gateway's admin listener."""

    @property
    def pids(self) -> list[int]:
        """Processes that serve: of a gateway its workers, with what these have started."""
        return [pid for root in self.roots for pid in family_of(root)]


def start(peer: Peer, backend: int, folder: Path, stack: ExitStack) -> System:
    """Run a peer until the stack is closed. Raise CannotRun."""
    ours, theirs = cores()
    place = Place.pick(folder / peer.name.replace(" ", "-"), backend)
    log, out = place.folder / "log", place.folder / "out"
    if peer.redis:
        stack.enter_context(redis_server(place.folder, theirs, place.redis))
    command = peer.command(place)
    process = stack.enter_context(
        running(command, place.port, core=ours, log=log, stdout=out, root=peer.root)
    )
    roots = [process.pid]
    if peer.root is not None:
        roots = workers_of(place.admin, theirs, peer.workers)
    return System(place.port, bearer() if peer.token else None, tuple(roots), place.admin)
