"""The protocol, by the official SDK; served on standard input and output."""

import base64
import functools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

from cropvlm_core import __version__
from cropvlm_core.errors import CropVLMError, shorten
from cropvlm_core.mcp_server.arguments import OUTPUT_SCHEMA, input_schema
from cropvlm_core.mcp_server.calls import Calls
from cropvlm_core.mcp_server.tools import Answer, ImageTools
from cropvlm_core.prompts import LOOK_TOOL, ZOOM_TOOL
from cropvlm_core.tool import NAME, reference_words

logger = logging.getLogger(__name__)

LOOK = "look"
"""The name of the tool that shows whole images."""

SECONDS = 60.0
"""The longest a call may take, unless another figure is given."""


def build_server(
    tools: ImageTools, *, seconds: float = SECONDS, structured: bool = False
) -> Server[Calls]:
    """Return the server with its two tools; :func:`serve_stdio` and ``http`` serve it.

    Args:
        tools: what answers the calls.
        seconds: the longest a call may take, waiting included.
        structured: declare output schemas, and send the figures as structured content as well.
            Several clients then show the model nothing else, and no picture.
    """

    @asynccontextmanager
    async def lifespan(_: Server[Calls]) -> AsyncIterator[Calls]:
        calls = Calls(seconds)
        try:
            yield calls
        finally:
            calls.close()

    async def list_tools(_: Any, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=declared)

    async def call_tool(context: Any, given: CallToolRequestParams) -> CallToolResult:
        work = {NAME: tools.zoom, LOOK: tools.look}.get(given.name)
        if work is None:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {shorten(given.name, 40)}")
        answer = functools.partial(_answered, work, given.arguments or {}, structured)
        try:
            result: CallToolResult = await context.lifespan_context.run(answer)
        except CropVLMError as error:
            return _failed(f"{given.name} failed: {' '.join(str(error).split())}")
        except Exception:  # the SDK would send its text to the client
            logger.exception("%s failed", given.name)
            return _failed(f"{given.name} failed: an internal error, told in the server's log")
        return result

    declared = _declared(tools, structured=structured)
    return Server(
        "cropvlm",
        title="CropVLM",
        version=__version__,
        lifespan=lifespan,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def serve_stdio(server: Server[Calls]) -> None:
    """Serve one client on standard input and output, until it closes them."""
    try:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())
    except* BrokenPipeError:  # it ended without closing our input first
        logger.info("the client is gone")


def _declared(tools: ImageTools, *, structured: bool) -> list[Tool]:
    image = reference_words(tools.allowed)
    hints = ToolAnnotations(
        read_only_hint=True,
        destructive_hint=False,
        idempotent_hint=True,
        open_world_hint=tools.allowed.urls,
    )
    return [
        Tool(
            name=name,
            title=title,
            description=description,
            input_schema=input_schema(
                image, question_needed=name == NAME, max_crops=tools.max_crops
            ),
            output_schema=OUTPUT_SCHEMA if structured else None,
            annotations=hints,
        )
        for name, title, description in (
            (NAME, "Zoom into an image", ZOOM_TOOL),
            (LOOK, "Look at a whole image", LOOK_TOOL),
        )
    ]


def _answered(work: Any, arguments: dict[str, Any], structured: bool) -> CallToolResult:
    """Work and write the answer down: in a thread, as encoding takes its time."""
    answer: Answer = work(arguments)
    content: list[Any] = [
        TextContent(text=part)
        if isinstance(part, str)
        else ImageContent(data=base64.b64encode(part.data).decode(), mime_type=part.mime_type)
        for part in answer.parts
    ]
    return CallToolResult(content=content, structured_content=answer.data if structured else None)


def _failed(message: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=message)], is_error=True)
