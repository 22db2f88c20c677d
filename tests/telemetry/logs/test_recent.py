"""The last lines of the log, by request."""

from __future__ import annotations

from gateway.telemetry.logs.logger import make_logger
from gateway.telemetry.logs.recent import RecentLines


def test_lines_pass_and_those_of_a_request_are_found_in_order() -> None:
    written: list[bytes] = []
    recent = RecentLines(written.append)
    logger = make_logger(recent, level="info", console=False)
    logger.info("retry", request_id="r-1234567", attempt=1)
    logger.info("request", request_id="r-other")
    logger.info("request", request_id="r-1234567", status=200)
    assert len(written) == 3
    found = recent.of("r-1234567")
    assert [line["event"] for line in found] == ["retry", "request"]
    assert found[1]["status"] == 200
    assert recent.of("r-nobody") == []


def test_lines_for_people_are_found_without_their_colours() -> None:
    recent = RecentLines(lambda _: None)
    make_logger(recent, level="info", console=True).info("request", request_id="r-1234567")
    (line,) = recent.of("r-1234567")
    assert "\x1b" not in line["event"]
    assert "request_id=r-1234567" in line["event"]


def test_only_the_last_are_kept() -> None:
    recent = RecentLines(lambda _: None)
    logger = make_logger(recent, level="info", console=False)
    for number in range(3000):
        logger.info("request", request_id="same-one", number=number)
    found = recent.of("same-one")
    assert (len(found), found[0]["number"]) == (2000, 1000)


def test_lines_that_came_together_are_found_one_by_one() -> None:
    written: list[bytes] = []
    recent = RecentLines(written.append)
    for number in range(0, 3000, 10):
        recent(b"".join(b'{"request_id":"r%d"}\n' % each for each in range(number, number + 10)))
    assert len(written) == 300
    assert recent.of("r999") == []
    assert recent.of("r1001") == [{"request_id": "r1001"}]
    assert len(recent.of("request_id")) == 2000
