"""Problems of alerts that their values alone do not show."""

from __future__ import annotations

import pytest

from tests.config.documents import document, said_of


def test_a_secret_address_has_to_be_one_and_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_TEST_SECRET", "hooks.slack.com/canary")
    alerts = {"a": {"url": {"env": "GATEWAY_TEST_SECRET"}}}
    (said,) = said_of(document(alerts=alerts))
    assert said == "alerts.a.url: the secret is not an address: http(s)://HOST/PATH"


def test_an_alert_needs_an_address_only() -> None:
    assert said_of(document(alerts={"a": {"url": "https://a.test/x"}})) == []


@pytest.mark.parametrize(
    "wrong", [{"events": []}, {"on": ["weather"]}, {"soft": "0%"}, {"silent_streams": 0}, {"x": 1}]
)
def test_a_wrong_value_is_told(wrong: dict[str, object]) -> None:
    assert len(said_of(document(alerts={"a": {"url": "https://a.test/x", **wrong}}))) == 1
