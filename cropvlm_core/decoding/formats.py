"""Which formats are read, how a file of each begins, and who surveys it."""

from collections.abc import Callable

from cropvlm_core.decoding import bmp, gif, jpeg, png, tiff, webp
from cropvlm_core.decoding.survey import Survey

PDF = "PDF"
_PDF_START, _PDF_WITHIN = b"%PDF-", 1024  # readers take a header that some other bytes precede

_SURVEYS: dict[str, Callable[[bytes, int], Survey]] = {
    "PNG": png.survey_png,
    "JPEG": jpeg.survey_jpeg,
    "WEBP": webp.survey_webp,
    "GIF": gif.survey_gif,
    "BMP": bmp.survey_bmp,
    "TIFF": tiff.survey_tiff,
}
_STARTS = {
    "PNG": (png.START,),
    "JPEG": (jpeg.START,),
    "GIF": gif.STARTS,
    "BMP": (bmp.START,),
    "TIFF": tiff.STARTS,
}


def kind_of(data: bytes) -> str | None:
    """Return PNG, JPEG, WEBP, GIF, BMP, TIFF or PDF, by how ``data`` begins; None for the rest.

    A name's ending and a MIME type are never asked.
    """
    if webp.is_webp(data):
        return "WEBP"
    for kind, starts in _STARTS.items():
        if data.startswith(starts):
            return kind
    return PDF if _PDF_START in data[:_PDF_WITHIN] else None


def survey(kind: str, data: bytes, page: int) -> Survey:
    """Survey page or frame ``page``, from 1, of a file of this kind (no PDF).

    Raises:
        UnreadableError: see :mod:`cropvlm_core.decoding.survey`.
    """
    return _SURVEYS[kind](data, page)
