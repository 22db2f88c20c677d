"""Mapping of a token's claims to a principal, and the check of required claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected

Wanted = str | int | bool


@dataclass(frozen=True, slots=True)
class ClaimMap:
    """Names of the claims to use. A dotted name reads a nested value: `realm_access.roles`."""

    subject: str = "sub"
    tenant: str | None = None
    tier: str | None = None
    groups: str | None = None
    scopes: tuple[str, ...] = ("scope", "scp", "roles")
    """Claims whose values are combined. Each is a text of words, or a list."""
    required: Mapping[str, tuple[Wanted, ...]] = field(default_factory=dict)
    """Required claims, each with its allowed values. Without values, the claim must exist."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names of headers for the upstream, each with the claim that it is filled from."""


def principal_of(
    claims: Mapping[str, Any], names: ClaimMap, provider: str, expires_at: float | None = None
) -> Principal:
    """Return the principal that the claims describe. Raise Rejected if a required claim is missing
    or has a wrong value.
    """
    for name, values in names.required.items():
        found = claim(claims, name)
        held = found if isinstance(found, list) else [found]
        if found is None or (
            values and not any(_same(one, value) for one in held for value in values)
        ):
            raise Rejected(
                f"claim {name} is not as required", f"The token's claim {name} is not as required"
            )
    subject = _text(claims, names.subject)
    if subject is None:
        raise Rejected(
            f"claim {names.subject} is missing or not a string",
            f"The token has no claim {names.subject}",
        )
    return Principal(
        subject,
        provider,
        _text(claims, names.tenant),
        _text(claims, names.tier),
        tuple(_listed(claim(claims, names.groups))) if names.groups else (),
        frozenset(word for name in names.scopes for word in _words(claim(claims, name))),
        token_id=_text(claims, "jti"),
        expires_at=expires_at,
        claims=claims,
        headers=_header_lines(claims, names),
    )


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim's value, or None. A name with dots is first tried as the name of a claim, then
    as the path to a nested value.
    """
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _text(claims: Mapping[str, Any], name: str | None) -> str | None:
    value = claim(claims, name) if name is not None else None
    return value if isinstance(value, str) and value else None


def _words(value: Any) -> Sequence[str]:
    """Return the words of a text (RFC 8693 section 4.2), or the texts of a list."""
    return value.split() if isinstance(value, str) else _listed(value)


def _listed(value: Any) -> Sequence[str]:
    """Return the texts of a list. A single text counts as a list of one, whatever it contains."""
    if isinstance(value, str):
        return (value,)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else ()


def _same(value: Any, wanted: Wanted) -> bool:
    # In Python, True equals 1.
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _header_lines(claims: Mapping[str, Any], names: ClaimMap) -> bytes:
    """Return the header lines for the upstream. A claim with a character that is not allowed in
    headers is omitted.

    The items of a list are joined with commas. A comma inside an item is percent-encoded, so that
    one group or scope does not become two. A percent sign is encoded too, so that the encoding can
    be reversed.
    """
    lists = {names.groups, *names.scopes}
    lines = []
    for header, name in names.headers.items():
        value = claim(claims, name)
        is_list = isinstance(value, list)
        words = [_plain(item) for item in (value if is_list else [value])]
        if words and all(word is not None and word.isprintable() and word for word in words):
            items = [word for word in words if word]
            if is_list or name in lists:
                items = [item.replace("%", "%25").replace(",", "%2C") for item in items]
            lines.append(f"{header}: {','.join(items)}\r\n")
    return "".join(lines).encode()


def _plain(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None
