"""Crops added to messages: ``zoom_messages`` for chains, and what the middleware does too."""

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import (
    BaseMessage,
    ChatMessage,
    HumanMessage,
    convert_to_messages,
)
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig

from cropvlm_core.errors import CropVLMError
from cropvlm_core.sources import NO_REFERENCE, Allowed, Roots
from cropvlm_core.turns import CaptionedCrop, FindQuestion, OnError, Turn, TurnZoom, to_turns
from cropvlm_core.zoom import ZoomPipeline
from langchain_cropvlm.blocks import blocks_of, image_block, image_in, text_block, text_of

OPT_OUT = "zoom"
"""``HumanMessage(..., additional_kwargs={"zoom": False})`` is left as it is."""


def to_turn(message: BaseMessage, allowed: Allowed = NO_REFERENCE) -> Turn | None:
    """Read what a user said at once; None where it was somebody else."""
    by_user = isinstance(message, HumanMessage) or (
        isinstance(message, ChatMessage) and message.role == "user"
    )
    if not by_user:
        return None
    if message.additional_kwargs.get(OPT_OUT) is False:
        return Turn(text_of(message), ())
    held = (image_in(block, allowed) for block in blocks_of(message))
    return Turn(text_of(message), tuple(image for image in held if image is not None))


def with_crops(message: BaseMessage, crops: Sequence[Sequence[CaptionedCrop]]) -> BaseMessage:
    """Return a copy with each image's captions and crops behind it; itself where there are none.

    ``crops`` holds, for each image of the message in order, its crops. The copy opts out: whoever
    keeps it and comes again gets no crops of crops.
    """
    if not any(crops):
        return message
    each = iter(crops)
    blocks: list[str | dict[str, Any]] = []
    for block in blocks_of(message):
        blocks.append(block)
        if image_in(block) is not None:
            for crop in next(each):
                blocks += [text_block(crop.caption), image_block(crop.data, crop.mime_type)]
    kwargs = message.additional_kwargs | {OPT_OUT: False}
    return message.model_copy(update={"content": blocks, "additional_kwargs": kwargs})


class ConversationZoom:
    """Adds crops to whole conversations; each image and question is looked at once."""

    def __init__(
        self,
        pipeline: ZoomPipeline | None,
        question: FindQuestion | None,
        on_error: OnError,
        allowed: Allowed,
    ) -> None:
        """See :func:`zoom_messages`."""
        self._allowed = allowed
        self._turns = TurnZoom(pipeline, question=question, on_error=on_error, allowed=allowed)

    def zoom(self, *conversations: Sequence[BaseMessage]) -> list[list[BaseMessage]]:
        """Return the conversations with crops, in one batch; the given ones stay as they are."""
        said = ([to_turn(message, self._allowed) for message in talk] for talk in conversations)
        turns = [turn for talk in said for turn in to_turns(talk)]
        crops = iter(self._turns.crops(turns))
        return [[with_crops(message, next(crops)) for message in talk] for talk in conversations]


class ZoomMessages(Runnable[LanguageModelInput, list[BaseMessage]]):
    """Messages in, messages out, with the crop behind each image; see :func:`zoom_messages`."""

    def __init__(
        self,
        pipeline: ZoomPipeline | None = None,
        *,
        question: FindQuestion | None = None,
        on_error: OnError = "raise",
        roots: Roots | None = None,
        urls: bool = False,
    ) -> None:
        """See :func:`zoom_messages`."""
        self.name = "zoom_messages"
        allowed = Allowed.of(roots, urls)
        self._conversations = ConversationZoom(pipeline, question, on_error, allowed)

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - its base's name
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ARG002 - its base's, for models
    ) -> list[BaseMessage]:
        """Add crops to the messages of one conversation."""
        return self._call_with_config(self._one, input, config)

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - its base's name
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ARG002 - its base's, for models
    ) -> list[BaseMessage]:
        """Like :meth:`invoke`; the event loop goes on."""
        return await self._acall_with_config(self._aone, input, config)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,  # noqa: ARG002 - its base's, for models
    ) -> list[list[BaseMessage]]:
        """Add crops to several conversations in one batch of the cropper."""
        return self._batch_with_config(
            self._many, inputs, config, return_exceptions=return_exceptions
        )

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,  # noqa: ARG002 - its base's, for models
    ) -> list[list[BaseMessage]]:
        """Like :meth:`batch`; the event loop goes on."""
        return await self._abatch_with_config(
            self._amany, inputs, config, return_exceptions=return_exceptions
        )

    def _one(self, given: LanguageModelInput) -> list[BaseMessage]:
        return self._conversations.zoom(_to_messages(given))[0]

    async def _aone(self, given: LanguageModelInput) -> list[BaseMessage]:
        return await asyncio.to_thread(self._one, given)

    def _many(self, inputs: list[LanguageModelInput]) -> list[Exception | list[BaseMessage]]:
        try:
            return list(self._conversations.zoom(*map(_to_messages, inputs)))
        except CropVLMError:  # of one of them: find out which
            return [self._outcome(given) for given in inputs]

    async def _amany(self, inputs: list[LanguageModelInput]) -> list[Exception | list[BaseMessage]]:
        return await asyncio.to_thread(self._many, inputs)

    def _outcome(self, given: LanguageModelInput) -> Exception | list[BaseMessage]:
        try:
            return self._one(given)
        except CropVLMError as error:
            return error


def zoom_messages(
    pipeline: ZoomPipeline | None = None,
    *,
    question: FindQuestion | None = None,
    on_error: OnError = "raise",
    roots: Roots | None = None,
    urls: bool = False,
) -> ZoomMessages:
    """Return a Runnable that adds the crop behind every image of a user's question.

    ::

        chain = prompt | zoom_messages() | model

    It takes what a chat model takes (a prompt, messages or a text) and returns messages: copies,
    where crops were added. An image without words is asked about in the words of the user messages
    right before and after it. Messages of anybody but the user, and those with
    ``additional_kwargs={"zoom": False}``, stay as they are.

    Args:
        pipeline: the cropper to follow; None is the shared default, built when it is first needed.
        question: finds the question in a message's text, where a prompt template put more into it;
            what it returns blank is not zoomed into.
        on_error: "raise", or "skip": an image that cannot be zoomed into (a URL, damaged data)
            goes on as it is, and the log says why. Images of earlier turns are always passed over.
        roots: folders below which images that are paths are read; None: no file is. Where a block
            holds a URL, a path may stand, for servers that take one. The block goes on as it is.
        urls: fetch images that are http or https URLs, from public addresses alone. The block goes
            on as it is: the model's server fetches it again.

    Raises:
        ValueError: another ``on_error``, or an empty text among the roots.
        TypeError: ``pipeline`` is no pipeline, ``question`` no function, ``roots`` no list, or
            ``urls`` no bool.
        SourceError, ImageError, ModelError: when invoked with ``on_error="raise"``: an image that
            is a file's id, or a URL or path that may not or cannot be read, an image that does not
            open, a cropper that failed.
    """
    return ZoomMessages(pipeline, question=question, on_error=on_error, roots=roots, urls=urls)


def _to_messages(given: LanguageModelInput) -> list[BaseMessage]:
    if isinstance(given, PromptValue):
        return given.to_messages()
    return convert_to_messages([given] if isinstance(given, str) else given)
