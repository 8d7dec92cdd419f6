"""The zooming: JSON and pictures in worker threads, so that the event loop goes on."""

import asyncio
import base64
import json
import logging
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from cropvlm_core.cropper import Cropper
from cropvlm_core.errors import CropVLMError, ModelError, SourceError, SpecError, shorten
from cropvlm_core.images import open_image
from cropvlm_core.loading import load_cropper
from cropvlm_core.openai_requests import Conversation, RequestZoom, shows_images
from cropvlm_core.proxy.refusals import RefusedError
from cropvlm_core.proxy.settings import Settings
from cropvlm_core.proxy.writing import written
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.sources import Allowed, is_data_uri
from cropvlm_core.zoom import ZoomPipeline

logger = logging.getLogger(__name__)

MAX_CROPS = 100
"""The most crops that a request to ``/v1/zoom`` may ask for."""

OPEN_CROPPERS = ("embedded", "whole", "centre", "random")
"""What a request may name as its cropper besides the proxy's own: they read and ask nothing."""

_MARKS = (b'"image_url"', b'"input_image"')
_T = TypeVar("_T")


@dataclass(frozen=True)
class Rewritten:
    """A body with crops; ``body`` None: it goes on as it came.

    ``why``: the codes of what kept images from being zoomed into, one for each.
    """

    body: bytes | None
    crops: int = 0
    why: tuple[str, ...] = ()

    @property
    def header(self) -> str:
        """What the answer's header says."""
        told = f"crops={self.crops}"
        if self.why:
            told += f"; passed_over={len(self.why)}; why={','.join(dict.fromkeys(self.why))}"
        return told


class Workers:
    """Threads that zoom, for one proxy."""

    def __init__(self, pipeline: ZoomPipeline, settings: Settings, name: str) -> None:
        """Follow ``pipeline``, whose cropper the command line calls ``name``."""
        self._pipeline = pipeline
        self._name = name if name.partition(":")[0] in OPEN_CROPPERS else name.partition(":")[0]
        self._allowed = Allowed.of(None, settings.urls)
        self._zoom = RequestZoom(pipeline, on_error="skip", allowed=self._allowed, isolate=True)
        self._seconds = settings.zoom_seconds
        self._threads = ThreadPoolExecutor(settings.workers, "cropvlm-zoom")
        self._croppers: dict[str, Cropper] = {}
        self._loading = threading.Lock()

    def close(self) -> None:
        """Start nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def rewrite(self, body: bytes, conversation: Conversation) -> Rewritten | None:
        """Add crops to a body; None where there is no image to zoom into. Never fails."""
        if not any(mark in body for mark in _MARKS):
            return None
        try:
            return await self._run(lambda: self._rewritten(body, conversation))
        except TimeoutError:
            return Rewritten(None, 0, ("timeout",))
        except Exception as bug:  # noqa: BLE001 - it must not cost the app its answer
            log_bug(bug)
            return Rewritten(None, 0, ("internal",))

    async def zoom(self, body: bytes) -> dict[str, Any]:
        """Answer a request to ``/v1/zoom``.

        Raises:
            RefusedError: it cannot be read or zoomed into (400), the cropper failed (502), or it
                took too long (504).
        """
        try:
            return await self._run(lambda: self._zoomed(body))
        except TimeoutError:
            told = f"zooming took more than {self._seconds:g} s"
            raise RefusedError(504, "timeout", told, retry_after=1) from None
        except ModelError as error:
            logger.debug("the cropper failed", exc_info=True)
            raise RefusedError(502, error.code, "the cropper failed") from None
        except CropVLMError as error:
            raise RefusedError(400, error.code, str(error)) from None

    async def _run(self, work: Callable[[], _T]) -> _T:
        future = self._threads.submit(work)
        async with asyncio.timeout(self._seconds):
            return await asyncio.wrap_future(future)

    def _rewritten(self, body: bytes, conversation: Conversation) -> Rewritten | None:
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):  # the upstream says what is wrong with it
            return None
        if not shows_images(given, conversation):
            return None
        zoomed = self._zoom.zoom(given, conversation)
        codes = tuple(error.code for error in zoomed.passed_over)
        if zoomed.body is given:
            return Rewritten(None, 0, codes)
        return Rewritten(written(zoomed.body), zoomed.crops, codes)

    def _zoomed(self, body: bytes) -> dict[str, Any]:
        given = _object(body)
        pipeline, name = self._asked_for(given)
        image = given.get("image")
        if not isinstance(image, str) or not (is_data_uri(image) or self._allowed.urls):
            ways = "a data: URI" + " or a URL" * self._allowed.urls
            raise SourceError(f"expected image as {ways}, got {_kind(image)}")
        data = self._allowed.read(image)
        began = time.perf_counter()
        asked = VisualQuestion(open_image(data, isolate=True), given.get("question", ""))
        zoom = pipeline.zoom_batch([asked])[0]
        told = zoom.to_dict(cropper=name, seconds=round(time.perf_counter() - began, 4))
        for crop, entry in zip(zoom.crops, told["crops"], strict=True):
            encoded, mime_type = crop.encode()
            digits = base64.b64encode(encoded).decode("ascii")
            entry["data"] = f"data:{mime_type};base64,{digits}"
        return told

    def _asked_for(self, given: dict[str, Any]) -> tuple[ZoomPipeline, str]:
        own = self._pipeline
        crops = given.get("max_crops", own.max_crops)
        if not isinstance(crops, int) or isinstance(crops, bool) or not 1 <= crops <= MAX_CROPS:
            raise SpecError(f"expected max_crops from 1 to {MAX_CROPS}, got {shorten(crops)}")
        name = given.get("cropper", self._name)
        if name == self._name:
            cropper = own.cropper
        elif name in OPEN_CROPPERS:
            cropper = self._loaded(name)
        else:
            known = ", ".join(dict.fromkeys((self._name, *OPEN_CROPPERS)))
            raise SpecError(f"expected a cropper of {known}; got {shorten(name)}")
        limit = own.min_confidence if cropper is own.cropper else None
        return ZoomPipeline(cropper, max_crops=crops, min_confidence=limit), name

    def _loaded(self, name: str) -> Cropper:
        with self._loading:
            if name not in self._croppers:
                self._croppers[name] = load_cropper(name)
            return self._croppers[name]


def log_bug(bug: BaseException) -> None:
    """Tell of a bug without its message, which may hold content."""
    lines = traceback.format_list(traceback.extract_tb(bug.__traceback__))
    logger.error("bug", extra={"told": {"kind": type(bug).__name__, "at": "".join(lines)}})


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise RefusedError(400, "bad_json", "expected a JSON object with image and question")
    return given


def _kind(value: object) -> str:
    return "another text" if isinstance(value, str) else shorten(value, 30)
