"""Tesseract, in this process (``tesserocr``, several times cheaper) or as the program.

Both are given the same grey pixels and the same settings, and the table that both write (TSV) is
read here; with the same release of Tesseract they give the same words. A wheel of ``tesserocr``
brings a release of its own, which reads damaged print a little differently from Debian's: the
``version`` of an engine belongs beside every figure.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from PIL import Image

from cropvlm_core.errors import (
    DeadlineError,
    MissingExtraError,
    ModelError,
    SpecError,
    WeightsError,
    shorten,
)

EngineName = Literal["tesserocr", "program"]

_FEATURE = (
    "reading text without Tesseract (Debian: apt-get install tesseract-ocr tesseract-ocr-eng)"
)
_DPI = "150"  # said of every picture: left to guess, Tesseract guesses another one for each crop
_THINNEST = 3  # pixels: no letter is lower, and Tesseract complains about such strips
_WORD = "5"  # the level of a word's row in the table
_COLUMNS = 12
_FOLDERS = (  # of language data: Debian, Fedora, other systems, Homebrew, conda
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tesseract/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
    f"{sys.prefix}/share/tessdata",
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word as read: its text and its place, in pixels of the picture, half-open."""

    text: str
    left: int
    top: int
    right: int
    bottom: int


TextLine = tuple[Word, ...]
"""The words of one line of text, left to right."""


class Engine(Protocol):
    """Reads pictures; safe to share between threads.

    Attributes:
        version: the release that reads, for the settings of an evaluation.
    """

    version: str

    def read(self, grey: Image.Image, mode: int) -> list[TextLine]:
        """Read the lines off a picture of mode ``L``.

        Args:
            grey: the picture.
            mode: Tesseract's page segmentation mode (``--psm``).

        Raises:
            ModelError: Tesseract failed.
            DeadlineError: ... or took longer than its timeout.
        """
        ...


def find_engine(
    name: EngineName | None = None, *, language: str = "eng", timeout: float = 60.0
) -> Engine:
    """Return the engine of this machine: ``tesserocr`` where it is installed, else the program.

    Args:
        name: take this one; None: the first that is there.
        language: Tesseract's name of the language data, such as ``eng`` or ``eng+deu``.
        timeout: the most seconds for one picture.

    Raises:
        MissingExtraError: neither is there.
        WeightsError: the language data is missing.
        SpecError: no such language name, or a timeout that is none.
    """
    if not re.fullmatch(r"\w+(?:\+\w+)*", language):
        raise SpecError(f"expected a language such as eng or eng+deu, got {shorten(language)}")
    if not 0 < timeout < 1_000_000:
        raise SpecError(f"expected a timeout above 0 seconds, got {shorten(timeout)}")
    program = shutil.which("tesseract")
    if name != "program":
        try:
            import tesserocr
        except ImportError as error:
            if name is not None or program is None:
                raise MissingExtraError(_FEATURE, "ocr") from error
        else:
            return InProcess(tesserocr, language, timeout)
    if program is None:
        raise MissingExtraError(_FEATURE, "ocr")
    return Program(program, language, timeout)


class InProcess:
    """Tesseract through ``tesserocr``; a picture holds one of as many readers as there are cores.

    Tesseract's own threads would hurt; the wheels of ``tesserocr`` are built without them.
    """

    def __init__(self, tesserocr: Any, language: str, timeout: float) -> None:
        """Use the module ``tesserocr``; see :func:`find_engine`."""
        self._module = tesserocr
        self._language = language
        self._timeout = timeout
        self._data = _language_data(language)
        with contextlib.suppress(TypeError):  # old releases take no value, their own included
            tesserocr.set_leptonica_log_level(tesserocr.LeptLogLevel.NONE)  # nothing to stderr
        self._free: list[Any] = []
        self._gate = threading.BoundedSemaphore(os.cpu_count() or 1)
        release = tesserocr.tesseract_version().split("\n")[0].strip()
        self.version = f"{release} (tesserocr {tesserocr.__version__})"

    def read(self, grey: Image.Image, mode: int) -> list[TextLine]:
        """Read a picture; see :meth:`Engine.read`."""
        if min(grey.size) < _THINNEST:
            return []
        with self._gate:
            reader = self._free.pop() if self._free else self._reader()
            table = self._table(reader, grey, mode)
            self._free.append(reader)  # one that failed is not used again
        return _lines(table)

    def _reader(self) -> Any:
        try:
            reader = self._module.PyTessBaseAPI(path=str(self._data), lang=self._language)
            reader.SetVariable("user_defined_dpi", _DPI)
            reader.SetVariable("debug_file", os.devnull)
            return reader
        except RuntimeError as error:
            raise ModelError(f"expected Tesseract to start, got {shorten(str(error))}") from error

    def _table(self, reader: Any, grey: Image.Image, mode: int) -> str:
        width, height = grey.size
        start = time.monotonic()
        try:
            reader.SetPageSegMode(mode)
            reader.SetImageBytes(grey.tobytes(), width, height, 1, width)
            whole = reader.Recognize(max(1, round(self._timeout * 1000)))
            table = reader.GetTSVText(0) if whole else ""
            reader.Clear()
            reader.ClearAdaptiveClassifier()  # what was read before must not change what follows
        except RuntimeError as error:
            raise ModelError(f"expected Tesseract to read, got {shorten(str(error))}") from error
        if not whole:
            late = time.monotonic() - start >= self._timeout
            raise (DeadlineError if late else ModelError)(
                f"expected a text within {self._timeout:g} s, got none for a picture of "
                f"{width} x {height}"
            )
        return str(table)


class Program:
    """The program ``tesseract``: picture through stdin, table through stdout, no shell."""

    def __init__(self, program: str, language: str, timeout: float) -> None:
        """Run ``program``; see :func:`find_engine`."""
        self._program = program
        self._language = language
        self._timeout = timeout
        self._gate = threading.BoundedSemaphore(os.cpu_count() or 1)
        first, listed = self._run(["--version"]), self._run(["--list-langs"])
        release = first.decode("utf-8", "replace").split("\n")[0].strip()
        self.version = f"{release} (program)"
        there = set(listed.decode("utf-8", "replace").split("\n"))
        for part in language.split("+"):
            if part not in there:
                raise _no_data(part, os.environ.get("TESSDATA_PREFIX"))

    def read(self, grey: Image.Image, mode: int) -> list[TextLine]:
        """Read a picture; see :meth:`Engine.read`."""
        if min(grey.size) < _THINNEST:
            return []
        told = ["--psm", str(mode), "--dpi", _DPI, "-l", self._language]
        picture = b"P5 %d %d 255\n" % grey.size + grey.tobytes()
        with self._gate:
            table = self._run(["stdin", "stdout", *told, "tsv"], picture)
        return _lines(table.decode("utf-8", "replace"))

    def _run(self, arguments: Sequence[str], given: bytes = b"") -> bytes:
        name = Path(self._program).name
        try:
            done = subprocess.run(
                [self._program, *arguments],
                input=given,
                capture_output=True,
                timeout=self._timeout,
                check=False,
                env=os.environ | {"OMP_THREAD_LIMIT": "1"},  # its threads wait for each other
            )
        except subprocess.TimeoutExpired as error:
            raise DeadlineError(
                f"expected a text from the program {name} within {self._timeout:g} s, got none"
            ) from error
        except OSError as error:
            raise ModelError(
                f"expected the program {name} to run, got {shorten(error.strerror)}"
            ) from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
            raise ModelError(
                f"expected the program {name} to end well, got exit code {done.returncode}: "
                f"{shorten(said)}"
            )
        return done.stdout


def _lines(table: str) -> list[TextLine]:
    """The words of Tesseract's table, line by line."""
    lines: dict[tuple[str, ...], list[Word]] = {}
    for row in (line.split("\t") for line in table.split("\n")):
        if len(row) != _COLUMNS or row[0] != _WORD:
            continue
        text = " ".join(row[11].split())
        left, top, width, height = (int(number) for number in row[6:10])
        if text and width > 0 and height > 0:
            word = Word(text, left, top, left + width, top + height)
            lines.setdefault(tuple(row[1:5]), []).append(word)
    return [tuple(words) for words in lines.values()]


def _language_data(language: str) -> Path:
    """The folder that holds the data of every part of ``language``."""
    told = os.environ.get("TESSDATA_PREFIX")
    folders = [Path(folder) for folder in ([told] if told else _FOLDERS)]
    parts = language.split("+")
    there = {
        folder: [part for part in parts if (folder / f"{part}.traineddata").is_file()]
        for folder in folders
    }
    best = max(folders, key=lambda folder: len(there[folder]))
    for part in parts:
        if part not in there[best]:
            raise _no_data(part, told)
    return best


def _no_data(part: str, told: str | None = None) -> WeightsError:
    looked = "" if told is None else f" in TESSDATA_PREFIX={told}"
    return WeightsError(
        f"expected Tesseract's language data {part}.traineddata, got none{looked}: apt-get install "
        f"tesseract-ocr-{part.replace('_', '-')}, or name its folder in TESSDATA_PREFIX"
    )
