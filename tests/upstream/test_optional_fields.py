"""Which optional fields of a request a backend takes."""

from __future__ import annotations

from gateway.upstream.optional_fields import OptionalFields


def test_what_is_learnt_of_one_model_says_nothing_of_another() -> None:
    fields = OptionalFields()
    fields.refuses("a", ["x"])
    fields.takes("a", ["y"])
    fields.refuses("a", ["z"])
    fields.takes("a", ["w"])
    assert set(fields.refused("a")) == {"x", "z"}
    assert set(fields.taken("a")) == {"y", "w"}
    assert (set(fields.refused("b")), set(fields.taken("b"))) == (set(), set())


def test_what_is_configured_holds_for_every_model() -> None:
    fields = OptionalFields(["x"])
    fields.refuses("a", ["y"])
    assert set(fields.refused("a")) == {"x", "y"}
    assert set(fields.refused("b")) == {"x"}
