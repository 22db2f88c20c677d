"""Construction of stream resumption, and of the stores that workers share for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.config import Config, models
from gateway.config.problems import Fault
from gateway.config.served_names import served_models
from gateway.dialects import DIALECTS
from gateway.request_body.reader import BodyReader
from gateway.resume.access import StreamAccess
from gateway.resume.options import ResumeOptions
from gateway.resume.policy import Allowed, OnDisconnect, Policy
from gateway.resume.streams import Streams
from gateway.resume.worker_sharing import WorkerSharing
from gateway.stores.makers import UNUSABLE, makers
from gateway.wiring.limits import per_second
from gateway.wiring.store import store_fault


def resumes(config: Config) -> bool:
    """Tell whether any route keeps streams."""
    return any(route.resume is not None for route in config.routes)


def streams(
    config: Config,
    folder: Path | None,
    slot: int,
    report: Callable[[str, str], None],
    faults: list[Fault],
) -> Streams | None:
    """Return the streams that the worker in this slot keeps, or None if the store cannot be used;
    that is added to `faults`. `folder` is shared by the workers, if there are several. `report` is
    called when the store fails and when it works again.
    """
    cap_bytes = config.store.stream_bytes
    if not resumes(config):
        return Streams(cap_bytes)
    location = config.store.location
    try:
        sharing = makers(location).open_sharing(location, report)
        if sharing is not None:
            return Streams(cap_bytes, sharing=sharing)
        if folder is None:
            return Streams(cap_bytes)
        siblings = WorkerSharing(folder, slot, config.server.workers)
        return Streams(cap_bytes, slot=slot, sharing=siblings)
    except UNUSABLE as exc:
        faults.append(store_fault(exc))
        return None


def streams_path(route: models.Route) -> str:
    """Return the path prefix of a route's streams."""
    return route.path.removesuffix("/") + "/streams/"


def resume_options(
    config: Config,
    route: models.Route,
    resume: models.ResumeSettings,
    dialect: str,
    reader: BodyReader,
) -> ResumeOptions:
    """Return the options of the route's resume middleware."""
    way = OnDisconnect(resume.on_disconnect)
    all_scopes = [scope for model in config.models.values() for scope in model.scopes]
    served = {name: config.models[name].scopes for name in served_models(config, route)}
    return ResumeOptions(
        access=StreamAccess(route.name, served, all_scopes),
        streams_path=streams_path(route),
        allowed=Allowed(
            Policy(way, resume.grace if way is OnDisconnect.GRACE else 0.0),
            longest_grace_s=max(resume.grace, resume.max_grace),
            detach=resume.may_detach or way is OnDisconnect.DETACH,
        ),
        ttl_s=resume.ttl,
        cap_bytes=resume.max_bytes,
        responses=DIALECTS[dialect].keeps_responses,
        own_background=resume.background,
        refuses=resume.on_store_error == "refuse",
        continues=resume.continues,
        dialect=DIALECTS[dialect],
        reader=reader,
        reads=None if resume.reads is None else per_second(resume.reads),
    )
