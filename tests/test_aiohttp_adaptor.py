"""aiohttp's internals: that one file uses them, and that they are what it takes them for.

The tests of behaviour run with the newest supported version, and in `test_aiohttp_versions.py` with
the oldest.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TypeGuard

import pytest
from aiohttp import EMPTY_PAYLOAD, StreamReader, web

from gateway import aiohttp_adaptor
from gateway.aiohttp_adaptor import HeadCaps, HttpProcessingError, HttpProtocol

SOURCE = Path(__file__).parents[1] / "gateway"
PUBLIC = {"aiohttp", "aiohttp.abc", "aiohttp.hdrs", "aiohttp.typedefs", "aiohttp.web"}
"""Modules that aiohttp documents."""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def post(length: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length


# -- one file uses them ----------------------------------------------------------------------------


Sources = Sequence[tuple[Path, ast.Module]]


def paths() -> Iterator[Path]:
    """Every file but the adaptor."""
    return (path for path in sorted(SOURCE.rglob("*.py")) if path.name != "aiohttp_adaptor.py")


@pytest.fixture(scope="module")
def sources() -> Sources:
    """The files that name aiohttp, parsed once for all tests."""
    texts = ((path, path.read_text()) for path in paths())
    return [
        (path.relative_to(SOURCE), ast.parse(text)) for path, text in texts if "aiohttp" in text
    ]


def imported(tree: ast.Module) -> Iterator[str]:
    """The modules that a file imports, and those it imports names of."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = (f"{node.module}.{each.name}" for each in node.names)
            yield node.module
            yield from (one for one in modules if _is_module(one))


def _is_module(name: str) -> bool:
    if not name.startswith("aiohttp."):
        return False
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    return True


@cache
def private_names(kind: type) -> set[str]:
    """The private attributes that a class of aiohttp has, or sets on its objects."""
    names = set(vars(kind))
    module = inspect.getmodule(kind)
    assert module is not None
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
            names |= {each.attr for each in ast.walk(node) if _is_of_self(each)}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def _is_of_self(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


def test_only_the_adaptor_imports_undocumented_modules(sources: Sources) -> None:
    found = {
        (str(path), name)
        for path, tree in sources
        for name in imported(tree)
        if name.split(".")[0] == "aiohttp" and name not in PUBLIC
    }
    assert found == set()


def test_only_the_adaptor_looks_into_objects_of_aiohttp(sources: Sources) -> None:
    looked_into = (web.RequestHandler, web.BaseRequest, StreamReader, web.Server, web.AppRunner)
    names = set().union(
        *(
            private_names(base)
            for kind in looked_into
            for base in kind.__mro__
            if base.__module__.startswith("aiohttp")
        )
    )
    found = {
        (str(path), ast.unparse(node))
        for path, tree in sources
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in names
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        and _concerns_aiohttp(tree)
    }
    assert found == set()


def _concerns_aiohttp(tree: ast.Module) -> bool:
    return any(name.split(".")[0] == "aiohttp" or "aiohttp" in name for name in imported(tree))


def subclasses() -> Iterator[tuple[Path, type]]:
    """The gateway's classes that inherit from one of aiohttp."""
    for path in (one.relative_to(SOURCE) for one in paths()):
        if path.name == "__main__.py":
            continue
        module = importlib.import_module("gateway." + str(path)[:-3].replace("/", "."))
        for kind in vars(module).values():
            if (
                inspect.isclass(kind)
                and kind.__module__ == module.__name__
                and any(base.__module__.startswith("aiohttp.") for base in kind.__mro__)
            ):
                yield path, kind


def test_no_subclass_uses_what_aiohttp_keeps_private() -> None:
    found = set()
    for path, kind in subclasses():
        names = set().union(
            *(
                private_names(base)
                for base in kind.__mro__
                if base.__module__.startswith("aiohttp.")
            )
        )
        own = ast.parse(inspect.getsource(kind))
        found |= {
            (str(path), node.attr)
            for node in ast.walk(own)
            if _is_of_self(node) and node.attr in names
        }
    assert found == set()


# -- they are what it takes them for ---------------------------------------------------------------


class Transport(asyncio.Transport):
    """Transport of no socket that notes whether it is read."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 50000)})
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Protocol(HttpProtocol):
    """Protocol that notes the requests it has parsed."""

    __slots__ = ("requests",)

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop(), HeadCaps(8190, 128))
        self.requests: list[tuple[aiohttp_adaptor.RawRequestMessage, StreamReader]] = []

    def data_received(self, data: bytes) -> None:
        requests, self.upgraded, _ = self.feed(data)
        self.requests.extend(requests)


@pytest.fixture
async def protocol() -> Protocol:
    protocol = Protocol()
    protocol.transport = Transport()
    return protocol


def is_read(protocol: Protocol) -> bool:
    assert isinstance(protocol.transport, Transport)
    return protocol.transport.reading


def received(protocol: Protocol, *pieces: bytes) -> StreamReader:
    """The body of the last request, after these pieces."""
    for piece in pieces:
        protocol.data_received(piece)
    return protocol.requests[-1][1]


async def test_the_parser_is_the_one_in_c() -> None:
    assert aiohttp_adaptor.has_c_parser()


async def test_a_connection_starts_no_task(protocol: Protocol) -> None:
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_head_without_a_body_is_a_request(protocol: Protocol) -> None:
    assert received(protocol, GET) is EMPTY_PAYLOAD


async def test_the_parser_never_stops_if_each_request_is_consumed(protocol: Protocol) -> None:
    for number in range(100):
        received(protocol, post(2), b"ab") if number % 2 else received(protocol, GET)
    assert len(protocol.requests) == 100


async def test_a_broken_head_raises(protocol: Protocol) -> None:
    with pytest.raises(HttpProcessingError):
        protocol.feed(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")


async def test_bytes_after_an_upgrade_are_returned(protocol: Protocol) -> None:
    head = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    [_], upgraded, tail = protocol.feed(head + b"frame")
    assert (upgraded, tail) == (True, b"frame")


async def test_a_whole_body_is_taken_once_it_has_arrived(protocol: Protocol) -> None:
    content = received(protocol, post(4), b"ab")
    assert aiohttp_adaptor.whole(content, 1000) is None
    assert aiohttp_adaptor.buffered_bytes(content) == 2
    received(protocol, b"cd")
    assert aiohttp_adaptor.whole(content, 1000) == b"abcd"
    assert aiohttp_adaptor.buffered_bytes(content) == 0


@pytest.mark.parametrize("small_bytes", [0, 1000])
async def test_a_body_of_one_piece_is_taken_as_one_of_several(
    protocol: Protocol, small_bytes: int
) -> None:
    content = received(protocol, post(4), b"abcd")
    assert aiohttp_adaptor.whole(content, small_bytes) == b"abcd"
    assert content.at_eof()


async def test_large_pieces_of_a_body_are_not_joined(protocol: Protocol) -> None:
    large = bytes(40_000)
    content = received(protocol, post(80_005), large)
    received(protocol, large)
    assert list(aiohttp_adaptor.arrived_pieces(content)) == [large, large]
    assert list(aiohttp_adaptor.arrived_pieces(content)) == []
    for byte in b"abcde":
        received(protocol, bytes([byte]))
    assert list(aiohttp_adaptor.arrived_pieces(content)) == [b"abcde"]
    assert content.at_eof()


async def test_more_of_a_body_is_waited_for_without_reading_it(protocol: Protocol) -> None:
    content = received(protocol, post(4), b"ab")
    waiting = asyncio.ensure_future(aiohttp_adaptor.more_of(content))
    await asyncio.sleep(0)
    assert not waiting.done()
    received(protocol, b"c")
    await waiting
    assert aiohttp_adaptor.buffered_bytes(content) == 3


async def test_a_broken_body_is_no_whole_one(protocol: Protocol) -> None:
    content = received(protocol, post(4), b"ab")
    content.set_exception(web.RequestPayloadError("malformed"))
    assert aiohttp_adaptor.whole(content, 1000) is None
    with pytest.raises(web.RequestPayloadError):
        aiohttp_adaptor.arrived_pieces(content)
    with pytest.raises(web.RequestPayloadError):
        await aiohttp_adaptor.more_of(content)


async def test_a_body_that_nobody_reads_pauses_its_connection(protocol: Protocol) -> None:
    size = 2 * 1024 * 1024
    content = received(protocol, post(size), b"x" * (size - 1))
    assert protocol.reading_paused
    assert not is_read(protocol)
    content.read_nowait(-1)
    assert is_read(protocol)
    received(protocol, b"x")
    assert content.is_eof()


async def test_a_transport_that_cannot_pause_is_read_all_the_same() -> None:
    protocol = Protocol()
    protocol.transport = asyncio.Transport()  # as that of a session's requests
    size = 2 * 1024 * 1024
    content = received(protocol, post(size), b"x" * size)
    assert protocol.reading_paused
    content.read_nowait(-1)  # the parser goes on with what it held back
    assert content.is_eof()


async def test_a_closed_connection_parses_nothing(protocol: Protocol) -> None:
    protocol.connection_lost(None)
    assert protocol.feed(GET) == ((), False, b"")
    protocol.resume_reading()  # as a reader of a body may do later


async def test_a_plug_in_gets_the_body_that_was_read_before(protocol: Protocol) -> None:
    protocol.data_received(post(4) + b"abcd")
    [(message, content)] = protocol.requests
    made = aiohttp_adaptor.aiohttp_request(web.Request, message, content, protocol, b"read before")
    assert await made.read() == b"read before"
    assert (made.method, made.path, made.headers["Host"]) == ("POST", "/", "a")
    assert (made.remote, made.secure) == ("192.0.2.1", False)


async def test_a_plug_in_reads_a_form(protocol: Protocol) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'
    kind = b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    protocol.data_received(post(len(form))[:-2] + kind + form)
    [(message, content)] = protocol.requests
    made = aiohttp_adaptor.aiohttp_request(web.Request, message, content, protocol, None)
    assert (await made.post())["a"] == "b"


async def test_a_plug_in_reads_the_body_itself_otherwise(protocol: Protocol) -> None:
    protocol.data_received(post(4) + b"abcd")
    [(message, content)] = protocol.requests
    made = aiohttp_adaptor.aiohttp_request(web.Request, message, content, protocol, None)
    assert await made.read() == b"abcd"
