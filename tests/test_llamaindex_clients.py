"""LlamaIndex with its real clients: each test looks at what crossed the socket."""

# ruff: noqa: E402
import asyncio
import json
import pickle
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.programs import require_package

require_package("llama_index.core")
require_package("llama_index.llms.openai")

from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.memory import ChatMemoryBuffer, Memory
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import ImageNode, TextNode
from llama_index.core.workflow import Context
from llama_index.llms.openai import OpenAI, OpenAIResponses

from cropvlm_core.errors import SourceError
from cropvlm_core.zoom import ZoomPipeline
from llamaindex_cropvlm import (
    ZoomPostprocessor,
    ZoomToolSpec,
    azoom_chat_messages,
    tool,
    with_tool_images,
    zoom_chat_messages,
)
from llamaindex_cropvlm.nodes import image_in_block
from llamaindex_cropvlm.tool_images import moves_tool_images
from llamaindex_cropvlm.watch import watch
from tests.chat_server import Act, ChatServer
from tests.llamaindex_talk import asks, connected
from tests.model_server import answers, calls, pictures, zooms
from tests.pages import CountingCropper, base64_of, middle_of, noise, pipeline, png_of, same

# LlamaIndex's workflows read every attribute of an agent, deprecated ones of pydantic, too.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")

TOTAL = "What is the total?"
Kind = type[OpenAI] | type[OpenAIResponses]
KINDS = pytest.mark.parametrize("kind", [OpenAI, OpenAIResponses], ids=["chat", "responses"])
STREAMING = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])


@asynccontextmanager
async def client(kind: Kind, server: ChatServer, *, wrapped: bool = True) -> AsyncIterator[Any]:
    """The real client as the README sets it up, closed at the end."""
    async with connected(server) as options:
        llm = kind(**options)
        yield with_tool_images(llm) if wrapped and kind is OpenAI else llm


@contextmanager
def warnings_of_cropvlm() -> Iterator[list[str]]:
    """Collect what is warned of: LlamaIndex swallows the error that a test run makes of it."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield found
    found += [str(one.message) for one in caught if one.category is UserWarning]


class Talk:
    """A conversation between an agent and a scripted model: its requests, answers and warnings."""

    def __init__(self, kind: Kind, *script: Act, **options: Any) -> None:
        self.kind = kind
        self.script = script
        self.wrapped = options.pop("wrapped", True)
        self.spec = options.pop("spec", None) or ZoomToolSpec(pipeline())
        self.workflow = options.pop("workflow", False)
        self.options = options
        self.said: list[str] = []

    async def run(self, *messages: ChatMessage, **options: Any) -> "Talk":
        """Say each message in a run of its own, all in one context and with one memory."""
        with ChatServer(*self.script) as server, warnings_of_cropvlm() as found:
            async with client(self.kind, server, wrapped=self.wrapped) as llm:
                tools = self.spec.to_tool_list()
                agent: Any = FunctionAgent(tools=[*tools], llm=llm, **self.options)
                if self.workflow:
                    agent = AgentWorkflow(agents=[agent])
                context = Context(agent)
                options.setdefault("memory", ChatMemoryBuffer.from_defaults(llm=llm))
                for message in messages:
                    self.said.append(str(await agent.run(message, ctx=context, **options)))
        self.warned = found
        self.requests = server.requests
        return self

    def shown(self, request: int) -> list[Image.Image]:
        return [shown.picture for shown in pictures(self.requests[request])]

    def roles(self, request: int = -1) -> str:
        items = items_of(self.requests[request])
        return " ".join(item.get("role") or item["type"] for item in items)

    def results(self, request: int = -1) -> list[str]:
        """The texts of the tool's results."""
        body = self.requests[request]
        if self.kind is OpenAI:
            return [m["content"] for m in body["messages"] if m["role"] == "tool"]
        texts = []
        for item in body["input"]:
            if item.get("type") == "function_call_output":
                output = item["output"]
                parts = [{"text": output}] if isinstance(output, str) else output
                texts.append(" ".join(part["text"] for part in parts if "text" in part))
        return texts


def items_of(body: dict[str, Any]) -> list[Any]:
    """The messages of a request, and what else stands among them."""
    items: list[Any] = body["messages"] if "messages" in body else body["input"]
    return items


def words_of(body: dict[str, Any]) -> str:
    """All texts of a request's messages."""
    words: list[str] = []
    for item in items_of(body):
        content = item["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        words += [part["text"] for part in parts if "text" in part]
    return "\n".join(words)


def all_same(got: Sequence[Image.Image], wanted: Sequence[Image.Image]) -> bool:
    return len(got) == len(wanted) and all(
        same(one, other) for one, other in zip(got, wanted, strict=True)
    )


@KINDS
@STREAMING
async def test_an_agent_sees_the_crop_that_it_asked_for(kind: Kind, streaming: bool) -> None:
    page = noise()
    talk = Talk(kind, calls(zooms("the total")), answers("12.90"), streaming=streaming)
    await talk.run(asks(TOTAL, page))
    assert talk.said == ["12.90"]
    assert [bool(body.get("stream")) for body in talk.requests] == [streaming] * 2
    assert all_same(talk.shown(0), [page])
    assert all_same(talk.shown(1), [page, middle_of(page)])
    by = [shown.by for shown in pictures(talk.requests[1])]
    if kind is OpenAI:
        assert talk.roles() == "user assistant tool user"
        assert by == ["user", "user"]  # this API takes no images of a tool
    else:
        assert talk.roles() == "user function_call function_call_output"
        assert by == ["user", "tool"]
    assert "Part of image 1 at full resolution, from 25% to 75% of its width" in talk.results()[0]
    assert talk.warned == []


@KINDS
async def test_the_tool_as_the_model_gets_it(kind: Kind) -> None:
    talk = await Talk(kind, answers("Hello.")).run(asks("Hello?"))
    (tool,) = talk.requests[0]["tools"]
    function = tool.get("function", tool)
    assert function["name"] == "zoom"
    assert function["description"].startswith("Look closer at an image.")
    assert set(function["parameters"]["properties"]) == {"question", "image"}
    assert function["parameters"]["required"] == ["question"]


@KINDS
async def test_in_an_agent_workflow(kind: Kind) -> None:
    page = noise()
    talk = Talk(
        kind,
        calls(zooms("the total")),
        answers("12.90"),
        workflow=True,
        name="reader",
        description="Reads receipts.",
    )
    await talk.run(asks(TOTAL, page))
    assert talk.said == ["12.90"]
    assert all_same(talk.shown(1), [page, middle_of(page)])


@KINDS
async def test_two_images_by_their_numbers(kind: Kind) -> None:
    first, second = noise(), noise(300, 200)
    talk = Talk(kind, calls(zooms("the total", 2)), answers("12.90"))
    await talk.run(asks(TOTAL, first, second))
    assert all_same(talk.shown(1), [first, second, middle_of(second)])
    assert "Part of image 2" in talk.results()[0]


@KINDS
@STREAMING
async def test_two_parallel_calls(kind: Kind, streaming: bool) -> None:
    first, second = noise(), noise(300, 200)
    both = calls(zooms("the total", 1), zooms("the total", 2, number=2))
    talk = Talk(kind, both, answers("12.90"), streaming=streaming)
    await talk.run(asks(TOTAL, first, second))
    assert talk.said == ["12.90"]
    if kind is OpenAI:
        assert talk.roles() == "user assistant tool tool user"
    else:
        calls_and_results = ["function_call"] * 2 + ["function_call_output"] * 2
        assert talk.roles().split() == ["user", *calls_and_results]
    texts = talk.results()
    assert sorted("image 1" in text for text in texts) == [False, True]
    wanted = {"image 1": middle_of(first), "image 2": middle_of(second)}
    crops = [wanted["image 1" if "image 1" in text else "image 2"] for text in texts]
    assert all_same(talk.shown(1), [first, second, *crops])


@KINDS
@STREAMING
async def test_a_second_zoom_later_in_the_conversation(kind: Kind, streaming: bool) -> None:
    first, second = noise(), noise(300, 200)
    talk = Talk(
        kind,
        calls(zooms("the total")),
        answers("12.90"),
        calls(zooms("the date", 1, number=2)),
        calls(zooms("the date", 2, number=3)),
        answers("In May."),
        streaming=streaming,
    )
    await talk.run(asks(TOTAL, first), asks("And what is the date, there and here?", second))
    assert talk.said == ["12.90", "In May."]
    crop = middle_of(first)
    assert all_same(talk.shown(2), [first, crop, second])
    assert all_same(talk.shown(3), [first, crop, second, crop])
    assert all_same(talk.shown(4), [first, crop, second, crop, middle_of(second)])
    if kind is OpenAI:
        later = " assistant user assistant tool user assistant tool user"
        assert talk.roles() == "user assistant tool user" + later


@KINDS
async def test_a_question_about_an_image_of_an_earlier_run(kind: Kind) -> None:
    page = noise()
    talk = Talk(kind, answers("A receipt."), calls(zooms("the total")), answers("12.90"))
    await talk.run(asks("What is this?", page), asks(TOTAL))
    assert talk.said == ["A receipt.", "12.90"]
    assert all_same(talk.shown(1), [page])
    assert all_same(talk.shown(2), [page, middle_of(page)])


async def test_an_image_that_the_model_does_not_get_any_more() -> None:
    page = noise()
    talk = Talk(OpenAI, answers("A receipt."), calls(zooms("the total")), answers("12.90"))
    memory = ChatMemoryBuffer.from_defaults(token_limit=20)
    await talk.run(asks("What is this? " * 5, page), asks(TOTAL), memory=memory)
    assert talk.roles() == "user assistant tool user"
    assert talk.shown(1) == []
    assert all_same(talk.shown(2), [middle_of(page)])


async def test_an_image_in_a_memory_that_keeps_it_in_a_database() -> None:
    page = noise()
    talk = Talk(OpenAI, calls(zooms("the total")), answers("12.90"))
    memory = Memory.from_defaults(session_id="one", token_limit=100_000)
    await talk.run(asks(TOTAL, page), memory=memory)
    assert all_same(talk.shown(1), [page, middle_of(page)])


@KINDS
async def test_an_image_in_the_history_that_a_program_hands_over(kind: Kind) -> None:
    page = noise()
    talk = Talk(kind, calls(zooms("the total")), answers("12.90"))
    history = [asks("What is this?", page), ChatMessage(role="assistant", content="A receipt.")]
    await talk.run(asks(TOTAL), chat_history=history)
    assert all_same(talk.shown(1), [page, middle_of(page)])


@KINDS
async def test_the_model_recovers_from_its_errors(kind: Kind) -> None:
    first, second = noise(), noise(300, 200)
    talk = Talk(
        kind,
        calls(zooms("the total", 5)),
        calls(zooms("the total", number=2)),
        calls(zooms(" ", 2, number=3)),
        calls(zooms("the total", 2, number=4)),
        answers("12.90"),
    )
    await talk.run(asks(TOTAL, first, second))
    assert talk.said == ["12.90"]
    assert all_same(talk.shown(3), [first, second])
    assert all_same(talk.shown(4), [first, second, middle_of(second)])
    wrong, missing, blank, right = talk.results()
    assert "expected the number of an image, 1 to 2, got 5" in wrong
    assert "got none" in missing
    assert "expected a question" in blank
    assert "Part of image 2" in right


@KINDS
async def test_no_image_in_the_conversation(kind: Kind) -> None:
    cropper = CountingCropper()
    spec = ZoomToolSpec(ZoomPipeline(cropper))
    talk = Talk(kind, calls(zooms("the total")), answers("Send me an image."), spec=spec)
    await talk.run(asks(TOTAL))
    assert talk.said == ["Send me an image."]
    assert "no image has been given in this conversation" in talk.results()[0]
    assert talk.shown(1) == []
    assert cropper.batches == []


@KINDS
async def test_crops_are_not_numbered_as_images(kind: Kind) -> None:
    page = noise()
    talk = Talk(kind, calls(zooms("the total")), calls(zooms("it", 2, number=2)), answers("12.90"))
    await talk.run(asks(TOTAL, page))
    assert "expected 1, the only image" in talk.results()[1]


@KINDS
async def test_images_that_are_bound_and_unseen(kind: Kind, tmp_path: Path) -> None:
    page = noise()
    path = tmp_path / "page.png"
    path.write_bytes(png_of(page))
    spec = ZoomToolSpec(pipeline(), images=[path], unseen=True)
    talk = Talk(kind, calls(zooms("the total")), answers("12.90"), spec=spec)
    await talk.run(asks(TOTAL))
    assert talk.shown(0) == []
    assert all_same(talk.shown(1), [page, middle_of(page)])
    assert str(tmp_path) not in json.dumps(talk.requests)


@KINDS
async def test_a_bound_image_that_is_gone_shows_the_model_no_path(
    kind: Kind, tmp_path: Path
) -> None:
    spec = ZoomToolSpec(pipeline(), images=[tmp_path / "gone.png"])
    talk = Talk(kind, calls(zooms("the total")), answers("I cannot see it."), spec=spec)
    await talk.run(asks(TOTAL))
    assert "expected image 1 as an image that opens" in talk.results()[0]
    assert "gone.png" not in json.dumps(talk.requests)


def test_the_tool_without_an_agent() -> None:
    page = noise()
    (tool,) = ZoomToolSpec(pipeline(), images=[page]).to_tool_list()
    output = tool(question="the total")
    text, image = output.blocks
    assert isinstance(text, TextBlock)
    assert isinstance(image, ImageBlock)
    assert output.is_error is False
    with pytest.raises(SourceError, match="expected 1, the only image"):
        tool(question="the total", image=3)


@STREAMING
@pytest.mark.parametrize("workflow", [False, True], ids=["agent", "workflow"])
async def test_a_warning_where_with_tool_images_was_forgotten(
    streaming: bool, workflow: bool
) -> None:
    page = noise()
    talk = Talk(
        OpenAI,
        calls(zooms("the total")),
        answers("12.90"),
        streaming=streaming,
        wrapped=False,
        workflow=workflow,
    )
    await talk.run(asks(TOTAL, page))
    assert all_same(talk.shown(1), [page])  # which is why
    assert talk.warned
    assert all("llm=llamaindex_cropvlm.with_tool_images(llm)" in text for text in talk.warned)


async def test_no_such_warning_where_no_image_is_lost() -> None:
    watch()
    talk = Talk(OpenAI, calls(zooms("the total", 4)), answers("?"), wrapped=False)
    await talk.run(asks(TOTAL, noise()))
    assert talk.warned == []


async def test_with_tool_images_leaves_the_given_model_alone() -> None:
    with ChatServer(answers("x")) as server:
        async with client(OpenAI, server, wrapped=False) as llm:
            wrapped = with_tool_images(llm)
            assert type(llm) is OpenAI
            assert isinstance(wrapped, OpenAI)
            assert wrapped.to_dict() == llm.to_dict()
            assert type(wrapped).__name__ == "OpenAI"
            assert wrapped.chat([asks("Hello?")]).message.content == "x"
    assert [body["messages"] for body in server.requests] == [
        [{"role": "user", "content": "Hello?"}]
    ]


@pytest.mark.parametrize("way", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_with_tool_images_in_every_way_to_ask(way: str) -> None:
    page = noise()
    call = ToolCallBlock(tool_call_id="c1", tool_name="zoom", tool_kwargs={"question": "total"})
    result = asks("Part of image 1.", middle_of(page))
    result.role = MessageRole.TOOL
    result.additional_kwargs["tool_call_id"] = "c1"
    given = [asks(TOTAL, page), ChatMessage(role="assistant", blocks=[call]), result]
    with ChatServer(answers("12.90")) as server:
        async with client(OpenAI, server) as llm:
            assert await spoken(llm, way, given) == "12.90"
    (body,) = server.requests
    assert all_same([shown.picture for shown in pictures(body)], [page, middle_of(page)])
    assert [message["role"] for message in body["messages"]] == "user assistant tool user".split()


# Between retriever and model.


@asynccontextmanager
async def engine(
    kind: Kind, server: ChatServer, nodes: Sequence[TextNode], **options: Any
) -> AsyncIterator[RetrieverQueryEngine]:
    index = VectorStoreIndex(list(nodes), embed_model=MockEmbedding(embed_dim=4))
    async with client(kind, server) as llm:
        yield RetrieverQueryEngine.from_args(
            index.as_retriever(similarity_top_k=5),
            llm=llm,
            multimodal=True,
            node_postprocessors=[ZoomPostprocessor(pipeline())],
            **options,
        )


@KINDS
@pytest.mark.parametrize("awaited", [False, True], ids=["query", "aquery"])
async def test_a_query_engine_shows_page_and_crop_in_one_call(kind: Kind, awaited: bool) -> None:
    page = noise()
    nodes = [
        ImageNode(image=base64_of(page), text="A receipt.", metadata={"file": "receipt.png"}),
        TextNode(text="Receipts of May"),
    ]
    with ChatServer(answers("12.90")) as server, warnings_of_cropvlm() as found:
        async with engine(kind, server, nodes) as asked:
            response: Any = await asked.aquery(TOTAL) if awaited else asked.query(TOTAL)
    assert str(response) == "12.90"
    (body,) = server.requests
    assert all_same([shown.picture for shown in pictures(body)], [page, middle_of(page)])
    text = words_of(body)
    assert TOTAL in text
    assert "receipt.png" in text
    assert "Receipts of May" in text
    for leak in ("parent_id", "pixels", "confidence", "box", "0.25", nodes[0].node_id):
        assert leak not in text
    assert len(response.source_nodes) == 3
    assert found == []


@pytest.mark.parametrize("mode", ["simple_summarize", "tree_summarize"])
async def test_a_query_engine_with_two_pages_and_a_stream(mode: str) -> None:
    first, second = noise(), noise(300, 200)
    nodes = [ImageNode(image=base64_of(page), text="A receipt.") for page in (first, second)]
    with ChatServer(answers("12.90")) as server:
        async with engine(
            OpenAI, server, nodes, response_mode=ResponseMode(mode), streaming=True
        ) as asked:
            response: Any = asked.query(TOTAL)
            assert "".join(response.response_gen) == "12.90"
    (body,) = server.requests
    assert body["stream"] is True
    shown = [shown.picture for shown in pictures(body)]
    if not same(shown[0], first):  # the mock's embeddings are all alike
        first, second = second, first
    assert all_same(shown, [first, middle_of(first), second, middle_of(second)])


# Plain messages.


async def spoken(llm: Any, way: str, messages: list[ChatMessage]) -> str:
    if way == "chat":
        return str(llm.chat(messages).message.content)
    if way == "achat":
        return str((await llm.achat(messages)).message.content)
    if way == "stream_chat":
        return "".join(part.delta or "" for part in llm.stream_chat(messages))
    return "".join([part.delta or "" async for part in await llm.astream_chat(messages)])


@KINDS
@pytest.mark.parametrize("way", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_plain_messages_with_their_crops(kind: Kind, way: str) -> None:
    first, second = noise(), noise(300, 200)
    given = [
        ChatMessage(role="system", content="Be brief."),
        asks(TOTAL, first, second),
        ChatMessage(role="assistant", content="12.90"),
        asks("And the date?", second),
    ]
    with ChatServer(answers("In May.")) as server:
        async with client(kind, server) as llm:
            zoomed = (
                await azoom_chat_messages(given, pipeline())
                if way.startswith("a")
                else zoom_chat_messages(given, pipeline())
            )
            assert await spoken(llm, way, zoomed) == "In May."
    (body,) = server.requests
    shown = [shown.picture for shown in pictures(body)]
    crop = middle_of(second)
    assert all_same(shown, [first, middle_of(first), second, crop, second, crop])
    assert words_of(body).count("Part of the image above at full resolution") == 3


async def test_the_tool_leaves_the_event_loop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the cropper nor the reading of images runs on the loop."""
    loops: list[bool] = []

    def noting(block: Any, *rest: Any) -> Any:
        try:
            asyncio.get_running_loop()
            loops.append(True)
        except RuntimeError:
            loops.append(False)
        return image_in_block(block, *rest)

    monkeypatch.setattr(tool, "image_in_block", noting)
    page = noise()
    with ChatServer(calls(zooms("Total?")), answers("12.90")) as server:
        llm = OpenAI(model="gpt-4.1-nano", api_key="x", api_base=server.url, max_retries=0)
        agent = FunctionAgent(
            tools=[*ZoomToolSpec(pipeline()).to_tool_list()], llm=with_tool_images(llm)
        )
        block = ImageBlock(image=png_of(page))
        await agent.run(ChatMessage(role="user", blocks=[TextBlock(text="Total?"), block]))
    assert loops == [False]


async def test_no_path_reaches_the_model_by_an_image_too_large(tmp_path: Path) -> None:
    path = tmp_path / "secret-tenant.png"
    path.write_bytes(png_of(noise()) + bytes(21 * 2**20))
    with ChatServer(calls(zooms("Total?")), answers("Sorry.")) as server:
        llm = OpenAI(model="gpt-4.1-nano", api_key="x", api_base=server.url, max_retries=0)
        agent = FunctionAgent(
            tools=[*ZoomToolSpec(pipeline()).to_tool_list()], llm=with_tool_images(llm)
        )
        block = ImageBlock(path=path, image_mimetype="image/png")
        await agent.run(ChatMessage(role="user", blocks=[TextBlock(text="Total?"), block]))
    (result,) = (part for part in server.requests[1]["messages"] if part["role"] == "tool")
    assert "expected image 1 as an image that opens" in result["content"]
    assert "secret" not in result["content"]


def test_a_wrapped_model_can_be_pickled_and_wrapped_twice() -> None:
    llm = with_tool_images(OpenAI(model="gpt-4.1-nano", api_key="x"))
    again = pickle.loads(pickle.dumps(llm))
    assert moves_tool_images(again)
    assert isinstance(again, OpenAI)
    assert type(with_tool_images(llm)) is type(llm)
    with pytest.raises(TypeError, match="got a str"):
        with_tool_images("gpt-4.1-nano")  # type: ignore[type-var]
