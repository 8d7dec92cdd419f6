"""CropVLM for LangChain: the model sees the whole image, and the part that answers the question.

::

    from langchain.agents import create_agent
    from langchain_cropvlm import ZoomMiddleware

    agent = create_agent("openai:gpt-4.1-nano", middleware=[ZoomMiddleware()])

``ZoomMiddleware`` adds crops to every question with an image; ``ZoomTool`` lets the model ask for
them; ``zoom_messages`` is the Runnable for chains without an agent; ``move_tool_images`` makes
images in tool results reach models that refuse them there. Each is imported at its first use.
"""

from typing import TYPE_CHECKING

from cropvlm_core.face import lazy_names

if TYPE_CHECKING:
    from langchain_cropvlm.messages import ZoomMessages, zoom_messages
    from langchain_cropvlm.middleware import ZoomMiddleware
    from langchain_cropvlm.tool import ZoomTool
    from langchain_cropvlm.tool_images import move_tool_images

__all__ = ["ZoomMessages", "ZoomMiddleware", "ZoomTool", "move_tool_images", "zoom_messages"]

_ROOMS = {
    "ZoomMessages": "messages",
    "ZoomMiddleware": "middleware",
    "ZoomTool": "tool",
    "move_tool_images": "tool_images",
    "zoom_messages": "messages",
}

__getattr__ = lazy_names(__name__, _ROOMS, extra="langchain", needs=("langchain", "langchain_core"))


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
