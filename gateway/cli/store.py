"""Common code of commands that work on the store of a configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from gateway.cli.failures import CannotDo
from gateway.config import models
from gateway.store.records import Records, StoreUnavailable
from gateway.stores.makers import UNUSABLE, makers

Result = TypeVar("Result")


def with_records(
    options: models.StoreSettings, act: Callable[[Records], Coroutine[Any, Any, Result]]
) -> Result:
    """Open the records, call `act` with them, close them, and return its result. Raise CannotDo."""

    async def run() -> Result:
        records = makers(options.location).open_records(options.location)
        try:
            return await act(records)
        finally:
            await records.close()

    try:
        return asyncio.run(run())
    except StoreUnavailable as exc:
        raise CannotDo(f"the store does not answer: {exc}") from exc
    except UNUSABLE as exc:
        raise CannotDo(f"the store cannot be used: {exc}") from exc
