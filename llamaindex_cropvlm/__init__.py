"""CropVLM for LlamaIndex: the model sees the whole page, and the part that answers the question.

::

    from llamaindex_cropvlm import ZoomPostprocessor

    engine = RetrieverQueryEngine.from_args(
        retriever, llm=llm, multimodal=True, node_postprocessors=[ZoomPostprocessor()]
    )

``ZoomPostprocessor`` adds crops between retriever and model; ``ZoomTransform`` at ingestion, for
questions known beforehand; ``ZoomToolSpec`` lets an agent ask for them; ``zoom_chat_messages`` is
for plain chat messages; ``with_tool_images`` makes images in tool results reach models that drop
them there. Each is imported at its first use.
"""

from typing import TYPE_CHECKING

from cropvlm_core.face import lazy_names

if TYPE_CHECKING:
    from llamaindex_cropvlm.messages import azoom_chat_messages, zoom_chat_messages
    from llamaindex_cropvlm.nodes import stamp_images
    from llamaindex_cropvlm.postprocessor import ZoomPostprocessor
    from llamaindex_cropvlm.tool import ZoomToolSpec
    from llamaindex_cropvlm.tool_images import move_tool_images, with_tool_images
    from llamaindex_cropvlm.transform import ZoomTransform

__all__ = [
    "ZoomPostprocessor",
    "ZoomToolSpec",
    "ZoomTransform",
    "azoom_chat_messages",
    "move_tool_images",
    "stamp_images",
    "with_tool_images",
    "zoom_chat_messages",
]

_ROOMS = {
    "ZoomPostprocessor": "postprocessor",
    "ZoomToolSpec": "tool",
    "ZoomTransform": "transform",
    "azoom_chat_messages": "messages",
    "move_tool_images": "tool_images",
    "stamp_images": "nodes",
    "with_tool_images": "tool_images",
    "zoom_chat_messages": "messages",
}

__getattr__ = lazy_names(__name__, _ROOMS, extra="llamaindex", needs=("llama_index",))


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
