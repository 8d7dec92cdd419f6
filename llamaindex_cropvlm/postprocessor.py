"""ZoomPostprocessor: between retriever and model, where an image and the question meet."""

import asyncio
import itertools
from typing import Any

from llama_index.core.bridge.pydantic import Field
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from cropvlm_core.turns import to_question, zoom_each, zoomed
from cropvlm_core.zoom import ZoomPipeline
from llamaindex_cropvlm.nodes import crop_node, image_in_node, is_crop
from llamaindex_cropvlm.settings import ZoomSettings
from llamaindex_cropvlm.watch import watch


class ZoomPostprocessor(ZoomSettings, BaseNodePostprocessor):
    """Puts behind each retrieved image node the part of it that answers the query.

    ::

        engine = RetrieverQueryEngine.from_args(
            retriever, llm=llm, multimodal=True, node_postprocessors=[ZoomPostprocessor()]
        )

    A crop is an ``ImageNode`` with its page's score; its metadata (``box``, ``pixels``,
    ``confidence``, ``parent_id``, and the page's own) is hidden from the model. Text nodes, crops
    made before, and calls without a query pass through. All images of a call go through the cropper
    in one batch.

    Page and crop must reach the model in one call: use ``response_mode="compact"`` (the default),
    ``"simple_summarize"`` or ``"tree_summarize"``, ``multimodal=True``, and an LLM whose metadata
    states its real ``context_window`` (LlamaIndex counts 2,125 tokens an image). A ``UserWarning``
    says when they will not.

    Args:
        pipeline: the cropper to follow; None is the shared default, built at the first query.
        top_n: the most images to zoom into; the first ones. None is all.
        max_crops, min_confidence: as in :class:`cropvlm_core.ZoomPipeline`; they override the
            pipeline's.
        on_error: "raise", or "skip": an image that cannot be zoomed into goes on as it is, and the
            log says why.
        roots: the only folders below which files are read, through no link; None: your program
            wrote the nodes' paths, and any file is.
        urls: fetch images that are http or https URLs, from public addresses alone.
        cropper: the name of a cropper, such as "centre", in place of a pipeline. What ``to_dict``
            stores; a cropper without such a name needs ``from_dict(data, pipeline=...)``.

    Raises:
        SourceError, ImageError, ModelError: on a query with ``on_error="raise"``: an image that is
            a URL or was lost in a store, one that does not open, a cropper that failed.
    """

    top_n: int | None = Field(default=None, ge=1, description="The most images to zoom into.")

    def __init__(self, pipeline: ZoomPipeline | None = None, **fields: Any) -> None:
        """See the class; stands here for type checkers, which would make one of the fields."""
        super().__init__(pipeline, **fields)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex stores it."""
        return "ZoomPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        question = "" if query_bundle is None else to_question(query_bundle.query_str)
        if not question:
            return nodes
        allowed = self.allowed
        images = (
            (index, image)
            for index, scored in enumerate(nodes)
            if not is_crop(scored.node)
            and (image := image_in_node(scored.node, allowed)) is not None
        )
        chosen = list(itertools.islice(images, self.top_n))  # the others are not even read
        if not chosen:
            return nodes
        outcomes = zoom_each(self.pipeline, [(image, question) for _, image in chosen])
        crops: dict[int, list[NodeWithScore]] = {}
        for (index, _), outcome in zip(chosen, outcomes, strict=True):
            zoom = zoomed(outcome, self.on_error)
            scored = nodes[index]
            crops[index] = [
                NodeWithScore(
                    node=crop_node(scored.node, crop, question, _metadata(scored, crop.to_dict())),
                    score=scored.score,
                )
                for crop in (zoom.crops if zoom else ())
            ]
        if any(crops.values()):
            watch()
        return [
            node for index, scored in enumerate(nodes) for node in (scored, *crops.get(index, ()))
        ]

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._postprocess_nodes, nodes, query_bundle)


def _metadata(parent: NodeWithScore, crop: dict[str, Any]) -> dict[str, Any]:
    kept = {key: crop[key] for key in ("box", "pixels", "confidence")}
    return kept | {"parent_id": parent.node.node_id}
