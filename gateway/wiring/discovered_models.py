"""Discovered models, merged into the configuration: what is served is configured, then discovered.

A model of the configuration wins over a discovered one of the same name. A name that several
upstreams list is one model with several deployments, in the order of the upstreams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from gateway.config import Config, models
from gateway.dialects import DIALECTS
from gateway.dialects.listed_model import ListedModel
from gateway.dialects.translation.translation import Path
from gateway.model_names import NamePattern, is_pattern
from gateway.upstream.model_polling import ModelPolling, PollOptions
from gateway.upstream.upstream import Upstream

Lists = Mapping[str, Sequence[ListedModel]]
"""Models that are listed, by upstream."""
_DEFAULT = models.ModelSettings()


@dataclass(frozen=True, slots=True)
class UpstreamModels:
    """Models that one upstream lists, by what is done with them."""

    served: tuple[str, ...] = ()
    """Names by which callers request them."""
    configured: tuple[str, ...] = ()
    """Names of those that a configured model replaces."""
    hidden: int = 0
    """Number of those that `only` and `hide` leave out."""
    cut: int = 0
    """Number of those beyond `most`."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Configuration with the discovered models."""

    config: Config
    discovered: Mapping[str, ListedModel]
    """Discovered models that are served, by the name for callers."""
    by_upstream: Mapping[str, UpstreamModels] = field(default_factory=dict)


class _ModelChoice:
    """Names and patterns, compiled. The most specific one that matches wins."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._exact = {text for text in texts if not is_pattern(text)}
        patterns = [(text, NamePattern.of(text)) for text in texts if is_pattern(text)]
        self._patterns = sorted(patterns, key=lambda one: one[1].specificity, reverse=True)

    def of(self, name: str) -> str | None:
        if name in self._exact:
            return name
        return next((text for text, own in self._patterns if own.matches(name)), None)


def merged(config: Config, lists: Lists) -> Merged:
    """Return the configuration with the models of these lists. Fallbacks that nobody serves now are
    left out of it.
    """
    if not any(one.model_discovery is not None for one in config.upstreams.values()):
        return Merged(config, {})
    found: dict[str, list[tuple[str, ListedModel, models.ModelSettings]]] = {}
    by_upstream: dict[str, UpstreamModels] = {}
    for upstream, options in config.upstreams.items():
        discovery = options.model_discovery
        if discovery is not None:
            by_upstream[upstream] = _take(
                config, upstream, discovery, lists.get(upstream, ()), found
            )
    served = dict(config.models)
    for name, places in found.items():
        served[name] = _model(config, name, places)
    for name, model in served.items():
        there = tuple(one for one in model.fallbacks if one in served and one != name)
        mirror = model.mirror
        if mirror is not None and (mirror.to not in served or mirror.to == name):
            mirror = None
        if there != model.fallbacks or mirror is not model.mirror:
            served[name] = model.model_copy(update={"fallbacks": there, "mirror": mirror})
    discovered = {name: places[0][1] for name, places in found.items()}
    return Merged(config.model_copy(update={"models": served}), discovered, by_upstream)


def _take(
    config: Config,
    upstream: str,
    discovery: models.ModelDiscovery,
    listed: Sequence[ListedModel],
    found: dict[str, list[tuple[str, ListedModel, models.ModelSettings]]],
) -> UpstreamModels:
    """Add the models of one upstream to those that are found."""
    only, hide = _ModelChoice(discovery.only), _ModelChoice(discovery.hide)
    settings = _ModelChoice([*discovery.settings])
    wanted = [
        model
        for model in listed
        if (not discovery.only or only.of(model.name)) and not hide.of(model.name)
    ]
    served: list[str] = []
    configured: list[str] = []
    for model in wanted[: discovery.most]:
        name = discovery.prefix + model.name
        if name in config.models:
            configured.append(name)
            continue
        chosen = settings.of(model.name)
        own = _DEFAULT if chosen is None else discovery.settings[chosen]
        found.setdefault(name, []).append((upstream, model, own))
        served.append(name)
    return UpstreamModels(
        tuple(served),
        tuple(configured),
        len(listed) - len(wanted),
        max(0, len(wanted) - discovery.most),
    )


def _model(
    config: Config, name: str, places: Sequence[tuple[str, ListedModel, models.ModelSettings]]
) -> models.Model:
    """Return the model that one or more upstreams list. Its settings are those of the first, with
    the scopes of all.
    """
    upstream, listed, settings = places[0]
    common = {key: getattr(settings, key) for key in settings.model_fields_set}
    if len(places) == 1:
        own_name = None if listed.name == name else listed.name
        return models.Model(upstream=upstream, model=own_name, **common)
    scopes = dict.fromkeys(scope for _, _, own in places for scope in own.scopes)
    common["scopes"] = tuple(scopes)
    deployments = []
    for where, model, own in places:
        discovery = config.upstreams[where].model_discovery
        assert discovery is not None
        deployments.append(
            models.DeploymentSettings(
                upstream=where,
                model=None if model.name == name else model.name,
                weight=discovery.weight,
                priority=discovery.priority,
                price=own.price,
            )
        )
    return models.Model(deployments=tuple(deployments), **common)


def polling(
    config: Config,
    upstreams: Mapping[str, Upstream],
    changed: Callable[[], None],
    report: Callable[[str, str], None],
) -> Mapping[str, ModelPolling]:
    """Return the polling of each upstream that lists models. `changed` is called when some list has
    changed; `report` takes an upstream's name, and a text: that a list fails, or works again.
    """
    return {
        name: ModelPolling(
            upstreams[name],
            _poll_options(options, found),
            changed=changed,
            report=partial(report, name),
        )
        for name, options in config.upstreams.items()
        if (found := options.model_discovery) is not None
    }


def _poll_options(
    options: models.UpstreamSettings, discovery: models.ModelDiscovery
) -> PollOptions:
    dialect = DIALECTS[options.dialect]
    assert dialect.models.read is not None  # ensured by the check of the configuration
    base, paths = options.translation.base, dialect.paths
    path = Path(
        paths.base if base is None else base,
        dialect.models.listed_at,
        paths.holds_base if base is None else None,
    )
    if discovery.path is not None:
        path = Path("", discovery.path, None)
    return PollOptions(
        path.at,
        dialect.models.read,
        {name.decode(): value.decode() for name, value in dialect.needed_headers.items()},
        discovery.every,
        discovery.timeout,
    )
