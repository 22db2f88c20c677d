"""Imports point down the layers of `docs/architecture.md`, and there is no circle. Imports for
types only, and those inside functions, count like all others.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "gateway"

LAYERS = (
    ("core", "aiohttp_adaptor bucket byte_search deadline error_meanings errors heartbeat http"),
    ("core", "json_body json_edits load masking media model_names sound_json sse store usage"),
    ("core", "worker_sockets"),
    ("subjects", "admission auth demo dialects limiting response_cache telemetry upstream"),
    ("configuration", "config process_state"),
    ("request", "client_connection client_response exchange facts outcome"),
    ("request", "known_head pending pipeline request request_body response_head"),
    ("request", "response_writer routing session virtual_transport"),
    ("forwarding", "hooks proxy"),
    ("bodies", "channels prompt_audit resume websocket"),
    ("stores", "stores"),
    ("policies", "bridge browser middleware"),
    ("wiring", "wiring"),
    ("runtime", "app"),
    ("server", "server"),
    ("operators", "admin"),
    ("processes", "processes"),
    ("commands", "cli __main__"),
)
"""Layers from the lowest to the highest, with their folders and modules. A row continues the one
above if it has the same name.
"""


def ranks() -> dict[str, int]:
    """Return the rank of each folder and top module of the package."""
    order = list(dict.fromkeys(layer for layer, _ in LAYERS))
    return {unit: order.index(layer) for layer, units in LAYERS for unit in units.split()}


@cache
def imports() -> Mapping[str, frozenset[str]]:
    """Return the modules that each module of the package imports."""
    modules = {_name(path): path for path in (ROOT / PACKAGE).rglob("*.py")}
    return {
        name: frozenset(found for found in _imported(path, modules) if found != name)
        for name, path in modules.items()
    }


def units() -> Mapping[str, set[str]]:
    """Return the imports between folders and top modules of the package."""
    found: dict[str, set[str]] = {}
    for name, imported in imports().items():
        if name != PACKAGE:
            mine = found.setdefault(_unit(name), set())
            mine |= {_unit(other) for other in imported if other != PACKAGE} - {_unit(name)}
    return found


def test_no_module_imports_itself_through_others() -> None:
    assert _circle(imports()) is None


def test_no_folder_imports_itself_through_others() -> None:
    assert _circle(units()) is None


def test_no_import_points_to_a_higher_layer() -> None:
    rank = ranks()
    upwards = [
        f"{name} imports {other}"
        for name, imported in imports().items()
        for other in imported
        if PACKAGE not in (name, other) and rank[_unit(other)] > rank[_unit(name)]
    ]
    assert upwards == []


def test_every_folder_has_its_layer() -> None:
    listed = [unit for _, units in LAYERS for unit in units.split()]
    assert sorted(listed) == sorted({_unit(name) for name in imports() if name != PACKAGE})


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _unit(name: str) -> str:
    return name.split(".")[1]


def _imported(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in modules:
                    yield name
                elif node.module in modules:
                    yield str(node.module)


def _circle(graph: Mapping[str, set[str] | frozenset[str]]) -> list[str] | None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        circle: list[str] = exc.args[1]
        return circle
    return None
