"""The reference page, generated from the models."""

from __future__ import annotations

from pydantic import BaseModel

from gateway.config import models
from gateway.config.reference import reference


def test_every_key_of_every_section_is_on_the_page() -> None:
    page = reference()
    sections = [
        kind
        for kind in vars(models).values()
        if isinstance(kind, type)
        and issubclass(kind, BaseModel)
        and kind.__module__ == models.__name__
        and not kind.__name__.startswith("_")
    ]
    assert len(sections) > 10
    for section in sections:
        for name, field in section.model_fields.items():
            assert f"| `{name}` |" in page, (section.__name__, name)
            assert field.description is None or field.description[:20] in page


def test_defaults_are_in_the_units_people_write() -> None:
    page = reference()
    assert "| `drain` | duration | `30s` |" in page
    assert "| `header_bytes` | size | `32KiB` |" in page
