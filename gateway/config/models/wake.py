"""Section `upstreams.NAME.wake`: backends that scale from zero."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.config.models.credentials import Credentials
from gateway.config.models.section import Section
from gateway.config.types import Url
from gateway.config.units import Duration


class WakeRequestSettings(Section):
    """Request that starts the backend, such as one to its scheduler."""

    url: Url = Field(description="Address of the request: http(s)://host[:port]/path.")
    method: Literal["GET", "POST", "PUT", "PATCH"] = Field(
        "POST", description="Method of the request."
    )
    credentials: Credentials | None = Field(None, description="Credential of the request.")


class WakeSettings(Section):
    """Backend that scales from zero: while it refuses connections, or answers 503 with
    `Retry-After`, its requests wait for its start. `wake: {}` uses all the defaults.
    """

    max_wait: Duration = Field(
        120.0,
        gt=0,
        le=3600,
        description="Longest wait of a request for the start; then 503 `upstream_waking`.",
    )
    pause: Duration = Field(
        1.0,
        ge=0.01,
        le=60,
        description="Time between two tries, if the backend asks for no pause; at most 10s.",
    )
    request: WakeRequestSettings | None = Field(
        None,
        description="Wake request, sent when the backend is found asleep, and every 30s until "
        "it is awake. Default: none; the requests themselves wake it.",
    )
