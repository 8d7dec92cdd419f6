"""What runs in a worker process: read a page, zoom, write the crops, say what came of it.

Pages are not ours to trust. They are decoded in a process apart (:mod:`cropvlm_core.isolation`),
and read and looked at in this one, which may die of a page too: a cropper is native code, and
memory ends. Who started it knows which page that was. Both sides speak in JSON, so that whatever a
page made of this process, nothing of it is unpickled by the other.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image

from cropvlm_core.bulk import bounds
from cropvlm_core.bulk.storage import read_source
from cropvlm_core.cropper import Cropper
from cropvlm_core.errors import CropVLMError, ImageError, MissingExtraError
from cropvlm_core.images import (
    encode_jpeg,
    encode_png,
    image_format,
    open_image,
    page_count,
)
from cropvlm_core.loading import load_cropper
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.zoom import Zoom, ZoomPipeline

CROPS = "crops"
OVERLAYS = "overlays"

OF_SEVERAL_PAGES = ("PDF", "TIFF")
"""Formats whose files are documents: each of their pages is a page. A GIF's frames are none."""


@dataclass(frozen=True)
class Work:
    """What a worker is told when it starts.

    Attributes:
        cropper: a name as ``load_cropper`` takes, or a picklable function that makes a cropper.
        notation, input_size, max_crops, min_confidence: as everywhere.
        folder: gets ``crops`` and ``overlays``.
        crops, overlays: which of them are written.
        threads: for the numerical libraries of one worker.
        memory: bytes that a page may take beyond what the loaded cropper does.
        with_main: let a worker read the program again that was started, as Python does, for what
            it defines; False: leave it out, as it is somebody else's.
    """

    cropper: str | Callable[[], Cropper]
    notation: str | None
    input_size: int | None
    max_crops: int
    min_confidence: float | None
    folder: Path
    crops: bool
    overlays: bool
    threads: int
    memory: int
    with_main: bool = True

    def load(self) -> Cropper:
        """Make the cropper.

        Raises:
            CropVLMError: as ``load_cropper`` does.
        """
        if not isinstance(self.cropper, str):
            return self.cropper()
        kind, _, file = self.cropper.partition(":")
        if kind == "embedded" and self.notation is None and self.input_size is None:
            from cropvlm_core.embedded import EmbeddedCropper

            return EmbeddedCropper(file or None, threads=self.threads)
        return load_cropper(self.cropper, notation=self.notation, input_size=self.input_size)


def serve(connection: Connection, work: Work) -> None:
    """Zoom pages until the other side closes the connection, or something breaks."""
    bounds.prepare(work.threads)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody is there
        try:
            pipeline = _pipeline(work)
        except CropVLMError as error:
            _say(connection, kind="unfit", **in_words(error))
            return
        cropper = pipeline.cropper
        name = work.cropper if isinstance(work.cropper, str) else cropper.name
        _say(connection, kind="ready", cropper=name, version=cropper.version)
        bounds.limit_memory(work.memory)
        bounds.silence()
        _zoom_pages(connection, work, pipeline, name)


def _pipeline(work: Work) -> ZoomPipeline:
    """Load the cropper, and zoom once: is it the cropper that fails, or a page?"""
    cropper = work.load()
    pipeline = ZoomPipeline(cropper, max_crops=work.max_crops, min_confidence=work.min_confidence)
    if not str(work.cropper).startswith("openai:"):  # there each question costs money
        pipeline.zoom(Image.new("RGB", (64, 64), "white"), "What is this?")
    return pipeline


def _zoom_pages(connection: Connection, work: Work, pipeline: ZoomPipeline, name: str) -> None:
    """Take page after page, and say what ended it."""
    try:
        while True:
            _zoom_page(connection, work, pipeline, name)
    except _DiskError as error:
        cause = error.cause
        _say(connection, kind="unwritable", errno=cause.errno, error=cause.strerror)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # noqa: BLE001 - of a page's making, or a bug: its row names it
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _say(connection, kind="broke", error=what[:1000])


class _DiskError(Exception):
    """A picture could not be written: no page's fault."""

    def __init__(self, cause: OSError) -> None:
        self.cause = cause


def _zoom_page(connection: Connection, work: Work, pipeline: ZoomPipeline, name: str) -> None:
    """Take one page from the first word to the last."""
    task = json.loads(connection.recv_bytes())
    bounds.end_yourself_after(task["seconds"])
    try:
        data = read_source(task["source"])
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        several = task["page"] is None and image_format(data) in OF_SEVERAL_PAGES
        _say(connection, kind="read", digest=digest, pages=page_count(data) if several else 1)
        keys: dict[str, str] = json.loads(connection.recv_bytes())
        if not keys:
            return
        start = time.perf_counter()
        image = open_image(data, page=task["page"] or 1, isolate=True)
        del data
        _say(connection, kind="opened")
        asked = [
            VisualQuestion(task["source"], text, page=task["page"] or 1).opened(image)
            for text in keys.values()
        ]
        zooms = pipeline.zoom_batch(asked)
        seconds = round((time.perf_counter() - start) / len(zooms), 4)
        told = [
            _written(zoom, key, work, cropper=name, seconds=seconds)
            for key, zoom in zip(keys, zooms, strict=True)
        ]
        _say(connection, kind="zoomed", told=told)
    except CropVLMError as error:
        if _out_of_memory(error):
            raise MemoryError from error
        # What ended the process that decodes may have been the machine, not the page.
        harmed = isinstance(error, ImageError) and isinstance(error.__cause__, EOFError | OSError)
        _say(connection, kind="harmed" if harmed else "refused", **in_words(error))
    finally:
        bounds.end_yourself_after(None)


def _written(zoom: Zoom, key: str, work: Work, **about: Any) -> dict[str, Any]:
    """Write the pictures of a zoom; return what its row says of it."""
    files: list[str | None] = []
    for number, crop in enumerate(zoom.crops if work.crops else (), 1):
        file = f"{CROPS}/{key}.png" if number == 1 else f"{CROPS}/{key}-{number}.png"
        _write(work.folder / file, encode_png(crop.image))
        files.append(file)
    told = zoom.to_dict(files=files, **about)
    if work.overlays:
        told["overlay"] = f"{OVERLAYS}/{key}.jpg"
        _write(work.folder / told["overlay"], encode_jpeg(zoom.overlay()))
    return told


def _write(file: Path, data: bytes) -> None:
    """Write a file whole or not at all, and force it to the disk: its row comes after it."""
    aside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(file)
    except OSError as error:
        raise _DiskError(error) from error


def _say(connection: Connection, **message: Any) -> None:
    connection.send_bytes(json.dumps(message).encode())


def in_words(error: CropVLMError) -> dict[str, Any]:
    """Return what is said of an error to another process; see :func:`.crew.unfit`."""
    words = {"code": error.code, "error": str(error)}
    if isinstance(error, MissingExtraError):
        words |= {"feature": error.feature, "extra": error.extra}
    return words


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether a lack of memory is behind an error: of this process maybe, not of the page."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__
    return False
