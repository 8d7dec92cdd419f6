"""ZoomTransform: crops at ingestion, for questions that are known beforehand."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.bridge.pydantic import Field
from llama_index.core.schema import BaseNode, TransformComponent

from cropvlm_core.errors import CropVLMError, SourceError, shorten
from cropvlm_core.turns import zoom_each, zoomed
from cropvlm_core.zoom import Crop, ZoomPipeline
from llamaindex_cropvlm.nodes import HASH_KEY, crop_node, image_hash, image_in_node, is_crop, stamp
from llamaindex_cropvlm.settings import ZoomSettings


class ZoomTransform(ZoomSettings, TransformComponent):
    """Puts behind each image node one crop node for each question.

    ::

        IngestionPipeline(transformations=[ZoomTransform(questions=["total", "date", "vendor"])])

    A crop is an ``ImageNode``; its text is the question, so that it is found by it. Its metadata,
    flat as vector stores want it and hidden from models and embeddings: ``field`` (the question's
    name), ``box_left, box_top, box_right, box_bottom`` (fractions of the page), ``confidence``,
    ``parent_id``, ``image_sha256`` of the page, and the page's own. Pages go on as copies with
    ``image_sha256``. Text nodes and crops made before pass through. No crop is made where the whole
    page is the right view. Put it behind splitters: they take the image out of an ``ImageNode``.

    LlamaIndex's ingestion cache takes two images with the same text and metadata for the same one.
    So results are never taken from that cache unless you set ``cacheable=True``, which asks for
    nodes that went through :func:`~llamaindex_cropvlm.stamp_images`; the version of the cropper is
    part of the key then.

    Args:
        pipeline: the cropper to follow; None is the shared default, built at the first page.
        questions: the questions, or a mapping from names to questions.
        keep_pages: whether the pages go on with their crops.
        cacheable: let the ingestion cache keep the results.
        max_crops, min_confidence, on_error, roots, urls, cropper: as in
            :class:`~llamaindex_cropvlm.ZoomPostprocessor`.

    Raises:
        SourceError, ImageError, ModelError: when called with ``on_error="raise"``: an image that
            is a URL or was lost in a store, one that does not open, a cropper that failed.
        SourceError: with ``cacheable=True``, a node without the right ``image_sha256``, or one
            whose image the cache would lose.
    """

    questions: dict[str, str] = Field(min_length=1, description="Names, and their questions.")
    keep_pages: bool = Field(default=True, description="Whether pages go on with their crops.")
    cacheable: bool = Field(default=False, description="Whether the ingestion cache may be used.")

    def __init__(
        self,
        pipeline: ZoomPipeline | None = None,
        *,
        questions: Sequence[str] | Mapping[str, str],
        **fields: Any,
    ) -> None:
        """See the class."""
        if isinstance(questions, str):  # a sequence of letters to everybody else
            questions = [questions]
        named = questions if isinstance(questions, Mapping) else {text: text for text in questions}
        for stored in ("cropper_version", "never_cached"):  # of to_dict, and no fields
            fields.pop(stored, None)
        if any(not text.strip() for text in named.values()):
            raise ValueError(f"expected questions, got blank text among {shorten(list(named))}")
        super().__init__(pipeline, questions=dict(named), **fields)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex stores it."""
        return "ZoomTransform"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the fields and ``cropper_version``; this is also the ingestion cache's key."""
        data = super().to_dict(**kwargs) | {"cropper_version": self.pipeline.cropper.version}
        return data if self.cacheable else data | {"never_cached": uuid.uuid4().hex}

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:  # noqa: ARG002
        """Return the nodes with crops behind the pages."""
        return [new for node in nodes for new in self._with_crops(node)]

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """Like calling it, in a thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.__call__, nodes, **kwargs)

    def _with_crops(self, node: BaseNode) -> list[BaseNode]:
        held = None if is_crop(node) else image_in_node(node, self.allowed)
        if held is None:
            return [node]
        if self.cacheable and not isinstance(held, CropVLMError):
            _check_cacheable(node, held)
        if not isinstance(held, CropVLMError):
            node = _stamped(node, held)
        asked = [(held, question) for question in self.questions.values()]
        crops: list[BaseNode] = []
        outcomes = zoom_each(self.pipeline, asked)
        for (name, question), outcome in zip(self.questions.items(), outcomes, strict=True):
            zoom = zoomed(outcome, self.on_error)
            for crop in zoom.crops if zoom else ():
                metadata = _metadata(node, crop, name)
                crops.append(crop_node(node, crop, question, metadata, text=question))
        return [node, *crops] if self.keep_pages else crops


def _stamped(node: BaseNode, image: bytes) -> BaseNode:
    """A copy with the image's hash: a document store compares the node that was given."""
    copied = node.model_copy(
        update={
            "metadata": dict(node.metadata),
            "excluded_llm_metadata_keys": list(node.excluded_llm_metadata_keys),
            "excluded_embed_metadata_keys": list(node.excluded_embed_metadata_keys),
        }
    )
    stamp(copied, image)
    return copied


def _metadata(parent: BaseNode, crop: Crop, name: str) -> dict[str, Any]:
    sides = {f"box_{side}": value for side, value in crop.box.to_dict().items()}
    return {
        "field": name,
        **sides,
        "confidence": crop.confidence,
        "parent_id": parent.node_id,
        HASH_KEY: parent.metadata[HASH_KEY],
    }


def _check_cacheable(node: BaseNode, image: bytes) -> None:
    if node.metadata.get(HASH_KEY) != image_hash(image):
        raise SourceError(
            f"expected {HASH_KEY} in the metadata of {node.node_id} before the ingestion cache "
            "sees it, got none or another: call stamp_images(nodes) first"
        )
    resource = getattr(node, "image_resource", None)
    if resource is not None and resource.path is None:
        raise SourceError(
            f"expected {node.node_id} as an ImageNode or with a path, got data in a MediaResource, "
            "which the ingestion cache would lose"
        )
