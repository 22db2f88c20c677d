"""Checks of the machine: open files, disk space, addresses to listen on, the own certificate."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from gateway.cli.doctor.connecting import expiry
from gateway.cli.doctor.finding import Finding, failed, ok, skipped, warning
from gateway.config import Config, models
from gateway.processes.sockets import split_address

_SPARE_FILES = 200
"""Open files besides connections: listeners, log, stores, pipes between processes."""
_LEAST_FREE_BYTES = 1024**3


def machine(config: Config) -> Iterator[Finding]:
    """Check everything that the gateway needs of this machine."""
    yield _open_files(config)
    yield from _disk(config)
    yield _address("server.listen", config.server.listen)
    if config.server.tls is not None:
        yield _own_certificate(config.server.tls)
    if config.admin is not None:
        yield _address("admin.listen", config.admin.listen)


def _open_files(config: Config) -> Finding:
    subject = "open files"
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Each request in flight may hold another connection, to its upstream.
    needed = config.server.max_connections + config.server.max_requests + _SPARE_FILES
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return ok(subject, f"the limit is {limit}")
    return warning(
        subject,
        f"the limit is {limit}; server.max_connections and max_requests may need {needed}",
        f"`ulimit -n {needed}`, LimitNOFILE= in the unit, or smaller numbers in the file",
    )


def _disk(config: Config) -> Iterator[Finding]:
    places = {}
    if config.store.location.path is not None:
        places["store.url"] = config.store.location.path
    traces = config.telemetry.traces
    if traces is not None and traces.local is not None:
        places["telemetry.traces.local"] = Path(traces.local)
    for subject, path in places.items():
        yield _writable(subject, path)


def _writable(subject: str, path: Path) -> Finding:
    folder = path.absolute().parent
    while not folder.exists():  # the gateway creates missing folders
        folder = folder.parent
    if not os.access(path if path.exists() else folder, os.W_OK):
        return failed(
            subject,
            f"{path} cannot be written by this user",
            f"give the gateway's user write access to {folder}, or name another file",
        )
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        return warning(
            subject,
            f"{folder} has {free // 1024**2} MiB free",
            "free some space, or name a file on another disk",
        )
    return ok(subject, f"{path}: {free // 1024**3} GiB free")


def _own_certificate(options: models.ListenerTls) -> Finding:
    """Check the certificate of the public listener. `load` has read the file already."""
    subject = "server.tls.cert"
    try:
        chain = x509.load_pem_x509_certificates(Path(options.cert).read_bytes())
    except (OSError, ValueError) as exc:
        return failed(subject, f"cannot be read: {exc}", "name a PEM file with the chain")
    return expiry(min(one.not_valid_after_utc for one in chain).timestamp(), subject)


def _address(subject: str, listen: str) -> Finding:
    host, port = split_address(listen)
    if port == 0:
        return ok(subject, "the kernel chooses the port")
    host = host or ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except PermissionError:
            return failed(
                subject,
                f"{listen}: this user may not listen there",
                "choose a port of 1024 or above, or give the process CAP_NET_BIND_SERVICE",
            )
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                # Usually the gateway itself already runs with this file.
                return skipped(subject, f"{listen} is in use: by this gateway, if it is running")
            return failed(
                subject,
                f"{listen} cannot be listened on: {os.strerror(exc.errno or 0)}",
                "write an address of this machine, such as 127.0.0.1 or 0.0.0.0",
            )
    return ok(subject, f"{listen} is free")
