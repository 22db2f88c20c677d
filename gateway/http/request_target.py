"""Request target in canonical form, so that the path matched is the path forwarded.

A target has many spellings (RFC 3986 section 6); if two components disagree on them, a path can
bypass a check. Nothing is normalised here: a target that is not canonical is refused, with one
exception in `split_target`.
"""

from __future__ import annotations

import ipaddress
import re

# Segments of unreserved and sub-delim characters, ':' and '@', and percent-escapes except those of:
# the unreserved characters (which need no escape), '/', '\', '%', NUL and the other controls. ';'
# is refused: servers that strip path parameters would see another path.
_ESCAPE = r"%(?:2[0-4]|2[6-9A-Ca-c]|3[A-Fa-f]|40|5[BDEbde]|60|7[B-Db-d]|[89A-Fa-f][0-9A-Fa-f])"
_PATH = re.compile(rf"(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|{_ESCAPE})+)*/?")
_DOTS = re.compile(r"/\.{1,2}(?:/|\Z)")
_ESCAPED_SLASH = re.compile("%2[Ff]")
_MODELS = "/models/"
_QUERY = re.compile(r"[\x21\x22\x24-\x7e]*")  # visible ASCII except '#'
_HOST = re.compile(
    r"(?P<name>(?=.{1,253}(?::|\Z))[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
)
LONGEST_HOST = 260
"""Maximum length of a Host header in characters: 253 of a name, a dot at its end, and the port."""
_LAST_PORT = 65535


def split_target(target: str) -> tuple[str, str] | None:
    """Return path and query of an origin-form target, or None if it is not canonical.

    After `/models/` comes a model's name, in which SDKs escape slashes: there `%2F` is read, and
    forwarded, as a slash.
    """
    path, mark, query = target.partition("?")
    if "%2" in path:
        before, models, name = path.partition(_MODELS)
        path = before + models + _ESCAPED_SLASH.sub("/", name)
    if _PATH.fullmatch(path) is None or _DOTS.search(path) is not None or not path:
        return None
    if mark and _QUERY.fullmatch(query) is None:
        return None
    return path, query


def host_name(host: str) -> str | None:
    """Return the lower-case name in a Host header, without its port; None if it is malformed."""
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 0) > _LAST_PORT:
        return None
    name = match["name"].lower().rstrip(".")
    if name.startswith("["):
        try:
            ipaddress.IPv6Address(name[1:-1])
        except ValueError:
            return None
    return name


def is_origin_of(origin: str, host: str) -> bool:
    """Tell whether an Origin header (RFC 6454 section 7) names the authority in a Host header.

    Both may be any text. The scheme is not compared, since TLS may end before this process.
    """
    scheme, _, authority = origin.partition("://")
    return scheme in ("http", "https") and bool(host) and authority.lower() == host.lower()
