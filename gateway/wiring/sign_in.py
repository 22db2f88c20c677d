"""Construction of the client that signs operators in."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from gateway.auth.jwk import ASYMMETRIC
from gateway.auth.key_sets import RemoteKeySet, http_fetch
from gateway.auth.oidc.client import OidcClient
from gateway.auth.oidc.id_token import IdTokenVerifier
from gateway.auth.oidc.issuer_metadata import IssuerDirectory
from gateway.auth.oidc.token_client import TokenClient
from gateway.config import models
from gateway.wiring.egress import proxy_of


def oidc_client(options: models.SignInSettings, report: Callable[[str], None]) -> OidcClient:
    """Return the client. Nothing is fetched before it is needed. `report` is called with each
    problem, for the log. Raise OSError if the file `ca` cannot be read, or BadProxy.
    """
    context = ssl.create_default_context(cafile=options.ca) if options.ca else None
    proxy = proxy_of(options.proxy, "https")
    fetch = http_fetch(context, proxy)
    keys = RemoteKeySet(
        issuer=options.issuer,
        url=None,
        fetch=fetch,
        algorithms=options.algorithms or ASYMMETRIC,
        report=report,
    )
    secret = options.client_secret
    return OidcClient(
        client_id=options.client_id,
        scopes=options.scopes,
        directory=IssuerDirectory(options.issuer, fetch),
        keys=keys,
        verifier=IdTokenVerifier(
            keys, issuer=options.issuer, client_id=options.client_id, leeway_s=options.leeway
        ),
        tokens=TokenClient(
            options.client_id,
            None if secret is None else secret.reveal().decode(),
            context=context,
            proxy=proxy,
        ),
    )
