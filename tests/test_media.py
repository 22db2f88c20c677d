"""How many tokens images, audio and files of a request are."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media import Media, media

PAD = b"\0" * 600_000


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + PAD


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + PAD


def jpeg(width: int, height: int) -> bytes:
    exif = b"\xff\xe1" + struct.pack(">H", 60_000) + b"\xff\xc0" * 29_999
    size = b"\xff\xc2\0\x11\x08" + struct.pack(">HH", height, width)
    return b"\xff\xd8" + exif + size + PAD


def webp(kind: bytes, size: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + size + PAD


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height))


def lossless(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", bits))


def extended(width: int, height: int) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X", b"\0\0\0\0" + sizes)


def wav(seconds: int) -> bytes:
    head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 24000, 48000, 2, 16)
    return head + b"data\0\0\0\0" + b"\0" * (48000 * seconds - 44)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def message(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{b64(data)}"


def openai(data: bytes, **detail: str) -> dict[str, Any]:
    return message({"type": "image_url", "image_url": {"url": url(data), **detail}})


def anthropic(data: bytes) -> dict[str, Any]:
    return message({"type": "image", "source": {"type": "base64", "data": b64(data)}})


KINDS = [png, gif, jpeg, lossy, lossless, extended]


@pytest.mark.parametrize("kind", KINDS)
def test_openais_images_cost_by_their_tiles(kind: Any) -> None:
    # 1024x1024 is scaled to 768x768: four tiles of 512x512.
    assert media(openai(kind(1024, 1024))) == Media(len(b64(kind(1024, 1024))), 765)
    # 2048x4096 to 1024x2048, and that to 768x1536.
    assert media(openai(kind(2048, 4096))).tokens == 1105
    assert media(openai(kind(1024, 1024), detail="low")).tokens == 85


@pytest.mark.parametrize("kind", KINDS)
def test_anthropics_images_cost_by_their_pixels(kind: Any) -> None:
    assert media(anthropic(kind(1000, 1000))) == Media(len(b64(kind(1000, 1000))), 1334)
    assert media(anthropic(kind(4000, 4000))).tokens == 1600


@pytest.mark.parametrize(
    ("document", "tokens"),
    [
        ({"messages": [{"content": "x", "images": [b64(png(300, 250))] * 2}]}, 200),
        ({"prompt": "x", "images": [b64(png(300, 250))]}, 100),
        ({"input": [{"content": [{"type": "input_image", "image_url": url(png(9, 9))}]}]}, 255),
        (
            message({"type": "tool_result", "content": anthropic(png(300, 250))["messages"][0]
                     ["content"]}),
            100,
        ),
        (message({"type": "image_url", "image_url": {"url": "https://x/y.png"}}), 1600),
        (message({"type": "image", "source": {"type": "url", "url": "https://x/y"}}), 1600),
        (openai(b"no image at all, whatever its type says" * 10), 1600),
        (message({"type": "image_url", "image_url": {"url": b64(png(9, 9))}}), 255),
        (message({"type": "image_url", "image_url": url(png(9, 9)).replace("data", "DATA")}), 255),
        ({"input": [{"type": "computer_call_output", "output":
            {"type": "computer_screenshot", "image_url": url(png(9, 9))}}]}, 255),
        (message({"type": "document", "source": {"type": "content", "content":
            anthropic(png(300, 250))["messages"][0]["content"]}}), 100),
        ({"prompt": "x", "images": [url(png(300, 250))]}, 100),
        ({"prompt": "x", "images": [{"image_url": url(png(9, 9))}]}, 255),
        ({"prompt": "x", "image": url(png(300, 250))}, 100),
        ({"input": [{"image": b64(png(300, 250))}]}, 100),
        ({"prompt": "x", "image": "cat.png"}, 0),
    ],
)  # fmt: skip
def test_images_are_found_in_every_dialect(document: dict[str, Any], tokens: int) -> None:
    assert media(document).tokens == tokens


def test_audio_costs_by_its_seconds() -> None:
    part = {"type": "input_audio", "input_audio": {"data": b64(wav(30)), "format": "wav"}}
    assert media(message(part)) == Media(len(b64(wav(30))), 300)
    part = {"type": "input_audio", "input_audio": {"data": b64(b"\0" * 80_000), "format": "mp3"}}
    assert media(message(part)).tokens == 200


def test_audio_that_claims_an_impossible_rate_costs_by_a_possible_one() -> None:
    data = bytearray(wav(1000))
    data[28:32] = b"\xff" * 4
    part = {"type": "input_audio", "input_audio": {"data": b64(bytes(data)), "format": "wav"}}
    assert media(message(part)).tokens == 312


def test_a_file_costs_by_its_pages() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": b64(b"%PDF" + PAD)}
    assert media(message({"type": "document", "source": source})).tokens == 30_000
    text = {"type": "text", "data": "x" * 1000}
    assert media(message({"type": "document", "source": text})) == Media(0, 0)


def test_text_is_no_media_whatever_it_looks_like() -> None:
    text = b64(png(9, 9))
    assert media(message({"type": "text", "text": text})) == Media(0, 0)
    assert media({"messages": [{"content": text}], "prompt": text}) == Media(0, 0)


def test_only_so_many_parts_are_looked_at() -> None:
    document = {"messages": [{"content": "x"}] * 50_000 + openai(png(9, 9))["messages"]}
    assert media(document) == Media(0, 0)


VALUES = st.recursive(
    st.none() | st.integers() | st.sampled_from(["image", "image_url", "data:,", "base64", "/9j/"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "input",
                    "content",
                    "type",
                    "image_url",
                    "source",
                    "url",
                    "data",
                    "images",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["messages", "input", "images"]), VALUES))
def test_any_document_has_media(document: dict[str, Any]) -> None:
    assert media(document).tokens >= 0


@given(st.binary(max_size=80), st.sampled_from([png, gif, jpeg, lossy, lossless, extended]))
def test_any_bytes_may_pass_for_an_image(rest: bytes, kind: Any) -> None:
    assert media(openai(kind(1, 1)[:20] + rest)).tokens > 0
