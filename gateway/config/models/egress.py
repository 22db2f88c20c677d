"""Proxies through which the gateway reaches backends and issuers."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from gateway.config.models.section import Section
from gateway.config.secrets import Secret
from gateway.config.types import ProxyUrl


class ProxySettings(Section):
    """Proxy for connections of the gateway. Its credential may not stand in the URL."""

    url: ProxyUrl = Field(
        description="http://HOST:PORT for a proxy with the method CONNECT, or "
        "socks5://HOST:PORT. The proxy resolves host names.",
    )
    username: str | None = Field(
        None, min_length=1, description="User name of the gateway at the proxy."
    )
    password: Secret | None = Field(None, description="Password of the gateway at the proxy.")
    no_proxy: tuple[str, ...] = Field(
        (),
        description="Hosts to reach without the proxy: names, .DOMAIN for all names below it, "
        "addresses, networks.",
    )

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("give both `username` and `password`, or neither")
        if ":" in (self.username or "") and self.url.startswith("http:"):
            raise ValueError("`username` has a colon, which HTTP does not allow")
        return self
