"""Construction of hooks: one instance for each route that names one."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.config import Config, models
from gateway.config.plug_in import PlugInUnusable
from gateway.config.problems import ConfigPath, Fault
from gateway.config.secrets import Secret
from gateway.hooks.guarded import GuardedHook, HookSinks
from gateway.hooks.load import load_hook
from gateway.hooks.redact import Find, RedactOptions, Redactor, RedactorNotMade, presidio
from gateway.hooks.webhook import Webhook, WebhookFormat, WebhookOptions
from gateway.wiring.egress import proxy_of

_Searches = Mapping[RedactOptions, Find]


@dataclass(frozen=True, slots=True)
class RouteHooks:
    """Hooks of one route."""

    judging: Sequence[GuardedHook] = ()
    """Hooks that see requests and answers, in order."""
    redactors: Sequence[Redactor] = ()
    """Redactors of recorded content."""

    async def close(self) -> None:
        """Close what the hooks hold, such as the connections of webhooks."""
        for one in self.judging:
            await one.close()


@dataclass(frozen=True, slots=True)
class Hooks:
    """Hooks of one configuration."""

    by_route: Mapping[str, RouteHooks]
    """Hooks of each route that has some, by the name of the route."""
    searches: _Searches
    """Searches for personal data, which take seconds to make: a reload keeps them."""

    def redactors(self, config: Config, names: Sequence[str]) -> list[Redactor]:
        """Return redactors by the hooks of these names, whatever the routes use them for."""
        options = [
            _redact_options(settings)
            for name in names
            if isinstance(settings := config.hooks[name], models.RedactSettings)
        ]
        return [Redactor(one, self.searches[one]) for one in options if one in self.searches]

    def of(self, route: str) -> RouteHooks:
        """Return the hooks of a route; empty if it has none."""
        return self.by_route.get(route, _NONE)

    async def close(self) -> None:
        """Close what hooks hold."""
        for one in self.by_route.values():
            await one.close()


_NONE = RouteHooks()


def hooks(config: Config, sinks: HookSinks, faults: list[Fault], kept: _Searches) -> Hooks:
    """Make the hooks. One that cannot be made is added to `faults`. `kept` are searches that were
    made before.
    """
    searches = _searches(config, faults, kept)
    made: dict[str, RouteHooks] = {}
    failed: set[ConfigPath] = set()
    for route in config.routes:
        if not route.hooks:
            continue
        judging: list[GuardedHook] = []
        redactors: list[Redactor] = []
        for name in route.hooks:
            settings = config.hooks[name]
            hook: object
            if isinstance(settings, models.RedactSettings):
                options = _redact_options(settings)
                if options not in searches:
                    continue
                hook = redactor = Redactor(options, searches[options])
                if redactor.on_request is None or redactor.on_window is None:
                    # Otherwise the recorded content comes without personal data already.
                    if "recorded" in settings.where:
                        redactors.append(redactor)
                    if redactor.on_request is None and redactor.on_window is None:
                        continue
            elif isinstance(settings, models.WebhookSettings):
                hook = Webhook(_webhook_options(settings))
            else:
                try:
                    hook = load_hook(settings.use, settings.options)
                except PlugInUnusable as exc:
                    path = ("hooks", name, *exc.path)
                    if path not in failed:
                        failed.add(path)
                        faults.append((path, exc.message))
                    continue
            judging.append(
                GuardedHook(
                    name,
                    route.name,
                    hook,
                    timeout_s=settings.timeout,
                    is_open=settings.on_error == "open",
                    sinks=sinks,
                )
            )
        made[route.name] = RouteHooks(judging, redactors)
    return Hooks(made, searches)


def _searches(config: Config, faults: list[Fault], kept: _Searches) -> dict[RedactOptions, Find]:
    searches: dict[RedactOptions, Find] = {}
    for name, settings in config.hooks.items():
        if not isinstance(settings, models.RedactSettings):
            continue
        options = _redact_options(settings)
        try:
            searches[options] = kept[options] if options in kept else presidio(options)
        except RedactorNotMade as exc:
            faults.append((("hooks", name), str(exc)))
    return searches


def _redact_options(settings: models.RedactSettings) -> RedactOptions:
    return RedactOptions(
        entities=settings.entities,
        replacement=settings.replacement,
        score=settings.score,
        language=settings.language,
        model=settings.model,
        judges_requests="request" in settings.where,
        judges_answers="answer" in settings.where,
        window_chars=settings.window,
    )


def _webhook_options(settings: models.WebhookSettings) -> WebhookOptions:
    return WebhookOptions(
        url=settings.url,
        format=WebhookFormat(settings.format),
        model=settings.model,
        token=_revealed(settings.token),
        secret=_revealed(settings.secret),
        judges_requests=settings.request != "none",
        judges_answers=settings.answer,
        conversation=settings.request == "all",
        window_chars=settings.window,
        holds=settings.hold,
        concurrency=settings.concurrency,
        cap_bytes=settings.max_bytes,
        context=ssl.create_default_context(cafile=settings.ca) if settings.ca else None,
        proxy=proxy_of(settings.proxy, urlsplit(settings.url).scheme),
    )


def _revealed(secret: Secret | None) -> bytes | None:
    return None if secret is None else secret.reveal()
