"""ZoomPostprocessor: nodes in, nodes with crops out; and the warnings about what comes after it."""

# ruff: noqa: E402
import base64
import logging
import pickle
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.programs import require_package

require_package("llama_index.core")
require_package("llama_index.llms.openai")

from llama_index.core import Settings, get_response_synthesizer
from llama_index.core.llms import LLMMetadata
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import (
    ImageNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.llms.openai import OpenAI
from pydantic import ValidationError

from cropvlm_core import sources
from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, FixedCropper, Proposal
from cropvlm_core.errors import ImageError, ModelError, SourceError, SpecError
from cropvlm_core.images import open_image
from cropvlm_core.loading import default_pipeline
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.zoom import ZoomPipeline
from llamaindex_cropvlm import ZoomPostprocessor
from llamaindex_cropvlm.nodes import image_in_node
from tests.chat_server import ChatServer
from tests.llamaindex_talk import connected
from tests.model_server import answers, pictures
from tests.pages import (
    MIDDLE,
    CountingCropper,
    FailingCropper,
    base64_of,
    jpeg_lying_down,
    middle_of,
    noise,
    pipeline,
    same,
)

TOTAL = "What is the total?"


class TwoBoxes(Cropper):
    """Sure of the left half of a page, less sure of the right one; remembers its thread."""

    name = "two"
    thread: threading.Thread | None = None

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        self.thread = threading.current_thread()
        boxes = (Box(0, 0, 0.5, 1), Box(0.5, 0, 1, 1))
        return [Proposal(boxes, (0.9, 0.4)) for _ in questions]


def page_node(page: Any = None, score: float | None = 0.5, **options: Any) -> NodeWithScore:
    node = ImageNode(image=base64_of(noise() if page is None else page), **options)
    return NodeWithScore(node=node, score=score)


def text_node(text: str = "Receipts of May", score: float | None = 0.9) -> NodeWithScore:
    return NodeWithScore(node=TextNode(text=text), score=score)


def picture_in(scored: NodeWithScore) -> Any:
    held = image_in_node(scored.node)
    assert isinstance(held, bytes)
    return open_image(held)


@pytest.fixture(params=["sync", "async"])
def zoom(request: pytest.FixtureRequest) -> Any:
    """Run a postprocessor over nodes for a question, in both ways."""

    async def run(
        postprocessor: ZoomPostprocessor, nodes: list[NodeWithScore], question: str | None = TOTAL
    ) -> list[NodeWithScore]:
        query = None if question is None else QueryBundle(question)
        if request.param == "sync":
            return postprocessor.postprocess_nodes(nodes, query)
        return await postprocessor.apostprocess_nodes(nodes, query)

    return run


async def test_each_image_is_followed_by_its_crop(zoom: Any) -> None:
    first, second = noise(), noise(300, 200)
    given = [text_node(), page_node(first, 0.7), text_node("June"), page_node(second, None)]
    got = await zoom(ZoomPostprocessor(pipeline()), given)
    kept, crops = [got[0], got[1], got[3], got[4]], [got[2], got[5]]
    assert [one is other for one, other in zip(kept, given, strict=True)] == [True] * 4
    assert [crop.score for crop in crops] == [0.7, None]
    for crop, page, parent in zip(crops, (first, second), (given[1], given[3]), strict=True):
        assert same(picture_in(crop), middle_of(page))
        assert crop.node.parent_node is not None
        assert crop.node.parent_node.node_id == parent.node.node_id
        assert crop.node.metadata == {
            "box": {"left": 0.25, "top": 0.25, "right": 0.75, "bottom": 0.75},
            "pixels": list(MIDDLE.to_pixels(page.size)),
            "confidence": None,
            "parent_id": parent.node.node_id,
        }
    assert len(given) == 4


async def test_nothing_of_a_crop_leaks_into_prompts_and_embeddings(zoom: Any) -> None:
    parent = page_node(metadata={"file": "receipt.png"})
    before = parent.node.to_dict()
    _, crop = await zoom(ZoomPostprocessor(pipeline()), [parent])
    assert crop.node.get_content(MetadataMode.LLM) == ""
    assert crop.node.get_content(MetadataMode.EMBED) == ""
    assert "parent_id" in crop.node.get_content(MetadataMode.ALL)
    assert [block.block_type for block in crop.node.get_content_blocks(MetadataMode.LLM)] == [
        "image"
    ]
    assert parent.node.to_dict() == before


@pytest.mark.parametrize("question", [None, "", "  \n"])
async def test_without_a_question_everything_passes_through(zoom: Any, question: Any) -> None:
    cropper = CountingCropper()
    given = [text_node(), page_node()]
    assert await zoom(ZoomPostprocessor(ZoomPipeline(cropper)), given, question) == given
    assert cropper.batches == []


async def test_text_nodes_alone_never_load_a_cropper(zoom: Any) -> None:
    given = [text_node(), text_node("June")]
    assert await zoom(ZoomPostprocessor(cropper="no such cropper"), given) == given
    assert await zoom(ZoomPostprocessor(cropper="no such cropper"), []) == []


async def test_all_images_of_a_call_are_one_batch(zoom: Any) -> None:
    cropper = CountingCropper()
    given = [page_node(), text_node(), page_node(), page_node()]
    got = await zoom(ZoomPostprocessor(ZoomPipeline(cropper)), given)
    assert cropper.batches == [[TOTAL] * 3]
    assert len(got) == 7


async def test_top_n_images(zoom: Any) -> None:
    cropper = CountingCropper()
    given = [text_node(), page_node(), page_node(), page_node()]
    got = await zoom(ZoomPostprocessor(ZoomPipeline(cropper), top_n=2), given)
    assert cropper.batches == [[TOTAL] * 2]
    parents = [scored.node.metadata.get("parent_id") for scored in got]
    ids = [scored.node.node_id for scored in given]
    assert parents == [None, None, ids[1], None, ids[2], None]


async def test_unsure_crops_are_left_out(zoom: Any) -> None:
    sure, unsure = (ZoomPipeline(CountingCropper(confidence=value)) for value in (0.6, 0.4))
    assert len(await zoom(ZoomPostprocessor(sure, min_confidence=0.5), [page_node()])) == 2
    assert len(await zoom(ZoomPostprocessor(unsure, min_confidence=0.5), [page_node()])) == 1
    assert len(await zoom(ZoomPostprocessor(unsure), [page_node()])) == 2


async def test_the_pipelines_limits_count_until_fields_override_them(zoom: Any) -> None:
    strict = ZoomPipeline(TwoBoxes(), max_crops=2, min_confidence=0.5)
    (_, crop) = await zoom(ZoomPostprocessor(strict), [page_node()])
    assert crop.node.metadata["confidence"] == 0.9
    got = await zoom(ZoomPostprocessor(strict, min_confidence=None), [page_node()])
    assert [scored.node.metadata.get("confidence") for scored in got] == [None, 0.9, 0.4]
    got = await zoom(ZoomPostprocessor(strict, max_crops=1, min_confidence=0.1), [page_node()])
    assert len(got) == 2
    assert (strict.max_crops, strict.min_confidence) == (2, 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"top_n": 0},
        {"max_crops": 0},
        {"min_confidence": 1.5},
        {"min_confidence": -0.1},
        {"on_error": "ignore"},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ZoomPostprocessor(pipeline(), **wrong)


async def test_where_the_whole_page_is_right_there_is_no_crop(zoom: Any) -> None:
    given = [page_node()]
    assert await zoom(ZoomPostprocessor(cropper="whole"), given) == given


async def test_a_page_lying_on_its_side_is_turned_first(zoom: Any) -> None:
    data = jpeg_lying_down(noise())
    given = NodeWithScore(node=Node(image_resource=MediaResource(data=data)), score=1.0)
    left = ZoomPipeline(FixedCropper(Box(0, 0, 0.25, 1)))
    _, crop = await zoom(ZoomPostprocessor(left), [given])
    assert crop.node.metadata["pixels"] == [0, 0, 50, 300]
    assert same(picture_in(crop), open_image(data).crop((0, 0, 50, 300)))


async def test_an_image_that_fails_raises(zoom: Any) -> None:
    postprocessor = ZoomPostprocessor(pipeline())
    url = NodeWithScore(node=ImageNode(image_url="http://127.0.0.1:1/a.png"))
    with pytest.raises(SourceError, match="got a URL"):
        await zoom(postprocessor, [page_node(), url])
    junk = NodeWithScore(node=Node(image_resource=MediaResource(data=b"no picture")))
    with pytest.raises(ImageError):
        await zoom(postprocessor, [junk])
    with pytest.raises(ModelError, match="no connection"):
        await zoom(ZoomPostprocessor(ZoomPipeline(FailingCropper())), [page_node()])


async def test_an_image_that_fails_is_passed_over_and_logged(
    zoom: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url = NodeWithScore(node=ImageNode(image_url="http://127.0.0.1:1/a.png"))
    junk = NodeWithScore(node=Node(image_resource=MediaResource(data=b"no picture")))
    lost = NodeWithScore(node=ImageNode(text="nothing"))
    good = page_node()
    given = [url, good, junk, lost]
    with caplog.at_level(logging.WARNING, "cropvlm_core"):
        got = await zoom(ZoomPostprocessor(pipeline(), on_error="skip"), given)
    assert [scored.node.metadata.get("parent_id") for scored in got] == [
        None,
        None,
        good.node.node_id,
        None,
        None,
    ]
    assert [scored for scored in got if "box" not in scored.node.metadata] == given
    reasons = [record.getMessage() for record in caplog.records]
    assert len(reasons) == 3
    for reason, expected in zip(reasons, ("a URL", "an image, got", "got none"), strict=True):
        assert reason.startswith("not zoomed into: ")
        assert expected.removeprefix("an image, ") in reason


async def test_a_cropper_that_fails_can_be_passed_over(
    zoom: Any, caplog: pytest.LogCaptureFixture
) -> None:
    given = [page_node(), page_node()]
    failing = ZoomPostprocessor(ZoomPipeline(FailingCropper()), on_error="skip")
    with caplog.at_level(logging.WARNING, "cropvlm_core"):
        assert await zoom(failing, given) == given
    assert "no connection" in caplog.text


async def test_awaited_it_leaves_the_event_loop_alone() -> None:
    cropper = TwoBoxes()
    postprocessor = ZoomPostprocessor(ZoomPipeline(cropper))
    await postprocessor.apostprocess_nodes([page_node()], QueryBundle(TOTAL))
    assert cropper.thread is not None
    assert cropper.thread is not threading.current_thread()


def test_what_it_is_and_what_it_follows() -> None:
    assert issubclass(ZoomPostprocessor, BaseNodePostprocessor)
    assert ZoomPostprocessor.class_name() == "ZoomPostprocessor"
    postprocessor = ZoomPostprocessor()
    assert postprocessor.cropper is None
    assert postprocessor.pipeline.cropper is default_pipeline().cropper
    assert ZoomPostprocessor(pipeline()).cropper == "fixed"


def test_a_named_cropper_goes_into_a_dictionary_and_back() -> None:
    settings: dict[str, Any] = {
        "max_crops": 2,
        "min_confidence": 0.25,
        "on_error": "skip",
        "top_n": 3,
        "roots": ["/pages"],
        "urls": True,
    }
    postprocessor = ZoomPostprocessor(cropper="centre", **settings)
    data = postprocessor.to_dict()
    assert data == {"class_name": "ZoomPostprocessor", "cropper": "centre"} | settings
    for back in (
        ZoomPostprocessor.from_dict(data),
        ZoomPostprocessor.from_json(postprocessor.to_json()),
        pickle.loads(pickle.dumps(postprocessor)),
    ):
        assert back.to_dict() == postprocessor.to_dict()
        assert back.pipeline.max_crops == 2
        assert back.pipeline.min_confidence == 0.25
        page = noise()
        _, crop = back.postprocess_nodes([page_node(page)], query_str=TOTAL)
        assert same(picture_in(crop), middle_of(page))


def test_another_cropper_is_handed_over_again() -> None:
    postprocessor = ZoomPostprocessor(pipeline(), top_n=1, max_crops=3)
    data = postprocessor.to_dict()
    with pytest.raises(SpecError, match="'fixed'"):
        ZoomPostprocessor.from_dict(data).postprocess_nodes([page_node()], query_str=TOTAL)
    data = postprocessor.to_dict()
    back = ZoomPostprocessor.from_dict(data, pipeline=pipeline())
    assert back.to_dict() == postprocessor.to_dict()
    assert back.pipeline.max_crops == 3
    assert len(back.postprocess_nodes([page_node(), page_node()], query_str=TOTAL)) == 3


def test_pickles_with_its_cropper() -> None:
    postprocessor = ZoomPostprocessor(pipeline(), top_n=1)
    back = pickle.loads(pickle.dumps(postprocessor))
    assert back.to_dict() == postprocessor.to_dict()
    page = noise()
    _, crop = back.postprocess_nodes([page_node(page)], query_str=TOTAL)
    assert same(picture_in(crop), middle_of(page))


def test_a_cropper_that_cannot_be_pickled_comes_back_by_its_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cropper = FixedCropper(Box(0, 0, 0.5, 0.5), name="centre")
    cropper.lock = threading.Lock()  # type: ignore[attr-defined]
    back = pickle.loads(pickle.dumps(ZoomPostprocessor(ZoomPipeline(cropper))))
    assert "unpickleable" in caplog.text  # LlamaIndex's own words
    page = noise()
    _, crop = back.postprocess_nodes([page_node(page)], query_str=TOTAL)
    assert same(picture_in(crop), middle_of(page))


# What comes after it: the warnings are about what really crosses the socket.


class WindowedOpenAI(OpenAI):
    """The client, with the context window that a user stated."""

    window: int = 100_000

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    @property
    def metadata(self) -> LLMMetadata:
        return super().metadata.model_copy(update={"context_window": self.window})


@contextmanager
def warnings_of_cropvlm() -> Iterator[list[str]]:
    """Collect what is warned of: LlamaIndex swallows the error that a test run makes of it."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield found
    found += [str(one.message) for one in caught if one.category is UserWarning]


async def synthesized(
    nodes: list[NodeWithScore], mode: str, *, asynchronously: bool = False, **options: Any
) -> tuple[list[int], list[str]]:
    """How many pictures each request held, and the warnings."""
    multimodal = options.pop("multimodal", True)
    nodes = ZoomPostprocessor(pipeline()).postprocess_nodes(nodes, query_str=TOTAL)
    with ChatServer(answers("12.90")) as server:
        async with connected(server) as reached:
            llm = WindowedOpenAI(**reached, **options)
            synthesizer = get_response_synthesizer(
                llm=llm, response_mode=ResponseMode(mode), multimodal=multimodal
            )
            with warnings_of_cropvlm() as found:
                if asynchronously:
                    await synthesizer.asynthesize(TOTAL, nodes)
                else:
                    synthesizer.synthesize(TOTAL, nodes)
    return [len(pictures(body)) for body in server.requests], found


@pytest.mark.parametrize("asynchronously", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    "mode", ["compact", "simple_summarize", "tree_summarize", "compact_accumulate"]
)
async def test_no_warning_where_page_and_crop_go_in_one_call(
    mode: str, asynchronously: bool
) -> None:
    shown, found = await synthesized([page_node()], mode, asynchronously=asynchronously)
    assert shown == [2]
    assert found == []


@pytest.mark.parametrize("asynchronously", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("mode", "expected_shown", "expected"),
    [
        ("refine", [1, 1], "Refine sends one image a call"),
        ("accumulate", [1, 1], "Accumulate sends one image a call"),
        ("generation", [0], "Generation sends no nodes"),
    ],
)
async def test_a_warning_where_the_response_mode_cannot_do_it(
    mode: str, expected_shown: list[int], expected: str, asynchronously: bool
) -> None:
    shown, found = await synthesized([page_node()], mode, asynchronously=asynchronously)
    assert shown == expected_shown
    assert len(found) == 1
    assert f"together: {expected}; " in found[0]
    assert 'response_mode="compact"' in found[0]


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "generation"])
async def test_a_warning_where_multimodal_was_forgotten(mode: str) -> None:
    shown, found = await synthesized([page_node(), text_node()], mode, multimodal=False)
    assert not any(shown)
    assert len(found) == 1
    assert "multimodal=True" in found[0]


@pytest.mark.parametrize("multimodal", [False, True])
@pytest.mark.parametrize("mode", ["no_text", "context_only"])
async def test_no_warning_where_no_model_is_asked(
    mode: str, multimodal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = OpenAI(model="gpt-4.1-nano", api_base="http://127.0.0.1:1/v1", api_key="x")
    monkeypatch.setattr(Settings, "_llm", llm)  # these two take no other
    shown, found = await synthesized([page_node()], mode, multimodal=multimodal)
    assert shown == []
    assert found == []


@pytest.mark.parametrize("mode", ["refine", "accumulate", "generation"])
async def test_no_warning_without_crops(mode: str) -> None:
    await synthesized([page_node()], "compact")  # so that it watches
    for nodes in ([text_node()], [page_node(noise(20, 20))]):  # too small to have a part
        _, found = await synthesized(nodes, mode)
        assert found == []


@pytest.mark.parametrize("mode", ["compact", "simple_summarize", "tree_summarize"])
async def test_a_warning_where_the_context_window_is_too_small(mode: str) -> None:
    shown, found = await synthesized([page_node()], mode, window=3900)
    assert max(shown) == 1
    assert len(found) == 1
    assert "context window of 3900" in found[0]
    shown, found = await synthesized([page_node()], mode, window=8192)
    assert (shown, found) == ([2], [])


@pytest.mark.parametrize("mode", ["compact", "simple_summarize", "tree_summarize"])
@pytest.mark.parametrize(
    ("words", "options"),
    [(0, {}), (3000, {}), (0, {"max_tokens": 2000})],
    ids=["pages", "long text", "long output"],
)
async def test_page_and_crop_never_go_apart_without_a_warning(
    mode: str, words: int, options: dict[str, Any]
) -> None:
    text = [text_node("word " * words)] if words else []
    apart = 0
    for window in (4700, 5100, 6000, 7000):
        shown, found = await synthesized([*text, page_node()], mode, window=window, **options)
        assert max(shown, default=0) == 2 or found
        apart += max(shown, default=0) < 2
    assert apart or (mode != "compact" and not words and not options)
    large = await synthesized([*text, page_node()], mode, window=12_000, **options)
    assert large == ([2], [])


def test_images_beyond_top_n_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        path.write_bytes(base64.b64decode(base64_of(noise())))
    read: list[Path] = []

    def reading(path: Path, **options: Any) -> bytes:
        assert options == {"roots": None, "urls": False}
        read.append(path)
        return path.read_bytes()

    monkeypatch.setattr(sources, "read_reference", reading)
    nodes = [NodeWithScore(node=ImageNode(image_path=str(path))) for path in paths]
    assert (
        len(ZoomPostprocessor(pipeline(), top_n=1).postprocess_nodes(nodes, query_str=TOTAL)) == 4
    )
    assert read == paths[:1]
