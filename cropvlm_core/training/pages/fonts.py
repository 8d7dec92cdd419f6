"""Fonts of this machine, sorted into the three roles that printed pages use.

Fonts come from the machine (Debian packages named in ``scripts/install-system.sh``, or whatever the
user has), never from the repository.
"""

from __future__ import annotations

import functools
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import ImageFont

from cropvlm_core.errors import DataError

Role = Literal["mono", "sans", "serif"]

_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.fonts",
    "~/.local/share/fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
# Words in file names of fonts that are no Latin text fonts: other scripts, symbols, script hands.
_UNFIT = (
    "emoji symbol math music dingbat znamenny d050000l z003 mahjong signwriting initials keyboard "
    "icons barcode linbiolinum_k notosans- notoserif- thin extralight extlight hairline"
).split()
_NOTO_LATIN = {
    f"{family}-{style}"
    for family in ("notosans", "notoserif", "notosansmono", "notosansdisplay", "notoserifdisplay")
    for style in ("regular", "bold", "italic", "bolditalic")
}
_SERIF = (
    "serif roman times tinos caladea c059 p052 bookman libertine palatino garamond georgia"
).split()
_MONO_SAMPLE = "iIlW.M"
_LATIN_SAMPLE = "AZaz09$%/:é"


@dataclass(frozen=True)
class Face:
    """A font file and the role it can play on a page."""

    path: str
    role: Role
    bold: bool

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """The font at ``size`` pixels (em height), cached."""
        return _open(self.path, size)


@functools.lru_cache(maxsize=512)
def _open(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _face(path: Path) -> Face | None:
    name = path.stem.lower()
    if name.startswith("noto"):
        if name not in _NOTO_LATIN:
            return None
    elif any(word in name for word in _UNFIT):
        return None
    try:
        font = _open(str(path), 32)
    except OSError:
        return None
    shapes = {bytes(font.getmask(letter)) for letter in _LATIN_SAMPLE + "\ue123"}
    if len(shapes) <= len(_LATIN_SAMPLE):  # letters drawn as the missing-glyph box, or all alike
        return None
    widths = {round(font.getlength(letter), 1) for letter in _MONO_SAMPLE}
    family = (font.getname()[0] or "").lower()
    if len(widths) == 1:
        role: Role = "mono"
    elif any(word in family or word in name for word in _SERIF) and "sans" not in name:
        role = "serif"
    else:
        role = "sans"
    return Face(str(path), role, "bold" in name or name.endswith(("-b", "bd")))


@functools.cache
def installed_faces() -> tuple[Face, ...]:
    """All usable Latin text fonts, sorted by file name so that a seed picks the same on a like machine.

    Searches ``$CROPVLM_FONTS`` (folders joined by the path separator) or the usual folders.

    Raises:
        DataError: no usable font was found.
    """
    chosen = os.environ.get("CROPVLM_FONTS")
    folders = chosen.split(os.pathsep) if chosen else _FOLDERS
    files = sorted(
        {
            path
            for folder in folders
            for pattern in ("*.ttf", "*.otf", "*.TTF")
            for path in Path(folder).expanduser().rglob(pattern)
        },
        key=lambda path: (path.name, str(path)),
    )
    faces = tuple(face for face in map(_face, files) if face is not None)
    if not faces:
        raise DataError(
            "expected at least one Latin TrueType font to draw pages with, found none; "
            "run scripts/install-system.sh or set CROPVLM_FONTS"
        )
    return faces


def pick_face(rng: random.Random, role: Role | None = None, *, bold: bool | None = None) -> Face:
    """A random face of the role; a family with forty files is no likelier than one with two."""
    families = _families(role, bold) or _families(role, None) or _families(None, None)
    return rng.choice(rng.choice(families))


@functools.cache
def _families(role: Role | None, bold: bool | None) -> list[list[Face]]:
    found: dict[str, list[Face]] = {}
    for face in installed_faces():
        if (role is None or face.role == role) and (bold is None or face.bold == bold):
            found.setdefault(Path(face.path).stem.split("-")[0].lower()[:8], []).append(face)
    return list(found.values())
