"""LangChain's real clients over a real socket: what reaches the server, in three protocols."""

# ruff: noqa: E402
import asyncio
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.programs import require_package

require_package("langchain")
require_package("langchain_openai")
require_package("langchain_anthropic")

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import AzureChatOpenAI, ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from openai import BadRequestError
from pydantic import SecretStr

from cropvlm_core.errors import SourceError
from cropvlm_core.zoom import ZoomPipeline
from langchain_cropvlm import ZoomMiddleware, ZoomTool, move_tool_images, zoom_messages
from langchain_cropvlm.tool_images import takes_tool_images
from tests.chat_server import ChatServer
from tests.langchain_talk import asks
from tests.model_server import Shown, answers, calls, pictures, zooms
from tests.pages import CountingCropper, base64_of, middle_of, noise, pipeline

KEY = SecretStr("x")
RECEIPT = Path(__file__).parents[1] / "examples" / "receipt.png"


def chat(server: ChatServer, **options: Any) -> BaseChatModel:
    return ChatOpenAI(model="m", api_key=KEY, base_url=server.url, max_retries=0, **options)


def responses(server: ChatServer, **options: Any) -> BaseChatModel:
    return chat(server, use_responses_api=True, **options)


def anthropic(server: ChatServer, **options: Any) -> BaseChatModel:
    base = server.url.removesuffix("/v1")
    return ChatAnthropic(model="m", api_key=KEY, base_url=base, max_retries=0, **options)  # type: ignore[call-arg]


Client = Callable[..., BaseChatModel]
every_client = pytest.mark.parametrize("client", [chat, responses, anthropic])
RESULT_BY = {"chat": "user", "responses": "tool", "anthropic": "tool"}


def same(shown: list[Shown], *expected: tuple[str, Image.Image]) -> bool:
    """Whether exactly these pictures were shown, by these, pixel for pixel."""
    return [(each.by, each.picture.size, each.picture.tobytes()) for each in shown] == [
        (by, picture.size, picture.tobytes()) for by, picture in expected
    ]


@every_client
@pytest.mark.parametrize("streaming", [False, True])
def test_one_line_shows_the_model_page_and_crop(client: Client, *, streaming: bool) -> None:
    page = noise()
    given = asks("Total?", page)
    with ChatServer(answers("12.90")) as server:
        model = client(server, streaming=streaming)
        agent = create_agent(model, middleware=[ZoomMiddleware(pipeline())])
        said = agent.invoke({"messages": [copy.deepcopy(given)]})["messages"]
    assert said[-1].text == "12.90"
    assert said[0].content == given.content  # the state keeps what the user sent
    (request,) = server.requests
    assert bool(request.get("stream")) is streaming
    assert same(pictures(request), ("user", page), ("user", middle_of(page)))


@every_client
async def test_two_images_async(client: Client) -> None:
    pages = [noise(), noise(120, 90)]
    with ChatServer(answers("both")) as server:
        agent = create_agent(client(server), middleware=[ZoomMiddleware(pipeline())])
        await agent.ainvoke({"messages": [asks("Which?", *pages)]})
    shown = [each for page in pages for each in (("user", page), ("user", middle_of(page)))]
    assert same(pictures(server.requests[0]), *shown)


@every_client
@pytest.mark.parametrize("streaming", [False, True])
def test_parallel_tool_calls(client: Client, *, streaming: bool) -> None:
    pages = [noise(), noise(120, 90)]
    both = calls(zooms("Total?", 2, number=1), zooms("Date?", 1, number=2))
    with ChatServer(both, answers("done")) as server:
        agent = create_agent(
            client(server, streaming=streaming),
            [ZoomTool(pipeline=pipeline())],
            middleware=[ZoomMiddleware(automatic=False)],
        )
        said = agent.invoke({"messages": [asks("What?", *pages)]})["messages"]
    assert said[-1].text == "done"
    results = [message for message in said if isinstance(message, ToolMessage)]
    assert [result.artifact["image"] for result in results] == ["image 2", "image 1"]
    by = RESULT_BY[client.__name__]
    crops = [(by, middle_of(pages[1])), (by, middle_of(pages[0]))]
    assert same(pictures(server.requests[1]), *(("user", page) for page in pages), *crops)


@every_client
async def test_a_second_zoom_in_the_same_conversation(client: Client) -> None:
    page = noise()
    script = [calls(zooms("Total?", number=1)), answers("12.90")]
    script += [calls(zooms("Date?", number=2)), answers("May")]
    with ChatServer(*script) as server:
        agent = create_agent(
            client(server),
            [ZoomTool(pipeline=pipeline())],
            middleware=[ZoomMiddleware(automatic=False)],
        )
        first = await agent.ainvoke({"messages": [asks("Total?", page)]})
        talk = [*first["messages"], HumanMessage("And the date?")]
        said = (await agent.ainvoke({"messages": talk}))["messages"]
    assert said[-1].text == "May"
    by, crop = RESULT_BY[client.__name__], middle_of(page)
    assert same(pictures(server.requests[1]), ("user", page), (by, crop))
    assert same(pictures(server.requests[2]), ("user", page), (by, crop))
    assert same(pictures(server.requests[3]), ("user", page), (by, crop), (by, crop))


@every_client
async def test_streaming_an_agent(client: Client) -> None:
    page = noise()
    with ChatServer(calls(zooms("Total?")), answers("12.90")) as server:
        agent = create_agent(
            client(server, streaming=True),
            [ZoomTool(pipeline=pipeline())],
            middleware=[ZoomMiddleware(pipeline())],
        )
        texts = []
        stream: Any = agent.astream({"messages": [asks("Total?", page)]}, stream_mode="messages")
        async for message, _ in stream:
            if message.type == "AIMessageChunk" and message.text:
                texts.append(message.text)
    assert "".join(texts) == "12.90"
    assert len(texts) > 1
    by, crop = RESULT_BY[client.__name__], middle_of(page)
    assert same(pictures(server.requests[1]), ("user", page), ("user", crop), (by, crop))


@every_client
def test_the_model_recovers_from_an_error(client: Client) -> None:
    page = noise()
    script = [calls(zooms("Total?", 7, number=1)), calls(zooms("Total?", 1, number=2))]
    with ChatServer(*script, answers("12.90")) as server:
        agent = create_agent(
            client(server),
            [ZoomTool(pipeline=pipeline())],
            middleware=[ZoomMiddleware(automatic=False)],
        )
        said = agent.invoke({"messages": [asks("Total?", page)]})["messages"]
    errors = [message for message in said if getattr(message, "status", "") == "error"]
    assert ["got 7" in str(error.content) for error in errors] == [True]
    assert said[-1].text == "12.90"
    assert "got 7" in str(server.requests[1])
    by = RESULT_BY[client.__name__]
    assert same(pictures(server.requests[2]), ("user", page), (by, middle_of(page)))


@every_client
def test_without_an_image_nothing_changes_and_the_tool_says_so(client: Client) -> None:
    with ChatServer(calls(zooms("Total?")), answers("Please send it.")) as server:
        agent = create_agent(
            client(server), [ZoomTool(pipeline=pipeline())], middleware=[ZoomMiddleware(pipeline())]
        )
        said = agent.invoke({"messages": [HumanMessage("Total?")]})["messages"]
    assert said[-1].text == "Please send it."
    assert "no image has been given" in str(server.requests[1])
    assert [pictures(request) for request in server.requests] == [[], []]


@every_client
def test_each_question_is_looked_at_once_however_many_turns_follow(client: Client) -> None:
    cropper = CountingCropper()
    page = noise()
    script = [calls(zooms("Total?", number=number)) for number in (1, 2, 3)]
    with ChatServer(*script, answers("12.90"), answers("May")) as server:
        agent = create_agent(
            client(server),
            [ZoomTool(pipeline=pipeline())],
            middleware=[ZoomMiddleware(ZoomPipeline(cropper))],
        )
        first = agent.invoke({"messages": [asks("What is the total?", page)]})
        agent.invoke({"messages": [*first["messages"], asks("And the date?", page)]})
    assert len(server.requests) == 5
    assert cropper.batches == [["What is the total?"], ["And the date?"]]
    assert same(pictures(server.requests[0]), ("user", page), ("user", middle_of(page)))


@every_client
def test_a_message_can_opt_out(client: Client) -> None:
    page = noise()
    with ChatServer(answers("ok")) as server:
        agent = create_agent(client(server), middleware=[ZoomMiddleware(pipeline())])
        agent.invoke({"messages": [asks("What?", page, additional_kwargs={"zoom": False})]})
    assert same(pictures(server.requests[0]), ("user", page))


@every_client
def test_a_chain_without_an_agent(client: Client) -> None:
    page = noise()
    prompt = ChatPromptTemplate(
        [
            ("system", "Be brief."),
            (
                "user",
                [
                    {"type": "image", "base64": "{image}", "mime_type": "image/png"},
                    {"type": "text", "text": "{question}"},
                ],
            ),
        ]
    )
    with ChatServer(answers("12.90")) as server:
        chain = prompt | zoom_messages(pipeline()) | client(server)
        answer = chain.invoke({"question": "Total?", "image": base64_of(page)})
    assert answer.text == "12.90"
    assert same(pictures(server.requests[0]), ("user", page), ("user", middle_of(page)))


@every_client
def test_an_image_by_url_is_refused_or_goes_on_alone(client: Client) -> None:
    url = {"type": "image", "url": "https://example.com/a.png"}
    talk: Any = {"messages": [HumanMessage([{"type": "text", "text": "What?"}, url])]}
    with ChatServer(answers("ok")) as server:
        with pytest.raises(SourceError, match="send the image's bytes as base64"):
            create_agent(client(server), middleware=[ZoomMiddleware(pipeline())]).invoke(talk)
        assert server.requests == []
        lenient = ZoomMiddleware(pipeline(), on_error="skip")
        create_agent(client(server), middleware=[lenient]).invoke(talk)
    assert "https://example.com/a.png" in str(server.requests[0])


def test_chat_completions_refuses_what_the_middleware_moves() -> None:
    page = noise()
    with ChatServer(calls(zooms("Total?")), answers("12.90")) as server:
        agent = create_agent(
            chat(server),
            [ZoomTool(pipeline=pipeline())],
            middleware=[ZoomMiddleware(automatic=False, tool_images="keep")],
        )
        with pytest.raises(BadRequestError, match=r"image_url.*not allowed in a tool message"):
            agent.invoke({"messages": [asks("Total?", page)]})


def test_images_can_be_moved_for_any_model() -> None:
    page = noise()
    with ChatServer(calls(zooms("Total?")), answers("12.90")) as server:
        agent = create_agent(
            anthropic(server),
            [ZoomTool(pipeline=pipeline())],
            middleware=[ZoomMiddleware(automatic=False, tool_images="move")],
        )
        agent.invoke({"messages": [asks("Total?", page)]})
    assert same(pictures(server.requests[1]), ("user", page), ("user", middle_of(page)))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hand_built_graph(*, streaming: bool) -> None:
    page = noise()
    tool = ZoomTool(pipeline=pipeline())
    with ChatServer(calls(zooms("Total?")), answers("12.90")) as server:
        model = chat(server, streaming=streaming).bind_tools([tool])

        def ask(state: MessagesState) -> dict[str, Any]:
            return {"messages": [model.invoke(move_tool_images(state["messages"]))]}

        graph = StateGraph(MessagesState)
        graph.add_node("ask", ask)
        graph.add_node("tools", ToolNode([tool]))
        graph.add_edge(START, "ask")
        graph.add_conditional_edges("ask", tools_condition)
        graph.add_edge("tools", "ask")
        said = graph.compile().invoke({"messages": [asks("Total?", page)]})["messages"]
    assert said[-1].text == "12.90"
    assert same(pictures(server.requests[1]), ("user", page), ("user", middle_of(page)))


def test_the_shipped_cropper_on_a_receipt() -> None:
    with Image.open(RECEIPT) as file:
        page = file.convert("RGB")
    with ChatServer(answers("12.90")) as server:
        agent = create_agent(chat(server), middleware=[ZoomMiddleware()])
        agent.invoke({"messages": [asks("What is the total?", page)]})
    whole, crop = pictures(server.requests[0])
    assert whole.picture.tobytes() == page.tobytes()
    assert crop.picture.width * crop.picture.height < 0.6 * page.width * page.height


def unknown(profile: Any = None) -> BaseChatModel:
    return FakeListChatModel(responses=["x"], profile=profile)


def test_which_models_take_images_in_tool_results() -> None:
    with ChatServer(answers("x")) as server:
        assert not takes_tool_images(chat(server))
        assert takes_tool_images(responses(server))
        assert takes_tool_images(chat(server, output_version="responses/v1"))
        assert takes_tool_images(anthropic(server))
        azure = AzureChatOpenAI(
            azure_endpoint=server.url, api_key=KEY, api_version="1", azure_deployment="m"
        )
        assert not takes_tool_images(azure)
    assert not takes_tool_images(unknown())
    assert not takes_tool_images(unknown({"image_tool_message": True}))  # profiles are too kind


async def test_the_event_loop_goes_on() -> None:
    class Slow(CountingCropper):
        def propose_batch(self, questions: Any) -> Any:
            time.sleep(0.3)
            return super().propose_batch(questions)

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    with ChatServer(answers("ok")) as server:
        agent = create_agent(chat(server), middleware=[ZoomMiddleware(ZoomPipeline(Slow()))])
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0)
        started, before = time.monotonic(), ticks
        await agent.ainvoke({"messages": [asks("What?", noise())]})
        ticking.cancel()
    assert time.monotonic() - started > 0.3
    assert ticks - before > 10


def test_a_url_of_an_earlier_turn_breaks_no_later_one() -> None:
    image = {"type": "image", "url": "https://example.com/a.png"}
    url = HumanMessage([{"type": "text", "text": "What is this?"}, image])
    page = noise()
    with ChatServer(answers("ok")) as server:
        agent = create_agent(chat(server), middleware=[ZoomMiddleware(pipeline())])
        talk: Any = [url, AIMessage("A sign."), asks("And this?", page)]
        assert agent.invoke({"messages": talk})["messages"][-1].text == "ok"
    assert "https://example.com/a.png" in str(server.requests[0])
    last = {"messages": server.requests[0]["messages"][-1:]}
    assert same(pictures(last), ("user", page), ("user", middle_of(page)))


def test_picture_and_question_may_come_apart() -> None:
    page = noise()
    with ChatServer(answers("ok")) as server:
        agent = create_agent(chat(server), middleware=[ZoomMiddleware(pipeline())])
        agent.invoke({"messages": [asks("", page), HumanMessage("What is the total?")]})
    assert same(pictures(server.requests[0]), ("user", page), ("user", middle_of(page)))


def test_no_crops_of_crops_where_messages_are_kept() -> None:
    page = noise()
    talk: Any = [asks("What?", page)]
    zoom = zoom_messages(pipeline())
    for _ in range(3):
        talk = zoom.invoke(talk)
    with ChatServer(answers("ok")) as server:
        create_agent(chat(server), middleware=[ZoomMiddleware(pipeline())]).invoke(
            {"messages": talk}
        )
    assert same(pictures(server.requests[0]), ("user", page), ("user", middle_of(page)))


@pytest.mark.parametrize("options", [{"tool_images": "drop"}, {"on_error": "ignore"}])
def test_other_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ZoomMiddleware(**options)
