"""Signature of requests to webhooks."""

from __future__ import annotations

from gateway.http.signature import signature


def test_it_covers_the_time_and_the_body() -> None:
    # printf '1700000000.{}' | openssl dgst -sha256 -hmac key
    known = "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
    assert signature(b"key", "1700000000", b"{}") == f"v1={known}"
