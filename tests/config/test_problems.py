"""How a problem reads, and where it is placed."""

from __future__ import annotations

import pytest

from gateway.config import ConfigError, Problem
from gateway.config.problems import ConfigPath, ConfigSource, dotted

SOURCE = ConfigSource("gw.yaml", {(): (1, 1), ("routes",): (4, 1), ("routes", 0): (5, 5)})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("server",), "server"),
        (("upstreams", "vllm", "endpoints", 1, "url"), "upstreams.vllm.endpoints[1].url"),
        (("routes", 0), "routes[0]"),
        (("routes", 0, "auth", 2), "routes[0].auth[2]"),
    ],
)
def test_a_path_is_written_with_dots_and_indices(path: ConfigPath, text: str) -> None:
    assert dotted(path) == text


def test_a_problem_reads_as_place_path_message_and_hint() -> None:
    problem = Problem("gw.yaml", 3, 7, ("server", "listn"), "unknown key", "did you mean 'listen'?")
    assert str(problem) == "gw.yaml:3:7: server.listn: unknown key; did you mean 'listen'?"


def test_a_problem_of_the_whole_file_has_no_path() -> None:
    assert str(Problem("gw.yaml", 1, 1, (), "is empty")) == "gw.yaml:1:1: is empty"


def test_a_problem_stands_where_its_value_does() -> None:
    problem = SOURCE.problem(("routes", 0), "goes nowhere")
    assert (problem.file, problem.line, problem.column) == ("gw.yaml", 5, 5)


def test_what_is_not_written_is_placed_at_the_nearest_part_that_is() -> None:
    problem = SOURCE.problem(("routes", 0, "auth"), "is missing")
    assert (problem.line, problem.column) == (5, 5)
    assert problem.path == ("routes", 0, "auth")


def test_what_is_nowhere_in_the_file_is_placed_at_its_start() -> None:
    problem = SOURCE.problem(("upstreams",), "is missing")
    assert (problem.line, problem.column) == (1, 1)


def test_an_error_lists_its_problems_in_the_order_of_the_file() -> None:
    places = [(9, 1), (2, 30), (2, 4), (10, 1)]
    error = ConfigError(Problem("f", line, column, (), "x") for line, column in places)
    assert [(p.line, p.column) for p in error.problems] == [(2, 4), (2, 30), (9, 1), (10, 1)]
    assert str(error).splitlines() == ["f:2:4: x", "f:2:30: x", "f:9:1: x", "f:10:1: x"]
