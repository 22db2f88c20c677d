"""Reading of a LiteLLM file: each setting is taken, or noted as one without a counterpart."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from gateway.cli.litellm.findings import (
    ConvertedDeployment,
    ConvertedModel,
    ConvertedUpstream,
    Findings,
)
from gateway.cli.litellm.providers import (
    PLACEHOLDERS,
    PROVIDERS,
    UNTRANSLATED,
    VARIABLE,
    LiteLLMProvider,
    endpoint,
)
from gateway.cli.litellm.reasons import DEFAULT_REASON, REASONS

_OPENAI = re.compile(r"(ft:)?(gpt|chatgpt|o\d|text-|dall-e|tts-|whisper|omni-|davinci|babbage)")
"""Beginnings of OpenAI's model names, which need no prefix."""
_MILLION = 1_000_000
_BALANCE = {
    "simple-shuffle": "random",
    "least-busy": "least_requests",
    "latency-based-routing": "ttft",
}


_Merged: TypeAlias = dict[
    tuple[ConvertedUpstream, str], tuple[list[tuple[str, int, int]], list[dict[str, Any]]]
]
"""Endpoints and settings of a model's entries, by what else they have."""


class LiteLLMReader:
    """Reader of one file. It takes what it understands out of copies of the sections."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._router = _mapping(document.get("router_settings"))
        self._settings = _mapping(document.get("litellm_settings"))
        self._general = _mapping(document.get("general_settings"))
        self.found = Findings()
        self._literal_keys: dict[str, str] = {}

    def read(self) -> Findings:
        """Return what the file contains."""
        self._read_globals()
        groups: dict[str, list[tuple[ConvertedUpstream, str, dict[str, Any]]]] = {}
        for number, entry in enumerate(self._document["model_list"]):
            place = f"model_list[{number}]"
            found = self._deployment(place, _mapping(entry))
            if found is not None:
                groups.setdefault(str(entry["model_name"]), []).append(found)
        for name, deployments in groups.items():
            self._add_models(name, deployments)
        self._add_aliases()
        self._drop_parameters()
        self._add_fallbacks()
        self._add_limits()
        for section, left in (
            ("litellm_settings", self._settings),
            ("router_settings", self._router),
            ("general_settings", self._general),
        ):
            self._leave_out(section, left)
        known = {"model_list", "litellm_settings", "router_settings", "general_settings"}
        self._leave_out("", {key: None for key in self._document if key not in known})
        return self.found

    # -- settings of the whole file ----------------------------------------------------------

    def _read_globals(self) -> None:
        router, settings = self._router, self._settings
        total, own = settings.pop("request_timeout", None), router.pop("timeout", None)
        self._total = _seconds(own if own is not None else total)
        self._first_byte = _seconds(router.pop("stream_timeout", None))
        attempts = settings.pop("num_retries", None)
        self._attempts = _count(router.pop("num_retries", attempts), most=10)
        strategy = router.pop("routing_strategy", None)
        self.found.balance = _BALANCE.get(str(strategy))
        if strategy is not None and self.found.balance is None:
            reason = f"there is no '{str(strategy)[:40]}': endpoints with fewer requests come first"
            self.found.note("router_settings.routing_strategy", reason)
        host, port = router.pop("redis_host", None), router.pop("redis_port", 6379)
        url, password = router.pop("redis_url", None), router.pop("redis_password", None)
        plain = isinstance(host, str) and re.fullmatch(r"[A-Za-z0-9.-]+", host)
        if plain and password is None and re.fullmatch(r"\d+", str(port)):
            self.found.store = f"redis://{host}:{port}/0"
        elif url is not None or host is not None:
            self.found.store = ""
            self.found.use("REDIS_URL")
        if self._general.pop("master_key", None) is not None:
            self.found.asks_for_keys = True

    # -- deployments -------------------------------------------------------------------------

    def _deployment(
        self, place: str, entry: dict[str, Any]
    ) -> tuple[ConvertedUpstream, str, dict[str, Any]] | None:
        """Return upstream, the backend's name of the model, and further settings."""
        params, info = _mapping(entry.get("litellm_params")), _mapping(entry.get("model_info"))
        name, model = entry.get("model_name"), params.pop("model", None)
        if not isinstance(name, str) or not isinstance(model, str):
            self.found.note(place, "it lacks `model_name` or `litellm_params.model`")
            return None
        if "*" in name or "*" in model:
            reason = "wildcards: set `discover_models` of the upstream; routes take the pattern"
            self.found.note(place, reason)
            return None
        if not _is_usable(name + model):
            self.found.note(place, "the name of the model cannot stand in a configuration")
            return None
        custom = params.pop("custom_llm_provider", None)
        prefix, slash, rest = model.partition("/")
        if isinstance(custom, str):
            prefix, rest = custom, rest if slash and prefix == custom else model
        elif not slash:
            prefix, rest = "anthropic" if model.startswith("claude") else "openai", model
            if prefix == "openai" and "api_base" not in params and not _OPENAI.match(model):
                self.found.note(f"{place} ({name})", "its model names no provider")
                return None
        provider = PROVIDERS.get(prefix)
        if provider is None:
            reason = f"the gateway has no dialect of provider '{prefix[:40]}'"
            self.found.note(f"{place} ({name})", reason)
            return None
        base = params.pop("api_base", params.pop("base_url", None))
        found = endpoint(prefix, provider, base)
        if found is None:
            self.found.note(f"{place} ({name})", "`api_base` is no http(s) URL")
            return None
        url, versioned = found
        if match := re.match(r"\$\{(\w+)\}", url):
            end = "a slash" if prefix == "azure" else "/v1"
            self.found.use(match[1], f"a URL without {end} at its end")
        is_known = base is None or url == provider.url
        variable = self._key(prefix, provider, params.pop("api_key", None), is_known=is_known)
        headers = self._headers(place, params)
        retries = _count(params.pop("max_retries", params.pop("num_retries", None)), most=10)
        upstream = ConvertedUpstream(
            prefix if is_known or prefix != "openai" else "openai-compatible",
            provider.dialect,
            ((url, _count(params.pop("weight", None)) or 1, self._priority(params)),),
            variable,
            provider.header if variable else "",
            headers,
            _seconds(params.pop("stream_timeout", None)) or self._first_byte,
            _seconds(params.pop("timeout", None)) or self._total,
            self._attempts if retries is None else retries,
            versioned,
        )
        settings = _model_settings(params, info)
        settings["rpm"], settings["tpm"] = params.pop("rpm", None), params.pop("tpm", None)
        self._leave_out(f"{place}.litellm_params", params)
        descriptive = ("id", "mode", "base_model", "db_model", "description", "max_tokens")
        self._leave_out(
            f"{place}.model_info",
            {
                key: value
                for key, value in info.items()
                if key not in descriptive and not key.startswith("supports_")
            },
        )
        return upstream, rest, settings

    def _key(self, prefix: str, provider: LiteLLMProvider, key: Any, *, is_known: bool) -> str:
        """Return the environment variable with the key; empty if there is none."""
        if key is None:
            # A key of a public provider must not go to another host.
            if is_known or prefix == "azure":
                self.found.use(provider.variable)
                return provider.variable
            return ""
        if match := VARIABLE.fullmatch(str(key)):
            self.found.use(match[1])
            return match[1]
        if str(key).lower() in PLACEHOLDERS:
            return ""
        # A name that the file does not use: the key of one host must not go to another.
        number = len(self._literal_keys) + 1
        variable = self._literal_keys.setdefault(str(key), f"LITELLM_KEY_{number}")
        self.found.use(variable, "the key that stands in the file of LiteLLM")
        return variable

    def _headers(self, place: str, params: dict[str, Any]) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        organization = params.pop("organization", None)
        if isinstance(organization, str):
            match = VARIABLE.fullmatch(organization)
            if match:
                self.found.use(match[1])
            literal = organization.replace("${", "$${")
            found["OpenAI-Organization"] = f"${{{match[1]}}}" if match else literal
        for name, value in _mapping(params.pop("extra_headers", None)).items():
            if re.search("auth|key|token|secret|cookie", str(name), re.IGNORECASE):
                reason = "it may be a secret; see upstreams.NAME.credentials"
                self.found.note(f"{place}.litellm_params.extra_headers.{name}", reason)
            else:
                found[str(name)] = str(value).replace("${", "$${")
        return tuple(found.items())

    @staticmethod
    def _priority(params: dict[str, Any]) -> int:
        """Return the priority of an endpoint. LiteLLM's `order` begins with 1."""
        order = _count(params.pop("order", None), most=10)
        return max(0, (order or 1) - 1)

    # -- models ------------------------------------------------------------------------------

    def _add_models(
        self, name: str, deployments: Sequence[tuple[ConvertedUpstream, str, dict[str, Any]]]
    ) -> None:
        """Add a model. Entries that differ only in their URL are endpoints of one upstream, and the
        others are deployments. Where an API is not below /v1 they are fallbacks, in the order of
        the file: a route cannot serve both.
        """
        merged: _Merged = {}
        for upstream, backend, settings in deployments:
            key = replace(upstream, endpoints=()), backend
            endpoints, all_settings = merged.setdefault(key, ([], []))
            if upstream.endpoints[0] not in endpoints:
                endpoints += upstream.endpoints
            all_settings.append(settings)
        if len(merged) > 1 and all(upstream.versioned for upstream, _ in merged):
            self._add_deployments(name, merged)
            return
        rpm, tpm = (_sum(one.pop(unit) for _, _, one in deployments) for unit in ("rpm", "tpm"))
        names: list[str] = []
        for (upstream, backend), (endpoints, all_settings) in merged.items():
            own = name if not names else self._unused(name, len(names) + 1)
            names.append(own)
            slots = _sum(one.pop("parallel") for one in all_settings)
            settings = dict(all_settings[0])
            if slots:
                settings["admission"] = {"concurrency": slots}
            whole = replace(upstream, endpoints=tuple(endpoints))
            self.found.models[own] = ConvertedModel(whole, backend, settings, rpm, tpm, own == name)
        if len(names) > 1:
            self.found.models[name].fallbacks += names[1:]
            reason = "its backends differ, so they are asked in this order, not in turn"
            self.found.note(f"model_list ({name})", reason)

    def _add_deployments(self, name: str, merged: _Merged) -> None:
        """Add a model whose upstreams share its requests."""
        found: list[ConvertedDeployment] = []
        for (upstream, backend), (endpoints, all_settings) in merged.items():
            settings: dict[str, Any] = {}
            if (weight := sum(weight for _, weight, _ in endpoints)) > 1:
                settings["weight"] = min(weight, 1000)
            if first := min(priority for _, _, priority in endpoints):
                settings["priority"] = first
            for unit, key in (("rpm", "requests"), ("tpm", "tokens")):
                if amount := _sum(one.pop(unit) for one in all_settings):
                    settings[key] = f"{amount}/minute"
            if slots := _sum(one.pop("parallel") for one in all_settings):
                settings["concurrency"] = slots
            own = tuple((url, weight, priority - first) for url, weight, priority in endpoints)
            whole = replace(upstream, endpoints=own)
            found.append(ConvertedDeployment(whole, backend, settings))
        [_, [shared, *_]] = next(iter(merged.values()))
        upstream, backend = found[0].upstream, found[0].backend
        self.found.models[name] = ConvertedModel(upstream, backend, shared, 0, 0, True, [], found)

    def _unused(self, name: str, number: int) -> str:
        """Return a name with a number that no model of the file has."""
        entries = map(_mapping, self._document["model_list"])
        taken = {str(entry.get("model_name")) for entry in entries} | self.found.models.keys()
        while (own := f"{name}-{number}") in taken:
            number += 1
        return own

    def _add_aliases(self) -> None:
        for alias, target in _mapping(self._router.pop("model_group_alias", None)).items():
            known = target.get("model") if isinstance(target, dict) else target
            model = self.found.models.get(str(known))
            if model is not None and str(alias) not in self.found.models and _is_usable(str(alias)):
                self.found.models[str(alias)] = replace(model, fallbacks=[*model.fallbacks])
            else:
                reason = "no such model, or the name is taken"
                self.found.note(f"router_settings.model_group_alias.{alias}", reason)

    def _add_fallbacks(self) -> None:
        for settings, section in (
            (self._settings, "litellm_settings"),
            (self._router, "router_settings"),
        ):
            for key in ("fallbacks", "context_window_fallbacks"):
                rules = settings.pop(key, None)
                for rule in rules if isinstance(rules, list) else ():
                    for name, others in _mapping(rule).items():
                        self._fall_back(f"{section}.{key}", str(name), others)
            default = settings.pop("default_fallbacks", None)
            if isinstance(default, list):
                for name, model in self.found.models.items():
                    if model.is_listed and not model.fallbacks and name not in default:
                        self._fall_back(f"{section}.default_fallbacks", name, default)

    def _fall_back(self, place: str, name: str, others: Any) -> None:
        model = self.found.models.get(name)
        for other in others if isinstance(others, list) else [others]:
            if model is None or str(other) not in self.found.models:
                self.found.note(f"{place} ({name})", "it names a model that was not converted")
            elif other != name and other not in model.fallbacks:
                model.fallbacks.append(str(other))

    def _drop_parameters(self) -> None:
        """Let models drop the parameters that their backends do not have, as `drop_params` does."""
        if self._settings.get("drop_params") is not True:
            return
        del self._settings["drop_params"]
        for model in self.found.models.values():
            upstreams = [model.upstream, *(one.upstream for one in model.deployments)]
            dialects = {upstream.dialect for upstream in upstreams}
            names = UNTRANSLATED.get(model.upstream.dialect, ())
            if len(dialects) == 1 and names:
                own = model.settings.get("parameters", {}).get("drop", [])
                model.settings["parameters"] = {"drop": list(dict.fromkeys([*own, *names]))}

    def _add_limits(self) -> None:
        """Add the limits that are the same for every model. A limit cannot differ by model."""
        listed = [one for one in self.found.listed.values() if not one.deployments]
        for unit, key in (("rpm", "requests"), ("tpm", "tokens")):
            amounts = {getattr(model, unit) for model in listed}
            if len(amounts) == 1 and (amount := amounts.pop()):
                self.found.limits[key] = f"{amount}/minute"
            elif any(amounts):
                reason = "limits are of callers, so they cannot differ by model; see `admission`"
                self.found.note(f"model_list[].litellm_params.{unit}", reason)

    def _leave_out(self, section: str, left: Mapping[str, Any]) -> None:
        for key in left:
            place = f"{section}.{key}" if section else str(key)
            self.found.note(place, REASONS.get(str(key), DEFAULT_REASON))


_LONGEST_PROMPT = 100_000_000
_PARAMETER = re.compile(
    r"(?!(?:model|messages|stream|stream_options|input|prompt|options)$)[a-z][a-z0-9_]{0,63}"
)
"""Parameters that `parameters.drop` takes; LiteLLM also has paths into objects."""


def _model_settings(params: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """Take the settings of a model out of both sections. Prices are for a million tokens."""
    settings: dict[str, Any] = {"parallel": params.pop("max_parallel_requests", None)}
    price = {}
    for key, name in (
        ("input", "input_cost_per_token"),
        ("output", "output_cost_per_token"),
        ("cache_read", "cache_read_input_token_cost"),
        ("cache_write", "cache_creation_input_token_cost"),
    ):
        values = params.pop(name, None), info.pop(name, None)
        found = next((one for one in values if _is_number(one)), None)
        if found is not None:
            price[key] = round(float(found) * _MILLION, 6)
    if "input" in price and "output" in price:
        settings["price"] = price
    longest = info.pop("max_output_tokens", None)
    if isinstance(longest, int) and longest > 0:
        settings["max_output_tokens"] = longest
    prompt = info.pop("max_input_tokens", None)
    if isinstance(prompt, int) and 0 < prompt <= _LONGEST_PROMPT:
        settings["context_window"] = prompt + settings.get("max_output_tokens", 0)
    if isinstance(dropped := params.get("additional_drop_params"), list) and all(
        isinstance(name, str) and _PARAMETER.fullmatch(name) for name in dropped
    ):
        settings["parameters"] = {"drop": params.pop("additional_drop_params")}
    return settings


def _is_usable(name: str) -> bool:
    """Tell whether a name can be used in a configuration, where `${` is special."""
    return bool(name) and name.isprintable() and "${" not in name


def _is_number(value: Any) -> bool:
    try:
        return 0 <= float(value) < math.inf and not isinstance(value, bool)
    except (TypeError, ValueError, OverflowError):
        return False


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _seconds(value: Any) -> str:
    return f"{float(value):g}s" if _is_number(value) and float(value) > 0 else ""


def _count(value: Any, *, most: int = 1000) -> int | None:
    return min(int(value), most) if isinstance(value, int) and value >= 0 else None


def _sum(values: Iterator[Any]) -> int:
    return sum(int(float(value)) for value in values if _is_number(value))
