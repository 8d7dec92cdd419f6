"""``cropvlm zoom``: the crop of one page that answers one question."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cropvlm_core.cli import arguments
from cropvlm_core.cli import page as pages

if TYPE_CHECKING:
    from PIL import Image

    from cropvlm_core.zoom import Zoom

_SUFFIXES = (".png", ".jpg", ".jpeg")

_WHY = {
    "no_zoom_needed": "the cropper finds the whole page right for this question",
    "low_confidence": "the cropper is too unsure",
    "unreadable": "the cropper's reply holds no box",
    "timed_out": "the cropper was too slow",
}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "zoom",
        help="find the part of a page that answers a question",
        description="Find the part of a page that answers a question. Nothing is written without "
        "-o or --overlay.",
    )
    arguments.add_question(parser)
    pages.add_page(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="CROP.png",
        type=Path,
        help="write the crop (.png or .jpg); further crops get -2, -3 before the ending",
    )
    parser.add_argument(
        "--overlay", metavar="PAGE.png", type=Path, help="write the page with the crop outlined"
    )
    arguments.add_cropper(parser)
    arguments.add_box_writing(parser)
    arguments.add_served(parser)
    arguments.add_json(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Zoom, write what was asked for, and tell."""
    from cropvlm_core.loading import load_cropper
    from cropvlm_core.zoom import ZoomPipeline

    crop_files = [] if given.output is None else _numbered(given.output, given.max_crops)
    overlay_files = [] if given.overlay is None else [given.overlay]
    _check_outputs(given.image, crop_files, overlay_files)
    start = time.perf_counter()
    asked, page = pages.opened(given)
    decoding = time.perf_counter() - start
    cropper = load_cropper(given.cropper, **arguments.cropper_options(given))
    pipeline = ZoomPipeline(cropper, max_crops=given.max_crops, min_confidence=given.min_confidence)
    start = time.perf_counter()
    zoom = pipeline.zoom_batch([asked])[0]
    seconds = decoding + time.perf_counter() - start
    written = crop_files[: len(zoom.crops)]
    for crop, file in zip(zoom.crops, written, strict=False):
        _write(crop.image, file)
    for file in overlay_files:
        _write(zoom.overlay(), file)
    if given.json:
        files = [str(file) for file in written]
        told = zoom.to_dict(cropper=given.cropper, seconds=round(seconds, 4), files=files)
        print(json.dumps(told))
        if counted := pages.which(page):
            print(f"cropvlm: {counted}", file=sys.stderr)
    else:
        if counted := pages.which(page):
            print(counted)
        _tell(zoom, written, given)
        print(f"{seconds:.2f} s with the cropper {given.cropper}")
    return 0


def _tell(zoom: "Zoom", written: list[Path], given: argparse.Namespace) -> None:
    for number, crop in enumerate(zoom.crops, 1):
        box, (left, top, right, bottom) = crop.box, crop.pixels
        title = "crop" if len(zoom.crops) == 1 else f"crop {number}"
        sure = "" if crop.confidence is None else f", confidence {crop.confidence:.2f}"
        print(f"{title}: {box.area:.1%} of the page{sure}")
        print(
            f"  box     {box.left:.1%} {box.top:.1%} {box.right:.1%} {box.bottom:.1%} "
            "(left top right bottom)"
        )
        print(f"  pixels  {left} {top} {right} {bottom} ({right - left} x {bottom - top})")
        if number <= len(written):
            print(f"  file    {written[number - 1]}")
    if zoom.reason is not None:
        print(f"no crop: {_WHY[zoom.reason]} ({zoom.reason}); use the whole page")
        if zoom.reason == "low_confidence" and zoom.proposal.boxes:
            best = zoom.proposal.confidences[0] or 0
            print(f"  confidence of the best box: {best:.2f}; --min-confidence 0 crops it anyway")
        if given.output is not None:
            print(f"nothing written to {given.output}")
    if given.overlay is not None:
        marks = "crop outlined" if zoom.crops else "nothing outlined"
        print(f"overlay: {given.overlay} ({marks})")


def _numbered(file: Path, count: int) -> list[Path]:
    """Return CROP.png, CROP-2.png, CROP-3.png ..."""
    return [file, *(file.with_stem(f"{file.stem}-{number}") for number in range(2, count + 1))]


def _check_outputs(image: str, crop_files: list[Path], overlay_files: list[Path]) -> None:
    """Refuse before anything is done what could not be written, or should not be."""
    from cropvlm_core.errors import SourceError, shorten

    page = Path(image)
    outputs = crop_files + overlay_files
    if {file.resolve() for file in crop_files} & {file.resolve() for file in overlay_files}:
        raise SourceError(
            f"expected the overlay in a file of its own, got {shorten(str(outputs[-1]))} for both"
        )
    for file in outputs:
        if file.suffix.lower() not in _SUFFIXES:
            raise SourceError(
                f"expected a file to write that ends in {', '.join(_SUFFIXES)}, "
                f"got {shorten(str(file))}"
            )
        if not file.parent.is_dir():
            raise SourceError(f"expected a folder to write into, got {shorten(str(file.parent))}")
        if _same(file, page):
            raise SourceError(
                f"expected a file to write other than the image itself, got {shorten(str(file))}"
            )


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them is not there, or is no path at all
        return False


def _write(image: "Image.Image", file: Path) -> None:
    from cropvlm_core.errors import SourceError, shorten
    from cropvlm_core.images import encode_jpeg, encode_png

    data = encode_png(image) if file.suffix.lower() == ".png" else encode_jpeg(image)
    try:
        file.write_bytes(data)
    except OSError as error:
        raise SourceError(
            f"expected a file that can be written, got {shorten(str(file))}: {error.strerror}"
        ) from error
