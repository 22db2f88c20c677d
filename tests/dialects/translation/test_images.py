"""Images in requests."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dialects.translation.options import TranslationOptions
from gateway.errors import RequestError
from tests.dialects.translation.bodies import JPEG, PNG, chat, read, says
from tests.dialects.translation.wire import SIDES


def translated(one: str, other: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    return SIDES[other].write(read(one, body), TranslationOptions(**options))


@pytest.mark.parametrize(
    ("url", "kind", "data"),
    [
        (f"data:image/png;base64,{PNG}", "image/png", PNG),
        (f"data:image/jpg;base64,{JPEG}", "image/jpeg", JPEG),
        (f"data:IMAGE/JPG;BASE64,{JPEG}", "image/jpeg", JPEG),
        (f"data:image/png;charset=utf-8;base64,{PNG}", "image/png", PNG),
        (f"data:image/png;name=a.png;x=y;base64,{PNG}", "image/png", PNG),
        (f"data:;base64,{PNG}", "image/png", PNG),
        (f"data:application/octet-stream;base64,{JPEG}", "image/jpeg", JPEG),
        (f"DATA:image/png;base64,{PNG.replace('=', '%3D')}", "image/png", PNG),
    ],
)
def test_pictures_in_data_urls_of_every_form_are_taken(url: str, kind: str, data: str) -> None:
    for given in (url, {"url": url}, {"url": url, "detail": "auto"}):
        part = {"type": "image_url", "image_url": given}
        body = translated("openai", "anthropic", chat({"role": "user", "content": [part]}))
        source = {"type": "base64", "media_type": kind, "data": data}
        assert body["messages"][0]["content"] == [{"type": "image", "source": source}]


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:image/png",
        "data:image/svg+xml,<svg/>",
        "data:;base64,AAAA",
        "data:;base64,%%",
    ],
)
def test_a_data_url_without_a_picture_in_base64_is_refused_by_its_place(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(RequestError) as caught:
        read("openai", chat({"role": "user", "content": [part]}))
    assert caught.value.param == "messages[0].content[0].image_url"


def test_a_media_type_that_is_none_is_put_right_from_anthropic_too() -> None:
    source = {"type": "base64", "media_type": "image/jpg", "data": JPEG}
    body = says({"role": "user", "content": [{"type": "image", "source": source}]})
    part = translated("anthropic", "openai", body)["messages"][0]["content"][0]
    assert part["image_url"]["url"] == f"data:image/jpeg;base64,{JPEG}"
