"""The configuration as a document without secrets."""

from __future__ import annotations

import re
from typing import Any

from gateway.config import Config
from gateway.config.units import UNITS

MASK = "***"
_PASSWORD = re.compile(r"(?<=://)[^/@]*@")
_PATH = re.compile(r"(://[^/]*/).+")
_QUERY_PASSWORD = re.compile(r"(?<=password=)[^&]*")


def masked(config: Config, *, in_units: bool = False, only_set: bool = False) -> Any:
    """Return the configuration without secrets. Passwords in URLs and values of headers are masked,
    and also digests of tokens, and the options of plug-ins, since their meaning is unknown.

    `in_units` writes durations, sizes and shares as in the file. `only_set` leaves out what the
    file does not set.
    """
    document = config.model_dump(
        mode="json", context=dict(UNITS) if in_units else None, exclude_unset=only_set
    )
    store = document.get("store", {})
    if isinstance(url := store.get("url"), str):
        store["url"] = _QUERY_PASSWORD.sub(MASK, _PASSWORD.sub(f"{MASK}@", url))
    for alert in document.get("alerts", {}).values():
        alert["url"] = _PATH.sub(rf"\1{MASK}", alert["url"])
    for token in ((document.get("admin") or {}).get("tokens") or {}).values():
        token["sha256"] = MASK
    for provider in document.get("secret_providers", {}).values():
        _mask_values(provider, "options")
    for upstream in document.get("upstreams", {}).values():
        _mask_values(upstream, "headers")
    for route in document.get("routes", ()):
        for plugin in route.get("middleware", ()):
            _mask_values(plugin, "options")
    return document


def _mask_values(document: dict[str, Any], name: str) -> None:
    if name in document:
        document[name] = dict.fromkeys(document[name], MASK)
