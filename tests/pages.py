"""Pages and croppers that the adapters' tests share."""

import io
from collections.abc import Sequence

from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, FixedCropper, Proposal
from cropvlm_core.errors import ModelError
from cropvlm_core.images import encode_png, to_data_uri
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.zoom import ZoomPipeline

MIDDLE = Box(0.25, 0.25, 0.75, 0.75)


def noise(width: int = 200, height: int = 300) -> Image.Image:
    """A page on which no two regions look alike."""
    return Image.effect_noise((width, height), 60).convert("RGB")


def middle_of(page: Image.Image) -> Image.Image:
    """What :func:`pipeline` cuts out of a page."""
    return page.crop(MIDDLE.to_pixels(page.size))


def base64_of(page: Image.Image) -> str:
    """The page as a PNG in base64."""
    return to_data_uri(page).partition(",")[2]


def png_of(page: Image.Image) -> bytes:
    """The page as a PNG."""
    return encode_png(page)


def jpeg_lying_down(page: Image.Image) -> bytes:
    """The page as a camera stores it: on its side, with the orientation in its EXIF data."""
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    page.transpose(Image.Transpose.ROTATE_90).save(stream, "JPEG", exif=exif, quality=95)
    return stream.getvalue()


class CountingCropper(Cropper):
    """Proposes one box and remembers the questions of every batch."""

    name = "counting"

    def __init__(self, box: Box = MIDDLE, confidence: float | None = None) -> None:
        self.box = box
        self.confidence = confidence
        self.batches: list[list[str]] = []

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        self.batches.append([question.question for question in questions])
        return [Proposal((self.box,), (self.confidence,)) for _ in questions]


class FailingCropper(Cropper):
    """Stands for a cropper whose server is down."""

    name = "failing"
    asked = 0

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        self.asked += 1
        raise ModelError(f"expected boxes for {len(questions)} questions, got no connection")


def pipeline() -> ZoomPipeline:
    """Always the middle quarter of the page."""
    return ZoomPipeline(FixedCropper(MIDDLE))


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures show the same, pixel by pixel."""
    pair = [picture.convert("RGB") for picture in (one, other)]
    return pair[0].size == pair[1].size and pair[0].tobytes() == pair[1].tobytes()
