"""Common code of commands that work on the store of a configuration."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from limits.errors import ConfigurationError

from gateway.cli.failures import CannotDo
from gateway.config import models
from gateway.store.records import Records, StoreUnavailable
from gateway.wiring.store import open_records

Result = TypeVar("Result")


def with_records(
    options: models.Store, act: Callable[[Records], Coroutine[Any, Any, Result]]
) -> Result:
    """Open the records, call `act` with them, close them, and return its result. Raise CannotDo."""

    async def run() -> Result:
        records = open_records(options)
        try:
            return await act(records)
        finally:
            await records.close()

    try:
        return asyncio.run(run())
    except StoreUnavailable as exc:
        raise CannotDo(f"the store does not answer: {exc}") from exc
    except (OSError, sqlite3.Error, ConfigurationError, ValueError) as exc:
        raise CannotDo(f"the store cannot be used: {exc}") from exc
