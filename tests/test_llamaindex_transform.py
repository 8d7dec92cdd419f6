"""ZoomTransform: crops at ingestion, and LlamaIndex's cache that cannot tell images apart."""

# ruff: noqa: E402
import logging
import pickle
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.programs import require_package

require_package("llama_index.core")

from llama_index.core.ingestion import DocstoreStrategy, IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    MediaResource,
    MetadataMode,
    TextNode,
    TransformComponent,
)
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from pydantic import ValidationError

from cropvlm_core.box import Box
from cropvlm_core.cropper import FixedCropper
from cropvlm_core.errors import ModelError, SourceError
from cropvlm_core.images import open_image
from cropvlm_core.loading import default_pipeline
from cropvlm_core.zoom import ZoomPipeline
from llamaindex_cropvlm import ZoomTransform, stamp_images
from llamaindex_cropvlm.nodes import image_hash, image_in_node
from tests.pages import (
    MIDDLE,
    CountingCropper,
    FailingCropper,
    base64_of,
    middle_of,
    noise,
    pipeline,
    png_of,
    same,
)

QUESTIONS = {"total": "What is the total?", "date": "What is the date?"}


class PassOn(TransformComponent):
    """Stands for whatever follows in a pipeline."""

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        return nodes


def page_node(page: Image.Image | None = None, **options: Any) -> ImageNode:
    return ImageNode(image=base64_of(page or noise()), **options)


def picture_in(node: BaseNode) -> Image.Image:
    held = image_in_node(node)
    assert isinstance(held, bytes)
    return open_image(held)


def counting(**options: Any) -> tuple[CountingCropper, ZoomTransform]:
    cropper = CountingCropper()
    return cropper, ZoomTransform(ZoomPipeline(cropper), questions=QUESTIONS, **options)


@pytest.fixture(params=["sync", "async"])
def transform(request: pytest.FixtureRequest) -> Any:
    """Run a transform over nodes, in both ways."""

    async def run(component: ZoomTransform, nodes: Sequence[BaseNode]) -> list[BaseNode]:
        return component(nodes) if request.param == "sync" else await component.acall(nodes)

    return run


async def test_each_page_is_followed_by_a_crop_for_each_question(transform: Any) -> None:
    first, second = noise(), noise(300, 200)
    given = [TextNode(text="May"), page_node(first), page_node(second)]
    got = await transform(ZoomTransform(pipeline(), questions=QUESTIONS), given)
    assert [got[index].node_id for index in (0, 1, 4)] == [node.node_id for node in given]
    assert [node.metadata for node in given] == [{}, {}, {}]  # what was handed in stays as it was
    for page, parent, crops in ((first, given[1], got[2:4]), (second, given[2], got[5:7])):
        assert [crop.get_content() for crop in crops] == list(QUESTIONS.values())
        assert [crop.metadata["field"] for crop in crops] == list(QUESTIONS)
        for crop in crops:
            assert same(picture_in(crop), middle_of(page))
            assert crop.parent_node.node_id == parent.node_id
            assert crop.metadata["parent_id"] == parent.node_id
            assert crop.metadata["image_sha256"] == image_hash(png_of(page))
    assert got[1].metadata["image_sha256"] == image_hash(png_of(first))
    assert len(got) == 7
    assert len({node.node_id for node in got}) == 7


async def test_all_questions_about_a_page_are_one_batch(transform: Any) -> None:
    cropper, component = counting()
    await transform(component, [page_node(), TextNode(text="May"), page_node()])
    assert cropper.batches == [list(QUESTIONS.values())] * 2


def test_the_same_page_and_question_are_the_same_node_again() -> None:
    page = page_node()
    component = ZoomTransform(pipeline(), questions=QUESTIONS)
    assert [node.node_id for node in component([page])] == [
        node.node_id for node in component([page])
    ]


def test_metadata_is_flat_and_hidden_from_models_and_embeddings() -> None:
    _, component = counting()
    page, crop, _ = component([page_node(metadata={"file": "receipt.png"})])
    kinds = {key: type(value) for key, value in crop.metadata.items()}
    assert kinds == {
        "field": str,
        "box_left": float,
        "box_top": float,
        "box_right": float,
        "box_bottom": float,
        "confidence": type(None),
        "parent_id": str,
        "image_sha256": str,
        "file": str,
    }
    sides = [crop.metadata[f"box_{side}"] for side in ("left", "top", "right", "bottom")]
    assert Box(*sides) == MIDDLE
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert crop.get_content(mode).strip() == QUESTIONS["total"]
        assert page.get_content(mode).strip() == "file: receipt.png"


def test_a_crop_survives_a_vector_store_that_wants_flat_metadata() -> None:
    page = noise()
    _, crop, _ = ZoomTransform(pipeline(), questions=QUESTIONS)([page_node(page)])
    back = metadata_dict_to_node(node_to_metadata_dict(crop, flat_metadata=True))
    assert same(picture_in(back), middle_of(page))


def test_questions_may_be_one_text_a_list_or_a_mapping() -> None:
    def fields(questions: Any) -> list[Any]:
        component = ZoomTransform(pipeline(), questions=questions, keep_pages=False)
        return [(node.metadata["field"], node.get_content()) for node in component([page_node()])]

    assert fields("total") == [("total", "total")]
    assert fields(["total", "date"]) == [("total", "total"), ("date", "date")]
    assert fields(QUESTIONS) == list(QUESTIONS.items())
    with pytest.raises(ValidationError, match="questions"):
        fields([])
    with pytest.raises(ValueError, match="blank text"):
        fields(["total", " "])


async def test_pages_may_stay_behind(transform: Any) -> None:
    component = ZoomTransform(pipeline(), questions=QUESTIONS, keep_pages=False)
    got = await transform(component, [TextNode(text="May"), page_node()])
    assert [node.get_content() for node in got] == ["May", *QUESTIONS.values()]


async def test_limits_and_whole_pages(transform: Any) -> None:
    unsure = ZoomPipeline(CountingCropper(confidence=0.4))
    component = ZoomTransform(unsure, questions=QUESTIONS, min_confidence=0.5)
    assert len(await transform(component, [page_node()])) == 1
    component = ZoomTransform(unsure, questions=QUESTIONS)
    got = await transform(component, [page_node()])
    assert [node.metadata.get("confidence") for node in got] == [None, 0.4, 0.4]
    component = ZoomTransform(questions=QUESTIONS, cropper="whole")
    assert len(await transform(component, [page_node()])) == 1


async def test_an_image_that_fails_raises(transform: Any) -> None:
    component = ZoomTransform(pipeline(), questions=QUESTIONS)
    with pytest.raises(SourceError, match="got a URL"):
        await transform(component, [ImageNode(image_url="http://127.0.0.1:1/a.png")])
    document = Document(image_resource=MediaResource(data=png_of(noise())))
    lost = Document.from_dict(document.to_dict())
    with pytest.raises(SourceError, match=r"MediaResource\.data"):
        await transform(component, [lost])
    failing = ZoomTransform(ZoomPipeline(FailingCropper()), questions=QUESTIONS)
    with pytest.raises(ModelError, match="no connection"):
        await transform(failing, [page_node()])


async def test_an_image_that_fails_is_passed_over_and_logged(
    transform: Any, caplog: pytest.LogCaptureFixture
) -> None:
    component = ZoomTransform(pipeline(), questions=["total"], on_error="skip")
    url, good = ImageNode(image_url="http://127.0.0.1:1/a.png"), page_node()
    with caplog.at_level(logging.WARNING, "cropvlm_core"):
        got = await transform(component, [url, good])
    assert [node.node_id for node in got[:2]] == [url.node_id, good.node_id]
    assert [node.metadata["parent_id"] for node in got[2:]] == [good.node_id]
    assert "not zoomed into: " in caplog.text
    assert "got a URL" in caplog.text


def test_no_crops_of_crops() -> None:
    cropper = CountingCropper()
    first = ZoomTransform(ZoomPipeline(cropper), questions=["total"])
    second = ZoomTransform(ZoomPipeline(cropper), questions=["date"])
    nodes = second(first([page_node()]))
    assert [node.metadata.get("field") for node in nodes] == [None, "date", "total"]
    assert cropper.batches == [["total"], ["date"]]


def test_a_document_store_knows_its_pages_again() -> None:
    pages = {f"page-{number}": base64_of(noise()) for number in range(2)}
    cropper, component = counting()
    ingestion = IngestionPipeline(
        transformations=[component],
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.DUPLICATES_ONLY,
        disable_cache=True,
    )
    for _ in range(3):
        fresh = [ImageNode(id_=name, image=image, text=name) for name, image in pages.items()]
        ingestion.run(nodes=fresh)
    assert len(cropper.batches) == 2


async def test_awaited_it_leaves_the_event_loop_alone() -> None:
    threads = []

    class Noting(FixedCropper):
        def propose_batch(self, questions: Any) -> Any:
            threads.append(threading.current_thread())
            return super().propose_batch(questions)

    component = ZoomTransform(ZoomPipeline(Noting(MIDDLE)), questions=["total"])
    await component.acall([page_node()])
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


# LlamaIndex's ingestion cache: its key is text, metadata and the transform's fields.


def white_and_black() -> tuple[ImageNode, ImageNode]:
    """Two images that are one to the cache."""
    return page_node(Image.new("RGB", (60, 60), "white")), page_node(Image.new("RGB", (60, 60)))


@pytest.mark.parametrize("options", [{}, {"keep_pages": False}])
def test_two_images_with_the_same_empty_text_are_never_mixed_up(options: dict[str, Any]) -> None:
    ingestion = IngestionPipeline(
        transformations=[ZoomTransform(pipeline(), questions=QUESTIONS, **options), PassOn()]
    )
    for page, colour in zip(white_and_black(), (255, 0), strict=True):
        assert page.get_content(MetadataMode.ALL) == ""
        got = ingestion.run(nodes=[page])
        assert len(got) == (2 if options else 3)
        for node in got:
            assert picture_in(node).getpixel((5, 5)) == (colour,) * 3


async def test_nor_are_they_when_awaited() -> None:
    cropper, component = counting()
    ingestion = IngestionPipeline(transformations=[component, PassOn()])
    for page, colour in zip(white_and_black(), (255, 0), strict=True):
        for node in await ingestion.arun(nodes=[page]):
            assert picture_in(node).getpixel((5, 5)) == (colour,) * 3
    assert len(cropper.batches) == 2


def test_by_default_the_cache_is_never_used() -> None:
    cropper, component = counting()
    ingestion = IngestionPipeline(transformations=[component])
    page = stamp_images([page_node()])[0]
    ingestion.run(nodes=[page])
    ingestion.run(nodes=[page])
    assert len(cropper.batches) == 2


def test_cacheable_and_stamped_it_hits_the_cache(tmp_path: Path) -> None:
    cropper, component = counting(cacheable=True)
    ingestion = IngestionPipeline(transformations=[component, PassOn()])
    white, black = white_and_black()
    stamp_images([white, black])
    for _ in range(2):
        for page, colour in ((white, 255), (black, 0)):
            got = ingestion.run(nodes=[page])
            assert len(got) == 3
            for node in got:
                assert picture_in(node).getpixel((5, 5)) == (colour,) * 3
    assert len(cropper.batches) == 2
    ingestion.cache.persist(str(tmp_path / "cache.json"))
    cache = IngestionCache.from_persist_path(str(tmp_path / "cache.json"))
    again = IngestionPipeline(transformations=[component], cache=cache)
    got = again.run(nodes=stamp_images([page_node(Image.new("RGB", (60, 60)))]))
    assert len(cropper.batches) == 2
    assert [picture_in(node).getpixel((5, 5)) for node in got] == [(0, 0, 0)] * 3


def test_cacheable_refuses_what_the_cache_would_mix_up_or_lose(tmp_path: Path) -> None:
    cropper, component = counting(cacheable=True, on_error="skip")
    ingestion = IngestionPipeline(transformations=[component])
    with pytest.raises(SourceError, match="call stamp_images"):
        ingestion.run(nodes=[page_node()])
    changed = page_node()
    stamp_images([changed])
    changed.image = base64_of(noise())
    with pytest.raises(SourceError, match="call stamp_images"):
        ingestion.run(nodes=[changed])
    document = Document(image_resource=MediaResource(data=png_of(noise())))
    with pytest.raises(SourceError, match="would lose"):
        ingestion.run(nodes=stamp_images([document]))
    assert cropper.batches == []
    path = tmp_path / "page.png"
    path.write_bytes(png_of(noise()))
    on_disk = Document(image_resource=MediaResource(path=path))
    assert len(ingestion.run(nodes=stamp_images([on_disk, TextNode(text="May")]))) == 4


@pytest.mark.parametrize(
    "other",
    [
        lambda: ZoomTransform(
            ZoomPipeline(FixedCropper(Box(0, 0, 0.5, 0.5))), questions=QUESTIONS, cacheable=True
        ),
        lambda: ZoomTransform(pipeline(), questions={"total": "The total?"}, cacheable=True),
        lambda: ZoomTransform(pipeline(), questions=QUESTIONS, cacheable=True, max_crops=2),
        lambda: ZoomTransform(pipeline(), questions=QUESTIONS, cacheable=True, min_confidence=0.5),
        lambda: ZoomTransform(pipeline(), questions=QUESTIONS, cacheable=True, keep_pages=False),
        lambda: ZoomTransform(questions=QUESTIONS, cacheable=True),
    ],
    ids=["box", "questions", "max_crops", "min_confidence", "keep_pages", "cropper"],
)
def test_what_changes_the_crops_changes_the_caches_key(other: Callable[[], ZoomTransform]) -> None:
    nodes = stamp_images([page_node()])
    one, twin = (ZoomTransform(pipeline(), questions=QUESTIONS, cacheable=True) for _ in range(2))
    assert get_transformation_hash(nodes, one) == get_transformation_hash(nodes, twin)
    assert get_transformation_hash(nodes, one) != get_transformation_hash(nodes, other())


def test_the_version_of_the_cropper_is_stored() -> None:
    component = ZoomTransform(questions=["total"])
    assert component.to_dict()["cropper_version"] == default_pipeline().cropper.version
    assert component.to_dict()["cropper"] is None
    assert component.to_dict() != component.to_dict()  # so the cache never finds it
    assert ZoomTransform.class_name() == "ZoomTransform"
    assert issubclass(ZoomTransform, TransformComponent)


def test_goes_into_a_dictionary_or_a_pickle_and_back() -> None:
    options: dict[str, Any] = {
        "questions": QUESTIONS,
        "keep_pages": False,
        "cacheable": True,
        "max_crops": 2,
        "min_confidence": 0.1,
        "on_error": "skip",
    }
    named = ZoomTransform(cropper="centre", **options)
    custom = ZoomTransform(pipeline(), **options)
    page = noise()
    for back, original in (
        (ZoomTransform.from_dict(named.to_dict()), named),
        (ZoomTransform.from_json(named.to_json()), named),
        (ZoomTransform.from_dict(custom.to_dict(), pipeline=pipeline()), custom),
        (pickle.loads(pickle.dumps(custom)), custom),
    ):
        assert back.to_dict() == original.to_dict()
        crops = back(stamp_images([page_node(page)]))
        assert len(crops) == 2
        assert all(same(picture_in(crop), middle_of(page)) for crop in crops)


def test_never_cached_it_comes_back_from_a_dictionary_too() -> None:
    component = ZoomTransform(cropper="centre", questions=QUESTIONS)
    back = ZoomTransform.from_dict(component.to_dict())
    assert back.cacheable is False
    assert back.to_dict()["never_cached"] != component.to_dict()["never_cached"]
