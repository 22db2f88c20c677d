"""Checks of `server.playground`."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config import models
from gateway.config.findings import Finding
from gateway.config.problems import ConfigPath

_LEAST_PASSWORD_BYTES = 16


def check_playground(
    settings: models.PlaygroundSettings, config: models.Config
) -> Iterator[Finding]:
    """Yield what keeps the page from working, and a password that can be guessed."""
    path: ConfigPath = ("server", "playground")
    password = settings.password.known
    if password is not None and len(password) < _LEAST_PASSWORD_BYTES:
        hint = "make one with `openssl rand -hex 16`"
        yield (*path, "password"), f"is shorter than {_LEAST_PASSWORD_BYTES} characters", hint
    route = next((one for one in config.routes if one.name == settings.route), None)
    if route is None:
        yield (*path, "route"), f"there is no route '{settings.route}'", None
    elif not route.path.endswith("/") or not route.models or route.dialect not in (None, "openai"):
        hint = "such as {path: /v1/, models: [...]}"
        yield (*path, "route"), "needs a route of OpenAI's API with models, below a path", hint
