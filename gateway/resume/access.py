"""Access control for kept streams: a credential may read its owner's streams of models it may use.

An owner may have several credentials, some of them for certain models only. Each stream carries a
label: a digest of its owner and of the requested model. A reader brings the labels of all streams
that it may read. The process that keeps the stream only compares labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from gateway.auth.principal import Principal
from gateway.model_names import AllowedModels, ModelNames


class StreamAccess:
    """Stream labels of one route."""

    def __init__(
        self, route: str, models: Mapping[str, Iterable[str]], all_scopes: Iterable[str]
    ) -> None:
        """`models` maps each model of the route to the scopes that it requires. `all_scopes` are
        the scopes that any model of the gateway requires.
        """
        self._route = route.encode()
        self._models = {name: frozenset(scopes) for name, scopes in models.items()}
        self._all_scopes = frozenset(all_scopes)

    def owner(self, principal: Principal | None) -> bytes:
        """Return the digest of a caller's identity. All callers of an anonymous route share one."""
        if principal is None:
            return digest(self._route)
        named = (principal.provider, principal.tenant or "", principal.subject)
        return digest(self._route, *map(_encoded, named))

    def stream(self, principal: Principal | None, model: str | None) -> bytes:
        """Return the label of a stream that answers a request for `model`.

        If the model is unknown (None), only a credential with the same restrictions can read the
        stream.
        """
        owner = self.owner(principal)
        if model is not None:
            return digest(owner, b"model", _encoded(model))
        scopes = sorted(self._all_scopes & principal.scopes) if principal is not None else ()
        models = principal.models if principal is not None else None
        return digest(
            owner,
            *_parts(models),
            b"scopes",
            *map(_encoded, scopes),
        )

    def readable(self, principal: Principal | None) -> frozenset[bytes]:
        """Return the labels of the streams that a caller may read."""
        held = frozenset[str]() if principal is None else principal.scopes
        only = None if principal is None else principal.models
        names = [
            name
            for name, scopes in self._models.items()
            if scopes <= held and (only is None or name in only)
        ]
        return frozenset(self.stream(principal, name) for name in (None, *names))


def _parts(models: AllowedModels | None) -> list[bytes]:
    """Return the parts of a digest that identify these models."""
    if models is None:
        return [b"any"]
    if isinstance(models, ModelNames):
        return [b"patterns", json.dumps(models.lists).encode()]
    return [b"models", *map(_encoded, sorted(models))]


def digest(*parts: bytes) -> bytes:
    """Return the digest of these parts in this order. Part boundaries are unambiguous."""
    hashed = blake2b(digest_size=16)
    for part in parts:
        hashed.update(b"%d:" % len(part))
        hashed.update(part)
    return hashed.digest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
