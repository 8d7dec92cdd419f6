"""What a user says in OpenAI's two protocols."""

from typing import Any

from PIL import Image

from cropvlm_core.images import to_data_uri
from tests.model_server import Shown


def chat_message(text: str, *pages: Image.Image, **image: Any) -> dict[str, Any]:
    """A message of Chat Completions; ``image``: further keys of the images, such as detail."""
    shown = [
        {"type": "image_url", "image_url": {"url": to_data_uri(page), **image}} for page in pages
    ]
    return {"role": "user", "content": [{"type": "text", "text": text}, *shown]}


def response_item(text: str, *pages: Image.Image, detail: str = "auto") -> dict[str, Any]:
    """An item of the input of Responses."""
    shown = [
        {"type": "input_image", "image_url": to_data_uri(page), "detail": detail} for page in pages
    ]
    return {"role": "user", "content": [{"type": "input_text", "text": text}, *shown]}


def showed(shown: list[Shown], *expected: Image.Image) -> bool:
    """Whether exactly these pictures were shown by the user, pixel for pixel."""
    return [(each.by, each.picture.size, each.picture.tobytes()) for each in shown] == [
        ("user", picture.size, picture.tobytes()) for picture in expected
    ]
