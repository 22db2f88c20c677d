"""Construction of the runtime of a file, as `serve` does it, for `check` and `routes`."""

from __future__ import annotations

from gateway.app import CannotBuild, Runtime
from gateway.config import ConfigError, Loaded
from gateway.config import models as config_models
from gateway.process_state import ProcessState
from gateway.server.serving import require_c_parser
from gateway.store.location import UNREAD
from gateway.telemetry.logs.logger import direct_logger


def build(loaded: Loaded) -> Runtime:
    """Build the runtime of a file, so that `check` and `routes` find the same problems as `serve`.
    Raise ConfigError or CannotStart.

    An SQLite store that does not exist is not created: it would belong to the user who checks the
    file, who may be another than the one who serves it.
    """
    require_c_parser()
    config = loaded.config
    location = config.store.location
    if location == UNREAD or (location.path is not None and not location.path.exists()):
        config = config.model_copy(update={"store": config_models.StoreSettings()})
    try:
        runtime = Runtime(config, ProcessState.begin(config, direct_logger(config.telemetry.log)))
    except CannotBuild as exc:
        raise ConfigError(loaded.source.problem(*fault) for fault in exc.faults) from exc
    runtime.build_routes()
    return runtime
