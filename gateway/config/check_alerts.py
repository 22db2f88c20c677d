"""Checks of the `alerts` section."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.config import models
from gateway.config.check_upstreams import check_proxy
from gateway.config.findings import Finding
from gateway.config.problems import ConfigPath

_URL = re.compile(rb"https?://[^/?#@\s]+(?:/[\x21-\x7e]*)?")


def check_alert(path: ConfigPath, alert: models.AlertSettings) -> Iterator[Finding]:
    """Yield the problems of one alert. The text does not repeat its URL."""
    secret = None if isinstance(alert.url, str) else alert.url.known
    if secret is not None and not _URL.fullmatch(secret):
        yield (*path, "url"), "the secret is not an address: http(s)://HOST/PATH", None
    yield from check_proxy((*path, "proxy"), alert.proxy)
