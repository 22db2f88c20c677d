"""DNS server whose answers a test determines, by UDP and TCP on one loopback port.

async with DnsServer() as server:
    server.put("vllm.test", "A", "10.0.0.5", "10.0.0.6", ttl_s=30)
    server.faults["vllm.test", "AAAA"] = Fault.SERVFAIL
"""

from __future__ import annotations

import asyncio
import socket
from enum import Enum
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.support.block import AsyncBlock
from tests.support.waiting import PATIENCE_S

_ATTEMPTS = 20


class Fault(Enum):
    """Faults of the server, instead of an answer."""

    SERVFAIL = "servfail"
    SILENT = "silent"
    GARBAGE = "garbage"


class DnsServer(AsyncBlock):
    """Running DNS server, as an async context manager.

    A name without any records does not exist. A name with records of other types gets an empty
    answer. UDP answers above 512 bytes are truncated (RFC 1035 section 4.2.1).
    """

    def __init__(self) -> None:
        self.port = 0
        self.faults: dict[tuple[str, str], Fault] = {}
        """Faults by name and type, such as ("vllm.test", "A"). The type "" means every type."""
        self.asked: list[tuple[str, str, str]] = []
        """Name, type and transport (udp or tcp) of every question."""
        self._records: dict[tuple[str, str], dns.rrset.RRset] = {}
        self._news = asyncio.Event()
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Address and port, for `nameservers`."""
        return "127.0.0.1", self.port

    async def _enter(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ATTEMPTS):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            try:
                self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", port)
            except OSError:  # another program uses this TCP port
                sock.close()
                continue
            self._udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), sock=sock)
            self.port = port
            return
        raise AssertionError("no port is free for both UDP and TCP")

    async def _leave(self, error: BaseException | None) -> None:
        assert self._udp is not None
        assert self._tcp is not None
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    def put(self, name: str, kind: str, *values: str, ttl_s: int = 60) -> None:
        """Set the records of a name, in the form of a zone file. Without values, the name has no
        records of that type.
        """
        rrset = dns.rrset.RRset(
            dns.name.from_text(name), dns.rdataclass.IN, dns.rdatatype.from_text(kind)
        )
        for value in values:
            rrset.add(dns.rdata.from_text(dns.rdataclass.IN, rrset.rdtype, value), ttl_s)
        self._records[name, kind] = rrset

    async def wait_for(self, name: str, kind: str) -> None:
        """Wait until a name and type have been asked for."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(asked[:2] == (name, kind) for asked in self.asked):
                self._news.clear()
                await self._news.wait()

    def forget(self, name: str) -> None:
        """Remove a name with all its records."""
        for key in [key for key in self._records if key[0] == name]:
            del self._records[key]

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        """Return the reply to a query, or None if there is none."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, transport))
        self._news.set()
        fault = self.faults.get((name, kind)) or self.faults.get((name, ""))
        if fault is Fault.SILENT:
            return None
        if fault is Fault.GARBAGE:
            return wire[:2] + b"\xff" * 10
        reply = dns.message.make_response(query, recursion_available=True)
        if fault is Fault.SERVFAIL:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif not self._fill(reply, name, kind):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        data = reply.to_wire(max_size=65535)
        if transport == "udp" and len(data) > 512:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            data = reply.to_wire()
        return data

    def _fill(self, reply: dns.message.Message, name: str, kind: str) -> bool:
        """Add the records of a name to a reply, following CNAMEs. Return False if the name does not
        exist.
        """
        alias = self._records.get((name, "CNAME"))
        if alias is not None:
            reply.answer.append(alias)
            return self._fill(reply, alias[0].target.to_text(omit_final_dot=True), kind)
        rrset = self._records.get((name, kind))
        if rrset:
            reply.answer.append(rrset)
        return any(known == name for known, _ in self._records)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            size = int.from_bytes(await reader.readexactly(2))
            data = self.answer(await reader.readexactly(size), "tcp")
            if data is not None:
                writer.write(len(data).to_bytes(2) + data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        assert self._transport is not None
        answer = self._server.answer(data, "udp")
        if answer is not None:
            self._transport.sendto(answer, addr)
