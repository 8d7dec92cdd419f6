"""Images in tool results, for models that refuse them there.

OpenAI's Chat Completions takes images from the user only; many servers that speak it refuse or
drop one in a tool's result. OpenAI's Responses, Anthropic and others take it as it is.
"""

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from langchain_cropvlm.blocks import blocks_of, image_in, text_block


def move_tool_images(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Move images out of tool results, into a user message after the last result of a turn.

    The results of parallel calls stay together, as every provider wants them. The given messages
    stay as they are; without such images they are returned.
    """
    moved: list[BaseMessage] = []
    waiting: list[str | dict[str, Any]] = []
    for message in messages:
        if waiting and not isinstance(message, ToolMessage):
            moved.append(HumanMessage(waiting))
            waiting = []
        if isinstance(message, ToolMessage):
            images = [block for block in blocks_of(message) if image_in(block) is not None]
            if images:
                called = message.name or "a tool"
                waiting += [
                    text_block(f"What {called} returned ({message.tool_call_id}):"),
                    *images,
                ]
                message = _without_images(message)
        moved.append(message)
    return [*moved, HumanMessage(waiting)] if waiting else moved


def _without_images(message: ToolMessage) -> ToolMessage:
    rest = [block for block in blocks_of(message) if image_in(block) is None]
    note = "(The image is in the next message.)"
    if all(isinstance(block, str) or block.get("type") == "text" for block in rest):
        texts = [block if isinstance(block, str) else block["text"] for block in rest]
        return message.model_copy(update={"content": "\n".join([*texts, note])})
    return message.model_copy(update={"content": [*rest, text_block(note)]})


def takes_tool_images(model: BaseChatModel) -> bool:
    """Whether ``model`` sees an image in a tool's result, by its class.

    OpenAI's family by the Responses API only, Anthropic always. Of any other it is not taken for
    granted: an image from the user arrives nearly everywhere.
    """
    lineage = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(model).mro()}
    if "langchain_openai.BaseChatOpenAI" in lineage:
        return bool(getattr(model, "use_responses_api", None)) or (
            getattr(model, "output_version", None) == "responses/v1"
        )
    return "langchain_anthropic.ChatAnthropic" in lineage
