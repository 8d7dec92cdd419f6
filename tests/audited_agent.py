"""An agent as the README sets it up, in a process of its own that notes what it opens.

``python -m tests.audited_agent langchain|llamaindex SERVER`` talks to the model at SERVER twice;
with ``mcp`` a client talks to our own server, in this process; with ``client`` and ``proxy`` an
openai client, which zooms or has the proxy before it.
During the second talk, with all modules loaded, it notes every file that Python opens and every
host that is looked up or connected to, and prints them as JSON.
"""

import asyncio
import json
import sys
from typing import Any

from tests.pages import base64_of, noise, png_of

URL = "https://images.example/page.png"
TOTAL = "What is the total?"

_noting = False
_noted: list[list[str]] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if not _noting:
        return
    if event == "open":
        _noted.append([event, str(arguments[0])])
    elif event in ("socket.connect", "socket.sendto", "socket.bind"):
        _noted.append([event, str(arguments[1])])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        _noted.append([event, str(arguments[0]), str(arguments[1:2])])
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "urllib.Request"):
        _noted.append([event, str(arguments[0])])


def langchain(server: str) -> None:
    """The tool, the middleware and the Runnable, in one agent."""
    from langchain.agents import create_agent
    from langchain_core.messages import HumanMessage
    from langchain_openai import ChatOpenAI

    from langchain_cropvlm import ZoomMiddleware, ZoomTool, zoom_messages

    model = ChatOpenAI(model="gpt-4.1-nano", base_url=server, api_key="x", max_retries=0)  # type: ignore[arg-type]
    agent: Any = create_agent(model, [ZoomTool()], middleware=[ZoomMiddleware(on_error="skip")])
    zoom = zoom_messages(on_error="skip")

    def talk() -> None:
        content: list[str | dict[str, Any]] = [
            {"type": "text", "text": TOTAL},
            {"type": "image", "base64": base64_of(noise()), "mime_type": "image/png"},
            {"type": "image_url", "image_url": {"url": URL}},
            {"type": "image", "url": "/etc/hostname"},
        ]
        agent.invoke({"messages": zoom.invoke([HumanMessage(content)])})

    _twice(talk)


def llamaindex(server: str) -> None:
    """The tool in an agent, chat messages, and a postprocessor."""
    from llama_index.core.agent.workflow import FunctionAgent
    from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
    from llama_index.core.memory import ChatMemoryBuffer
    from llama_index.core.schema import ImageNode, NodeWithScore
    from llama_index.llms.openai import OpenAI

    from llamaindex_cropvlm import (
        ZoomPostprocessor,
        ZoomToolSpec,
        with_tool_images,
        zoom_chat_messages,
    )

    llm = with_tool_images(
        OpenAI(model="gpt-4.1-nano", api_base=server, api_key="x", max_retries=0)
    )
    post = ZoomPostprocessor(on_error="skip")

    async def talk() -> None:
        page = png_of(noise())
        blocks = [TextBlock(text=TOTAL), ImageBlock(image=page), ImageBlock(url=URL)]
        message = zoom_chat_messages([ChatMessage(role="user", blocks=blocks)], on_error="skip")[0]
        nodes = [ImageNode(image_url=URL), ImageNode(image=base64_of(noise()))]
        post.postprocess_nodes([NodeWithScore(node=node) for node in nodes], query_str=TOTAL)
        tools: list[Any] = [*ZoomToolSpec().to_tool_list()]
        agent = FunctionAgent(tools=tools, llm=llm, streaming=False)
        await agent.run(message, memory=ChatMemoryBuffer.from_defaults(llm=llm))

    with asyncio.Runner() as runner:  # the client's connections belong to one event loop
        _twice(lambda: runner.run(talk()))


def mcp(_: str) -> None:
    """The MCP server as it is started without options, and its client."""
    from mcp import Client

    from cropvlm_core import default_pipeline
    from cropvlm_core.mcp_server.server import build_server
    from cropvlm_core.mcp_server.tools import ImageTools
    from tests.test_agent_defaults import WANTED

    server = build_server(ImageTools(default_pipeline()))
    page = f"data:image/png;base64,{base64_of(noise())}"

    async def talk() -> None:
        async with Client(server) as client:
            for name in ("zoom", "look"):
                for image in WANTED:
                    refused = await client.call_tool(name, {"image": image, "question": TOTAL})
                    assert refused.is_error
                seen = await client.call_tool(name, {"image": page, "question": TOTAL})
                assert not seen.is_error

    with asyncio.Runner() as runner:
        _twice(lambda: runner.run(talk()))


def client(server: str) -> None:
    """The openai client with one line."""
    from openai import OpenAI

    from cropvlm_core.openai_client import zoomed

    _ask(zoomed(OpenAI(base_url=server, api_key="x", max_retries=0), on_error="skip"))


def proxy(server: str) -> None:
    """The proxy as it is started without options; its own address is no finding."""
    from openai import OpenAI

    from cropvlm_core import default_pipeline
    from tests.proxies import RunningProxy

    with RunningProxy(server, default_pipeline()) as running:
        _ask(OpenAI(base_url=running.url, api_key="x", max_retries=0))
    own = running.root.rpartition(":")[2]
    _noted[:] = [event for event in _noted if f"('127.0.0.1', {own})" not in event]


def _ask(app: Any) -> None:
    """A question about every reference that is not to be followed, and a picture."""
    from tests.test_agent_defaults import WANTED

    page = f"data:image/png;base64,{base64_of(noise())}"
    images = [{"type": "image_url", "image_url": {"url": str(url)}} for url in (*WANTED, page)]
    content = [{"type": "text", "text": TOTAL}, *images]
    messages = [{"role": "user", "content": content}]
    _twice(lambda: app.chat.completions.create(model="m", messages=messages))


def _twice(talk: Any) -> None:
    global _noting
    talk()
    _noting = True
    talk()
    _noting = False


if __name__ == "__main__":
    sys.addaudithook(_note)
    ways = {each.__name__: each for each in (langchain, llamaindex, mcp, client, proxy)}
    ways[sys.argv[1]](sys.argv[2])
    print(json.dumps(_noted))
