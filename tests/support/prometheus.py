"""Real Prometheus with the rules of dashboards/, which scrapes one gateway twice a second."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import yaml

from tests.support.ports import free_port
from tests.support.waiting import asked_until

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
_BINARY = shutil.which("prometheus") or "/usr/bin/prometheus"
_PATIENCE_S = 30.0
_ATTEMPTS = 5

Rows = list[tuple[dict[str, str], float]]


class StartPrometheus(Protocol):
    """Type of the fixture: `await start_prometheus(gateway.admin_port, token)`."""

    def __call__(self, admin_port: int, token: str | None = None) -> Awaitable[Prometheus]:
        """Start Prometheus. It is stopped when the test ends."""


class Prometheus:
    """Process of Prometheus, with the configuration of dashboards/ except for addresses and
    intervals.
    """

    def __init__(self, folder: Path, admin_port: int, token: str | None) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0
        folder.mkdir()
        document = yaml.safe_load((DASHBOARDS / "prometheus/prometheus.yml").read_text())
        document["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        document["rule_files"] = [
            str(DASHBOARDS / "prometheus" / name) for name in document["rule_files"]
        ]
        [job] = document["scrape_configs"]
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"localhost:{admin_port}"]}]
        if token is None:
            del job["authorization"]
        else:
            (folder / "token").write_text(token)
            job["authorization"]["credentials_file"] = str(folder / "token")
        (folder / "prometheus.yml").write_text(yaml.safe_dump(document))

    async def start(self) -> None:
        """Start Prometheus, and wait until it answers."""
        log = self._folder / "log"
        for _ in range(_ATTEMPTS):
            self._port = free_port()
            with log.open("ab") as errors:
                self._process = await asyncio.create_subprocess_exec(
                    _BINARY,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--enable-feature=exemplar-storage",
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=errors,
                )
            if await self._answers():
                return
        raise AssertionError(f"prometheus does not start: {log.read_text()}")

    async def stop(self) -> None:
        """Kill Prometheus, and wait for its end."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def query(self, expression: str) -> Rows:
        """Return the current result of an expression."""
        found = await self._get("query", query=expression)
        return sorted(
            ((one["metric"], float(one["value"][1])) for one in found["result"]),
            key=lambda one: sorted(one[0].items()),
        )

    async def until(self, expression: str, wanted: Callable[[Rows], bool]) -> Rows:
        """Evaluate an expression until `wanted` accepts the result. Return it."""
        try:
            return await asked_until(
                lambda: self.query(expression), wanted, patience_s=_PATIENCE_S, pause_s=0.1
            )
        except TimeoutError:
            rows = await self.query(expression)
            raise AssertionError(f"not what is wanted of {expression}: {rows}") from None

    async def exemplars(self, metric: str) -> list[dict[str, str]]:
        """Wait for exemplars of a metric. Return their labels."""

        async def stored() -> list[dict[str, str]]:
            now = time.time()
            span = {"start": str(now - 60), "end": str(now + 60)}
            found = await self._get("query_exemplars", query=metric, **span)
            return [one["labels"] for series in found for one in series["exemplars"]]

        return await asked_until(stored, bool, patience_s=_PATIENCE_S, pause_s=0.1)

    async def failing_rules(self) -> list[str]:
        """Wait until all rules were evaluated. Return the names of those that failed."""

        async def rules() -> list[dict[str, Any]]:
            groups = (await self._get("rules"))["groups"]
            return [rule for group in groups for rule in group["rules"]]

        evaluated = await asked_until(
            rules,
            lambda found: found and all(rule["health"] != "unknown" for rule in found),
            patience_s=_PATIENCE_S,
            pause_s=0.1,
        )
        return [rule["name"] for rule in evaluated if rule["health"] != "ok"]

    async def _get(self, what: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{what}"
        async with (
            aiohttp.ClientSession() as session,
            session.request("POST" if parameters else "GET", url, data=parameters) as response,
        ):
            document = await response.json()
        assert document["status"] == "success", document
        return document["data"]

    async def _answers(self) -> bool:
        assert self._process is not None
        process, unanswered = self._process, (aiohttp.ClientError, AssertionError)

        async def answers() -> bool:
            if process.returncode is None:
                await self.query("vector(1)")
            return process.returncode is None

        return await asked_until(
            answers, lambda _: True, unless=unanswered, patience_s=_PATIENCE_S, pause_s=0.05
        )
