"""ZoomTool: the model asks to look closer."""

# ruff: noqa: E402
import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.programs import require_package

require_package("langchain")

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from pydantic import BaseModel, model_serializer

from cropvlm_core import tool as core_tool
from cropvlm_core.cropper import FixedCropper
from cropvlm_core.errors import WeightsError
from cropvlm_core.prompts import ZOOM_TOOL
from cropvlm_core.zoom import ZoomPipeline
from langchain_cropvlm import ZoomTool
from langchain_cropvlm.blocks import image_block
from tests import bad_input
from tests.langchain_talk import asks
from tests.model_server import decoded
from tests.pages import CountingCropper, base64_of, middle_of, noise, pipeline, png_of


def call(number: int = 1, **arguments: Any) -> dict[str, Any]:
    return {"name": "zoom", "args": arguments, "id": f"c{number}", "type": "tool_call"}


def graph(tool: ZoomTool, state: Any = MessagesState, **options: Any) -> Any:
    built = StateGraph(state)
    built.add_node("tools", ToolNode([tool], **options.pop("node", {})))
    built.add_edge(START, "tools")
    return built.compile(**options)


def results(*messages: Any, tool: ZoomTool | None = None) -> list[ToolMessage]:
    """What the tool answers the calls of the last message, through a hand-built ToolNode."""
    given = list(messages)
    after = graph(tool or ZoomTool(pipeline=pipeline())).invoke({"messages": given})["messages"]
    return after[len(given) :]  # type: ignore[no-any-return]


def crop_in(message: ToolMessage) -> Any:
    (block,) = (part for part in message.content if isinstance(part, dict) and "base64" in part)
    return decoded(block["base64"])


def test_the_model_sees_a_question_and_an_image_number() -> None:
    tool = ZoomTool()
    schema = tool.tool_call_schema.model_json_schema()  # type: ignore[union-attr]
    assert set(schema["properties"]) == {"question", "image"}
    assert schema["required"] == ["question"]
    assert (tool.name, tool.description) == ("zoom", ZOOM_TOOL)
    for word in ("small print", "Do not use it", "as a whole"):
        assert word in tool.description
    assert all(part["description"] for part in schema["properties"].values())


def test_direct_calls_use_the_bound_images() -> None:
    page = noise()
    tool = ZoomTool(pipeline=pipeline(), images=[png_of(page)])
    content = tool.invoke({"question": "Total?"})
    assert [block["type"] for block in content] == ["text", "image"]
    message = tool.invoke(call(question="Total?"))
    assert isinstance(message, ToolMessage)
    assert crop_in(message).tobytes() == middle_of(page).tobytes()
    assert message.status == "success"
    assert message.content_blocks[1]["type"] == "image"


async def test_async_and_parallel_calls() -> None:
    pages = [noise(), noise(90, 80)]
    tool = ZoomTool(pipeline=pipeline(), images=pages)
    first, second = await asyncio.gather(
        tool.ainvoke(call(1, question="Total?", image=1)),
        tool.ainvoke(call(2, question="Total?", image=2)),
    )
    assert crop_in(first).tobytes() == middle_of(pages[0]).tobytes()
    assert crop_in(second).tobytes() == middle_of(pages[1]).tobytes()


def test_bound_images_may_be_paths_or_pictures(tmp_path: Path) -> None:
    path = bad_input.page(tmp_path)
    for image in (path, str(path), noise(), f"data:image/png;base64,{base64_of(noise())}"):
        message = ZoomTool(pipeline=pipeline(), images=[image]).invoke(call(question="What?"))
        assert crop_in(message).size == (100, 150)


def test_an_unseen_image_goes_along() -> None:
    tool = ZoomTool(pipeline=pipeline(), images=[noise()], unseen=True)
    blocks = tool.invoke({"question": "Total?"})
    assert [decoded(block["base64"]).size for block in blocks[1:]] == [(200, 300), (100, 150)]


def test_the_artifact_is_json_without_pictures() -> None:
    (message,) = results(
        asks("What?", noise()), AIMessage("", tool_calls=[call(question="Total?")])
    )
    artifact = message.artifact
    assert json.loads(json.dumps(artifact)) == artifact
    assert artifact["image"] == "image 1"
    assert artifact["question"] == "Total?"
    assert artifact["pixels"] == [50, 75, 150, 225]
    assert len(json.dumps(artifact)) < 600


def test_a_checkpointer_keeps_result_and_artifact() -> None:
    saver = InMemorySaver()  # it stores what its serialiser makes of the state
    app = graph(ZoomTool(pipeline=pipeline()), checkpointer=saver)
    config = {"configurable": {"thread_id": "1"}}
    talk = [asks("What?", noise()), AIMessage("", tool_calls=[call(question="Total?")])]
    said = app.invoke({"messages": talk}, config)["messages"][-1]
    kept = app.get_state(config).values["messages"][-1]
    assert kept == said
    assert kept.artifact["pixels"] == [50, 75, 150, 225]


def test_images_are_numbered_through_the_conversation() -> None:
    pages = [noise(200 + 4 * number, 300) for number in range(4)]
    fetched = ToolMessage(
        [image_block(png_of(pages[2]), "image/png")], tool_call_id="f", name="fetch_page"
    )
    talk: list[Any] = [
        asks("What?", pages[0], pages[1]),
        AIMessage("", tool_calls=[call(0, question="Total?", image=1)]),
    ]
    talk += results(*talk)  # a crop of ours, which must not count
    talk += [
        AIMessage("", tool_calls=[{"name": "fetch_page", "args": {}, "id": "f"}]),
        fetched,
        asks("What?", pages[3]),
    ]
    wanted = [call(number, question="Total?", image=number) for number in (1, 2, 3, 4, 5)]
    messages = results(*talk, AIMessage("", tool_calls=wanted))
    for message, page in zip(messages[:4], pages, strict=True):
        assert crop_in(message).tobytes() == middle_of(page).tobytes()
    assert messages[4].status == "error"
    assert "1 to 4, got 5" in str(messages[4].content)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"question": "Total?"}, "expected the number of an image, 1 to 2, got none"),
        ({"question": "Total?", "image": 3}, "1 to 2, got 3"),
        ({"question": "  ", "image": 1}, "expected a question"),
        ({"image": 1}, "question: Field required"),
        ({"question": "Total?", "image": "/etc/passwd"}, "valid integer"),
        ({"question": "Total?", "image": "https://example.com/a.png"}, "valid integer"),
        ({"question": "x" * 20_000, "image": 1}, "at most 10000 characters"),
    ],
)
def test_what_the_model_gets_wrong_comes_back_as_a_result(
    arguments: dict[str, Any], words: str
) -> None:
    talk = [asks("What?", noise(), noise()), AIMessage("", tool_calls=[call(**arguments)])]
    (message,) = results(*talk)
    assert message.status == "error"
    assert words in str(message.content)


def test_without_an_image_the_model_is_told() -> None:
    (message,) = results(HumanMessage("What?"), AIMessage("", tool_calls=[call(question="Total?")]))
    assert message.status == "error"
    assert "no image has been given in this conversation" in str(message.content)
    assert "no image has been given" in ZoomTool(pipeline=pipeline()).invoke({"question": "Total?"})


def test_an_image_by_url_is_refused_and_the_others_still_work() -> None:
    url = {"type": "image", "url": "https://example.com/a.png"}
    page = noise()
    talk = HumanMessage([url, image_block(png_of(page), "image/png")])
    wanted = [call(number, question="Total?", image=number) for number in (1, 2)]
    refused, good = results(talk, AIMessage("", tool_calls=wanted))
    assert "got a URL" in str(refused.content)
    assert crop_in(good).tobytes() == middle_of(page).tobytes()


def test_no_path_of_ours_reaches_the_model(tmp_path: Path) -> None:
    tool = ZoomTool(pipeline=pipeline(), images=[tmp_path / "gone.png"])
    message = tool.invoke(call(question="Total?"))
    assert message.status == "error"
    assert str(tmp_path) not in str(message.content)


def test_without_a_crop_there_is_a_text() -> None:
    tool = ZoomTool(pipeline=ZoomPipeline(FixedCropper(None)))
    talk = [asks("What?", noise()), AIMessage("", tool_calls=[call(question="Total?")])]
    (message,) = results(*talk, tool=tool)
    assert message.status == "success"
    assert [block["type"] for block in message.content_blocks] == ["text"]
    assert message.artifact["zoomed"] is False


def test_a_state_of_another_shape() -> None:
    class Typed(BaseModel):
        talk: list[AnyMessage]

    page = noise()
    tool = ZoomTool(pipeline=pipeline(), messages_key="talk")
    talk: list[Any] = [asks("What?", page), AIMessage("", tool_calls=[call(question="Total?")])]
    node = ToolNode([tool], messages_key="talk")
    built = StateGraph(Typed)
    said: list[Any] = []

    def tools(state: Typed) -> dict[str, Any]:
        said.extend(node.invoke(state)["talk"])
        return {}

    built.add_node("tools", tools)
    built.add_edge(START, "tools")
    built.compile().invoke(Typed(talk=talk))
    assert crop_in(said[0]).tobytes() == middle_of(page).tobytes()


def test_no_picture_in_logs_representation_or_trace_inputs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []

    class Tracer(BaseCallbackHandler):
        def on_tool_start(self, serialized: Any, input_str: str, **options: Any) -> None:
            seen.append(f"{serialized} {input_str} {options}")

    page = noise()
    tool = ZoomTool(pipeline=pipeline(), images=[png_of(page)])
    talk = [asks("What?", page), AIMessage("", tool_calls=[call(question="Total?")])]
    with caplog.at_level(logging.DEBUG):
        graph(tool).invoke({"messages": talk}, {"callbacks": [Tracer()]})
    assert "Total?" in seen[0]
    start = base64_of(page)[:40]
    for text in (seen[0], repr(tool), str(tool.model_dump()), caplog.text):
        assert start not in text
        assert "PNG" not in text


def test_it_works_with_langchain_core_alone() -> None:
    code = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('langgraph', 'langchain'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "from langchain_cropvlm import ZoomTool, zoom_messages\n"
        "from tests.pages import noise, pipeline\n"
        "tool = ZoomTool(pipeline=pipeline(), images=[noise()])\n"
        "print([block['type'] for block in tool.invoke({'question': 'Total?'})])\n"
        "print(sorted(tool.tool_call_schema.model_json_schema()['properties']))\n"
        "zoom_messages().invoke('Hello')\n"
        "assert 'langgraph' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "['text', 'image']\n['image', 'question']\n", done.stderr


def test_the_conversation_is_not_copied_for_a_call() -> None:
    class Heavy(BaseModel):
        talk: list[Any]

        @model_serializer
        def dump(self) -> Any:
            pytest.fail("the whole state was dumped")

    page = noise()
    tool = ZoomTool(pipeline=pipeline(), messages_key="talk")
    runtime = SimpleNamespace(state=Heavy(talk=[asks("What?", page)]))
    message = tool.invoke(call(question="Total?", runtime=runtime))
    assert crop_in(message).tobytes() == middle_of(page).tobytes()


def test_results_of_another_zoom_tool_are_no_images_either() -> None:
    page = noise()
    other = ZoomTool(pipeline=pipeline(), name="look")
    talk = [
        asks("What?", page),
        AIMessage("", tool_calls=[call(0, question="Total?") | {"name": "look"}]),
    ]
    talk += results(*talk, tool=other)
    (message,) = results(*talk, AIMessage("", tool_calls=[call(question="Date?")]))
    assert crop_in(message).tobytes() == middle_of(page).tobytes()


@pytest.mark.parametrize(
    "options",
    [
        {"images": "page.png"},
        {"images": b"page"},
        {"image": noise()},
        {"pipline": pipeline()},
        {"pipeline": CountingCropper()},
        {"pipeline": "embedded"},
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"expected|Extra"):
        ZoomTool(**options)


def test_a_broken_installation_is_the_developers_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise WeightsError("expected a weight file, got 'policy.onnx': no such file")

    monkeypatch.setattr(core_tool, "default_pipeline", broken)
    with pytest.raises(WeightsError):
        ZoomTool(images=[noise()]).invoke({"question": "Total?"})


def test_the_pipeline_is_used() -> None:
    cropper = CountingCropper()
    ZoomTool(pipeline=ZoomPipeline(cropper), images=[noise()]).invoke({"question": "Total?"})
    assert cropper.batches == [["Total?"]]
