"""Paths and URLs in LlamaIndex: whose are read, by tool, postprocessor, transform and messages."""

# ruff: noqa: E402
import base64
from pathlib import Path
from typing import Any

import pytest

from tests.programs import require_package

require_package("llama_index.core")
require_package("llama_index.llms.openai")

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import ImageNode, MediaResource, Node, NodeWithScore
from llama_index.llms.openai import OpenAI

from cropvlm_core.errors import CropVLMError, SourceError
from cropvlm_core.fetch import fetcher
from cropvlm_core.prompts import ZOOM_TOOL
from cropvlm_core.sources import MAX_BYTES
from llamaindex_cropvlm import (
    ZoomPostprocessor,
    ZoomToolSpec,
    ZoomTransform,
    azoom_chat_messages,
    stamp_images,
    with_tool_images,
    zoom_chat_messages,
)
from llamaindex_cropvlm.nodes import HASH_KEY
from tests.chat_server import ChatServer
from tests.hostile_server import LocalFetcher
from tests.llamaindex_talk import connected
from tests.model_server import Call, answers, calls, decoded, pictures, zooms
from tests.pages import middle_of, noise, pipeline, png_of, same

# LlamaIndex's workflows read every attribute of an agent, deprecated ones of pydantic, too.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")

URL = "https://example.com/page.png?key=secret"
PAGE = noise()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URLs that were fetched; each leads to PAGE."""
    urls: list[str] = []

    def fetch(url: str, most: int) -> bytes:
        assert most == MAX_BYTES
        urls.append(url)
        return png_of(PAGE)

    monkeypatch.setattr(fetcher, "fetch", fetch)
    return urls


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "page.png").write_bytes(png_of(PAGE))
    (tmp_path / "secret.png").write_bytes(png_of(noise(80, 80)))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    return folder


def answer(spec: ZoomToolSpec, image: object) -> list[Any]:
    """What the tool answers without an agent."""
    (tool,) = spec.to_tool_list()
    blocks: list[Any] = tool.call(question="Total?", image=image).blocks
    return blocks


def sizes(blocks: list[Any]) -> list[tuple[int, int]]:
    return [picture(block).size for block in blocks if isinstance(block, ImageBlock)]


def picture(block: Any) -> Any:
    return decoded(block.image.decode())


def test_what_the_model_is_told_changes_only_where_references_are_on(root: Path) -> None:
    for options, path, url in (
        ({}, False, False),
        ({"roots": [root]}, True, False),
        ({"urls": True}, False, True),
    ):
        (tool,) = ZoomToolSpec(pipeline(), **options).to_tool_list()
        told = tool.metadata.get_parameters_dict()["properties"]["image"]
        kinds = [each["type"] for each in told["anyOf"]]
        assert kinds == (["integer", "string", "null"] if options else ["integer", "null"])
        assert ("path of an image file" in tool.metadata.description) is path
        assert ("URL of an image" in tool.metadata.description) is url
        assert ("path or URL" in told["description"]) is bool(options)
        assert str(root) not in f"{tool.metadata.description} {told}"
        assert (tool.metadata.description == ZOOM_TOOL) is not bool(options)


def test_a_model_may_name_what_is_allowed(root: Path, fetched: list[str]) -> None:
    given = [png_of(noise(80, 80))]
    spec = ZoomToolSpec(pipeline(), images=given, roots=[root], urls=True)
    assert sizes(answer(spec, 1)) == sizes(answer(spec, "1")) == [(40, 40)]
    assert sizes(answer(spec, "page.png")) == [(200, 300), (100, 150)]
    assert sizes(answer(spec, URL)) == [(200, 300), (100, 150)]
    assert fetched == [URL]
    assert "'https://example.com/page.png?...'" in answer(spec, URL)[0].text


@pytest.mark.parametrize(
    "image", ["../secret.png", "{parent}/secret.png", "link.png", "/etc/passwd", URL, "ftp://a/b"]
)
def test_nothing_else_is_read(root: Path, image: str, fetched: list[str]) -> None:
    image = image.format(parent=root.parent)
    for options in ({"roots": [root]}, {}):
        spec = ZoomToolSpec(pipeline(), images=[png_of(PAGE)], **options)  # type: ignore[arg-type]
        with pytest.raises(SourceError, match="expected"):
            answer(spec, image)
    assert fetched == []


async def test_an_agent_names_a_file(root: Path) -> None:
    wanted = Call("zoom", {"question": "the total", "image": "page.png"}, "c1")
    with ChatServer(calls(wanted), answers("12.90")) as server:
        async with connected(server) as options:
            llm = with_tool_images(OpenAI(**options))
            tools: list[Any] = [*ZoomToolSpec(pipeline(), roots=[root]).to_tool_list()]
            agent = FunctionAgent(tools=tools, llm=llm)
            said = await agent.run("Total?", memory=ChatMemoryBuffer.from_defaults(llm=llm))
    assert str(said) == "12.90"
    whole, crop = (shown.picture for shown in pictures(server.requests[1]))
    assert same(whole, PAGE)
    assert same(crop, middle_of(PAGE))


async def test_images_of_the_conversation(root: Path, fetched: list[str]) -> None:
    """Paths that the program put there are read, below the roots where there are some."""

    async def tool_says(block: ImageBlock, **options: Any) -> str:
        with ChatServer(calls(zooms("Total?")), answers("Well.")) as server:
            async with connected(server) as client:
                llm = with_tool_images(OpenAI(**client))
                memory = ChatMemoryBuffer.from_defaults(llm=llm)
                tools: list[Any] = [*ZoomToolSpec(pipeline(), **options).to_tool_list()]
                agent = FunctionAgent(tools=tools, llm=llm)
                message = ChatMessage(role="user", blocks=[TextBlock(text="Total?"), block])
                await agent.run(message, memory=memory)
        (result,) = [m["content"] for m in server.requests[1]["messages"] if m["role"] == "tool"]
        return str(result)

    page, secret = root / "page.png", root.parent / "secret.png"
    assert "Part of image 1" in await tool_says(ImageBlock(path=page))
    assert "Part of image 1" in await tool_says(ImageBlock(path=page), roots=[root])
    refused = await tool_says(ImageBlock(path=secret), roots=[root])
    assert "expected image 1 as an image that opens" in refused
    assert str(root.parent) not in refused
    assert "got a URL" in await tool_says(ImageBlock(url=URL))
    assert fetched == []
    assert "Part of image 1" in await tool_says(ImageBlock(url=URL), urls=True)
    assert fetched == [URL]


def nodes_of(root: Path) -> dict[str, Any]:
    return {
        "below": ImageNode(image_path=str(root / "page.png")),
        "outside": ImageNode(image_path=str(root.parent / "secret.png")),
        "link": Node(image_resource=MediaResource(path=root / "link.png")),
        "URL": ImageNode(image_url=URL),
        "resource": Node(image_resource=MediaResource(url=URL)),  # type: ignore[arg-type]
        "path as URL": ImageNode(image_url=str(root / "page.png")),
    }


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({}, {"below", "outside", "link"}),
        ({"roots": True}, {"below"}),
        ({"roots": [], "urls": True}, {"URL", "resource"}),
        ({"roots": True, "urls": True}, {"below", "URL", "resource"}),
        ({"urls": True}, {"below", "outside", "link", "URL", "resource"}),
    ],
)
def test_which_nodes_are_read(
    root: Path, fetched: list[str], options: dict[str, Any], read: set[str]
) -> None:
    if options.get("roots") is True:
        options = options | {"roots": [root]}
    post = ZoomPostprocessor(pipeline(), on_error="skip", **options)
    transform = ZoomTransform(pipeline(), questions=["Total?"], on_error="skip", **options)
    for name, node in nodes_of(root).items():
        crops = 1 if name in read else 0
        found = post.postprocess_nodes([NodeWithScore(node=node)], query_str="Total?")
        assert len(found) == 1 + crops, name
        assert len(transform([node])) == 1 + crops, name
        try:
            stamp_images([node], **options)
        except CropVLMError:
            assert crops == 0, name
        else:
            assert HASH_KEY in node.metadata
            assert crops == 1, name
    assert len(fetched) == (6 if options.get("urls") else 0)


def test_the_settings_are_stored(root: Path) -> None:
    post = ZoomPostprocessor(roots=[root], urls=True)
    data = post.to_dict()
    assert (data["roots"], data["urls"]) == ([str(root)], True)
    back = ZoomPostprocessor.from_dict(data)
    assert back.allowed == post.allowed
    assert back.allowed.roots == (str(root),)
    assert ZoomPostprocessor.from_dict({"class_name": "ZoomPostprocessor"}).allowed.roots is None


@pytest.mark.parametrize(
    "options",
    [{"roots": "/"}, {"roots": [""]}, {"roots": [1]}, {"urls": 1}, {"urls": "no"}, {"urls": None}],
)
def test_settings_that_would_allow_more_than_meant_are_refused(options: Any) -> None:
    for make in (
        lambda: ZoomToolSpec(**options),
        lambda: ZoomPostprocessor(**options),
        lambda: ZoomTransform(questions=["Total?"], **options),
        lambda: zoom_chat_messages([], **options),
        lambda: stamp_images([], **options),
    ):
        with pytest.raises((TypeError, ValueError), match="expected"):
            make()


async def test_chat_messages(root: Path, fetched: list[str]) -> None:
    def message(block: ImageBlock) -> list[ChatMessage]:
        return [ChatMessage(role=MessageRole.USER, blocks=[TextBlock(text="Total?"), block])]

    page, secret = ImageBlock(path=root / "page.png"), ImageBlock(path=root.parent / "secret.png")
    for block in (page, secret):
        assert len(zoom_chat_messages(message(block), pipeline())[0].blocks) == 4
    found = await azoom_chat_messages(message(page), pipeline(), roots=[root])
    assert len(found[0].blocks) == 4
    with pytest.raises(SourceError, match="under the allowed folders"):
        zoom_chat_messages(message(secret), pipeline(), roots=[root])
    url = message(ImageBlock(url=URL))
    with pytest.raises(SourceError, match="got a URL"):
        zoom_chat_messages(url, pipeline())
    assert fetched == []
    (shown,) = zoom_chat_messages(url, pipeline(), urls=True)
    assert fetched == [URL]
    assert shown.blocks[1] == url[0].blocks[1]
    assert same(picture(shown.blocks[3]), middle_of(PAGE))


def test_what_a_server_does_wrong_is_held_as_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that is refused or late is an error of that image, which "skip" passes over."""

    def late(url: str, most: int) -> bytes:
        return LocalFetcher(None, seconds=0).fetch(url, most)

    monkeypatch.setattr(fetcher, "fetch", late)
    node = NodeWithScore(node=ImageNode(image_url=URL))
    post = ZoomPostprocessor(pipeline(), urls=True, on_error="skip")
    assert len(post.postprocess_nodes([node], query_str="Total?")) == 1
    post.on_error = "raise"
    with pytest.raises(CropVLMError, match="expected an image within 0 s"):
        post.postprocess_nodes([node], query_str="Total?")


def test_base64_goes_on_as_before() -> None:
    node = ImageNode(image=base64.b64encode(png_of(PAGE)).decode())
    post = ZoomPostprocessor(pipeline(), roots=[], urls=False)
    assert len(post.postprocess_nodes([NodeWithScore(node=node)], query_str="Total?")) == 2
