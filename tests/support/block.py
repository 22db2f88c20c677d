"""Base of helpers that run while an `async with` block runs."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class AsyncBlock:
    """Asynchronous context manager that returns itself."""

    async def _enter(self) -> None:
        """Start, when the block begins."""
        raise NotImplementedError

    async def _leave(self, error: BaseException | None) -> None:
        """Stop, when the block ends. `error` is what it raised."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        await self._enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._leave(error)
