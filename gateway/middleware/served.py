"""Headers that tell a caller which model served a request and what it cost, and the cost in the
last usage of a stream. Each is an option of a route.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from urllib.parse import quote

from aiohttp import web

from gateway.dialects.continuation import Splitter
from gateway.dialects.usage_tap import UsageTap
from gateway.exchange import Exchange
from gateway.limiting.prices import price_at
from gateway.limiting.rules import Price
from gateway.pipeline import Result
from gateway.proxy.relay import RelayedResponse
from gateway.request import Request
from gateway.response_cache.use import CacheStatus
from gateway.usage import Usage

_MODEL, _UPSTREAM, _ATTEMPTS = "X-Gateway-Model", "X-Gateway-Upstream", "X-Gateway-Attempts"
_COST, _CACHED, _CACHE = "X-Gateway-Cost", "X-Gateway-Cached-Tokens", "X-Gateway-Cache"
_MICRO = 1e6
_DIGITS = 12

Prices = Mapping[str, tuple[Price, str]]
"""Price and currency of each model that has a price, and of its deployments by `place`."""


class ServedHeaders:
    """Policy that names the model, the upstream and the number of attempts in headers."""

    def __init__(self, told: Collection[str]) -> None:
        """`told` are some of `model`, `upstream`, `attempts` and `cache`."""
        self._model = "model" in told
        self._upstream = "upstream" in told
        self._attempts = "attempts" in told
        self._cache = "cache" in told

    def on_response(self, request: Request, response: web.StreamResponse) -> web.StreamResponse:
        """Add the headers to a response of an upstream."""
        exchange = request.exchange
        headers, use = exchange.response_headers, exchange.cache
        if self._cache and use is not None:
            headers.append((_CACHE, use.status))
        name = exchange.served or exchange.model
        if (
            self._model
            and name is not None
            and (_is_hit(exchange) or exchange.upstream is not None)
        ):
            headers.append((_MODEL, _header_text(name)))
        if exchange.upstream is None:
            return response
        if self._upstream:
            headers.append((_UPSTREAM, _header_text(exchange.upstream)))
        if self._attempts:
            headers.append((_ATTEMPTS, str(exchange.attempts)))
        return response


class UsageHeaders:
    """Policy that adds headers with the cost, and with the tokens from the backend's cache.

    Both are known once the body is complete, so a response that is no stream waits for its end. One
    of more than 64 KiB passes without them.
    """

    def __init__(self, told: Collection[str], prices: Prices) -> None:
        """`told` are some of `cost` and `cached_tokens`."""
        self._cost = "cost" in told
        self._cached = "cached_tokens" in told
        self._prices = prices

    def on_response(self, request: Request, response: web.StreamResponse) -> Result:
        """Add the headers to a response of an upstream, or of the cache."""
        if not isinstance(response, RelayedResponse):
            return response
        exchange = request.exchange
        if not _is_hit(exchange):
            return self._tell(exchange, response)
        if self._cost and _price(exchange, self._prices) is not None:
            exchange.response_headers.append((_COST, "0"))
        return response

    async def _tell(self, exchange: Exchange, response: RelayedResponse) -> RelayedResponse:
        """Wait for the end of the body, and add the headers."""
        usage = await response.whole_usage()
        if usage is None:
            return response
        price = _price(exchange, self._prices)
        if self._cost and price is not None:
            cost = round(price.of(usage) / _MICRO, _DIGITS)
            exchange.response_headers.append((_COST, f"{cost:.{_DIGITS}f}".rstrip("0").rstrip(".")))
        if self._cached:
            exchange.response_headers.append((_CACHED, str(usage.cached)))
        return response


class CostInUsage:
    """Policy that adds the cost to the last usage that a stream reports."""

    def __init__(self, prices: Prices, splitter: Callable[[], Splitter]) -> None:
        self._prices = prices
        self._splitter = splitter

    def on_request(self, request: Request) -> None:
        """Have the body of the response looked at."""
        exchange = request.exchange
        exchange.tap = exchange.tap or UsageTap()

    def on_response(self, request: Request, response: web.StreamResponse) -> web.StreamResponse:
        """Add the cost to the stream, if the model has a price."""
        price = _price(request.exchange, self._prices)
        if _is_hit(request.exchange):
            return response  # it tells what the stored answer has cost
        if price is not None and isinstance(response, RelayedResponse):
            response.body.tell_cost(_cost_of(price), self._splitter)
        return response


def _is_hit(exchange: Exchange) -> bool:
    """Tell whether a stored answer is sent."""
    return exchange.cache is not None and exchange.cache.status is CacheStatus.HIT


def _price(exchange: Exchange, prices: Prices) -> Price | None:
    priced = price_at(prices, exchange.served or exchange.model or "", exchange.upstream)
    return None if priced is None else priced[0]


def _cost_of(price: Price) -> Callable[[Usage], float]:
    return lambda usage: price.of(usage) / _MICRO


@lru_cache(maxsize=1024)
def _header_text(name: str) -> str:
    """Return a name as a header value: only visible ASCII characters, others percent-encoded."""
    return quote(name, safe="!#$&'()*+,/:;=?@[]^`{|}~ ")
