"""One end: what it may send how often, and how much of it is read in a turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.load.backlog import Backlog
from gateway.websocket.codes import Closing, Violation
from gateway.websocket.frames import CLOSE, TEXT, TURN_WORK, frame
from gateway.websocket.peer import Peer


class Rig:
    """A client's end, with everything that it asks for written down."""

    def __init__(self, backlog: Backlog | None = None) -> None:
        self.backlog = backlog or Backlog(asyncio.get_running_loop())
        self.messages: list[bytes] = []
        self.ends = 0
        """Turns in which pieces came."""
        self.reading = True
        self.closings: list[Closing] = []
        self.violations: list[Violation] = []
        self.hold_at = 0
        """The number of messages after which the other side is behind."""
        self.peer = Peer(
            self,
            lambda _: None,
            lambda: 1000.0,
            self.backlog,
            pause_connection=self.pause,
            resume_connection=self.resume,
            is_client=True,
            max_message_bytes=1024 * 1024,
        )

    def pause(self) -> None:
        assert self.reading
        self.reading = False

    def resume(self) -> None:
        assert not self.reading
        self.reading = True

    def piece(self, peer: Peer, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        self.messages.append(payload)
        if len(self.messages) == self.hold_at:
            peer.pause()

    def pieces_end(self, peer: Peer) -> None:
        self.ends += 1

    def closes(self, peer: Peer, closing: Closing) -> None:
        self.closings.append(closing)

    def violates(self, peer: Peer, violation: Violation) -> None:
        self.violations.append(violation)


async def turns_until(done: Callable[[], bool]) -> int:
    """Let the loop turn until something is done; how many turns that takes."""
    turns = 0
    while not done():
        assert turns < 1000
        await asyncio.sleep(0)
        turns += 1
    return turns


def numbered(count: int) -> tuple[list[bytes], bytes]:
    """Messages, and as they are on the wire."""
    said = [b"%d" % number for number in range(count)]
    return said, b"".join(frame(TEXT, text, mask=True) for text in said)


async def test_a_turn_takes_a_few_of_many_messages_and_reads_no_more_until_all_are_taken() -> None:
    rig = Rig()
    said, wire = numbered(500)
    rig.peer.received(wire)
    turns = 1
    while not rig.reading:
        assert len(rig.messages) <= turns * TURN_WORK
        await asyncio.sleep(0)
        turns += 1
    assert rig.messages == said
    assert turns >= 500 / TURN_WORK
    assert rig.ends <= turns  # and what each turn took can leave in one write


async def test_two_that_send_much_have_their_turns_one_after_the_other() -> None:
    one = Rig()
    two = Rig(one.backlog)
    _, wire = numbered(300)
    one.peer.received(wire)
    two.peer.received(wire)
    while not (one.reading and two.reading):
        assert abs(len(one.messages) - len(two.messages)) <= TURN_WORK
        await asyncio.sleep(0)


async def test_what_waits_is_held_while_the_other_side_is_behind() -> None:
    rig = Rig()
    rig.hold_at = 40
    said, wire = numbered(100)
    rig.peer.received(wire)
    for _ in range(20):
        await asyncio.sleep(0)
    assert rig.messages == said[:40]
    assert not rig.reading
    rig.peer.resume()
    await turns_until(lambda: rig.reading)
    assert rig.messages == said


async def test_what_waits_is_read_before_the_end_of_its_connection_is_told() -> None:
    rig = Rig()
    rig.hold_at = 10
    said, wire = numbered(100)
    rig.peer.received(wire)
    finished = asyncio.Event()
    rig.peer.finish(finished.set)
    await finished.wait()
    assert rig.messages == said


async def test_nothing_that_waits_is_read_of_who_is_ignored() -> None:
    rig = Rig()
    rig.peer.received(numbered(100)[1])
    rig.peer.ignore()
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(rig.messages) == TURN_WORK


async def test_a_close_frame_behind_much_else_is_read_in_its_turn() -> None:
    rig = Rig()
    said, wire = numbered(100)
    rig.peer.received(wire + frame(CLOSE, Closing(4000, "bye").payload, mask=True))
    await turns_until(lambda: bool(rig.closings))
    assert (rig.messages, rig.closings) == (said, [Closing(4000, "bye")])
