"""What the `resume` section of a route asks for, and where streams are shared."""

from __future__ import annotations

from gateway.config import Config, models
from gateway.dialects import DIALECTS
from gateway.middleware.resume import ResumeOptions
from gateway.resume.policy import Allowed, OnDisconnect, Policy


def streams_path(route: models.Route) -> str:
    """Below which the streams of a route are."""
    return route.path.removesuffix("/") + "/streams/"


def resume_options(
    config: Config, route: models.Route, resume: models.Resume, dialect: str
) -> ResumeOptions:
    """What its middleware is made with."""
    way = OnDisconnect(resume.on_disconnect)
    return ResumeOptions(
        route=route.name,
        streams_path=streams_path(route),
        allowed=Allowed(
            Policy(way, resume.grace if way is OnDisconnect.GRACE else 0.0),
            longest_grace_s=max(resume.grace, resume.max_grace),
            detach=resume.may_detach or way is OnDisconnect.DETACH,
        ),
        ttl_s=resume.ttl,
        cap_bytes=resume.max_bytes,
        refuses=resume.on_store_error == "refuse",
        dialect=DIALECTS[dialect],
        body_cap_bytes=route.body,
        body_silence_s=config.server.body_timeout,
    )
