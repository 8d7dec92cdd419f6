"""What is sent: a conversation as the JSON of a request, made in small steps.

A page of 24 megapixels is some 10 MB of base64. Run through ``json.dumps`` in one piece it would
hold Python's lock, and with it every event loop of the process, for a tenth of a second.
"""

import base64
import json
import threading
from typing import Any

from PIL import Image

from cropvlm_core.images import encode_for_model
from cropvlm_core.vlm import Conversation

_LOSSLESS = 1_000_000  # pixels up to which a picture goes as PNG; a larger one goes as JPEG
_STEP = 3 * 2**16  # bytes put into base64 at a time; a multiple of 3, so that the pieces fit
_ENCODING = threading.Lock()  # several threads at it would be no faster, and crowd out the loop


class Body:
    """The body of a request, whose ``settings`` may change between two attempts."""

    def __init__(self, conversation: Conversation, settings: dict[str, Any]) -> None:
        """Encode the pictures."""
        self.settings = settings
        self._messages = [b'"messages":[{"role":"user","content":[']
        with _ENCODING:
            for number, part in enumerate(conversation.parts):
                self._messages += [b","] if number else []
                self._messages += _text(part) if isinstance(part, str) else _picture(part)
        self._messages.append(b"]}]}")

    def pieces(self) -> list[bytes]:
        """The JSON text, in pieces."""
        head = json.dumps(self.settings, separators=(",", ":")).encode()
        return [head[:-1], b",", *self._messages]


def _text(text: str) -> list[bytes]:
    return [json.dumps({"type": "text", "text": text}).encode()]


def _picture(image: Image.Image) -> list[bytes]:
    data, mime_type = encode_for_model(image, _LOSSLESS)
    head = f'{{"type":"image_url","image_url":{{"url":"data:{mime_type};base64,'
    steps = range(0, len(data), _STEP)
    return [
        head.encode(),
        *(base64.b64encode(data[start : start + _STEP]) for start in steps),
        b'"}}',
    ]
