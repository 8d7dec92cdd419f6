"""Every way a LangChain message holds an image, and the one in which crops are added."""

import base64
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage, ImageContentBlock, TextContentBlock

from cropvlm_core.errors import SourceError
from cropvlm_core.sources import NO_REFERENCE, Allowed, is_data_uri

Held = bytes | str | SourceError
"""An image in a message: its bytes, a ``data:`` URI, or why it cannot be had.

Where paths or URLs are allowed also one of those, not read yet.
"""


def image_in(block: str | dict[str, Any], allowed: Allowed = NO_REFERENCE) -> Held | None:
    """Return the image that a content block holds; None where it is no image block.

    Known are LangChain's standard blocks and those of version 0, OpenAI's ``image_url`` (Chat
    Completions) and ``input_image`` (Responses), Anthropic's ``source``, Google's ``inline_data``
    and ``media``, and Bedrock's ``image``.
    """
    if isinstance(block, str):
        return None
    kind = block.get("type")
    if kind == "non_standard" and isinstance(block.get("value"), dict):
        inner = block["value"]
        return None if inner.get("type") == "non_standard" else image_in(inner, allowed)
    if kind in ("image_url", "input_image"):
        holder = block.get("image_url")
        url = holder.get("url") if isinstance(holder, Mapping) else holder
        return _from_url(url, allowed) if url else _refused(block)
    if kind == "file" and str(block.get("mime_type")).startswith("image/"):
        return _standard(block, allowed)
    if kind == "image" or (kind is None and isinstance(block.get("image"), Mapping)):
        return _standard(block, allowed)
    inline = block.get("inline_data", block.get("inlineData"))
    if isinstance(inline, Mapping):
        return _of_type(inline.get("mime_type", inline.get("mimeType")), inline.get("data"))
    stored = block.get("file_data", block.get("fileData"))
    if isinstance(stored, Mapping):
        return _of_type(stored.get("mime_type", stored.get("mimeType")), None)
    if kind == "media":
        return _of_type(block.get("mime_type"), block.get("data"))
    return None


def _standard(block: Mapping[str, Any], allowed: Allowed) -> Held:
    """Standard blocks, version 0, Anthropic's and Bedrock's: all of them say "image"."""
    inner = block.get("image", block)
    source = inner.get("source") if isinstance(inner, Mapping) else None
    for holder in (source, block):
        if not isinstance(holder, Mapping):
            continue
        for key in ("base64", "data", "bytes"):
            if isinstance(holder.get(key), str | bytes):
                return _from_data(holder[key])
        if holder.get("url"):
            return _from_url(holder["url"], allowed)
    return _refused(block)


def _of_type(mime_type: object, data: object) -> Held | None:
    if not str(mime_type).startswith("image/"):
        return None
    if isinstance(data, str | bytes):
        return _from_data(data)
    return SourceError("expected an image as data, got a reference to one: send its bytes")


def _from_data(data: str | bytes) -> Held:
    if isinstance(data, bytes):
        return data
    return data if is_data_uri(data) else f"data:image/png;base64,{''.join(data.split())}"


def _from_url(url: object, allowed: Allowed) -> Held:
    if isinstance(url, str) and (is_data_uri(url) or allowed.references):
        return url
    what = "a URL" if "://" in str(url) else "a text that is neither"
    return SourceError(f"expected an image as data, got {what}: send the image's bytes as base64")


def _refused(block: Mapping[str, Any]) -> SourceError:
    holders = [holder for holder in (block, block.get("source")) if isinstance(holder, Mapping)]
    uploaded = any("file_id" in holder or holder.get("source_type") == "id" for holder in holders)
    what = "the id of an uploaded file" if uploaded else "a block without any"
    return SourceError(f"expected an image as data, got {what}: send the image's bytes as base64")


def blocks_of(message: BaseMessage) -> list[str | dict[str, Any]]:
    """The content of a message as a list of blocks."""
    content = message.content
    return [content] if isinstance(content, str) else list(content)


def text_of(message: BaseMessage) -> str:
    """The texts of a message, each on lines of its own."""
    texts = [
        block if isinstance(block, str) else block.get("text")
        for block in blocks_of(message)
        if isinstance(block, str) or block.get("type", "text") in ("text", "input_text")
    ]
    return "\n".join(text for text in texts if isinstance(text, str))


def image_block(data: bytes, mime_type: str) -> dict[str, Any]:
    """LangChain's standard image block, which every provider's package translates."""
    block = ImageContentBlock(
        type="image", base64=base64.b64encode(data).decode("ascii"), mime_type=mime_type
    )
    return dict(block)


def text_block(text: str) -> dict[str, Any]:
    """LangChain's standard text block."""
    return dict(TextContentBlock(type="text", text=text))
