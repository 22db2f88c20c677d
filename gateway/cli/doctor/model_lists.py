"""Checks of model discovery: what the backends list now, and which patterns that leaves empty."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.config import Config
from gateway.config.findings import Finding
from gateway.config.served_names import discovering
from gateway.dialects.listed_model import unusable_text
from gateway.load.turn_writes import TurnWrites
from gateway.model_names import is_pattern, selected
from gateway.upstream.model_polling import ModelPolling
from gateway.upstream.tls import ClientContexts
from gateway.wiring.discovered_models import merged, polling
from gateway.wiring.upstreams import upstreams

_NAMED = 5


async def model_findings(config: Config) -> Sequence[Finding]:
    """Ask all endpoints for their models. Return what is wrong with their lists, with patterns that
    match nothing, and with models that are listed and configured.
    """
    asked = await listed(config)
    if not asked:
        return ()
    found = merged(config, {name: one.models() for name, one in asked.items()})
    findings: list[Finding] = []
    for name, one in asked.items():
        path = ("upstreams", name, "discover_models")
        for key, told in one.lists.items():
            if told.failing is not None:
                hint = "not every backend lists its models; see `path` and `credentials`"
                findings.append((path, f"{key} gives no list: {told.failing}", hint))
            if told.unusable:
                findings.append((path, f"{key} {unusable_text(told.unusable)}", None))
        told_models = found.by_upstream[name]
        if told_models.cut:
            why = f"{told_models.cut} models beyond the first are not served"
            findings.append((path, why, "raise `most`, or select with `only` and `hide`"))
        elsewhere = [one for one in told_models.configured if not _is_at(config, one, name)]
        if elsewhere:
            shown = ", ".join(elsewhere[:_NAMED])
            more = len(elsewhere) - _NAMED
            why = f"also lists {shown}" + (f" and {more} more" if more > 0 else "")
            hint = "`models` has them, which wins; set a `prefix` or `hide` to serve both"
            findings.append((path, why, hint))
    for index, route in enumerate(config.routes):
        for number, text in enumerate(route.models):
            if selected(found.config.models, [text]):
                continue
            silent = [one for one in discovering(config, [text]) if not asked[one].models()]
            if any(one.failing for name in silent for one in asked[name].lists.values()):
                continue  # the list that fails is told
            what = f"{text} matches no model" if is_pattern(text) else f"nobody lists {text}"
            where = ", ".join(discovering(config, [text]))
            remedy = f"see what {where} list: gateway doctor" if where else None
            findings.append((("routes", index, "models", number), f"{what} now", remedy))
    return findings


def _is_at(config: Config, model: str, upstream: str) -> bool:
    """Tell whether a configured model is served by this upstream."""
    return any(one.upstream == upstream for one in config.models[model].served_by)


async def listed(config: Config) -> dict[str, ModelPolling]:
    """Ask each endpoint of each upstream with model discovery once."""
    made = upstreams(
        config,
        lambda *_: None,
        lambda *_: None,
        lambda *_: None,
        ClientContexts(),
        TurnWrites(),
    )
    asked = dict(polling(config, made, lambda: None, lambda *_: None))
    await asyncio.gather(*(one.first() for one in asked.values()))
    for upstream in made.values():
        upstream.close()
    return asked
