"""Construction of proxies from `proxy` settings."""

from __future__ import annotations

from gateway.config import models
from gateway.http.egress import Proxy, from_environment


def proxy_of(options: models.ProxySettings | str | None, scheme: str) -> Proxy | None:
    """Return the proxy for URLs of this scheme; None if they are reached directly. Raise BadProxy
    for a URL in the environment that cannot be used.
    """
    if options is None:
        return None
    if isinstance(options, str):
        found = from_environment(scheme)
    else:
        password = None if options.password is None else options.password.reveal().decode()
        found = Proxy.parse(options.url, options.username, password, options.no_proxy)
    if found is not None:
        found.prepare()
    return found
