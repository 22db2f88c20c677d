"""The reference page, generated from the models."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway.config import models
from gateway.config.reference import reference
from gateway.config.secrets import Secret

DOCS = Path(__file__).parents[2] / "docs"


def sections() -> list[type[BaseModel]]:
    """Every section of the file, and the secret that stands in many of them."""
    found = [
        kind
        for kind in vars(models).values()
        if isinstance(kind, type)
        and issubclass(kind, BaseModel)
        and kind.__module__.startswith(models.__name__)
    ]
    assert len(found) > 10
    return [*found, Secret]


def introduction_of(section: type[BaseModel]) -> str:
    return inspect.cleandoc(section.__doc__ or "")


def table_below(introduction: str) -> dict[str, list[str]]:
    """The rows of the one table that comes after this text: cells by key."""
    _, found, rest = reference().partition(f"\n{introduction}\n")
    assert found, f"{introduction!r} is not on the page"
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", rest.partition("\n## ")[0], re.MULTILINE)
    return {key: [cell.strip() for cell in re.split(r"(?<!\\)\|", cells)] for key, cells in rows}


@pytest.mark.parametrize("section", sections(), ids=lambda kind: str(kind.__name__))
def test_a_section_has_a_table_of_all_its_keys_with_their_meaning(
    section: type[BaseModel],
) -> None:
    table = table_below(introduction_of(section))
    assert list(table) == list(section.model_fields)
    for key, field in section.model_fields.items():
        kind, default, meaning = table[key]
        assert kind
        assert (default == "**required**") == field.is_required()
        assert meaning.replace("\\|", "|") == (field.description or "")


def test_an_introduction_of_several_lines_has_no_indentation_of_the_source() -> None:
    """Every Python writes the same page: 3.13 strips it when it compiles, those before do not."""
    assert re.findall(r"^ {4,}\S.*", reference(), re.MULTILINE) == []


@pytest.mark.parametrize("section", sections(), ids=lambda kind: str(kind.__name__))
def test_every_key_says_what_it_means(section: type[BaseModel]) -> None:
    silent = [key for key, field in section.model_fields.items() if not field.description]
    assert silent in ([], ["type"]), "only `type` speaks for itself: it is in the title"


def test_a_duration_or_size_that_may_be_left_out_is_none_the_less_one() -> None:
    server = table_below("The public listener.")
    assert server["max_memory"][0] == server["body_rate"][0] == "size"
    assert "\n| `slow` | duration | `10s` |" in reference()
    assert "\n| `heartbeat` | duration | `15s` |" in reference()


def test_defaults_are_in_the_units_people_write() -> None:
    server = table_below("The public listener.")
    assert server["drain"][:2] == ["duration", "`30s`"]
    assert server["header_bytes"][:2] == ["size", "`32KiB`"]
    assert table_below(introduction_of(models.Demo))["pace"][:2] == ["duration", "`20ms`"]
    assert table_below(introduction_of(models.UpstreamSettings))["keepalive"][:2] == [
        "duration",
        "`4s`",
    ]
    assert table_below(introduction_of(models.UpstreamTimeouts))["idle"][:2] == ["duration", "`5m`"]
    assert table_below(introduction_of(models.Route))["body"][:2] == ["size", "`10MiB`"]


def test_choices_and_kinds_are_in_plain_words() -> None:
    log = table_below(introduction_of(models.Log))
    assert log["format"][:2] == [r"`auto` \| `json` \| `console`", "`auto`"]
    assert log["access"][:2] == [r"true \| false", "`true`"]
    assert table_below(introduction_of(models.Config))["upstreams"][0] == "map to section"
    assert table_below(introduction_of(models.Route))["limits"][0] == "list of text"
    assert table_below(introduction_of(models.JwtProviderSettings))["secret"][0] == "secret"


def test_no_type_of_python_is_on_the_page() -> None:
    page = reference()
    for word in ("NoneType", "typing", "Annotated", "<class", "PydanticUndefined", "FieldInfo"):
        assert word not in page


def test_the_page_in_the_repository_is_this_one() -> None:
    assert (DOCS / "configuration.md").read_text() == reference(), "run `make docs`"
