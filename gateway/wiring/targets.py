"""Construction of a route's targets: one for each model or upstream that it may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.config import Config, models
from gateway.config.types import Dialect
from gateway.dialects import DIALECTS
from gateway.dialects import Dialect as DialectInterface
from gateway.dialects.translation.options import ThinkingWord, TranslationOptions
from gateway.dialects.translation.translation import Translation
from gateway.routing.deployments import DeployedModel
from gateway.routing.model_access import ModelAccess, ServedModel
from gateway.routing.model_rules import ModelRules, ParameterRules
from gateway.routing.target import ANY_MODEL, Target
from gateway.wiring.balancers import measures
from gateway.wiring.deployments import key_of
from gateway.wiring.hints import hint_of, reads_json
from gateway.wiring.parts import Parts
from gateway.wiring.timeouts import timeouts_of


class Targets:
    """Construction of a route's targets: one for each model or upstream that it may use."""

    def __init__(
        self,
        config: Config,
        route: models.Route,
        parts: Parts,
        dialect: Dialect,
        *,
        passes_credentials: bool = True,
    ) -> None:
        """`passes_credentials`: an upstream without credentials of its own gets those of anonymous
        callers, who mean this upstream.
        """
        self._anonymous = passes_credentials and route.auth == "anonymous"
        self._config = config
        self._dialect = dialect
        self._route = route
        self._upstreams = parts.upstreams
        self._deployments = parts.deployments
        self._access = parts.access
        self._plain: dict[object, Target] = {}
        """Targets whose copies serve all models of the same kind."""
        self._traced = parts.sinks.traced is not None
        providers = parts.providers.values()
        # Headers of every provider: a header that identifies callers on one route must not be
        # believed on another.
        self._identity = frozenset[bytes]().union(
            *(provider.sent_headers for provider in providers),
            {provider.header.lower().encode() for provider in providers if provider.header},
        )

    def model(self, name: str) -> Target:
        """Return the target of a model, with the targets of its fallbacks. Each fallback has those
        after it as its own. If the model has several deployments, the target is that of the first.

        A credential of the caller's own, on an anonymous route, is for the upstreams of the model
        that the caller asks for: a fallback at another upstream is not sent it.
        """
        model = self._config.models[name]
        meant = frozenset(one.upstream for one in model.served_by)
        fallbacks: list[tuple[str, Target]] = []
        for other in reversed(model.fallbacks):
            fallbacks.insert(0, (other, self._model(other, fallbacks, meant)))
        return self._model(name, fallbacks, meant)

    def _model(
        self, name: str, fallbacks: Sequence[tuple[str, Target]], meant: frozenset[str]
    ) -> Target:
        model = self._config.models[name]
        targets = {
            key_of(name, one): self.upstream(
                one.upstream,
                model,
                one.model,
                fallbacks,
                legible=bool(fallbacks or model.deployments),
                passes_credential=one.upstream in meant,
            )
            for one in model.served_by
        }
        first, *_ = targets.values()
        if model.deployments:
            hint, most = hint_of(model.balance), model.max_output_tokens
            deployed = DeployedModel(self._deployments[name], targets, hint, most)
            for target in targets.values():
                target.deployed = deployed
                target.continues = any(one.continues for one in targets.values())
                target.reads_json = any(one.reads_json for one in targets.values())
        return first

    def upstream(
        self,
        name: str,
        model: models.Model | None = None,
        rename_to: str | None = None,
        fallbacks: Sequence[tuple[str, Target]] = (),
        *,
        legible: bool = False,
        passes_credential: bool = True,
    ) -> Target:
        """Return the target of an upstream, which knows the model by the name `rename_to`.
        `legible`: its responses must be readable. `passes_credential`: it may be sent a credential
        of the caller's own.
        """
        # Targets without fallbacks and rules differ in little. A backend may list thousands.
        plain = model is not None and not fallbacks and not has_rules(model)
        kind = (name, legible, passes_credential, model and (model.scopes, model.balance))
        if plain and kind in self._plain:
            return self._plain[kind].renamed(rename_to)
        made = self._made(
            name,
            model,
            rename_to,
            fallbacks,
            legible=legible,
            passes_credential=passes_credential,
        )
        if plain:
            self._plain[kind] = made.renamed(None)
        return made

    def _made(
        self,
        name: str,
        model: models.Model | None,
        rename_to: str | None,
        fallbacks: Sequence[tuple[str, Target]],
        *,
        legible: bool,
        passes_credential: bool,
    ) -> Target:
        upstream = self._upstreams[name]
        options = self._config.upstreams[name]
        balances = [options.balance, *([] if model is None else [model.balance])]
        renames = options.model_name == "asked" and self._dialect == options.dialect
        return Target(
            upstream,
            rename_to,
            timeouts=timeouts_of(options.timeouts, self._route.timeouts),
            hint=hint_of(options.balance),
            fallbacks=fallbacks,
            anonymous=self._anonymous and passes_credential,
            identity=self._identity,
            scopes=model.scopes if model else (),
            legible=(
                legible
                or renames
                or self._route.resume is not None
                or self._route.cache is not None
                or self._route.traces.content
                or bool(self._route.hooks)
                or self._route.cost_in_usage
                or not {"cost", "cached_tokens"}.isdisjoint(self._route.served_headers)
            ),
            translation=_translation(self._dialect, options, upstream.options.replaced),
            tells_asked=renames,
            traced=self._traced,
            access=self._access.get(name, ANY_MODEL),
            reads_json=any(map(reads_json, balances)),
            measures=any(map(measures, balances)),
            queued=options.admission is not None or options.wake is not None,
            rules=None if model is None else _rules(model, options, DIALECTS[self._dialect]),
        )


def has_rules(model: models.Model) -> bool:
    """Tell whether requests of a model have to be looked at."""
    told = (model.parameters, model.context_window, model.input_modalities)
    return any(one is not None for one in told)


def _rules(
    model: models.Model, upstream: models.UpstreamSettings, dialect: DialectInterface
) -> ModelRules | None:
    """Return the rules of a model for callers of a dialect; None if it has none."""
    if not has_rules(model):
        return None
    told = model.parameters
    rules = ParameterRules()
    if told is not None:
        rules = ParameterRules(
            frozenset(told.drop),
            _as_json(told.set),
            _as_json(told.default),
            told.cap,
            frozenset(told.refuse),
        )
    return ModelRules(
        dialect,
        rules,
        context_window=model.context_window,
        modalities=None if model.input_modalities is None else frozenset(model.input_modalities),
        max_tokens_field=upstream.translation.max_tokens_field,
    )


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of the file as a parsed body has them: with lists instead of tuples."""
    made: dict[str, Any] = orjson.loads(orjson.dumps(values))
    return made


def model_access(config: Config) -> Mapping[str, ModelAccess]:
    """Return the models that callers may name to an upstream, by upstream."""
    served: dict[str, dict[str, list[ServedModel]]] = {}
    for name, model in config.models.items():
        allowed = ServedModel(name, frozenset(model.scopes))
        for one in model.served_by:
            served.setdefault(one.upstream, {}).setdefault(one.model or name, []).append(allowed)
    return {upstream: ModelAccess(names) for upstream, names in served.items()}


def _translation(
    dialect: Dialect, options: models.UpstreamSettings, replaced: frozenset[bytes]
) -> Translation | None:
    """Return the translation between callers and upstream, or None if both use the same dialect:
    then bytes are relayed unchanged.
    """
    if dialect == options.dialect:
        return None
    said = options.translation
    own = TranslationOptions(
        said.max_tokens,
        ThinkingWord(said.thinking),
        options.continues,
        efforts=said.efforts,
        max_tokens_field=said.max_tokens_field,
        base=said.base,
        tells_asked=options.model_name != "backend",
    )
    return Translation(dialect, options.dialect, own, replaced)
