"""What a user says in the LangChain tests. Import it behind ``require_package``."""

from typing import Any

from langchain_core.messages import HumanMessage
from PIL import Image

from tests.pages import base64_of


def asks(text: str, *pages: Image.Image, **options: Any) -> Any:
    """A message of the user: a text, and pages as standard image blocks."""
    images = [
        {"type": "image", "base64": base64_of(page), "mime_type": "image/png"} for page in pages
    ]
    return HumanMessage([{"type": "text", "text": text}, *images], **options)
