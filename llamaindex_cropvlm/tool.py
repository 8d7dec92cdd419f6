"""ZoomToolSpec: an agent asks to look closer at an image, and sees the crop."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.bridge.pydantic import BaseModel, Field
from llama_index.core.llms import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.tools import FunctionTool, ToolMetadata
from llama_index.core.tools.tool_spec.base import SPEC_FUNCTION_TYPE, BaseToolSpec
from llama_index.core.workflow import Context

from cropvlm_core.images import ImageSource
from cropvlm_core.prompts import ZOOM_TOOL_IMAGE, ZOOM_TOOL_QUESTION
from cropvlm_core.sources import Allowed, Roots
from cropvlm_core.tool import (
    NAME,
    ZOOM_TOOL_REFERENCE,
    choose_image,
    named_image,
    tool_words,
    zoom_call,
)
from cropvlm_core.zoom import ZoomPipeline, checked_pipeline
from llamaindex_cropvlm.messages import to_block
from llamaindex_cropvlm.nodes import image_in_block
from llamaindex_cropvlm.watch import watch


class ZoomInput(BaseModel):
    """What the model passes."""

    question: str = Field(description=ZOOM_TOOL_QUESTION)
    image: int | None = Field(default=None, description=ZOOM_TOOL_IMAGE)


class ZoomReferenceInput(BaseModel):
    """What the model passes where it may name images by path or URL."""

    question: str = Field(description=ZOOM_TOOL_QUESTION)
    image: int | str | None = Field(default=None, description=ZOOM_TOOL_REFERENCE)


class ZoomToolSpec(BaseToolSpec):
    """Shows the model the part of an image that answers its question.

    ::

        agent = FunctionAgent(tools=ZoomToolSpec().to_tool_list(), llm=llm)

    The images are those that the user sent in the conversation, numbered from 1 as they came, or
    those given as ``images``. They are read from the agent's memory: pass the same ``memory=`` to
    every run of a conversation. The result is a text (what was cut out, where, how sure) and the
    crop as an image block.

    LlamaIndex's ``OpenAI`` drops images in tool results: wrap it in
    :func:`~llamaindex_cropvlm.with_tool_images`. A ``UserWarning`` says so where it was forgotten.

    What the model gets wrong (no such image, no question) and images that cannot be had are errors
    that the agent shows to the model as the call's result.

    Args:
        pipeline: the cropper to follow; None is the shared default, built at the first call.
        images: images to use in place of the conversation's: PIL images, paths, bytes or
            ``data:`` URIs. Needed where no agent hands over its memory.
        unseen: the model has not seen the whole images: return them with the crops.
        roots: folders below which the model may name image files by their paths, and the only ones
            for paths in the conversation; None: the model names images by number alone, and paths
            that your program put into the conversation are read. Relative paths that the model
            writes are meant from the roots.
        urls: whether the model may name images by http or https URLs, which are fetched from
            public addresses alone; and whether images of the conversation that are URLs are.
            With either, what the tool says of itself and its argument ``image`` change, and the
            model is shown the whole image with the crop.

    Raises:
        TypeError: ``pipeline`` is no pipeline, ``images`` or ``roots`` no list, ``urls`` no bool.
        ValueError: an empty text among the roots.
    """

    def __init__(
        self,
        pipeline: ZoomPipeline | None = None,
        *,
        images: Sequence[ImageSource] = (),
        unseen: bool = False,
        roots: Roots | None = None,
        urls: bool = False,
    ) -> None:
        """Set up; nothing is loaded before the first call."""
        if not isinstance(images, list | tuple):
            raise TypeError(f"expected images as a list, got a {type(images).__name__}")
        self.pipeline = checked_pipeline(pipeline)
        self.images = tuple(images)
        self.unseen = unseen
        self._allowed = Allowed.of(roots, urls)
        self._in_blocks = Allowed.of(roots, urls, typed=True)
        self.spec_functions: list[SPEC_FUNCTION_TYPE] = ["zoom_given" if images else "zoom"]

    async def zoom(
        self, ctx: Context, question: str, image: int | str | None = None
    ) -> list[TextBlock | ImageBlock]:
        """Zoom into an image of the conversation.

        Raises:
            CropVLMError: what the model can act on; the agent shows it.
        """
        images = _images_in(await _conversation(ctx))
        return await asyncio.to_thread(self._answer, images, question, image)

    def zoom_given(
        self, question: str, image: int | str | None = None
    ) -> list[TextBlock | ImageBlock]:
        """Zoom into one of the given images.

        Raises:
            CropVLMError: what the model can act on; an agent shows it.
        """
        return self._answer(self.images, question, image)

    def to_tool_list(
        self,
        spec_functions: list[SPEC_FUNCTION_TYPE] | None = None,
        func_to_metadata_mapping: dict[str, ToolMetadata] | None = None,
    ) -> list[FunctionTool]:
        """Return the tool, in a list as LlamaIndex wants it."""
        schema = ZoomReferenceInput if self._allowed.references else ZoomInput
        about = ToolMetadata(name=NAME, description=tool_words(self._allowed), fn_schema=schema)
        known = {"zoom": about, "zoom_given": about} | (func_to_metadata_mapping or {})
        return super().to_tool_list(spec_functions, known)

    def _answer(
        self, images: Sequence[Any], question: str, image: object
    ) -> list[TextBlock | ImageBlock]:
        allowed = Allowed(None, self._allowed.urls)  # the program wrote self.images
        named = named_image(image, self._allowed)
        chosen: Any
        chosen, called = choose_image(images, image) if named is None else named
        if isinstance(chosen, ImageBlock):
            allowed = self._in_blocks
            chosen = Path(chosen.path) if chosen.path else image_in_block(chosen, allowed)
        unseen = self.unseen or named is not None
        answer = zoom_call(self.pipeline, chosen, called, question, allowed=allowed, unseen=unseen)
        watch()
        pictures = [to_block(data, mime_type) for data, mime_type in answer.pictures]
        return [TextBlock(text=answer.text), *pictures]


async def _conversation(ctx: Context) -> Sequence[ChatMessage]:
    memory = await ctx.store.get("memory", default=None)
    return () if memory is None else await memory.aget_all()


def _images_in(messages: Sequence[ChatMessage]) -> list[ImageBlock]:
    return [
        block
        for message in messages
        if message.role == MessageRole.USER
        for block in message.blocks
        if isinstance(block, ImageBlock)
    ]
