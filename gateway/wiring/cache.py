"""Construction of the response cache."""

from __future__ import annotations

from collections.abc import Callable, Container
from hashlib import sha256

import orjson

from gateway.config import Config, models
from gateway.config.problems import Fault
from gateway.config.served_names import discovering, served_models
from gateway.dialects import DIALECTS
from gateway.middleware.cache import CacheAnswers, CacheOptions
from gateway.middleware.limits import RequestLimits
from gateway.response_cache.cache import AnswerCache
from gateway.stores.makers import UNUSABLE, makers
from gateway.wiring.store import store_fault

_WITHOUT_EFFECT = {
    *("name", "auth", "scopes", "limits", "limit_headers", "served_headers", "cors", "cache"),
    *(
        "mirror",
        "audit_prompts",
        "timeouts",
        "traces",
        "heartbeat",
        "retry",
        "batch",
        "compress",
        "list_prices",
        "resume",
    ),
}
"""Settings of a route that change no answer."""


def caches(config: Config) -> bool:
    """Tell whether any route stores answers."""
    return any(route.cache is not None for route in config.routes)


def answer_cache(
    config: Config, report: Callable[[str, str], None], faults: list[Fault]
) -> AnswerCache | None:
    """Return the response cache, or None if no route has one, or the store cannot be used; that is
    added to `faults`. `report` is called when the store fails and when it works again.
    """
    if not caches(config):
        return None
    location = config.store.location
    try:
        store = makers(location).open_answers(location, config.store.cache_bytes)
        return AnswerCache(store, report=report)
    except UNUSABLE as exc:
        faults.append(store_fault(exc))
        return None


def cache_answers(
    config: Config,
    route: models.Route,
    settings: models.CacheSettings,
    dialect: str,
    preface: bytes,
    cache: AnswerCache,
    limits: RequestLimits | None,
    discovered: Container[str],
) -> CacheAnswers:
    """Return the policy of a route that stores answers. `discovered` are models that come and go
    without a reload.
    """
    options = CacheOptions(
        route=route.name,
        fingerprint=_fingerprint(config, route, dialect, discovered),
        dialect=DIALECTS[dialect],
        scope=settings.scope,
        ttl_s=settings.ttl,
        max_answer_bytes=settings.max_answer,
        max_request_bytes=settings.max_request,
        only_deterministic=settings.only_deterministic,
        tools=settings.tools,
        vary=settings.vary,
        obeys=settings.backend_cache_control == "obey",
        waits_for_whole=settings.single_flight != "off",
        waits_for_streams=settings.single_flight == "all",
        max_wait_s=settings.max_wait,
        counts_hits=settings.count_hits,
        preface=preface,
    )
    return CacheAnswers(options, cache, limits)


def _fingerprint(
    config: Config, route: models.Route, dialect: str, discovered: Container[str]
) -> bytes:
    """Return a digest of the settings that answers of a route depend on: a reload that changes one
    of them makes the stored answers unreachable. Of discovered models, they depend on the
    settings of the upstreams that list them.
    """
    names = [name for name in served_models(config, route) if name not in discovered]
    for name in names:  # grows by the fallbacks
        others = (one for one in config.models[name].fallbacks if one not in names)
        names += [one for one in others if one not in discovered]
    served = {name: config.models[name] for name in names}
    upstreams = {one.upstream for model in served.values() for one in model.served_by}
    upstreams |= {route.upstream} if route.upstream is not None else set()
    upstreams |= set(discovering(config, route.models))
    document = {
        "dialect": dialect,
        "route": route.model_dump(mode="json", exclude=_WITHOUT_EFFECT),
        "hooks": {name: config.hooks[name].model_dump(mode="json") for name in route.hooks},
        "models": {
            name: model.model_dump(mode="json", exclude={"admission", "mirror", "scopes"})
            for name, model in served.items()
        },
        "upstreams": {
            name: config.upstreams[name].model_dump(mode="json") for name in sorted(upstreams)
        },
    }
    return sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).digest()
