"""Roles of operators, and the least role for each route of the admin listener.

This is the only table of permissions. A route that it does not name needs the role `admin`, and the
reference of the admin API cannot be generated without it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum

from gateway.admin.views import VIEWS


class OperatorRole(IntEnum):
    """Role of an operator. Each role includes the ones below it."""

    VIEWER = 1
    """Reads state, metrics, traces and usage, but no recorded prompts and answers."""
    OPERATOR = 2
    """Also acts: drains, reloads, cancels, suspends, purges, uses the playground."""
    ADMIN = 3
    """Also makes keys and teams, and reads recorded content and the audit log."""

    @property
    def word(self) -> str:
        """Name of the role in the configuration and in documents."""
        return self.name.lower()


def role_named(word: str) -> OperatorRole:
    """Return the role with this name. Raise KeyError."""
    return OperatorRole[word.upper()]


def role_of(groups: Collection[str], by_role: Mapping[str, Collection[str]]) -> OperatorRole | None:
    """Return the highest role that one of the groups has, or None. `by_role` has the groups of each
    role. A group matches as a whole and in the same case.
    """
    roles = (
        role_named(word) for word, named in by_role.items() if not set(named).isdisjoint(groups)
    )
    return max(roles, default=None)


OPEN: frozenset[tuple[str, str]] = frozenset(
    {
        *(("GET", path) for path in VIEWS),
        *(("GET", path) for path in ("/favicon.ico", "/static", "/livez", "/readyz")),
        *(("GET", path) for path in ("/sign-in", "/sign-in/callback")),
        *((method, "/api/session") for method in ("GET", "POST", "DELETE")),
    }
)
"""Routes for everybody: they reveal nothing. `/static` stands for all files of the pages."""

LEAST: Mapping[tuple[str, str], OperatorRole] = {
    ("GET", "/metrics"): OperatorRole.VIEWER,
    ("GET", "/api/now"): OperatorRole.VIEWER,
    ("GET", "/api/history"): OperatorRole.VIEWER,
    ("GET", "/api/workers"): OperatorRole.VIEWER,
    ("GET", "/api/upstreams"): OperatorRole.VIEWER,
    ("POST", "/api/upstreams/{name}/drain"): OperatorRole.OPERATOR,
    ("POST", "/api/upstreams/{name}/undrain"): OperatorRole.OPERATOR,
    ("POST", "/api/upstreams/{name}/models"): OperatorRole.OPERATOR,
    ("GET", "/api/limits"): OperatorRole.VIEWER,
    ("GET", "/api/routes"): OperatorRole.VIEWER,
    ("GET", "/api/config"): OperatorRole.VIEWER,
    ("POST", "/api/reload"): OperatorRole.OPERATOR,
    ("GET", "/api/requests"): OperatorRole.VIEWER,
    ("DELETE", "/api/requests/{id}"): OperatorRole.OPERATOR,
    ("GET", "/api/logs"): OperatorRole.VIEWER,
    ("GET", "/api/log"): OperatorRole.VIEWER,
    ("PUT", "/api/log"): OperatorRole.OPERATOR,
    ("GET", "/api/events"): OperatorRole.VIEWER,
    ("GET", "/api/traces"): OperatorRole.VIEWER,
    ("GET", "/api/traces.csv"): OperatorRole.VIEWER,
    ("GET", "/api/traces.jsonl"): OperatorRole.VIEWER,
    ("GET", "/api/traces/{id}"): OperatorRole.VIEWER,
    ("GET", "/api/usage"): OperatorRole.VIEWER,
    ("GET", "/api/usage.csv"): OperatorRole.VIEWER,
    ("GET", "/api/usage.jsonl"): OperatorRole.VIEWER,
    ("GET", "/api/telemetry"): OperatorRole.VIEWER,
    ("GET", "/api/keys"): OperatorRole.VIEWER,
    ("POST", "/api/keys"): OperatorRole.ADMIN,
    ("PATCH", "/api/keys/{id}"): OperatorRole.ADMIN,
    ("POST", "/api/keys/{id}/rotate"): OperatorRole.ADMIN,
    ("POST", "/api/keys/{id}/suspend"): OperatorRole.OPERATOR,
    ("POST", "/api/keys/{id}/resume"): OperatorRole.OPERATOR,
    ("DELETE", "/api/keys/{id}"): OperatorRole.ADMIN,
    ("GET", "/api/teams"): OperatorRole.VIEWER,
    ("GET", "/api/teams/{name}/members"): OperatorRole.VIEWER,
    ("PUT", "/api/teams/{name}"): OperatorRole.ADMIN,
    ("POST", "/api/teams/{name}/suspend"): OperatorRole.OPERATOR,
    ("POST", "/api/teams/{name}/resume"): OperatorRole.OPERATOR,
    ("DELETE", "/api/teams/{name}"): OperatorRole.ADMIN,
    ("GET", "/api/users"): OperatorRole.VIEWER,
    ("PUT", "/api/users/{name}"): OperatorRole.ADMIN,
    ("POST", "/api/users/{name}/suspend"): OperatorRole.OPERATOR,
    ("POST", "/api/users/{name}/resume"): OperatorRole.OPERATOR,
    ("DELETE", "/api/users/{name}"): OperatorRole.ADMIN,
    ("DELETE", "/api/cache"): OperatorRole.OPERATOR,
    ("GET", "/api/openapi.json"): OperatorRole.VIEWER,
    ("GET", "/api/audit"): OperatorRole.ADMIN,
    ("GET", "/api/audit.csv"): OperatorRole.ADMIN,
    ("GET", "/api/audit.jsonl"): OperatorRole.ADMIN,
    ("GET", "/api/sessions"): OperatorRole.ADMIN,
    ("DELETE", "/api/sessions/{id}"): OperatorRole.ADMIN,
    ("GET", "/play/api/{path}"): OperatorRole.OPERATOR,
    ("POST", "/play/api/{path}"): OperatorRole.OPERATOR,
    ("DELETE", "/play/api/{path}"): OperatorRole.OPERATOR,
    ("GET", "/play/socket"): OperatorRole.OPERATOR,
}
"""Least role for each other method and path. Paths are as in `Operation.path`."""

CONTENT = OperatorRole.ADMIN
"""Least role for recorded prompts and answers."""


def least_role(method: str, path: str) -> OperatorRole | None:
    """Return the least role for a route, or None if it is open. HEAD is treated as GET."""
    method = "GET" if method == "HEAD" else method
    if path.startswith("/static/"):
        path = "/static"
    if (method, path) in OPEN:
        return None
    return LEAST.get((method, path), OperatorRole.ADMIN)
