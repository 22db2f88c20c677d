"""Checks of identity providers: the keys that verify tokens, and the issuer's clock."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import aiohttp

from gateway.auth.key_sets import RemoteKeySet
from gateway.auth.oidc.issuer_metadata import IssuerDirectory, UnusableIssuer
from gateway.cli.doctor.finding import Finding, failed, ok, warning
from gateway.config import Config, models
from gateway.errors import AuthUnavailable
from gateway.http.connectors import connector_to
from gateway.wiring.egress import proxy_of

_TIMEOUT_S = 5.0
_REACH = (
    "check `issuer` and, if it is set, `jwks`, and that this machine reaches them; `ca` names a "
    "private authority"
)


async def identity(config: Config) -> AsyncIterator[Finding]:
    """Check every provider that fetches its keys."""
    for name, options in config.auth.items():
        if isinstance(options, models.JwtProviderSettings) and options.jwks is not None:
            url = None if options.jwks == "auto" else options.jwks
            async for finding in _issuer(f"auth.{name}", options, url):
                yield finding
    if config.admin is not None and config.admin.sign_in is not None:
        async for finding in _issuer("admin.sign_in", config.admin.sign_in, None):
            yield finding


async def _issuer(
    subject: str, options: models.JwtProviderSettings | models.SignInSettings, url: str | None
) -> AsyncIterator[Finding]:
    """Check an issuer. `url` is that of its keys; None: it is discovered."""
    context = ssl.create_default_context(cafile=options.ca) if options.ca else None
    reports: list[str] = []
    dates: list[float] = []
    proxy = proxy_of(options.proxy, "https")

    async def fetch(url: str) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(
                timeout=timeout, connector=connector_to(url, proxy, context=context)
            ) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise ValueError(f"{url}: status {response.status}")
            if (said := response.headers.get("Date")) is not None:
                dates.append(parsedate_to_datetime(said).timestamp() - time.time())
            return await response.read()

    if isinstance(options, models.SignInSettings):
        try:
            await IssuerDirectory(options.issuer, fetch).metadata()
        except UnusableIssuer as exc:
            yield failed(subject, f"{options.issuer}: nobody can sign in: {exc}", _REACH)
            return
    keys = RemoteKeySet(issuer=options.issuer, url=url, fetch=fetch, report=reports.append)
    try:
        await keys.find(None, "")
    except AuthUnavailable:
        yield failed(
            subject,
            f"{options.issuer}: {'; '.join(reports) or 'no key that can be used'}",
            _REACH,
        )
        return
    finally:
        keys.close()
    yield ok(subject, f"{options.issuer}: its keys are here")
    for report in reports:
        yield warning(subject, report, "a token signed with that key is refused")
    if dates:
        yield _clock(subject, dates[-1], options.leeway)


def _clock(subject: str, ahead_s: float, leeway_s: float) -> Finding:
    """Return the finding for a clock difference. `ahead_s` is the issuer's time minus this
    machine's; it has an error of about 1 s, since the Date header has whole seconds.
    """
    if abs(ahead_s) <= max(2.0, leeway_s / 2):
        return ok(subject, f"its clock and this machine's differ by {abs(ahead_s):.0f} s")
    text = (
        f"its clock and this machine's differ by {abs(ahead_s):.0f} s, leeway is {leeway_s:.0f} s"
    )
    remedy = "synchronise this machine's clock (timedatectl, chrony)"
    if abs(ahead_s) <= leeway_s:
        return warning(subject, text, remedy)
    return failed(subject, text, remedy)
