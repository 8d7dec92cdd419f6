"""Warns when pictures will not reach the model, which the component that adds them cannot know.

LlamaIndex's instrumentation shows every response synthesizer and every LLM at work, with the nodes
or messages it was given.
"""

import inspect
import threading
import warnings
from collections.abc import Sequence
from typing import Any

from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.instrumentation.span_handlers import NullSpanHandler
from llama_index.core.llms import LLM, ChatMessage, ImageBlock, MessageRole
from llama_index.core.response_synthesizers import (
    Accumulate,
    BaseSynthesizer,
    CompactAndRefine,
    Generation,
    Refine,
)
from llama_index.core.response_synthesizers.compact_and_accumulate import CompactAndAccumulate
from llama_index.core.response_synthesizers.context_only import ContextOnly
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.schema import BaseNode, ImageNode, MetadataMode, NodeWithScore
from llama_index.core.utils import get_tokenizer
from llama_index_instrumentation import get_dispatcher

TOKENS_AN_IMAGE = 2125
"""What LlamaIndex counts for an image, whatever its size (``ImageBlock.aestimate_tokens``)."""

_ROOM = 1024
"""Tokens left for question and templates; ``compact`` keeps about 600 free for them."""

_lock = threading.Lock()
_watching = False


def watch() -> None:
    """Begin to watch, once a process."""
    global _watching
    with _lock:
        if not _watching:
            get_dispatcher().add_span_handler(_Watch())
            _watching = True


class _Watch(NullSpanHandler):
    """Opens no spans; looks at each synthesizer and LLM as it begins."""

    @classmethod
    def class_name(cls) -> str:
        return "CropVLMWatch"

    def span_enter(
        self,
        id_: str,  # noqa: ARG002
        bound_args: inspect.BoundArguments,
        instance: Any = None,
        *rest: Any,  # noqa: ARG002
        **others: Any,  # noqa: ARG002
    ) -> None:
        problem = None
        if isinstance(instance, BaseSynthesizer) and "nodes" in bound_args.arguments:
            problem = why_apart(instance, bound_args.arguments["nodes"])
        elif isinstance(instance, LLM) and "messages" in bound_args.arguments:
            problem = why_dropped(instance, bound_args.arguments["messages"])
        if problem:
            warnings.warn(f"cropvlm: {problem}", UserWarning, stacklevel=2)


def why_dropped(llm: LLM, messages: Sequence[ChatMessage]) -> str | None:
    """Why ``llm`` will not see an image in a tool's result; None where it will, or may."""
    lineage = {f"{kind.__module__}.{kind.__name__}" for kind in type(llm).mro()}
    if "llama_index.llms.openai.base.OpenAI" not in lineage:
        return None
    if not any(
        message.role == MessageRole.TOOL and any(isinstance(b, ImageBlock) for b in message.blocks)
        for message in messages
    ):
        return None
    return (
        f"the image in a tool's result will not reach the model: {type(llm).__name__} sends text "
        "alone there; use llm=llamaindex_cropvlm.with_tool_images(llm)"
    )


def why_apart(synthesizer: BaseSynthesizer, nodes: Sequence[NodeWithScore]) -> str | None:
    """Why ``synthesizer`` will not show page and crop in one call; None where it will."""
    pages_and_crops = [scored.node for scored in nodes if _is_image(scored.node)]
    if not any({"parent_id", "box"} <= node.metadata.keys() for node in pages_and_crops):
        return None
    if isinstance(synthesizer, NoText | ContextOnly):  # they ask no model
        return None
    apart = "page and crop will not reach the model together"
    mode = type(synthesizer).__name__
    if not getattr(synthesizer, "_multimodal", True):
        return (
            f"{apart}: {mode} sends text only; build the query engine with multimodal=True "
            "(as a chat engine: MultiModalContextChatEngine)"
        )
    packs = isinstance(synthesizer, CompactAndRefine | CompactAndAccumulate)
    if isinstance(synthesizer, Refine | Accumulate) and not packs:
        return f'{apart}: {mode} sends one image a call; use response_mode="compact"'
    if isinstance(synthesizer, Generation):
        return f'{apart}: {mode} sends no nodes; use response_mode="compact"'
    llm = synthesizer._llm.metadata
    count = get_tokenizer()
    needed = len(pages_and_crops) * TOKENS_AN_IMAGE + _ROOM
    needed += sum(len(count(_text(scored.node))) for scored in nodes)
    needed += llm.num_output if llm.num_output >= 0 else DEFAULT_NUM_OUTPUTS
    if needed > llm.context_window:
        return (
            "page and crop may not reach the model together: LlamaIndex counts about "
            f"{needed} tokens for {len(pages_and_crops)} images and what goes with them, and the "
            f"LLM states a context window of {llm.context_window}; set its real context_window, or "
            "retrieve less"
        )
    return None


def _text(node: BaseNode) -> str:
    """What of a node goes to the model as text: of an ``ImageNode``, its metadata alone."""
    if isinstance(node, ImageNode):
        return node.get_metadata_str(MetadataMode.LLM)
    return node.get_content(MetadataMode.LLM)


def _is_image(node: BaseNode) -> bool:
    return isinstance(node, ImageNode) or getattr(node, "image_resource", None) is not None
