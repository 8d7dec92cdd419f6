"""Images in tool results, for models whose LlamaIndex package drops them there.

``llama-index-llms-openai`` sends the text alone of a tool's result to Chat Completions; its
Responses twin and Anthropic's package send the image too.
"""

import functools
from collections.abc import Sequence
from typing import Any, TypeVar

from llama_index.core.llms import LLM, ChatMessage, ImageBlock, MessageRole, TextBlock

_Model = TypeVar("_Model", bound=LLM)


def move_tool_images(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Move images out of tool results, into a user message after the last result of a turn.

    The results of parallel calls stay together, as every provider wants them. The given messages
    stay as they are; without such images they are returned.
    """
    moved: list[ChatMessage] = []
    waiting: list[TextBlock | ImageBlock] = []
    for message in messages:
        by_tool = message.role == MessageRole.TOOL
        if waiting and not by_tool:
            moved.append(ChatMessage(role=MessageRole.USER, blocks=waiting))
            waiting = []
        images = [block for block in message.blocks if isinstance(block, ImageBlock)]
        if by_tool and images:
            call = message.additional_kwargs.get("tool_call_id", "a tool")
            waiting += [TextBlock(text=f"What the tool returned ({call}):"), *images]
            rest = [block for block in message.blocks if not isinstance(block, ImageBlock)]
            message = message.model_copy()
            message.blocks = [*rest, TextBlock(text="\n(The image is in the next message.)")]
        moved.append(message)
    return [*moved, ChatMessage(role=MessageRole.USER, blocks=waiting)] if waiting else moved


def with_tool_images(llm: _Model) -> _Model:
    """Return a copy of ``llm`` that moves images out of tool results in every chat request.

    ::

        agent = FunctionAgent(tools=ZoomToolSpec().to_tool_list(), llm=with_tool_images(llm))

    For ``llama_index.llms.openai.OpenAI`` and others that speak Chat Completions.

    Raises:
        TypeError: ``llm`` is no LLM, such as a model's name.
    """
    if not isinstance(llm, LLM):
        raise TypeError(f"expected an LLM of LlamaIndex, got a {type(llm).__name__}")
    copied = llm.model_copy()
    if not moves_tool_images(llm):
        copied.__class__ = _moving(type(llm))  # type: ignore[assignment]
    return copied


def moves_tool_images(llm: LLM) -> bool:
    """Whether ``llm`` came from :func:`with_tool_images`."""
    return isinstance(llm, _MovesToolImages)


@functools.cache
def _moving(kind: type[LLM]) -> type[LLM]:
    return type(kind.__name__, (_MovesToolImages, kind), {"__doc__": kind.__doc__})


class _MovesToolImages:
    """Goes before an LLM's class; every request with tools comes through these four."""

    def __reduce__(self) -> Any:
        bare = self.model_copy()  # type: ignore[attr-defined]
        bare.__class__ = type(self).__bases__[1]
        return with_tool_images, (bare,)

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return super().chat(move_tool_images(messages), **kwargs)  # type: ignore[misc]

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return super().stream_chat(move_tool_images(messages), **kwargs)  # type: ignore[misc]

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return await super().achat(move_tool_images(messages), **kwargs)  # type: ignore[misc]

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return await super().astream_chat(  # type: ignore[misc]
            move_tool_images(messages), **kwargs
        )
