"""Audit of reloads: what each changed in the configuration, with secrets masked."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.admin.audit import AuditEntry, entry, note
from gateway.admin.operator import Operator
from gateway.admin.reload import Outcome


def note_reload(request: web.Request, outcome: Outcome, file: str) -> None:
    """Note a reload that an operator asked for."""
    values = _values(outcome)
    note(request, "config_reloaded", *values, **_result(outcome), name=file)


def reload_entry(outcome: Outcome, file: str) -> AuditEntry:
    """Return the entry of a reload that the gateway made by itself, or after a signal."""
    operator = Operator(f"gateway ({outcome.why})", "none", None, None)
    return entry(operator, "config_reloaded", *_values(outcome), **_result(outcome), name=file)


def _values(outcome: Outcome) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    if outcome.problems:
        return None, None
    return (
        {one.path: one.before for one in outcome.changes},
        {one.path: one.after for one in outcome.changes},
    )


def _result(outcome: Outcome) -> dict[str, Any]:
    if outcome.problems:
        return {"result": "failed", "reason": "; ".join(outcome.problems)}
    return {"result": "done"}
