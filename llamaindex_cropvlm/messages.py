"""Crops added to plain lists of chat messages."""

import asyncio
from collections.abc import Sequence

from llama_index.core.llms import ChatMessage, ImageBlock, MessageRole, TextBlock

from cropvlm_core.sources import Allowed, Roots
from cropvlm_core.turns import CaptionedCrop, FindQuestion, OnError, Turn, TurnZoom, to_turns
from cropvlm_core.zoom import ZoomPipeline
from llamaindex_cropvlm.nodes import image_in_block

OPT_OUT = "zoom"
"""``ChatMessage(..., additional_kwargs={"zoom": False})`` is left as it is."""


def zoom_chat_messages(
    messages: Sequence[ChatMessage],
    pipeline: ZoomPipeline | None = None,
    *,
    question: FindQuestion | None = None,
    on_error: OnError = "raise",
    roots: Roots | None = None,
    urls: bool = False,
) -> list[ChatMessage]:
    """Return the messages with the crop behind every image of a user's question.

    ::

        llm.chat(zoom_chat_messages(messages))

    The given messages stay as they are; where crops are added, copies are returned. An image
    without words is asked about in the words of the user messages right before and after it.
    Messages of anybody but the user, and those with ``additional_kwargs={"zoom": False}``, stay as
    they are.

    Args:
        messages: one conversation.
        pipeline: the cropper to follow; None is the shared default, built when it is first needed.
        question: finds the question in a message's text, where a template put more into it; what
            it returns blank is not zoomed into.
        on_error: "raise", or "skip": an image that cannot be zoomed into (a URL, damaged data)
            goes on as it is, and the log says why. Images of earlier turns are always passed over.
        roots: the only folders below which images that are paths are read, through no link; None:
            your program wrote the paths, and any file is.
        urls: fetch images that are http or https URLs, from public addresses alone. The block goes
            on as it is: the model's server fetches it again.

    Raises:
        ValueError: another ``on_error``, or an empty text among the roots.
        TypeError: ``messages`` is a single one, ``pipeline`` is no pipeline, ``question`` no
            function, ``roots`` no list, or ``urls`` no bool.
        SourceError, ImageError, ModelError: with ``on_error="raise"``: an image that is a URL, one
            that does not open, a cropper that failed.
    """
    given: object = messages
    if isinstance(given, ChatMessage):  # what types say, users may not
        raise TypeError("expected a list of messages, got one ChatMessage")
    allowed = Allowed.of(roots, urls, typed=True)
    turns = to_turns([_to_turn(message, allowed) for message in messages])
    crops = TurnZoom(pipeline, question=question, on_error=on_error).crops(turns)
    return [_with_crops(message, each) for message, each in zip(messages, crops, strict=True)]


async def azoom_chat_messages(
    messages: Sequence[ChatMessage],
    pipeline: ZoomPipeline | None = None,
    *,
    question: FindQuestion | None = None,
    on_error: OnError = "raise",
    roots: Roots | None = None,
    urls: bool = False,
) -> list[ChatMessage]:
    """Like :func:`zoom_chat_messages`, in a thread, so that the event loop goes on."""
    return await asyncio.to_thread(
        zoom_chat_messages,
        messages,
        pipeline,
        question=question,
        on_error=on_error,
        roots=roots,
        urls=urls,
    )


def _to_turn(message: ChatMessage, allowed: Allowed) -> Turn | None:
    if message.role != MessageRole.USER:
        return None
    text = message.content or ""
    if message.additional_kwargs.get(OPT_OUT) is False:
        return Turn(text, ())
    held = (image_in_block(block, allowed) for block in message.blocks)
    return Turn(text, tuple(image for image in held if image is not None))


def _with_crops(message: ChatMessage, crops: Sequence[Sequence[CaptionedCrop]]) -> ChatMessage:
    if not any(crops):
        return message
    each = iter(crops)
    copied = message.model_copy()
    copied.additional_kwargs = message.additional_kwargs | {OPT_OUT: False}  # no crops of crops
    copied.blocks = []
    for block in message.blocks:
        copied.blocks.append(block)
        if isinstance(block, ImageBlock):
            for crop in next(each):
                copied.blocks += [TextBlock(text=crop.caption), to_block(crop.data, crop.mime_type)]
    return copied


def to_block(data: bytes, mime_type: str) -> ImageBlock:
    """Return an encoded picture as LlamaIndex's image block."""
    return ImageBlock(image=data, image_mimetype=mime_type)
