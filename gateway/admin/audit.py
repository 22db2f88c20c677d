"""Audit entries: operator, action, time, and the values before and after without secrets.

A handler notes what it changes. The notes are written by `AuditLog`, before the response is sent.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import orjson

from gateway.admin.operator import OPERATOR, Operator
from gateway.masking import mask_event

if (
    TYPE_CHECKING
):  # imported for types only: commands write entries, too, and start sooner without it
    from aiohttp import web
    from structlog.typing import FilteringBoundLogger

KIND = "audit"
"""Kind of the records."""
NOTES = "gateway.audit"
"""Key under which aiohttp's request object keeps its notes."""
REQUEST_ID = "gateway.request_id"
_FAR_US = 2**33 * 10**6
"""Time later than that of any entry, in microseconds since the epoch."""
_TEXT_CAP = 500
_VALUES_CAP_BYTES = 16 * 1024
"""Maximum size of both values of an entry together. Larger values are left out."""

Result = Literal["done", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Entry of the audit log."""

    action: str
    """Action, such as `key_created`."""
    object: str
    """Object of the action, such as `key k7m2abcd`."""
    who: str
    how: str
    """Way in which the operator was identified: `token`, `session`, `local`, `shell`, `none`."""
    role: str | None = None
    subject: str | None = None
    address: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    result: Result = "done"
    reason: str | None = None
    """Reason why it was refused or failed."""
    request_id: str | None = None
    at: float = field(default_factory=time.time)
    """Time in seconds since the epoch."""
    id: str = ""
    """Key of the record. The newest entry has the smallest key."""

    @property
    def document(self) -> dict[str, Any]:
        """Entry as a document of the API."""
        return asdict(self)

    def record(self) -> tuple[str, bytes]:
        """Return key and value of the record."""
        key = self.id or f"{place(self.at)}-{secrets.token_hex(4)}"
        document = asdict(self)
        del document["id"]
        return key, orjson.dumps(document)


def place(at: float) -> str:
    """Return a text that sorts before the keys of all entries that are not younger than `at`
    seconds since the epoch are over, and after the keys of the younger ones.
    """
    return f"{_FAR_US - int(at * 1e6):017d}"


def parse(key: str, value: bytes) -> AuditEntry | None:
    """Return the entry of a record; None if another version of the gateway wrote it in another
    form.
    """
    try:
        return AuditEntry(**orjson.loads(value), id=key)
    except (orjson.JSONDecodeError, TypeError):
        return None


def entry(
    operator: Operator,
    action: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    *,
    result: Result = "done",
    reason: str | None = None,
    request_id: str | None = None,
    **what: Any,
) -> AuditEntry:
    """Return an entry. `what` names the thing: its `id` or `name`, or else its `object` as a whole,
    and further details. Values that look like secrets are masked.
    """
    masked = mask_event(None, "", {"what": what, "before": before, "after": after})
    what, before, after = masked["what"], masked["before"], masked["after"]
    if len(orjson.dumps([before, after], default=str)) > _VALUES_CAP_BYTES:
        before, after = None, None
        what["left_out"] = "the values before and after are too large"
    name = what.get("id") or what.get("name") or ""
    thing = what.pop("object", None) or f"{action.partition('_')[0]} {name}".strip()
    return AuditEntry(
        action=action,
        object=thing[:_TEXT_CAP],
        who=operator.name[:_TEXT_CAP],
        how=operator.how,
        role=None if operator.role is None else operator.role.word,
        subject=operator.subject,
        address=operator.address,
        details={key: value for key, value in what.items() if value is not None},
        before=before,
        after=after,
        result=result,
        reason=reason and reason[:_TEXT_CAP],
        request_id=request_id,
    )


def shell_entry(
    action: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    **what: Any,
) -> AuditEntry:
    """Return the entry of a command. Its operator is the user who runs it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have no passwd entry for its user
        user = str(os.getuid())
    host = socket.gethostname()
    return entry(Operator(f"{user}@{host}", "shell", None, None), action, before, after, **what)


def write_line(logger: FilteringBoundLogger, one: AuditEntry) -> None:
    """Write an entry to the log, as a warning, so that no log level hides it."""
    how = "" if one.how == one.who else f"{one.how} "
    by = one.who if one.how == "shell" else f"{how}{one.who} from {one.address}"
    values: dict[str, Any] = {"before": one.before, "after": one.after, "role": one.role}
    values |= {"reason": one.reason, "request_id": one.request_id, "subject": one.subject}
    if one.result != "done":
        values["result"] = one.result
    shown = {name: value for name, value in values.items() if value is not None}
    logger.warning(one.action, by=by, **{**one.details, **shown})


def note(
    request: web.Request,
    event: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    *,
    result: Result = "done",
    reason: str | None = None,
    **what: Any,
) -> None:
    """Note an action of a request. The note is written before the response is sent."""
    request[NOTES].append(
        entry(
            request[OPERATOR],
            event,
            before,
            after,
            result=result,
            reason=reason,
            request_id=request[REQUEST_ID],
            **what,
        )
    )
