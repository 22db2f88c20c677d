"""DNS discovery: endpoints from the addresses of a host or the SRV records of a service.

The question is repeated when the TTL of the answer expires. dnspython resolves the names, because
getaddrinfo returns no TTL, does not support SRV and occupies a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver
from dns.rdata import Rdata
from dns.rdatatype import RdataType

from gateway.load.tasks import BackgroundLoop
from gateway.upstream.discovery.records import Question, Reading
from gateway.upstream.discovery.source import Changed, Latest, Report

TTL_S = (1.0, 300.0)
"""Lower and upper limit on the time for which an answer is used."""
BACKOFF_S = (1.0, 30.0)
"""Delay after the first failure, and the maximum delay; each further failure doubles it."""
LIFETIME_S = 5.0
"""Time limit on all tries of one question together."""
_SHOWN = 3
"""Maximum number of records listed in one report."""
_RESOLV_CONF = Path("/etc/resolv.conf")


class _Trouble(Enum):
    """Kinds of failure. A change from one to another is reported."""

    FAILING = "nothing can be had"
    PARTLY = "one type of records cannot be had"
    EMPTY = "there are no records"
    REFUSED = "all records are left out"
    PARTLY_REFUSED = "some records are left out"


@dataclass(frozen=True, slots=True)
class _DnsAnswer:
    records: Sequence[Rdata]
    ttl_s: float


class DnsSource(BackgroundLoop):
    """Endpoints from the answers to one DNS question."""

    def __init__(
        self,
        question: Question,
        *,
        changed: Changed,
        report: Report,
        nameservers: Sequence[tuple[str, int]] = (),
        resolv_conf: Path = _RESOLV_CONF,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`nameservers` are addresses and ports. If empty, those in `resolv_conf` are asked."""
        self._question = question
        self._latest = Latest(question.name, changed, report)
        self._nameservers = nameservers
        self._resolv_conf = resolv_conf
        self._pause = pause
        self._backend = dns.asyncbackend.get_backend("asyncio")
        self._records: dict[RdataType, Sequence[Rdata]] = {}
        self._backoff_s = 0.0

    async def _run(self) -> None:
        while True:
            await self._pause(await self._look())

    async def _look(self) -> float:
        """Ask once and report changes. Return the seconds until the next question is due."""
        outcomes = await self._ask_all()
        answers = {kind: one for kind, one in outcomes.items() if isinstance(one, _DnsAnswer)}
        failures = _failures(outcomes)
        for kind, answer in answers.items():
            # If a type cannot be had, its previous records stay. If a type's answer is empty while
            # another type fails, its records stay too: both may have the same cause.
            if answer.records or not failures:
                self._records[kind] = answer.records
        reading = self._question.read(one for records in self._records.values() for one in records)
        self._latest.show(reading.found)
        self._tell(reading, failures, partly=bool(answers))
        ttl_s = min((one.ttl_s for one in answers.values() if one.records), default=TTL_S[1])
        ttl_s = min(max(ttl_s, TTL_S[0]), TTL_S[1])
        if reading.found and not failures:
            self._backoff_s = 0.0
            return ttl_s
        self._backoff_s = min(max(self._backoff_s * 2, BACKOFF_S[0]), BACKOFF_S[1])
        return min(self._backoff_s, ttl_s)

    def _tell(self, reading: Reading, failures: str, *, partly: bool) -> None:
        left_out = f"left out: {_some(reading.left_out)}"
        if failures and partly:
            self._latest.warn(f"what is known of these stays: {failures}", _Trouble.PARTLY)
        elif failures:
            self._latest.failing(failures, _Trouble.FAILING)
        elif not reading.found and not reading.left_out:
            self._latest.failing("DNS has no records", _Trouble.EMPTY)
        elif not reading.found:
            self._latest.failing(left_out, _Trouble.REFUSED)
        elif reading.left_out:
            self._latest.warn(left_out, _Trouble.PARTLY_REFUSED)
        else:
            self._latest.recovered()

    async def _ask_all(self) -> dict[RdataType, _DnsAnswer | str]:
        try:
            # Created for each look-up, because resolv.conf may have changed.
            resolver = self.resolver()
        except (dns.exception.DNSException, ValueError) as exc:
            return dict.fromkeys(self._question.types, f"resolv.conf: {exc}")
        async with asyncio.TaskGroup() as group:
            tasks = {
                kind: group.create_task(self._ask(resolver, kind)) for kind in self._question.types
            }
        return {kind: task.result() for kind, task in tasks.items()}

    def resolver(self) -> dns.asyncresolver.Resolver:
        """Return a resolver for one look-up. Raise ValueError or a DNSException."""
        if self._nameservers:
            resolver = dns.asyncresolver.Resolver(configure=False)
            resolver.domain = dns.name.root
            resolver.nameservers = [
                dns.nameserver.Do53Nameserver(host, port) for host, port in self._nameservers
            ]
        else:
            resolver = dns.asyncresolver.Resolver(str(self._resolv_conf))
        resolver.lifetime = LIFETIME_S
        return resolver

    async def _ask(self, resolver: dns.asyncresolver.Resolver, kind: RdataType) -> _DnsAnswer | str:
        """Return the records of one type, or the reason for the failure."""
        try:
            answer = await resolver.resolve(
                self._question.name,
                kind,
                raise_on_no_answer=False,
                search=True,
                backend=self._backend,
            )
        except dns.resolver.NXDOMAIN:
            return _DnsAnswer((), 0.0)
        except dns.resolver.LifetimeTimeout:
            return f"no answer within {LIFETIME_S} s"
        except dns.resolver.NoNameservers as exc:
            return ", ".join(f"{server}: {what}" for server, _, _, what, _ in exc.kwargs["errors"])
        except dns.exception.DNSException as exc:
            return str(exc)
        return _DnsAnswer(tuple(answer), answer.chaining_result.minimum_ttl)


def _failures(outcomes: Mapping[RdataType, _DnsAnswer | str]) -> str:
    """Return the reasons for failure, each once, with the record types concerned."""
    kinds: dict[str, list[str]] = {}
    for kind, outcome in outcomes.items():
        if isinstance(outcome, str):
            kinds.setdefault(outcome, []).append(kind.name)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in kinds.items())


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f", and {more} more" if more > 0 else "")
