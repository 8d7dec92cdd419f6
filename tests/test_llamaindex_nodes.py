"""Every form in which LlamaIndex holds an image, read; and crops as nodes."""

# ruff: noqa: E402
import base64
import copy
import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.programs import require_package

require_package("llama_index.core")

from llama_index.core.llms import ImageBlock, TextBlock
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from pydantic import AnyUrl

from cropvlm_core.errors import ImageError, SourceError
from cropvlm_core.images import open_image, to_data_uri
from cropvlm_core.zoom import Crop
from llamaindex_cropvlm import stamp_images
from llamaindex_cropvlm.nodes import crop_node, image_in_block, image_in_node
from tests.pages import base64_of, middle_of, noise, pipeline, png_of, same

PAGE = noise()
SECRET = "c2VjcmV0!!not*base64"

Form = Callable[[Path], BaseNode]

NODES: dict[str, Form] = {
    "ImageNode base64": lambda _: ImageNode(image=base64_of(PAGE)),
    "ImageNode base64 in lines": lambda _: ImageNode(
        image=base64.encodebytes(png_of(PAGE)).decode("ascii")
    ),
    "ImageNode data: URI": lambda _: ImageNode(image=to_data_uri(PAGE)),
    "ImageNode path": lambda path: ImageNode(image_path=str(path)),
    "ImageNode path in a resource": lambda path: ImageNode(image_resource=MediaResource(path=path)),
    "ImageNode data: URL": lambda _: ImageNode(image_url=to_data_uri(PAGE)),
    "ImageDocument base64": lambda _: ImageDocument(image=base64_of(PAGE)),
    "ImageDocument path": lambda path: ImageDocument(image_path=str(path)),
    "Document data": lambda _: Document(image_resource=MediaResource(data=png_of(PAGE))),
    "Document path": lambda path: Document(image_resource=MediaResource(path=path)),
    "Node data": lambda _: Node(image_resource=MediaResource(data=png_of(PAGE))),
    "Node base64": lambda _: Node(image_resource=MediaResource(data=base64_of(PAGE).encode())),
    "Node path": lambda path: Node(image_resource=MediaResource(path=path)),
    "Node data: URL": lambda _: Node(image_resource=MediaResource(url=AnyUrl(to_data_uri(PAGE)))),
}
HOLD_BYTES_IN_A_RESOURCE = ("ImageDocument base64", "Document data", "Node data", "Node base64")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "page.png"
    file.write_bytes(png_of(PAGE))
    return file


def stored(node: BaseNode) -> BaseNode:
    """The node, back from LlamaIndex's document store in memory."""
    store = SimpleDocumentStore()
    store.add_documents([node])
    back = store.get_document(node.node_id)
    assert back is not None
    return back


def error_in(held: object) -> str:
    assert isinstance(held, SourceError)
    return str(held)


def crop_of(page: Image.Image, question: str = "total") -> Crop:
    crop = pipeline().zoom(page, question).crop
    assert crop is not None
    return crop


@pytest.mark.parametrize("form", NODES)
def test_every_form_of_an_image_node_is_read(form: str, path: Path) -> None:
    held = image_in_node(NODES[form](path))
    assert isinstance(held, bytes)
    assert same(open_image(held), PAGE)


@pytest.mark.parametrize("form", [form for form in NODES if form not in HOLD_BYTES_IN_A_RESOURCE])
def test_what_survives_a_store_is_read_after_it(form: str, path: Path) -> None:
    node = NODES[form](path)
    for back in (type(node).from_dict(node.to_dict()), stored(node)):
        held = image_in_node(back)
        assert isinstance(held, bytes)
        assert same(open_image(held), PAGE)


@pytest.mark.parametrize("form", HOLD_BYTES_IN_A_RESOURCE)
def test_bytes_that_a_store_lost_are_a_clear_error(form: str, path: Path) -> None:
    node = NODES[form](path)
    for back in (type(node).from_dict(node.to_dict()), stored(node)):
        message = error_in(image_in_node(back))
        assert node.node_id in message
        assert "MediaResource.data" in message
        assert "ImageNode(image=)" in message
        assert len(message) <= 120


@pytest.mark.parametrize("form", HOLD_BYTES_IN_A_RESOURCE)
def test_copies_keep_the_bytes(form: str, path: Path) -> None:
    node = NODES[form](path)
    for twin in (node.model_copy(), copy.deepcopy(node), pickle.loads(pickle.dumps(node))):
        held = image_in_node(twin)
        assert isinstance(held, bytes)
        assert same(open_image(held), PAGE)


def test_an_image_node_drops_the_data_of_a_resource() -> None:
    node = ImageNode(image_resource=MediaResource(data=png_of(PAGE)))
    assert "got none" in error_in(image_in_node(node))


@pytest.mark.parametrize("node", [ImageNode(text="no image"), ImageDocument(text="no image")])
def test_an_image_node_without_an_image_is_an_error(node: BaseNode) -> None:
    assert node.node_id in error_in(image_in_node(node))


@pytest.mark.parametrize(
    "node",
    [
        TextNode(text="text"),
        Document(text="text"),
        Node(text_resource=MediaResource(text="text")),
        IndexNode(text="text", index_id="x"),
    ],
)
def test_a_text_node_holds_no_image(node: BaseNode) -> None:
    assert image_in_node(node) is None


@pytest.mark.parametrize(
    "node",
    [
        ImageNode(image_url="http://127.0.0.1:1/page.png?key=secret"),
        Node(image_resource=MediaResource(url=AnyUrl("http://127.0.0.1:1/page.png?key=secret"))),
    ],
)
def test_a_url_is_refused(node: BaseNode) -> None:
    message = error_in(image_in_node(node))
    assert "got a URL" in message
    assert "secret" not in message


def test_broken_base64_is_an_error_without_the_data() -> None:
    message = error_in(image_in_node(ImageNode(image=SECRET)))
    assert "expected valid base64" in message
    assert "c2Vj" not in message


def test_a_data_uri_of_another_kind_is_an_error_without_the_data() -> None:
    message = error_in(image_in_node(ImageNode(image_url="data:text/html;base64,c2VjcmV0")))
    assert "data:image" in message
    assert "c2Vj" not in message


def test_junk_in_a_resource_does_not_open_and_is_not_shown() -> None:
    held = image_in_node(Node(image_resource=MediaResource(data=SECRET.encode())))
    assert isinstance(held, bytes)
    with pytest.raises(ImageError) as caught:
        open_image(held)
    assert "c2Vj" not in str(caught.value)


@pytest.mark.parametrize("kind", ["ImageNode", "Node"])
def test_a_path_that_leads_to_no_image(kind: str, tmp_path: Path) -> None:
    def node(path: Path) -> BaseNode:
        if kind == "ImageNode":
            return ImageNode(image_path=str(path))
        return Node(image_resource=MediaResource(path=path))

    assert "gone.png" in error_in(image_in_node(node(tmp_path / "gone.png")))
    assert "a folder" in error_in(image_in_node(node(tmp_path)))
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    held = image_in_node(node(text))
    assert isinstance(held, bytes)
    with pytest.raises(ImageError, match="text"):
        open_image(held)


def test_every_form_of_an_image_block_is_read(path: Path) -> None:
    opened = io.BytesIO(png_of(PAGE))
    opened.seek(7)
    blocks = [
        ImageBlock(image=png_of(PAGE)),
        ImageBlock(image=base64_of(PAGE).encode()),
        ImageBlock(path=path),
        ImageBlock(url=to_data_uri(PAGE)),
        ImageBlock(image=opened),
    ]
    for block in blocks:
        held = image_in_block(block)
        assert isinstance(held, bytes)
        assert same(open_image(held), PAGE)
    assert opened.tell() == 7
    with path.open("rb") as file:
        held = image_in_block(ImageBlock(image=file))
        assert held == path.read_bytes()
        assert file.tell() == 0


def test_blocks_without_an_image_that_can_be_had(path: Path) -> None:
    block = ImageBlock(path=path)
    path.unlink()
    assert "page.png" in error_in(image_in_block(block))
    url = error_in(image_in_block(ImageBlock(url="https://example.com/a.png?key=secret")))
    assert "got a URL" in url
    assert "secret" not in url
    empty = error_in(image_in_block(ImageBlock()))
    assert "image block without one" in empty
    assert "node" not in empty  # MediaResource has nothing to do with messages
    assert image_in_block(TextBlock(text="text")) is None


def test_stamps_tell_images_with_the_same_text_apart() -> None:
    white, black = Image.new("RGB", (40, 40), "white"), Image.new("RGB", (40, 40))
    nodes = [ImageNode(image=base64_of(page)) for page in (white, black)]
    assert len({node.get_content(MetadataMode.ALL) for node in nodes}) == 1  # why stamps are needed
    text = TextNode(text="text", metadata={"page": 1})
    assert stamp_images([*nodes, text]) == [*nodes, text]
    assert [node.metadata["image_sha256"] for node in nodes] == [
        hashlib.sha256(png_of(page)).hexdigest() for page in (white, black)
    ]
    assert len({node.get_content(MetadataMode.ALL) for node in nodes}) == 2
    assert text.metadata == {"page": 1}


def test_stamps_are_hidden_from_models_and_embeddings_and_written_once() -> None:
    node = ImageNode(image=base64_of(PAGE), text="page", metadata={"name": "receipt"})
    stamp_images(stamp_images([node]))
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert "sha256" not in node.get_content(mode)
        assert "receipt" in node.get_content(mode)
    assert node.excluded_llm_metadata_keys == ["image_sha256"]
    assert node.excluded_embed_metadata_keys == ["image_sha256"]


def test_no_stamp_for_an_image_that_cannot_be_had() -> None:
    with pytest.raises(SourceError, match="got a URL"):
        stamp_images([ImageNode(image_url="http://127.0.0.1:1/page.png")])


def test_a_crop_node_holds_the_crop_and_survives_every_store() -> None:
    parent = ImageNode(image=base64_of(PAGE), metadata={"file": "secret.png"})
    node = crop_node(parent, crop_of(PAGE), "total", {"box": [1, 2]}, text="total")
    for back in (node, ImageNode.from_json(node.to_json()), stored(node)):
        held = image_in_node(back)
        assert isinstance(held, bytes)
        assert same(open_image(held), middle_of(PAGE))
        assert isinstance(back, ImageNode)
        assert back.image_mimetype == "image/png"
        assert back.text == "total"
        assert back.metadata == {"file": "secret.png", "box": [1, 2]}
        for mode in (MetadataMode.LLM, MetadataMode.EMBED):
            assert "secret" not in back.get_content(mode)
        assert back.parent_node == RelatedNodeInfo(
            node_id=parent.node_id, node_type=ObjectType.IMAGE, hash=parent.hash
        )


def test_a_crop_node_comes_from_its_pages_source() -> None:
    parent = ImageNode(image=base64_of(PAGE))
    crop = crop_of(PAGE)
    alone = crop_node(parent, crop, "total", {})
    assert alone.source_node is not None
    assert alone.source_node.node_id == parent.node_id
    parent.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="the-document")
    assert crop_node(parent, crop, "total", {}).ref_doc_id == "the-document"


def test_the_id_of_a_crop_node_depends_on_page_question_and_place() -> None:
    parent = ImageNode(image=base64_of(PAGE))
    crop = crop_of(PAGE)
    elsewhere = Crop(crop.box, (0, 0, 30, 30), crop.image)

    def name(page: BaseNode, crop: Crop, question: str) -> str:
        return crop_node(page, crop, question, {}).node_id

    assert name(parent, crop, "total") == name(parent, crop, "total")
    others = {
        name(parent, crop, "total"),
        name(parent, crop, "date"),
        name(parent, elsewhere, "total"),
        name(ImageNode(image=base64_of(PAGE)), crop, "total"),
    }
    assert len(others) == 4


def test_metadata_of_a_crop_node_is_hidden_from_models_and_embeddings() -> None:
    parent = ImageNode(image=base64_of(PAGE))
    node = crop_node(parent, crop_of(PAGE), "total", {"box": [1], "pixels": [2]}, text="total")
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert node.get_content(mode).strip() == "total"
    assert [type(block) for block in node.get_content_blocks(MetadataMode.LLM)] == [ImageBlock]
