"""OCRCropper, the cropper ``ocr``: reads the page, matches its words to the question's.

The baseline that every learned cropper must beat, and a sound choice on clean print: it needs no
weights, and sees nothing that is not text.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from cropvlm_core.cropper import Cropper, Proposal, ZoomRules
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.tesseract.asked import Asked
from cropvlm_core.tesseract.engine import EngineName, find_engine
from cropvlm_core.tesseract.kept import Kept
from cropvlm_core.tesseract.layout import PageText
from cropvlm_core.tesseract.matching import find_boxes

LEAST_PIXELS, MOST_PIXELS = 2_000_000, 6_000_000
"""What is read: smaller pages are scaled up (at most three times a side), larger ones down."""

SURE = 0.3
"""Boxes of a lower confidence are not proposed: on rendered pages nine in ten of them are wrong."""

_MODE = 11  # sparse text: it finds most words on rendered pages; lines are put together here
_MOST_SCALE = 3.0
_Key = tuple[str, tuple[int, int]]


class OCRCropper(Cropper):
    """Matches the text lines of the page to the words of the question.

    The box holds the label that the question names and its value: what stands right of it or
    below. Confidences tell how much of the question stands there. Where nothing sure enough is
    found, the whole page is used, with the reason ``low_confidence``.

    Pages are read at 2 to 6 megapixels; the text of the latest pages is kept, so that many
    questions about a page read it once. Safe to share between threads.

    Args:
        engine: ``tesserocr`` or ``program``; None: the first that is there.
        language: Tesseract's language data, such as ``eng`` or ``eng+deu``. The words that every
            question has are known in English only.
        timeout: the most seconds for reading one page.
        remembered: of how many pages the text is kept.

    Raises:
        MissingExtraError: neither ``tesserocr`` nor the program is installed.
        WeightsError: the language data is missing.
        SpecError: no such language name.
    """

    name = "ocr"
    rules = ZoomRules(grow=(1.1, 1.3), min_width=0.3, min_height=0.08)

    def __init__(
        self,
        *,
        engine: EngineName | None = None,
        language: str = "eng",
        timeout: float = 60.0,
        remembered: int = 64,
    ) -> None:
        """Find Tesseract; nothing is read yet."""
        self._engine = find_engine(engine, language=language, timeout=timeout)
        self._language = language
        self._pages: Kept[_Key, PageText] = Kept(remembered)

    @property
    def version(self) -> str:
        """Name, rules, the release of Tesseract and its language."""
        return f"{super().version} {self._engine.version} {self._language}"

    def propose_batch(self, questions: Sequence[VisualQuestion]) -> list[Proposal]:
        """Propose boxes; the pages are read side by side, on as many threads as there are cores.

        Raises:
            ModelError: Tesseract failed.
            DeadlineError: ... or took longer than the timeout.
        """
        opened = [question.open() for question in questions]
        images = {id(image): image for image in opened}
        workers = min(os.cpu_count() or 1, len(images))
        if workers > 1:
            with ThreadPoolExecutor(workers, thread_name_prefix="cropvlm-ocr") as pool:
                pages = dict(zip(images, pool.map(self.text, images.values()), strict=True))
        else:
            pages = {key: self.text(image) for key, image in images.items()}
        return [
            _proposal(pages[id(image)], question.question)
            for image, question in zip(opened, questions, strict=True)
        ]

    def text(self, image: Image.Image) -> PageText:
        """The text of a page, which is read once.

        Raises:
            ModelError: Tesseract failed.
            DeadlineError: ... or took longer than the timeout.
        """
        grey = image.convert("L")
        digest = hashlib.blake2b(grey.tobytes(), digest_size=16).hexdigest()
        return self._pages.get((digest, grey.size), lambda: self._read(grey))

    def _read(self, grey: Image.Image) -> PageText:
        seen = _legible(grey)
        return PageText.of(self._engine.read(seen, _MODE), seen.size)


def _proposal(page: PageText, question: str) -> Proposal:
    found = [each for each in find_boxes(page, Asked.of(question)) if each[1] >= SURE]
    if not found:
        return Proposal(reason="low_confidence")
    return Proposal(tuple(box for box, _ in found), tuple(confidence for _, confidence in found))


def _legible(grey: Image.Image) -> Image.Image:
    pixels = grey.width * grey.height
    scale = min(_MOST_SCALE, max(1.0, (LEAST_PIXELS / pixels) ** 0.5))
    scale = min(scale, (MOST_PIXELS / pixels) ** 0.5)
    if scale == 1.0:
        return grey
    seen = max(1, round(grey.width * scale)), max(1, round(grey.height * scale))
    return grey.resize(seen, Image.Resampling.LANCZOS)
