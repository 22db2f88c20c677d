"""Share streams among the workers of one gateway without Redis: each asks the worker that runs one.

The stream's id names that worker. A request and its reply are messages without blocks
(`gateway/worker_sockets.py`). After the reply to `follow` come messages whose blocks are events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from gateway.errors import InvalidEventId, StreamLost, StreamNotFound, StreamTrimmed
from gateway.load.tasks import BackgroundTasks
from gateway.resume.claims import Claim, LocalClaims
from gateway.resume.ids import slot_of
from gateway.resume.log import StreamLog, StreamState, Trimmed
from gateway.resume.sharing import LocalStreams, StreamTerms
from gateway.store.records import StoreUnavailable
from gateway.worker_sockets import (
    GONE,
    LATE_S,
    Document,
    WorkerSockets,
    read_message,
    write_message,
)

_FRAME_BYTES = 256 * 1024
_UNREAD_S = 5.0
"""Time for which a mirror without a first reader is kept."""


class WorkerSharing:
    """Share the streams of one worker with the other workers."""

    available = True

    def __init__(self, folder: Path, slot: int, workers: int) -> None:
        self.claims = WorkerClaims(self)
        self.slot = slot
        self.workers = workers
        self.streams: LocalStreams
        self.tasks = BackgroundTasks()
        """Tasks that `close` cancels."""
        self._sockets = WorkerSockets(folder, "streams", slot, self.tasks)
        self._mirrors: set[StreamLog] = set()

    def start(self, streams: LocalStreams) -> None:
        self.streams = streams
        # Listen from here on, so that early requests wait and do not take this worker for gone.
        self._sockets.listen(self._answer)

    async def close(self) -> None:
        await self.tasks.close()

    @property
    def followed(self) -> Iterable[StreamLog]:
        return self._mirrors

    # -- own streams: other workers ask for them, so nothing needs to be sent -----------------

    unopened = 0

    async def open(self, log: StreamLog, terms: StreamTerms) -> None:
        pass

    def open_later(self, log: StreamLog, terms: StreamTerms) -> None:
        pass

    def expired(self, stream: str) -> None:
        pass

    def grown(self, log: StreamLog) -> None:
        pass

    def forgotten(self, stream: str) -> None:
        pass

    # -- streams of other workers --------------------------------------------------------------

    async def follow(self, stream: str, owners: Collection[bytes], after: int) -> StreamLog | None:
        slot = slot_of(stream)
        if slot is None or slot == self.slot or slot >= self.workers:
            return None
        labels = [owner.hex() for owner in owners]
        question = {"do": "follow", "stream": stream, "owners": labels, "after": after}
        try:
            reader, writer, answer = await self._ask(slot, question)
        except GONE:
            return None  # its streams are lost with it
        if not answer["found"]:
            writer.close()
            if answer["kept"]:
                raise StreamNotFound
            return None
        if "ahead" in answer:
            writer.close()
            raise InvalidEventId
        log = StreamLog(stream, b"", answer["cap"], self.streams, first=after + 1)
        here = asyncio.Event()
        task = self.tasks.spawn(self._mirror(log, reader, writer, here))
        self._mirrors.add(log)
        log.on_readers = lambda: self._readers_changed(log, task)
        asyncio.get_running_loop().call_later(_UNREAD_S, self._readers_changed, log, task)
        await here.wait()
        return log

    def _readers_changed(self, log: StreamLog, task: asyncio.Task[None]) -> None:
        if not log.readers and log in self._mirrors:
            self._mirrors.discard(log)
            task.cancel()
            log.clear()

    async def cancel(self, stream: str, owners: Collection[bytes]) -> bool:
        slot = slot_of(stream)
        if slot is None or slot == self.slot or slot >= self.workers:
            return False
        question = {"do": "cancel", "stream": stream, "owners": [one.hex() for one in owners]}
        return bool((await self.ask(slot, question) or {}).get("found"))

    async def _mirror(
        self,
        log: StreamLog,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        here: asyncio.Event,
    ) -> None:
        """Copy frames into the log until the stream ends. Set `here` after the first frame."""
        try:
            while not log.ended:
                header, events = await read_message(reader)
                log.extend(header["first"], events)
                if header["state"] != StreamState.RUNNING.value:
                    error = StreamLost() if header["state"] == StreamState.LOST.value else None
                    log.end(StreamState(header["state"]), error)
                here.set()
                log.wake()
        except GONE:
            log.end(StreamState.LOST, StreamLost())
        except Trimmed:
            log.end(StreamState.LOST, StreamTrimmed())
        finally:
            here.set()
            writer.close()
            log.end(StreamState.LOST, StreamLost())

    async def ask(self, slot: int, question: Document) -> Document | None:
        """Return a worker's reply, or None if it is gone. Raise StoreUnavailable if it is late."""
        try:
            _, writer, answer = await self._ask(slot, question)
        except GONE:
            return None
        writer.close()
        return answer

    async def _ask(
        self, slot: int, question: Document
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Document]:
        """Send a request and read the reply. Raise one of GONE, or StoreUnavailable if the worker
        is late: then it is not gone, and its streams must not be run again.
        """
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(LATE_S):
                reader, writer = await self._sockets.connect(slot)
                write_message(writer, question)
                answer, _ = await read_message(reader)
        except BaseException as exc:
            if writer is not None:
                writer.close()
            if isinstance(exc, TimeoutError):
                raise StoreUnavailable(f"worker {slot} does not answer") from exc
            raise
        return reader, writer, answer

    # -- replies -------------------------------------------------------------------------------

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question, _ = await read_message(reader)
        if question["do"] == "follow":
            await self._send_stream(question, reader, writer)
        else:
            write_message(writer, await self._reply_to(question))
            await writer.drain()

    async def _reply_to(self, question: Document) -> Document:
        stream = question.get("stream", "")
        match question["do"]:
            case "cancel":
                owners = [bytes.fromhex(one) for one in question["owners"]]
                found = self.streams.local(stream) is not None
                return {"found": found and await self.streams.cancel(stream, owners)}
            case "knows":
                return {"knows": self.streams.knows(stream)}
            case "take":
                key, body = bytes.fromhex(question["key"]), bytes.fromhex(question["body"])
                claim = await self.claims.local.take(key, Claim(body, stream))
                return {"body": claim.body.hex(), "stream": claim.stream}
            case "find":
                found_claim = await self.claims.local.find(bytes.fromhex(question["key"]))
                return {"stream": found_claim.stream} if found_claim is not None else {}
            case "drop":
                self.claims.local.drop(bytes.fromhex(question["key"]), stream)
                return {}
        raise AssertionError(question)

    async def _send_stream(
        self, question: Document, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send a stream to another worker, until it closes the connection or all is sent."""
        log = self.streams.local(question["stream"])
        if log is None or log.owner.hex() not in question["owners"]:
            write_message(writer, {"found": False, "kept": log is not None})
            await writer.drain()
            return
        if question["after"] > log.last:
            # No event has this number yet. A reader waiting for it would end without an error.
            write_message(writer, {"found": True, "ahead": True})
            await writer.drain()
            return
        write_message(writer, {"found": True, "cap": log.cap_bytes})
        me = asyncio.current_task()
        assert me is not None
        watching = self.tasks.spawn(_until_closed(reader, me))
        after, first = question["after"], True
        this_reader = TaskReader(after)
        log.join(this_reader)
        try:
            while True:
                this_reader.clear()
                after = max(after, log.first - 1)
                events = log.pieces(after, _FRAME_BYTES)
                ended = log.ended and after + len(events) >= log.last
                state = log.state if ended else StreamState.RUNNING
                if events or ended or first:
                    write_message(writer, {"first": after + 1, "state": state.value}, events)
                    await writer.drain()
                if ended:
                    return
                this_reader.after = after = after + len(events)
                first = False
                if log.on_progress is not None:
                    log.on_progress()
                if after >= log.last and not log.ended:
                    await this_reader.wait()
        finally:
            log.leave(this_reader)
            watching.cancel()


class TaskReader(asyncio.Event):
    """Reader that runs as a task of its own."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def wake(self) -> None:
        self.set()


class WorkerClaims:
    """Claims by Idempotency-Key. Each key belongs to one worker, which all workers ask."""

    def __init__(self, sharing: WorkerSharing) -> None:
        self.local = LocalClaims()
        """Claims of the keys that belong to this worker, or to workers that are gone."""
        self._sharing = sharing

    async def take(self, key: bytes, claim: Claim) -> Claim:
        while True:
            found = await self._take(key, claim)
            if found == claim or found.body != claim.body or await self._known(found.stream):
                return found
            # The worker that held this claim died.
            await self._drop(key, found.stream)

    async def find(self, key: bytes) -> Claim | None:
        home = self._home(key)
        if home != self._sharing.slot:
            answer = await self._sharing.ask(home, {"do": "find", "key": key.hex()})
            if answer:
                return Claim(b"", answer["stream"])
        return await self.local.find(key)

    def hold(self, key: bytes, claim: Claim) -> Claim:
        return self.local.hold(key, claim)

    def drop(self, key: bytes, stream: str) -> None:
        self.local.drop(key, stream)
        if self._home(key) != self._sharing.slot:
            self._sharing.tasks.spawn(self._drop(key, stream))

    async def _take(self, key: bytes, claim: Claim) -> Claim:
        home = self._home(key)
        if home != self._sharing.slot:
            question = {"key": key.hex(), "body": claim.body.hex(), "stream": claim.stream}
            answer = await self._sharing.ask(home, {"do": "take", **question})
            if answer is not None:
                return Claim(bytes.fromhex(answer["body"]), answer["stream"])
        return await self.local.take(key, claim)

    async def _known(self, stream: str) -> bool:
        sharing, slot = self._sharing, slot_of(stream)
        if slot is None or slot == sharing.slot:
            return sharing.streams.knows(stream)
        answer = await sharing.ask(slot, {"do": "knows", "stream": stream})
        return answer is not None and bool(answer["knows"])

    async def _drop(self, key: bytes, stream: str) -> None:
        self.local.drop(key, stream)
        home = self._home(key)
        if home != self._sharing.slot:
            question = {"do": "drop", "key": key.hex(), "stream": stream}
            with contextlib.suppress(StoreUnavailable):  # the next `take` finds the claim stale
                await self._sharing.ask(home, question)

    def _home(self, key: bytes) -> int:
        return key[0] % self._sharing.workers


async def _until_closed(reader: asyncio.StreamReader, task: asyncio.Task[Any]) -> None:
    """Cancel the task when the peer closes. A follower sends nothing, so any input is the end."""
    await reader.read(1)
    task.cancel()
