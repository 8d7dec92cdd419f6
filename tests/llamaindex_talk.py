"""What a user says, and over which connections, in the LlamaIndex tests.

Import it behind ``require_package``.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from llama_index.core.llms import ChatMessage, ImageBlock, MessageRole, TextBlock
from PIL import Image

from tests.chat_server import ChatServer
from tests.pages import png_of


def asks(text: str, *pages: Image.Image, role: MessageRole = MessageRole.USER) -> ChatMessage:
    """A message: a text, and pages as image blocks."""
    images = [ImageBlock(image=png_of(page)) for page in pages]
    return ChatMessage(role=role, blocks=[TextBlock(text=text), *images])


@asynccontextmanager
async def connected(server: ChatServer) -> AsyncIterator[dict[str, Any]]:
    """What LlamaIndex's OpenAI classes are built with to reach ``server``; closed at the end."""
    async with httpx.AsyncClient() as awaited:
        with httpx.Client() as plain:
            yield {
                "model": "gpt-4.1-nano",
                "api_base": server.url,
                "api_key": "x",
                "max_retries": 0,
                "http_client": plain,
                "async_http_client": awaited,
            }
