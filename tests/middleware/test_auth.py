"""Authentication: which providers are asked for a credential."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from multidict import CIMultiDict

from gateway.auth.certificate import CertificateProvider
from gateway.auth.principal import Principal
from gateway.auth.provider import Provider, Rejected
from gateway.errors import Unauthenticated
from gateway.exchange import Exchange
from gateway.middleware.auth import Authenticate
from gateway.request import Request

ADA = Principal("ada", "idp")


class Asked:
    """Provider that rejects every credential, or accepts it, and may have to be waited for."""

    header = None

    def __init__(self, name: str, *, accepts: bool, waits: bool) -> None:
        self.name = name
        self.times = 0
        self._accepts, self._waits = accepts, waits

    def verify_now(self, credential: str) -> Principal | None:
        return None if self._waits else self._answer()

    async def verify(self, credential: str) -> Principal:
        return self._answer()

    def _answer(self) -> Principal:
        self.times += 1
        if not self._accepts:
            raise Rejected(f"not of {self.name}")
        return ADA


def made_request(headers: dict[str, str] | None = None) -> Request:
    exchange = Exchange("GET", "192.0.2.1", False)
    given = CIMultiDict({"Authorization": "Bearer token"} if headers is None else headers)
    client = SimpleNamespace(certificate=None)
    return cast(
        Request, SimpleNamespace(exchange=exchange, headers=given, client=client, known=None)
    )


async def identified(*providers: Asked) -> Principal | None:
    """Return the principal of a request."""
    request = made_request()
    waiting = Authenticate([cast(Provider, each) for each in providers]).on_request(request)
    if waiting is not None:
        await waiting
    return request.exchange.principal


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "later"])
async def test_each_provider_is_asked_once_until_one_accepts(waits: bool) -> None:
    first = Asked("first", accepts=False, waits=False)
    second = Asked("second", accepts=True, waits=waits)
    third = Asked("third", accepts=True, waits=False)
    assert await identified(first, second, third) is ADA
    assert [each.times for each in (first, second, third)] == [1, 1, 0]


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "later"])
async def test_the_rejections_of_all_providers_are_told_to_the_log(waits: bool) -> None:
    first = Asked("first", accepts=False, waits=False)
    second = Asked("second", accepts=False, waits=waits)
    with pytest.raises(Unauthenticated) as caught:
        await identified(first, second)
    assert caught.value.reason == "first: not of first; second: not of second"


def test_a_request_without_a_credential_is_told_which_kind_the_route_accepts() -> None:
    mesh = CertificateProvider("mesh", subject="uri", allow=[])
    with pytest.raises(Unauthenticated, match="client certificate of the TLS connection"):
        Authenticate([mesh]).on_request(made_request({}))
    keys = cast(Provider, Asked("keys", accepts=True, waits=False))
    with pytest.raises(Unauthenticated, match="Authorization: Bearer"):
        Authenticate([keys, mesh]).on_request(made_request({}))
