"""Checks of upstreams: requests must be able to reach their endpoints."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from gateway.config import models
from gateway.config.findings import RESERVED_HEADERS, Finding
from gateway.config.problems import ConfigPath, dotted
from gateway.dialects import DIALECTS, Dialect
from gateway.http.address_policy import AddressPolicy, is_address, is_ambiguous
from gateway.http.egress import BadProxy, from_environment
from gateway.http.urls import endpoint_fault
from gateway.upstream.tls import client_context


def check_upstream(path: ConfigPath, upstream: models.UpstreamSettings) -> Iterator[Finding]:
    """Yield the problems of one upstream."""
    keys: set[str] = set()
    for index, endpoint in enumerate(upstream.endpoints):
        where = (*path, "endpoints", index)
        yield from _check_url((*where, "url"), endpoint.url, upstream.allow_addresses)
        yield from _check_credentials((*where, "credentials"), endpoint.credentials)
        key = endpoint.name or endpoint.url
        if key in keys:
            hint = None if endpoint.name else "give each of them a `name`"
            yield (*where, "name" if endpoint.name else "url"), "is given twice", hint
        keys.add(key)
    if upstream.discover is not None:
        yield from _check_discover((*path, "discover"), upstream.discover, upstream.allow_addresses)
    for name in upstream.headers:
        if name.lower() in RESERVED_HEADERS:
            yield (*path, "headers", name), "is the gateway's to set", None
    yield from _check_credentials((*path, "credentials"), upstream.credentials)
    if upstream.tls.ca is not None:
        yield from check_authority((*path, "tls", "ca"), upstream.tls.ca)
    if upstream.tls.cert is not None and upstream.tls.key is not None:
        yield from check_certificate((*path, "tls"), upstream.tls.cert, upstream.tls.key)
    yield from check_proxy((*path, "proxy"), upstream.proxy)
    dialect = DIALECTS[upstream.dialect]
    if (
        upstream.continues == "continue_final_message"
        and upstream.continues not in dialect.settings
    ):
        hint = "write continues: prefill"
        yield (*path, "continues"), f"is a field that {upstream.dialect} does not have", hint
    if "stream_options" in upstream.model_fields_set:
        yield from _check_setting((*path, "stream_options"), dialect)
    for key in sorted(upstream.translation.model_fields_set):
        yield from _check_setting((*path, "translation", key), dialect)


def _check_credentials(
    path: ConfigPath, credentials: models.Credentials | None
) -> Iterator[Finding]:
    if credentials is None:
        return
    if credentials.header and credentials.header.lower() in RESERVED_HEADERS:
        yield (*path, "header"), "is the gateway's to set", None
    for key, secret in (("bearer", credentials.bearer), ("value", credentials.value)):
        value = None if secret is None else secret.known
        if value is not None and not re.fullmatch(rb"[\x21-\x7e]+", value):
            yield (*path, key), "holds characters a header cannot", None


def _check_setting(path: ConfigPath, dialect: Dialect) -> Iterator[Finding]:
    """Check that the dialect has the setting at the end of the path, if not all dialects do."""
    speak = [name for name, one in DIALECTS.items() if path[-1] in one.settings]
    if speak and dialect.name not in speak:
        yield path, f"is for upstreams that speak {' or '.join(speak)}", None


def _check_url(path: ConfigPath, url: str, allowed: Sequence[str]) -> Iterator[Finding]:
    fault = endpoint_fault(url)
    if fault is not None:
        yield path, fault, None
        return
    host = urlsplit(url).hostname or ""
    why = AddressPolicy([ipaddress.ip_network(network) for network in allowed]).refused(host)
    if why is None:
        return
    setting = dotted((*path[:2], "allow_addresses"))
    hint = f"if that is meant, list it or its network in {setting}"
    yield path, f"{host} {why}", "write four decimal numbers" if is_ambiguous(host) else hint


def _check_discover(
    path: ConfigPath, discover: models.Discover, allowed: Sequence[str]
) -> Iterator[Finding]:
    if discover.srv is None and "scheme" in discover.model_fields_set:
        yield (*path, "scheme"), "belongs to `srv`, which is not given", None
    if discover.file is not None and discover.nameservers:
        yield (*path, "nameservers"), "are for `dns` and `srv`", None
    if discover.dns is None:
        return
    problems = list(_check_url((*path, "dns"), discover.dns, allowed))
    yield from problems
    if not problems and is_address(urlsplit(discover.dns).hostname or ""):
        yield (*path, "dns"), "is an address already", "list it in `endpoints`"


def check_proxy(path: ConfigPath, proxy: models.ProxySettings | str | None) -> Iterator[Finding]:
    """Check that the proxies that the environment names can be used."""
    if not isinstance(proxy, str):
        return
    for scheme in ("http", "https"):
        try:
            from_environment(scheme)
        except BadProxy as exc:
            yield path, f"the environment's proxy for {scheme} {exc}", None


def check_certificate(path: ConfigPath, cert: str, key: str) -> Iterator[Finding]:
    """Check that a certificate and its key can be used."""
    try:
        client_context(None, verify=True, own=(cert, key))
    except ssl.SSLError as exc:
        yield (*path, "cert"), f"cannot be used with its key: {exc.reason or exc}", None
    except OSError as exc:
        yield (*path, "cert"), f"cannot be used with its key: {exc.strerror}", None


def check_authority(path: ConfigPath, file: str) -> Iterator[Finding]:
    """Check that a PEM file can be used as the certificate authority to trust."""
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        yield path, "cannot be used: not PEM certificates", None
    except OSError as exc:
        yield path, f"cannot be used: {exc.strerror}", None
    except ValueError as exc:
        yield path, f"cannot be used: {exc}", None
