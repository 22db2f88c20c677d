"""From a token's claims to a principal: which claim is what, which ones are required."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.auth.principal import Principal
from gateway.auth.provider import Rejected

Wanted = str | int | bool


@dataclass(frozen=True, slots=True)
class ClaimMap:
    """Names of claims. A dotted name looks inside: `realm_access.roles`."""

    subject: str = "sub"
    tenant: str | None = None
    tier: str | None = None
    groups: str | None = None
    scopes: tuple[str, ...] = ("scope", "scp", "roles")
    """All of these together, each a text of words or a list."""
    required: Mapping[str, tuple[Wanted, ...]] = field(default_factory=dict)
    """Values one of which the claim has to have; empty: it has to be there."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Header names for the upstream, and the claims they are filled from."""


def principal_of(
    claims: Mapping[str, Any], names: ClaimMap, provider: str, expires_at: float | None = None
) -> Principal:
    """Whom the claims speak of. Raise Rejected where a required claim is not as it has to be."""
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
    """A claim's value, or None. A name with dots is a claim of that name, or else a way inside."""
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
    """The words of a text (RFC 8693 section 4.2), or the texts of a list."""
    return value.split() if isinstance(value, str) else _listed(value)


def _listed(value: Any) -> Sequence[str]:
    """The texts of a list; a text alone is a list of one, whatever characters it holds."""
    if isinstance(value, str):
        return (value,)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else ()


def _same(value: Any, wanted: Wanted) -> bool:
    # In Python, True is 1.
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _header_lines(claims: Mapping[str, Any], names: ClaimMap) -> bytes:
    """Header lines for the upstream. A claim with a character that no header can hold is left out.

    A list is joined with commas. A comma inside an item is percent-encoded, so that no group or
    scope becomes two; a percent sign is, too, so that this can be undone.
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
