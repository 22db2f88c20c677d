"""Garbage collection of a worker: when it visits which objects."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.app import Runtime
from gateway.config import load_text
from gateway.server.garbage import GarbageCollection
from gateway.server.serving import Server
from tests.support.gateway import StartGateway, config_text, simple_config
from tests.support.waiting import eventually

FEW, MANY = 100, 1000


class Cycle:
    """Object that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def worker(connections: int, overload: str | None = None, waiting: int = 0) -> Server:
    """Return what the collection looks at of a worker."""
    return cast(
        Server,
        SimpleNamespace(
            listener=SimpleNamespace(
                open_connections=connections, turns=SimpleNamespace(waiting=waiting)
            ),
            state=SimpleNamespace(overload=SimpleNamespace(reason=overload)),
            retired=0,
        ),
    )


def old_cycle() -> weakref.ref[Cycle]:
    """Return a reference to a cycle that has become old, and that nothing else refers to."""
    cycle = Cycle()
    gc.collect(0)
    return weakref.ref(cycle)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


async def test_only_young_objects_are_visited_without_being_asked() -> None:
    collection = GarbageCollection(worker(FEW))
    collection.start()
    visited = set()

    def note(phase: str, info: dict[str, Any]) -> None:
        visited.add(info["generation"])

    gc.callbacks.append(note)
    kept = [[number] for number in range(500_000)]
    gc.callbacks.remove(note)
    collection.close()
    assert len(kept) == 500_000
    assert visited == {0}


@pytest.mark.parametrize(
    ("young", "waiting", "collected"),
    [
        pytest.param(1_000, 0, False, id="few young objects"),
        pytest.param(6_000, 0, True, id="many"),
        pytest.param(6_000, 5, False, id="many, while requests wait to begin"),
        pytest.param(20_000, 5, True, id="too many"),
    ],
)
async def test_young_objects_are_visited_between_two_crowds_of_requests(
    young: int, waiting: int, collected: bool
) -> None:
    collection = GarbageCollection(worker(FEW, waiting=waiting))
    collection.start()
    gc.collect(0)
    cycle = weakref.ref(Cycle())
    kept = [[number] for number in range(young)]
    collection.look_at_young()
    collection.close()
    assert len(kept) == young
    assert (cycle() is None) is collected


@pytest.mark.parametrize(
    ("connections", "overload", "collected"),
    [
        pytest.param(FEW, None, True, id="few clients"),
        pytest.param(MANY, None, False, id="many clients"),
        pytest.param(MANY, "requests", False, id="too many requests"),
        pytest.param(MANY, "memory", True, id="too little memory"),
    ],
)
async def test_old_objects_are_visited_when_they_are_few_or_memory_is_short(
    connections: int, overload: str | None, collected: bool
) -> None:
    collection = GarbageCollection(worker(connections, overload))
    collection.start()
    cycle = old_cycle()
    collection.look()
    collection.close()
    assert (cycle() is None) is collected


async def test_a_replaced_configuration_is_freed_though_it_was_permanent(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    document = simple_config("http://127.0.0.1:9")
    gateway = await start_gateway(document)
    server = gateway.server
    collection = GarbageCollection(server)
    collection.start()
    before = weakref.ref(server.runtime)
    await server.prepare(load_text(config_text(document, {}), base=tmp_path))
    server.commit()
    await eventually(lambda: server.retired == 1, patience_s=20)

    def freed() -> bool:
        collection.look()
        return before() is None

    await eventually(freed, patience_s=20)
    collection.close()
    assert isinstance(server.runtime, Runtime)
