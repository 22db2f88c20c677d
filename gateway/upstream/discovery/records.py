"""DNS questions, and the endpoints that result from the records. No I/O.

The DNS server may be hostile. A record that must not become an endpoint is left out, with the
reason.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from dns.rdata import Rdata
from dns.rdatatype import AAAA, SRV, A, RdataType
from dns.rdtypes.IN.A import A as AddressRecord
from dns.rdtypes.IN.AAAA import AAAA as LongAddressRecord
from dns.rdtypes.IN.SRV import SRV as ServiceRecord

from gateway.http.address_policy import AddressPolicy
from gateway.http.urls import is_host_name
from gateway.upstream.discovery.source import Found

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Reading:
    """Endpoints that result from DNS records."""

    found: Sequence[Found]
    left_out: Sequence[str]
    """Reasons why records were left out; empty if none were."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question to DNS, and how to read its answer."""

    name: str
    types: Sequence[RdataType]
    """Record types. They are asked for at the same time, and their records are read together."""
    read: Callable[[Iterable[Rdata]], Reading]


def addresses_of(url: str, policy: AddressPolicy) -> Question:
    """Return a question that yields one endpoint for every address of the host in `url`."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    port = parts.port or _PORTS[parts.scheme]

    def read(records: Iterable[Rdata]) -> Reading:
        found, left_out = list[Found](), list[str]()
        for record in records:
            assert isinstance(record, AddressRecord | LongAddressRecord)
            address = ipaddress.ip_address(record.address)
            why = policy.refused(str(address))
            if why is not None:
                left_out.append(f"{address} {why}")
                continue
            host = f"[{address}]" if address.version == 6 else str(address)
            found.append(Found(f"{parts.scheme}://{host}:{port}{parts.path}", parts.netloc))
        return Reading(found, sorted(left_out))

    return Question(parts.hostname, (A, AAAA), read)


def services_of(name: str, scheme: str, policy: AddressPolicy) -> Question:
    """Return a question that yields one endpoint for every SRV record of `name` (RFC 2782).

    `scheme` is the scheme of the endpoints' URLs. The targets are resolved at each connect, where
    the policy checks their addresses too.
    """

    def read(records: Iterable[Rdata]) -> Reading:
        found, left_out = list[Found](), list[str]()
        for record in records:
            assert isinstance(record, ServiceRecord)
            host = record.target.to_text(omit_final_dot=True).lower()
            why = policy.refused(host)
            # A label may contain any bytes, and the host goes into a header, so only host names are
            # accepted. A lone dot means that the service does not exist.
            if why is None and (record.port == 0 or not is_host_name(host)):
                why = "is no host with a port"
            if why is not None:
                left_out.append(f"{host} {why}")
                continue
            authority = host if record.port == _PORTS[scheme] else f"{host}:{record.port}"
            url = f"{scheme}://{host}:{record.port}"
            # SRV weight 0 means that the target is rarely chosen; the minimum here is 1.
            found.append(Found(url, authority, max(record.weight, 1), record.priority))
        return Reading(found, sorted(left_out))

    return Question(name, (SRV,), read)
