"""One file through every entry point: what becomes of it, in the same terms for all.

The frameworks are imported where they are used; see :data:`ENTRIES`.
"""

import asyncio
import base64
import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cropvlm_core.cli import main
from cropvlm_core.cropper import FixedCropper
from cropvlm_core.errors import CropVLMError
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.zoom import ZoomPipeline
from tests.pages import MIDDLE

QUESTION = "What is the total?"


class Outcome(NamedTuple):
    """What a file came to: its crops as encoded, or the message that refused it."""

    crops: tuple[bytes, ...] = ()
    message: str = ""


Entry = Callable[[bytes, Path], Outcome]
"""From a file's bytes, and a path to write them to, to the outcome.

An exception that is no CropVLMError passes through: it must never happen.
"""

_PIPELINE = ZoomPipeline(FixedCropper(MIDDLE))


def _python(data: bytes, _: Path) -> Outcome:
    zoom = _PIPELINE.zoom(data, QUESTION)
    return Outcome(tuple(crop.encode()[0] for crop in zoom.crops))


def _path(data: bytes, file: Path) -> Outcome:
    file.write_bytes(data)
    zoom = _PIPELINE.zoom(file, QUESTION)
    return Outcome(tuple(crop.encode()[0] for crop in zoom.crops))


def _isolated(data: bytes, _: Path) -> Outcome:
    (zoom,) = _PIPELINE.zoom_batch([VisualQuestion(data, QUESTION).opened(isolate=True)])
    return Outcome(tuple(crop.encode()[0] for crop in zoom.crops))


def _async(data: bytes, _: Path) -> Outcome:
    zoom = asyncio.run(_PIPELINE.azoom(data, QUESTION))
    return Outcome(tuple(crop.encode()[0] for crop in zoom.crops))


def _command(data: bytes, file: Path) -> Outcome:
    file.write_bytes(data)
    crop = file.with_name("crop-of-it.png")
    crop.unlink(missing_ok=True)
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        words = ["zoom", str(file), QUESTION, "--cropper", "centre", "-o", str(crop)]
        code = main(words)
    if code == 2:
        assert told.getvalue().count("\n") == 1
        return Outcome(message=told.getvalue().removeprefix("cropvlm: error: ").rstrip("\n"))
    assert code == 0
    return Outcome((crop.read_bytes(),) if crop.exists() else ())


def _langchain_tool(data: bytes, _: Path) -> Outcome:
    from langchain_cropvlm import ZoomTool

    call = {"name": "zoom", "args": {"question": QUESTION}, "id": "1", "type": "tool_call"}
    message = ZoomTool(pipeline=_PIPELINE, images=[data]).invoke(call)
    if message.status == "error":
        return Outcome(message=str(message.content).removeprefix("zoom failed: "))
    return _in_blocks(message.content)


def _langchain_middleware(data: bytes, _: Path) -> Outcome:
    from langchain.agents import create_agent
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    from langchain_cropvlm import ZoomMiddleware

    seen: list[Any] = []

    class Model(BaseChatModel):
        """Keeps what it is shown."""

        @property
        def _llm_type(self) -> str:
            return "kept"

        def _generate(self, messages: Any, *_: Any, **__: Any) -> ChatResult:
            seen.extend(messages)
            return ChatResult(generations=[ChatGeneration(message=AIMessage("12.90"))])

    image = {"type": "image", "base64": base64.b64encode(data).decode(), "mime_type": "image/png"}
    asked = {"role": "user", "content": [{"type": "text", "text": QUESTION}, image]}
    agent = create_agent(Model(), middleware=[ZoomMiddleware(_PIPELINE)])
    agent.invoke({"messages": [asked]})
    return _in_blocks(seen[0].content[2:])


def _llamaindex_tool(data: bytes, _: Path) -> Outcome:
    from llamaindex_cropvlm import ZoomToolSpec

    (tool,) = ZoomToolSpec(_PIPELINE, images=[data]).to_tool_list()
    return _in_llama_blocks(tool(question=QUESTION).blocks)


def _llamaindex_postprocessor(data: bytes, _: Path) -> Outcome:
    from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle

    from llamaindex_cropvlm import ZoomPostprocessor

    page = NodeWithScore(node=ImageNode(image=base64.b64encode(data).decode()), score=0.5)
    found = ZoomPostprocessor(_PIPELINE).postprocess_nodes([page], QueryBundle(QUESTION))
    nodes: list[Any] = [scored.node for scored in found[1:]]
    return Outcome(tuple(base64.b64decode(node.image) for node in nodes))


def _mcp(data: bytes, file: Path) -> Outcome:
    from mcp import Client

    from cropvlm_core.mcp_server.server import build_server
    from cropvlm_core.mcp_server.tools import ImageTools
    from cropvlm_core.sources import Allowed

    file.write_bytes(data)
    server = build_server(ImageTools(_PIPELINE, Allowed.of([file.parent], False)))

    async def call() -> Any:
        async with Client(server) as client:
            return await client.call_tool("zoom", {"image": file.name, "question": QUESTION})

    result = asyncio.run(call())
    if result.is_error:
        return Outcome(message=result.content[0].text.removeprefix("zoom failed: "))
    images = [part.data for part in result.content if part.type == "image"]
    return Outcome(tuple(map(base64.b64decode, images)))


def _openai_request(data: bytes, _: Path) -> Outcome:
    from cropvlm_core.openai_requests import RequestZoom

    image = {"url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}
    content = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": image}]
    asked = {"messages": [{"role": "user", "content": content}]}
    done = RequestZoom(_PIPELINE).zoom(asked, "messages")
    urls = [part["image_url"]["url"] for part in done.body["messages"][0]["content"][3:]]
    return Outcome(tuple(base64.b64decode(url.partition(",")[2]) for url in urls))


def _proxy(data: bytes, _: Path) -> Outcome:
    from cropvlm_core.proxy.refusals import RefusedError
    from cropvlm_core.proxy.settings import Settings
    from cropvlm_core.proxy.work import Workers

    image = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    workers = Workers(_PIPELINE, Settings("http://127.0.0.1"), "centre")
    try:
        asked = json.dumps({"image": image, "question": QUESTION}).encode()
        told = asyncio.run(workers.zoom(asked))
    except RefusedError as refusal:
        return Outcome(message=str(refusal))
    finally:
        workers.close()
    urls = [crop["data"] for crop in told["crops"]]
    return Outcome(tuple(base64.b64decode(url.partition(",")[2]) for url in urls))


def _in_blocks(blocks: Any) -> Outcome:
    texts = [block["base64"] for block in blocks if "base64" in block]
    return Outcome(tuple(map(base64.b64decode, texts)))


def _in_llama_blocks(blocks: Any) -> Outcome:
    images = [block.image for block in blocks if getattr(block, "image", None)]
    return Outcome(tuple(map(base64.b64decode, images)))


ENTRIES: dict[str, tuple[Entry, str]] = {
    "Python, bytes": (_python, "PIL"),
    "Python, path": (_path, "PIL"),
    "Python, isolated": (_isolated, "PIL"),
    "Python, async": (_async, "PIL"),
    "command line": (_command, "PIL"),
    "LangChain tool": (_langchain_tool, "langchain"),
    "LangChain middleware": (_langchain_middleware, "langchain"),
    "LlamaIndex tool": (_llamaindex_tool, "llama_index.core"),
    "LlamaIndex postprocessor": (_llamaindex_postprocessor, "llama_index.core"),
    "MCP server": (_mcp, "mcp"),
    "OpenAI request": (_openai_request, "PIL"),
    "proxy": (_proxy, "PIL"),
}
"""Each entry by its name, with the package that it needs."""


def outcome(name: str, data: bytes, file: Path) -> Outcome:
    """Send a file through an entry; `file`: where an entry that takes paths finds it."""
    entry, _ = ENTRIES[name]
    try:
        return entry(data, file)
    except CropVLMError as error:
        return Outcome(message=str(error))
