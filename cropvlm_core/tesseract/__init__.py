"""Tesseract: the target ``tesseract@N``, which reads, and the cropper ``ocr``  [extra ocr].

::

    engine.py    Tesseract in this process (tesserocr) or as the program; words with their places
    kept.py      what was read stays in memory, the latest so many
    reader.py    TesseractReader, the target
    layout.py    words -> cells of a page; what stands right of or below one
    asked.py     a question -> words to look for, and the kind of value
    matching.py  both -> boxes with confidences
    cropper.py   OCRCropper
"""

from cropvlm_core.tesseract.cropper import OCRCropper
from cropvlm_core.tesseract.reader import TesseractReader

__all__ = ["OCRCropper", "TesseractReader"]
