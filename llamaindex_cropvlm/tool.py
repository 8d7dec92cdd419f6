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
from cropvlm_core.prompts import ZOOM_TOOL, ZOOM_TOOL_IMAGE, ZOOM_TOOL_QUESTION
from cropvlm_core.tool import NAME, choose_image, zoom_call
from cropvlm_core.zoom import ZoomPipeline, checked_pipeline
from llamaindex_cropvlm.messages import to_block
from llamaindex_cropvlm.nodes import image_in_block
from llamaindex_cropvlm.watch import watch


class ZoomInput(BaseModel):
    """What the model passes."""

    question: str = Field(description=ZOOM_TOOL_QUESTION)
    image: int | None = Field(default=None, description=ZOOM_TOOL_IMAGE)


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
    """

    def __init__(
        self,
        pipeline: ZoomPipeline | None = None,
        *,
        images: Sequence[ImageSource] = (),
        unseen: bool = False,
    ) -> None:
        """Set up; nothing is loaded before the first call."""
        if not isinstance(images, list | tuple):
            raise TypeError(f"expected images as a list, got a {type(images).__name__}")
        self.pipeline = checked_pipeline(pipeline)
        self.images = tuple(images)
        self.unseen = unseen
        self.spec_functions: list[SPEC_FUNCTION_TYPE] = ["zoom_given" if images else "zoom"]

    async def zoom(
        self, ctx: Context, question: str, image: int | None = None
    ) -> list[TextBlock | ImageBlock]:
        """Zoom into an image of the conversation.

        Raises:
            CropVLMError: what the model can act on; the agent shows it.
        """
        images = _images_in(await _conversation(ctx))
        return await asyncio.to_thread(self._answer, images, question, image)

    def zoom_given(self, question: str, image: int | None = None) -> list[TextBlock | ImageBlock]:
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
        about = ToolMetadata(name=NAME, description=ZOOM_TOOL, fn_schema=ZoomInput)
        known = {"zoom": about, "zoom_given": about} | (func_to_metadata_mapping or {})
        return super().to_tool_list(spec_functions, known)

    def _answer(
        self, images: Sequence[Any], question: str, image: object
    ) -> list[TextBlock | ImageBlock]:
        chosen, called = choose_image(images, image)
        if isinstance(chosen, ImageBlock):
            chosen = Path(chosen.path) if chosen.path else image_in_block(chosen)
        answer = zoom_call(self.pipeline, chosen, called, question, unseen=self.unseen)
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
