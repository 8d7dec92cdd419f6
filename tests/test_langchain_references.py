"""Paths and URLs in LangChain: who may have them read, by the tool, middleware and Runnable."""

# ruff: noqa: E402
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.programs import require_package

require_package("langchain")

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from cropvlm_core.cropper import FixedCropper
from cropvlm_core.errors import SourceError
from cropvlm_core.fetch import fetcher
from cropvlm_core.prompts import ZOOM_TOOL
from cropvlm_core.sources import MAX_BYTES
from cropvlm_core.zoom import ZoomPipeline
from langchain_cropvlm import ZoomMiddleware, ZoomTool, zoom_messages
from langchain_cropvlm.blocks import blocks_of, image_block, text_block
from tests.hostile_server import HostileServer, LocalFetcher, answers
from tests.model_server import decoded
from tests.pages import MIDDLE, CountingCropper, middle_of, noise, pipeline, png_of, same

URL = "https://example.com/page.png?key=secret"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URLs that were fetched; each of them leads to the bytes of the server in `page`."""
    urls: list[str] = []
    page = png_of(noise())

    def fetch(url: str, most: int) -> bytes:
        assert most == MAX_BYTES
        urls.append(url)
        return page

    monkeypatch.setattr(fetcher, "fetch", fetch)
    return urls


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "page.png").write_bytes(png_of(noise()))
    (tmp_path / "secret.png").write_bytes(png_of(noise(80, 80)))
    return folder


def called(tool: ZoomTool, image: object, *talk: Any) -> ToolMessage:
    """What the tool answers a model's call, through a graph."""
    call = {"name": "zoom", "args": {"question": "Total?", "image": image}, "id": "1"}
    built = StateGraph(MessagesState)
    built.add_node("tools", ToolNode([tool]))
    built.add_edge(START, "tools")
    messages = [*talk, AIMessage("", tool_calls=[call])]
    answer = built.compile().invoke({"messages": messages})["messages"][-1]
    assert isinstance(answer, ToolMessage)
    return answer


def sizes(message: ToolMessage) -> list[tuple[int, int]]:
    blocks = [block for block in blocks_of(message) if isinstance(block, dict)]
    return [decoded(block["base64"]).size for block in blocks if "base64" in block]


def test_what_the_model_is_told_changes_only_where_references_are_on(tmp_path: Path) -> None:
    def image_of(tool: ZoomTool) -> dict[str, Any]:
        schema = tool.tool_call_schema.model_json_schema()  # type: ignore[union-attr]
        assert set(schema["properties"]) == {"question", "image"}
        assert schema["required"] == ["question"]
        image: dict[str, Any] = schema["properties"]["image"]
        return image

    off = ZoomTool()
    assert off.description == ZOOM_TOOL
    assert [each["type"] for each in image_of(off)["anyOf"]] == ["integer", "null"]
    for options, path, url in (
        ({"roots": [tmp_path]}, True, False),
        ({"urls": True}, False, True),
        ({"roots": [str(tmp_path)], "urls": True}, True, True),
    ):
        tool = ZoomTool(**options)
        image = image_of(tool)
        assert [each["type"] for each in image["anyOf"]] == ["integer", "string", "null"]
        assert ("path of an image file" in tool.description) is path
        assert ("URL of an image" in tool.description) is url
        assert "path or URL" in image["description"]
        assert pickle.loads(pickle.dumps(tool)).args_schema is tool.args_schema
        assert str(tmp_path) not in f"{tool!r} {tool.model_dump()} {image} {tool.description}"
    assert ZoomTool(urls=True, description="Mine").description == "Mine"
    assert ZoomTool(roots=[]).description == ZOOM_TOOL


def test_a_model_may_name_files_below_the_roots(root: Path) -> None:
    tool = ZoomTool(pipeline=pipeline(), roots=[root])
    for path in ("page.png", str(root / "page.png")):
        message = called(tool, path)
        assert message.status == "success"
        assert sizes(message) == [(200, 300), (100, 150)]  # the model has not seen the page
        assert "page.png'" in message.artifact["image"]
    assert "Part of 'page.png' at full resolution" in called(tool, "page.png").text


@pytest.mark.parametrize(
    "image",
    ["../secret.png", "{parent}/secret.png", "nowhere.png", "/etc/passwd", ".", "link.png", URL],
)
def test_no_other_file_is_read(root: Path, image: str, fetched: list[str]) -> None:
    (root / "link.png").symlink_to(root.parent / "secret.png")
    image = image.format(parent=root.parent)
    message = called(ZoomTool(pipeline=pipeline(), roots=[root]), image)
    assert message.status == "error"
    assert "zoom failed: expected" in message.text
    assert sizes(message) == []
    if not image.startswith("/"):
        assert str(root.parent) not in message.text
    assert fetched == []


def test_a_model_may_name_urls_where_that_is_on(fetched: list[str], root: Path) -> None:
    tool = ZoomTool(pipeline=pipeline(), urls=True)
    message = called(tool, URL)
    assert sizes(message) == [(200, 300), (100, 150)]
    assert fetched == [URL]
    assert "secret" not in f"{message.text} {message.artifact}"
    refused = called(tool, str(root / "page.png"))
    assert refused.status == "error"
    assert "under the allowed folders" in refused.text


def test_numbers_still_mean_the_conversation(root: Path, fetched: list[str]) -> None:
    (root / "1").write_bytes(b"no image")
    tool = ZoomTool(pipeline=pipeline(), roots=[root], urls=True)
    page = noise(80, 80)
    talk = HumanMessage([image_block(png_of(page), "image/png"), {"type": "image", "url": URL}])
    for number in (1, "1", " 1 "):
        assert sizes(called(tool, number, talk)) == [(40, 40)]
    assert sizes(called(tool, 2, talk)) == [(100, 150)]
    assert fetched == [URL]
    for nothing in (None, "", " "):
        assert "1 to 2" in called(tool, nothing, talk).text
    assert "no image has been given" in called(tool, None).text


def test_a_model_may_pass_data_where_references_are_on() -> None:
    block = image_block(png_of(noise()), "image/png")
    uri = f"data:image/png;base64,{block['base64']}"
    message = called(ZoomTool(pipeline=pipeline(), urls=True), uri)
    assert sizes(message) == [(200, 300), (100, 150)]
    assert message.artifact["image"] == "the given image"
    assert uri[:40] not in message.text
    assert called(ZoomTool(pipeline=pipeline()), uri).status == "error"


def test_images_given_by_the_program_are_not_held_to_the_roots(
    root: Path, fetched: list[str]
) -> None:
    images = [root.parent / "secret.png", URL]
    tool = ZoomTool(pipeline=pipeline(), images=images, roots=[root], urls=True)
    assert sizes(called(tool, 1)) == [(40, 40)]
    assert sizes(called(tool, 2)) == [(100, 150)]
    assert sizes(called(tool, "page.png")) == [(200, 300), (100, 150)]
    assert fetched == [URL]
    refused = called(ZoomTool(pipeline=pipeline(), images=[URL]), 1)  # URLs are off
    assert refused.status == "error"
    assert "example.com" not in refused.text


def test_a_slow_or_bad_server_comes_back_as_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = ZoomTool(pipeline=pipeline(), urls=True)
    acts = {"/text": answers(b"Not a picture."), "/gone": answers(b"", 404)}
    with HostileServer(acts) as server:
        monkeypatch.setattr(fetcher, "fetch", LocalFetcher(server, seconds=0.3).fetch)
        for path, words in (("text", "text"), ("gone", "HTTP 200, got 404")):
            message = called(tool, f"http://example.com/{path}")
            assert message.status == "error"
            assert words in message.text
            assert f"'http://example.com/{path}'" in message.text
        message = called(tool, "http://127.0.0.1/latest")
        assert "public internet" in message.text
    assert len(server.heads) == 2


def asked(url: str, text: str = "Total?") -> HumanMessage:
    block = {"type": "image_url", "image_url": {"url": url}}
    return HumanMessage([text_block(text), block])


def test_messages_with_urls_get_crops_where_that_is_on(fetched: list[str]) -> None:
    with pytest.raises(SourceError, match="got a URL"):
        zoom_messages(pipeline()).invoke([asked(URL)])
    assert fetched == []
    cropper = CountingCropper(MIDDLE)
    zoom = zoom_messages(ZoomPipeline(cropper), urls=True)
    talk = [asked(URL), AIMessage("12.90"), asked(URL, "Date?"), AIMessage("May")]
    (first, _, second, _) = zoom.invoke(talk)
    for message, given in ((first, talk[0]), (second, talk[2])):
        kinds = [block["type"] for block in message.content]  # type: ignore[index]
        assert kinds == ["text", "image_url", "text", "image"]
        assert message.content[1] == given.content[1]
    assert fetched == [URL]  # asked about twice in a row
    zoom.invoke([*talk, HumanMessage("Thanks.")])
    assert fetched == [URL]
    assert cropper.batches == [["Total?", "Date?"]]


def test_a_url_is_fetched_again_after_a_while(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cropvlm_core import turns

    zoom = zoom_messages(pipeline(), urls=True)
    now = 1000.0
    monkeypatch.setattr("cropvlm_core.turns.time.monotonic", lambda: now)
    zoom.invoke([asked(URL)])
    zoom.invoke([asked(URL)])
    assert len(fetched) == 1
    now += turns.READ_AGAIN_AFTER
    zoom.invoke([asked(URL)])
    assert len(fetched) == 2


def test_messages_with_paths_get_crops_below_the_roots(root: Path) -> None:
    zoom = zoom_messages(pipeline(), roots=[root])
    (message,) = zoom.invoke([asked("page.png")])
    assert len(message.content) == 4
    for path in (str(root.parent / "secret.png"), "../secret.png", URL, "file:///etc/passwd"):
        with pytest.raises(SourceError, match="expected"):
            zoom.invoke([asked(path)])


def test_images_of_earlier_turns_that_cannot_be_read_are_passed_over(root: Path) -> None:
    zoom = zoom_messages(pipeline(), roots=[root])
    talk = [asked("gone.png"), AIMessage("?"), asked("page.png")]
    assert [len(message.content) for message in zoom.invoke(talk)] == [2, 1, 4]


def test_the_middleware_has_the_same_two_settings(root: Path, fetched: list[str]) -> None:
    def shown(middleware: ZoomMiddleware, message: HumanMessage) -> int:
        class Request:
            messages = [message]  # noqa: RUF012
            model = None

            def override(self, messages: list[Any]) -> Any:
                self.messages = messages
                return self

        seen: Any = middleware.wrap_model_call(Request(), lambda request: request)  # type: ignore[arg-type, return-value]
        return len(seen.messages[0].content)

    both = ZoomMiddleware(pipeline(), tool_images="keep", roots=[root], urls=True)
    assert shown(both, asked(URL)) == shown(both, asked("page.png")) == 4
    for message in (asked(URL), asked("page.png")):
        with pytest.raises(SourceError):
            shown(ZoomMiddleware(pipeline(), tool_images="keep"), message)
    assert fetched == [URL]


@pytest.mark.parametrize(
    "options",
    [{"roots": "/"}, {"roots": b"/"}, {"roots": {"/"}}, {"roots": [1]}, {"roots": [""]},
     {"roots": Path("/")}, {"urls": 1}, {"urls": "no"}, {"urls": None}],
)  # fmt: skip
@pytest.mark.parametrize("make", [ZoomTool, ZoomMiddleware, zoom_messages])
def test_settings_that_would_allow_more_than_meant_are_refused(make: Any, options: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="expected"):
        make(**options)


def test_roots_are_meant_from_where_the_tool_was_made(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    tool = ZoomTool(pipeline=ZoomPipeline(FixedCropper(MIDDLE)), roots=["pages"])
    monkeypatch.chdir("/")
    assert sizes(called(tool, "page.png"))[1] == (100, 150)


def test_the_crop_is_the_same_by_every_way(root: Path) -> None:
    page = noise()
    data = png_of(page)
    (root / "same.png").write_bytes(data)
    block = image_block(data, "image/png")
    tool = ZoomTool(pipeline=pipeline(), roots=[root])
    bound = ZoomTool(pipeline=pipeline(), images=[root / "same.png"])
    for message in (
        called(tool, "same.png"),
        called(tool, 1, HumanMessage([block])),
        called(bound, 1),
        zoom_messages(pipeline(), roots=[root]).invoke([asked("same.png")])[0],
    ):
        crop = [part for part in blocks_of(message) if isinstance(part, dict)][-1]
        assert same(decoded(crop["base64"]), middle_of(page))
