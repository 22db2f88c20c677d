"""Audit entries of commands, in the store that the gateways of a configuration share."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from gateway.admin.audit import KIND, shell_entry
from gateway.cli.failures import CannotDo
from gateway.cli.store import with_records
from gateway.config import Config


def note(
    config: Config,
    event: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    **what: Any,
) -> None:
    """Write what a command has done to the audit log, with the user and the host. Without a store
    that all processes share, there is no log to write to. If the store fails, the command says so:
    what it has done stays done.
    """
    if not config.store.location.is_shared:
        return
    one = shell_entry(event, before, after, **what)
    try:
        with_records(config.store, lambda records: records.put(KIND, *one.record()))
    except CannotDo as exc:
        print(f"gateway: {event} is not in the audit log: {exc}", file=sys.stderr)
