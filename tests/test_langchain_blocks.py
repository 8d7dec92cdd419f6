"""Every way a LangChain message holds an image."""

# ruff: noqa: E402
import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.programs import require_package

require_package("langchain_core")

from langchain_core.messages import HumanMessage

from cropvlm_core.errors import SourceError
from cropvlm_core.images import open_image
from langchain_cropvlm.blocks import blocks_of, image_block, image_in, text_block, text_of
from tests.pages import base64_of, noise, png_of

PAGE = noise(40, 30)
DATA = base64_of(PAGE)
URI = f"data:image/png;base64,{DATA}"

HELD: dict[str, dict[str, Any]] = {
    "standard": {"type": "image", "base64": DATA, "mime_type": "image/png"},
    "standard, data URL": {"type": "image", "url": URI},
    "version 0": {
        "type": "image",
        "source_type": "base64",
        "data": DATA,
        "mime_type": "image/png",
    },
    "non-standard": {
        "type": "non_standard",
        "value": {"type": "image_url", "image_url": {"url": URI}},
    },
    "Chat Completions": {"type": "image_url", "image_url": {"url": URI, "detail": "high"}},
    "Chat Completions, short": {"type": "image_url", "image_url": URI},
    "Responses": {"type": "input_image", "image_url": URI},
    "Anthropic": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": DATA},
    },
    "Google": {"inline_data": {"mime_type": "image/png", "data": DATA}},
    "Google, camel case": {"inlineData": {"mimeType": "image/png", "data": DATA}},
    "Google, bytes": {"inline_data": {"mime_type": "image/png", "data": png_of(PAGE)}},
    "LangChain for Google": {"type": "media", "mime_type": "image/png", "data": DATA},
    "a file": {"type": "file", "base64": DATA, "mime_type": "image/png"},
    "base64 in lines": {"type": "image", "base64": f"{DATA[:76]}\n{DATA[76:]}\n"},
    "Bedrock": {"image": {"format": "png", "source": {"bytes": png_of(PAGE)}}},
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "standard URL": ({"type": "image", "url": "https://example.com/a.png"}, "a URL"),
    "standard file": ({"type": "image", "file_id": "file-1"}, "id of an uploaded file"),
    "version 0 URL": (
        {"type": "image", "source_type": "url", "url": "https://example.com/a.png"},
        "a URL",
    ),
    "version 0 id": ({"type": "image", "source_type": "id", "id": "file-1"}, "uploaded file"),
    "Chat Completions URL": (
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        "a URL",
    ),
    "a path where a URL belongs": (
        {"type": "image_url", "image_url": {"url": "/etc/hostname"}},
        "neither",
    ),
    "a file URL": ({"type": "image_url", "image_url": "file:///etc/hostname"}, "a URL"),
    "Responses file": ({"type": "input_image", "file_id": "file-1"}, "uploaded file"),
    "Anthropic URL": (
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        "a URL",
    ),
    "Anthropic file": (
        {"type": "image", "source": {"type": "file", "file_id": "file-1"}},
        "uploaded file",
    ),
    "Google file": (
        {"file_data": {"mime_type": "image/png", "file_uri": "gs://bucket/a.png"}},
        "a reference",
    ),
    "LangChain for Google, file": (
        {"type": "media", "mime_type": "image/png", "file_uri": "gs://bucket/a.png"},
        "a reference",
    ),
    "Bedrock, S3": (
        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a/b.png"}}}},
        "without any",
    ),
    "nothing": ({"type": "image"}, "without any"),
    "numbers": ({"type": "image", "base64": 5, "url": 7}, "neither"),
}

OTHER: list[Any] = [
    "text",
    {"type": "text", "text": "image_url"},
    {"type": "file", "base64": DATA, "mime_type": "application/pdf"},
    {"type": "audio", "base64": DATA, "mime_type": "audio/wav"},
    {"type": "media", "mime_type": "video/mp4", "data": DATA},
    {"inline_data": {"mime_type": "audio/wav", "data": DATA}},
    {"file_data": {"mime_type": "application/pdf", "file_uri": "gs://bucket/a.pdf"}},
    {"type": "tool_use", "id": "1", "name": "zoom", "input": {"image": 1}},
    {"type": "non_standard", "value": {"odd": 1}},
    {"text": "Bedrock"},
    {"type": "non_standard", "value": {"type": "non_standard", "value": {"type": "image"}}},
    {},
]


@pytest.mark.parametrize("block", HELD.values(), ids=HELD.keys())
def test_an_image_is_found_however_it_is_held(block: dict[str, Any]) -> None:
    held = image_in(block)
    assert isinstance(held, bytes | str)
    assert open_image(held).tobytes() == PAGE.tobytes()


@pytest.mark.parametrize(("block", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_reference_is_refused_in_clear_words(block: dict[str, Any], words: str) -> None:
    held = image_in(block)
    assert isinstance(held, SourceError)
    assert words in str(held)
    assert "example.com" not in str(held)
    assert len(str(held)) < 160


@pytest.mark.parametrize("block", OTHER)
def test_other_blocks_hold_no_image(block: Any) -> None:
    assert image_in(block) is None


_KEYS = (
    "type image_url url source base64 data image value file_id inline_data file_data mime_type"
).split()
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.sampled_from(["image", "image_url", "input_image", "media", "non_standard", "text", None]),
    st.dictionaries(st.sampled_from(["image_url", "source", "base64", "url", "value"]), _VALUES),
)
def test_any_block_holds_an_image_a_refusal_or_nothing(kind: Any, rest: dict[str, Any]) -> None:
    held = image_in({"type": kind, **rest})
    assert held is None or isinstance(held, bytes | str | SourceError)
    if isinstance(held, str):
        assert held.startswith("data:")


def test_texts_are_joined_by_lines() -> None:
    message = HumanMessage(
        ["One", {"type": "text", "text": "two"}, HELD["standard"], {"type": "text", "text": "3"}]
    )
    assert text_of(message) == "One\ntwo\n3"
    assert text_of(HumanMessage("plain")) == "plain"
    assert text_of(HumanMessage([HELD["Google"], {"text": "Bedrock"}])) == "Bedrock"


def test_added_blocks_are_standard_blocks() -> None:
    message = HumanMessage([text_block("Look:"), image_block(png_of(PAGE), "image/png")])
    assert message.content_blocks == blocks_of(message)
    assert base64.b64decode(str(message.content_blocks[1].get("base64"))) == png_of(PAGE)
