"""Construction of endpoint sources from an upstream's `discover` section."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from gateway.config import models
from gateway.config.types import parse_nameserver
from gateway.http.address_policy import AddressPolicy
from gateway.load.tasks import BackgroundLoop
from gateway.upstream.discovery.file import FileSource
from gateway.upstream.discovery.source import Changed, Report


def address_policy(options: models.UpstreamSettings) -> AddressPolicy:
    """Return the policy for the addresses that the upstream may have."""
    return AddressPolicy([ipaddress.ip_network(network) for network in options.allow_addresses])


def source(
    options: models.Discover, policy: AddressPolicy, *, changed: Changed, report: Report
) -> BackgroundLoop:
    """Return the configured source. It does nothing before it is started."""
    if options.file is not None:
        return FileSource(Path(options.file), policy, changed=changed, report=report)
    # Imported only if it is used, since importing the resolver takes 0.1 s.
    from gateway.upstream.discovery.dns import DnsSource
    from gateway.upstream.discovery.records import addresses_of, services_of

    if options.dns is not None:
        question = addresses_of(options.dns, policy)
    else:
        assert options.srv is not None  # ensured by the model
        question = services_of(options.srv, options.scheme, policy)
    nameservers = [parse_nameserver(one) for one in options.nameservers]
    return DnsSource(question, changed=changed, report=report, nameservers=nameservers)
