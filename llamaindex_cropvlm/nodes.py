"""Every way LlamaIndex holds an image in a node or a message, and crops as nodes."""

import base64
import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.llms import ImageBlock
from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    ImageNode,
    MediaResource,
    NodeRelationship,
    RelatedNodeInfo,
)

from cropvlm_core.errors import DeadlineError, SourceError
from cropvlm_core.sources import (
    ANY_PATH,
    Allowed,
    Roots,
    is_data_uri,
    is_url,
    read_base64,
    read_data_uri,
)
from cropvlm_core.zoom import Crop

Held = bytes | SourceError | DeadlineError
"""An image in a node or message: its bytes, or why it cannot be had."""

HASH_KEY = "image_sha256"
"""The metadata key that holds the SHA-256 of a node's image, as its bytes are stored."""

_NAMESPACE = uuid.UUID("6f0d5a2c-3b1e-4f7a-9c64-0c2b1f8e7d55")


def image_in_node(node: BaseNode, allowed: Allowed = ANY_PATH) -> Held | None:
    """Return the image that a node holds; None where it is no image node.

    Read are ``ImageNode`` (base64 or path), ``ImageDocument``, and any node with an
    ``image_resource`` (data or path); URLs where they are ``allowed``.
    """
    if isinstance(node, ImageNode):
        return _held(node.image, node.image_path, node.image_url, node.node_id, allowed)
    resource: MediaResource | None = getattr(node, "image_resource", None)
    if resource is not None:
        return _held(resource.data, resource.path, resource.url, node.node_id, allowed)
    return _lost(node.node_id) if isinstance(node, ImageDocument) else None


def image_in_block(block: object, allowed: Allowed = ANY_PATH) -> Held | None:
    """Return the image that a block of a chat message holds; None where it is no image block."""
    if not isinstance(block, ImageBlock):
        return None
    image = block.image
    if image is not None and not isinstance(image, bytes):  # an open file, left where it was
        place = image.tell()
        image.seek(0)
        content: bytes = image.read()
        image.seek(place)
        return content
    if not (image or block.path or block.url):
        return SourceError("expected an image in a message, got an image block without one")
    return _held(image, block.path, block.url, "a message", allowed)


def _held(data: str | bytes | None, path: Any, url: Any, where: str, allowed: Allowed) -> Held:
    try:
        if data:
            text = data.decode("ascii", "replace") if isinstance(data, bytes) else data
            if is_data_uri(text):
                return read_data_uri(text)
            return read_base64("".join(text.split()))  # LlamaIndex takes lines of base64, too
        if path:
            return allowed.read(Path(path))
        if url and is_data_uri(str(url)):
            return read_data_uri(str(url))
        if url and allowed.urls and is_url(str(url)):
            return allowed.read(str(url))
    except (SourceError, DeadlineError) as error:
        return error
    if url:
        return SourceError(
            f"expected an image as data or a path in {where}, got a URL: fetch the image first"
        )
    return _lost(where)


def _lost(where: str) -> SourceError:
    return SourceError(
        f"expected an image in {where}, got none: ImageNode(image=) lasts, not MediaResource.data"
    )


def stamp_images(
    nodes: Sequence[BaseNode], *, roots: Roots | None = None, urls: bool = False
) -> Sequence[BaseNode]:
    """Write the hash of each image node's image into its metadata, and return the nodes.

    LlamaIndex's ingestion cache and document store compare text and metadata only: two different
    images with the same text are one to them. Hidden from models and embeddings. ``roots`` and
    ``urls`` are those of :class:`~llamaindex_cropvlm.ZoomTransform`.

    Raises:
        SourceError, DeadlineError: an image that cannot be had.
    """
    allowed = Allowed.of(roots, urls, typed=True)
    for node in nodes:
        held = image_in_node(node, allowed)
        if isinstance(held, SourceError | DeadlineError):
            raise held
        if held is not None:
            stamp(node, held)
    return nodes


def stamp(node: BaseNode, image: bytes) -> None:
    """Write the hash of ``image`` into a node's metadata."""
    node.metadata[HASH_KEY] = image_hash(image)
    _hide(node, [HASH_KEY])


def image_hash(image: bytes) -> str:
    """SHA-256 of an image's bytes, hexadecimal."""
    return hashlib.sha256(image).hexdigest()


def crop_node(
    parent: BaseNode, crop: Crop, question: str, metadata: dict[str, Any], *, text: str = ""
) -> ImageNode:
    """Return a crop as a node: base64 in the node, so that it survives every store.

    Its id depends on parent, question and place, so that the same crop is the same node again.
    The page's metadata goes along, so that a citation can name it. All metadata is hidden from
    models and embeddings. Relationships: PARENT is the page, SOURCE the page's own source, or the
    page.
    """
    data, mime_type = crop.encode()
    page = parent.as_related_node_info()
    page = RelatedNodeInfo(node_id=page.node_id, node_type=page.node_type, hash=page.hash)
    node = ImageNode(
        id_=str(uuid.uuid5(_NAMESPACE, f"{parent.node_id}\n{question}\n{crop.pixels}")),
        text=text,
        image=base64.b64encode(data).decode("ascii"),
        image_mimetype=mime_type,
        metadata=parent.metadata | metadata,
        relationships={
            NodeRelationship.PARENT: page,
            NodeRelationship.SOURCE: parent.source_node or page,
        },
    )
    _hide(node, list(node.metadata))
    return node


def is_crop(node: BaseNode) -> bool:
    """Whether a node came from :func:`crop_node`, and is not to be zoomed into again."""
    return "parent_id" in node.metadata and not node.metadata.keys().isdisjoint(("box", "box_left"))


def _hide(node: BaseNode, keys: Sequence[str]) -> None:
    for hidden in (node.excluded_llm_metadata_keys, node.excluded_embed_metadata_keys):
        hidden.extend(key for key in keys if key not in hidden)
