"""Documents of the admin API about operators: sessions and the audit log."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gateway.admin.document import Document

RoleWord = Literal["viewer", "operator", "admin"]


class TokenSignIn(Document):
    token: str
    """Value of `admin.token`, or one of `admin.tokens`."""


class Session(Document):
    needs_token: bool
    """True if the listener asks for a token or a sign-in."""
    admitted: bool
    """True if this request would be admitted."""
    reason: str | None
    """Reason of the refusal; null if the request would be admitted."""
    tokens: bool = False
    """True if a token can begin a session."""
    issuer: str | None = None
    """Host of the issuer that `/sign-in` leads to; null without an issuer."""
    name: str | None = None
    """Name of the operator. This field and all below are present only if the request would be
    admitted.
    """
    how: Literal["token", "session", "local"] | None = None
    """Way in which the operator was identified; `local` without a token or a sign-in."""
    role: RoleWord | None = None
    version: str | None = None
    """Version of the gateway."""
    links: dict[str, str] = Field(default_factory=dict)
    """`admin.links` of the configuration."""
    public: str = ""
    """URL of the public listener, as seen from this host."""


class SignedOut(Document):
    end_session_url: str | None
    """URL at which a browser ends its session at the issuer; null if the issuer has none."""


class OperatorSessionState(Document):
    id: str
    name: str
    subject: str | None
    """Claim `sub` of a person who signed in at the issuer."""
    role: RoleWord
    """Role at the moment."""
    address: str | None
    """Address from which the session began."""
    began_at: float
    ends_at: float
    is_own: bool
    """True for the session of this request."""


class Sessions(Document):
    sessions: list[OperatorSessionState]


class AuditLine(Document):
    id: str
    at: float
    who: str
    """Name of the person or of the token, or `USER@HOST` of a command."""
    how: Literal["token", "session", "local", "shell", "none"]
    """Way in which the operator was identified; `none` if unknown."""
    role: RoleWord | None
    subject: str | None
    """Claim `sub` of a person who signed in at the issuer."""
    address: str | None
    action: str
    """Action, such as `key_created`."""
    object: str
    """Object of the action, such as `key k7m2abcd`."""
    details: dict[str, Any]
    before: dict[str, Any] | None
    """Values before the action, where they changed. Secrets are left out."""
    after: dict[str, Any] | None
    result: Literal["done", "refused", "failed"]
    reason: str | None
    """Reason why it was refused or failed."""
    request_id: str | None
    """Id of the request to the admin API, as in its log line."""


class AuditPage(Document):
    entries: list[AuditLine]
    next: str | None
    """Value of `after` for the next page; null if there is none."""
    kept: bool
    """False if entries are kept in memory only, and are lost when this process ends."""
