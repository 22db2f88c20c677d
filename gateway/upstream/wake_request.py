"""Request that starts a backend which has scaled to zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class WakeRequest:
    """Request to a scheduler, an autoscaler or a host."""

    method: str
    url: str
    fields: Sequence[tuple[str, str]] = ()

    async def send(self) -> str | None:
        """Send it. Return why it failed, or None."""
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
                    cookie_jar=aiohttp.DummyCookieJar(),
                ) as session,
                session.request(
                    self.method, self.url, headers=self.fields, allow_redirects=False
                ) as response,
            ):
                return None if response.status < 400 else f"status {response.status}"
        except TimeoutError:
            return f"no answer within {_TIMEOUT_S:g} s"
        except (aiohttp.ClientError, OSError) as exc:
            return type(exc).__name__
