"""Box, always in fractions of the upright page, and BoxNotation: how a model family writes one."""

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from cropvlm_core.errors import BoxError, shorten

NO_ZOOM_NEEDED = "No zoom needed."
"""What a cropper writes instead of a box when the whole image is enough."""

Pixels = tuple[int, int, int, int]
"""``(left, top, right, bottom)``, whole pixels of the upright image, half-open."""

_DUST = 1e-9  # fractions closer than this are equal: what arithmetic leaves behind
_PIXEL_DUST = 1e-6  # the same, in units of a pixel or of a notation
_LOOKED_AT = 16_384  # characters of a reply in which a box is searched


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on the upright page, in fractions 0..1 of its width and height.

    The origin is the top-left corner. Coordinates outside the page by no more than 1e-9 are
    moved onto its edge.

    Raises:
        BoxError: a coordinate is no finite number or off the page, or a side is empty or reversed.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        """Check the four numbers and store them as plain floats."""
        for name in ("left", "top", "right", "bottom"):
            value = getattr(self, name)
            try:
                number = float(value)
            except (TypeError, ValueError, OverflowError):
                number = math.nan
            if not -_DUST <= number <= 1 + _DUST:
                raise BoxError(
                    f"expected {name} as a fraction 0..1 of the page, got {shorten(value)}"
                )
            object.__setattr__(self, name, min(max(number, 0.0), 1.0))
        if self.right - self.left <= _DUST or self.bottom - self.top <= _DUST:
            raise BoxError(f"expected left < right and top < bottom, got {self._numbers()}")

    def _numbers(self) -> str:
        return f"({self.left:.6g}, {self.top:.6g}, {self.right:.6g}, {self.bottom:.6g})"

    @property
    def width(self) -> float:
        """Share of the page's width, 0..1."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Share of the page's height, 0..1."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Share of the page's area, 0..1."""
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        """The middle, ``(x, y)`` in fractions."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def is_whole(self) -> bool:
        """Whether the box is the entire page."""
        near, far = max(self.left, self.top), min(self.right, self.bottom)
        return near <= _DUST and far >= 1 - _DUST

    def to_pixels(self, size: tuple[int, int]) -> Pixels:
        """Snap outward to whole pixels of an image of ``size`` (width, height).

        The result is half-open, inside the image and never empty.
        """
        width, height = _checked_size(size)
        left, right = _outward(self.left * width, self.right * width, width)
        top, bottom = _outward(self.top * height, self.bottom * height, height)
        return left, top, right, bottom

    @classmethod
    def from_pixels(cls, pixels: Sequence[float], size: tuple[int, int]) -> "Box":
        """Return the box of ``(left, top, right, bottom)`` pixels on an image of ``size``."""
        width, height = _checked_size(size)
        if len(pixels) != 4:
            raise BoxError(f"expected four pixel coordinates, got {shorten(tuple(pixels))}")
        left, top, right, bottom = pixels
        return cls(left / width, top / height, right / width, bottom / height)

    def intersection(self, other: "Box") -> "Box | None":
        """Return what the two boxes share, or None where they share no area."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        if right - left <= _DUST or bottom - top <= _DUST:
            return None
        return Box(left, top, right, bottom)

    def covered_by(self, boxes: "Box | Iterable[Box]") -> float:
        """Share 0..1 of this box's area that lies inside ``boxes`` (inside their union)."""
        others = (boxes,) if isinstance(boxes, Box) else tuple(boxes)
        shared = [common for box in others if (common := self.intersection(box)) is not None]
        return min(1.0, union_area(shared) / self.area)

    def iou(self, other: "Box") -> float:
        """Intersection over union, 0..1."""
        common = self.intersection(other)
        if common is None:
            return 0.0
        return common.area / (self.area + other.area - common.area)

    def to_dict(self) -> dict[str, float]:
        """Return ``{"left", "top", "right", "bottom"}`` in fractions."""
        return {"left": self.left, "top": self.top, "right": self.right, "bottom": self.bottom}


def union_area(boxes: Iterable[Box]) -> float:
    """Area of the union of ``boxes`` as a share of the page; what overlaps counts once."""
    kept = tuple(boxes)
    if len(kept) == 1:
        return kept[0].area
    edges = sorted({x for box in kept for x in (box.left, box.right)})
    total = 0.0
    for left, right in itertools.pairwise(edges):
        spans = sorted((b.top, b.bottom) for b in kept if b.left <= left and b.right >= right)
        reached = covered = 0.0
        for top, bottom in spans:
            covered += max(0.0, bottom - max(top, reached))
            reached = max(reached, bottom)
        total += (right - left) * covered
    return total


@dataclass(frozen=True, slots=True)
class BoxReading:
    """What a reply said: a box, or None and the ``reason`` why there is none.

    ``repaired`` tells that the numbers were reversed or partly off the page, so that the box is
    not literally what was written (a format reward wants to know).
    """

    box: Box | None
    reason: Literal["unreadable", "no_zoom_needed"] | None = None
    repaired: bool = False


_DIGITS = r"(?:[0-9]{1,40}+(?:\.[0-9]{0,40}+)?|\.[0-9]{1,40}+)"
_NUMBER = rf"\s*+([-+]?{_DIGITS}(?:[eE][-+]?[0-9]{{1,4}}+)?)%?\s*+"
_PAIR_BREAK = r"(?:[\])]\s*+,?\s*+[\[(])"  # between (x1, y1) and (x2, y2), as Qwen2-VL writes them
_BRACKETS = re.compile(rf"[\[(]{_NUMBER},{_NUMBER}(?:,|{_PAIR_BREAK}){_NUMBER},{_NUMBER}[\])]")
_LOC_TOKENS = re.compile(r"\s*+".join([r"<loc([0-9]{4})>"] * 4))
_NO_ZOOM = re.compile(r"\bno\s{1,8}zoom\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BoxNotation:
    """How a model family writes a box as text; the only parser and the only writer of boxes.

    ``BoxNotation.percent``      ``[12, 30, 45, 60].``, whole percent, x first: the CropVLM paper
    ``BoxNotation.per_mille``    ``[120, 300, 450, 600]``, 0-1000, x first: Qwen3-VL
    ``BoxNotation.per_mille_yx`` ``[300, 120, 600, 450]``, 0-1000, y first: Gemini
    ``BoxNotation.loc_tokens``   ``<loc0307><loc0123><loc0614><loc0460>``, y first: PaliGemma
    ``BoxNotation.pixels(w, h)`` pixels of the resized input, x first: Qwen2.5-VL

    ``name`` goes into a checkpoint and :meth:`from_name` brings the notation back.
    """

    name: str
    units: tuple[int, int] | None
    y_first: bool = False
    tokens: bool = False
    ending: str = ""

    percent: ClassVar["BoxNotation"]
    per_mille: ClassVar["BoxNotation"]
    per_mille_yx: ClassVar["BoxNotation"]
    loc_tokens: ClassVar["BoxNotation"]

    @classmethod
    def pixels(cls, width: int | None = None, height: int | None = None) -> "BoxNotation":
        """Pixels of an input of ``width`` x ``height``; left out, each call gets ``size=``."""
        if width is None and height is None:
            return cls("pixels", None)
        if width is None or height is None:
            raise BoxError(f"expected both width and height, got {width!r} and {height!r}")
        return cls(f"pixels:{width}x{height}", _checked_size((width, height)))

    @classmethod
    def from_name(cls, name: str) -> "BoxNotation":
        """Return the notation that was saved as ``name``.

        Raises:
            BoxError: there is no such notation.
        """
        named = {n.name: n for n in (cls.percent, cls.per_mille, cls.per_mille_yx, cls.loc_tokens)}
        if name in named:
            return named[name]
        if name == "pixels":
            return cls.pixels()
        if match := re.fullmatch(r"pixels:([0-9]{1,6})x([0-9]{1,6})", name):
            return cls.pixels(int(match[1]), int(match[2]))
        known = ", ".join((*named, "pixels", "pixels:WxH"))
        raise BoxError(f"expected a box notation ({known}), got {shorten(name)}")

    @property
    def instruction(self) -> str:
        """One sentence that tells an untrained model how to write the box."""
        order = "top, left, bottom, right" if self.y_first else "left, top, right, bottom"
        unit = {
            "percent": "whole percent of the image's width and height",
            "per_mille": "coordinates normalised to 0-1000",
            "per_mille_yx": "coordinates normalised to 0-1000",
            "loc_tokens": "location tokens 0-1023",
        }.get(self.name, "pixels")
        shape = "<locNNNN> four times: " + order if self.tokens else f"[{order}]"
        return f"Reply with one box only, written {shape}, in {unit}, or with: {NO_ZOOM_NEEDED}"

    def read(self, text: str, *, size: tuple[int, int] | None = None) -> BoxReading:
        """Read the first box in ``text``, whatever the text is.

        The first four numbers in brackets decide (``[a, b, c, d]``, parentheses, JSON around
        them, two bracketed points); the rest of the text is ignored, and so is everything after
        16,384 characters. Reversed corners are put in order; a box partly off the page is cut at
        its edge; a box off the page, without area or with a number that is not finite is
        unreadable. Only the digits 0-9 count.

        Args:
            text: the model's reply.
            size: (width, height) of the input, for ``pixels`` without a size of its own.

        Raises:
            BoxError: a notation of pixels was not told the size; never because of ``text``.
        """
        units = self._units(size)
        looked_at = text[:_LOOKED_AT]
        match = (_LOC_TOKENS if self.tokens else _BRACKETS).search(looked_at)
        refusal = _NO_ZOOM.search(looked_at)
        if refusal is not None and (match is None or refusal.start() < match.start()):
            return BoxReading(None, "no_zoom_needed")
        if match is None:
            return BoxReading(None, "unreadable")
        first = [float(number) for number in match.groups()]
        if not all(map(math.isfinite, first)):
            return BoxReading(None, "unreadable")
        if self.y_first:
            first = [first[1], first[0], first[3], first[2]]
        xs = (first[0] / units[0], first[2] / units[0])
        ys = (first[1] / units[1], first[3] / units[1])
        left, right = max(min(xs), 0.0), min(max(xs), 1.0)
        top, bottom = max(min(ys), 0.0), min(max(ys), 1.0)
        if right - left <= _DUST or bottom - top <= _DUST:
            return BoxReading(None, "unreadable")
        repaired = (left, top, right, bottom) != (xs[0], ys[0], xs[1], ys[1])
        return BoxReading(Box(left, top, right, bottom), None, repaired)

    def write(self, box: Box, *, size: tuple[int, int] | None = None) -> str:
        """Write ``box`` in whole units, rounded outward, so that a small box never collapses."""
        units = self._units(size)
        left, right = _outward(box.left * units[0], box.right * units[0], units[0])
        top, bottom = _outward(box.top * units[1], box.bottom * units[1], units[1])
        order = (top, left, bottom, right) if self.y_first else (left, top, right, bottom)
        if self.tokens:
            return "".join(f"<loc{number:04d}>" for number in order)
        return f"[{', '.join(map(str, order))}]{self.ending}"

    def _units(self, size: tuple[int, int] | None) -> tuple[int, int]:
        if self.units is not None:
            return self.units
        if size is None:
            raise BoxError("expected size=(width, height) for a notation of pixels, got None")
        return _checked_size(size)


BoxNotation.percent = BoxNotation("percent", (100, 100), ending=".")
BoxNotation.per_mille = BoxNotation("per_mille", (1000, 1000))
BoxNotation.per_mille_yx = BoxNotation("per_mille_yx", (1000, 1000), y_first=True)
BoxNotation.loc_tokens = BoxNotation("loc_tokens", (1023, 1023), y_first=True, tokens=True)


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    if width < 1 or height < 1:
        raise BoxError(f"expected a size of at least 1 x 1, got {shorten(size)}")
    return width, height


def _outward(low: float, high: float, limit: int) -> tuple[int, int]:
    """Whole numbers around ``low..high``, at least 1 apart, inside ``0..limit``."""
    start = min(max(math.floor(low + _PIXEL_DUST), 0), limit - 1)
    return start, min(max(math.ceil(high - _PIXEL_DUST), start + 1), limit)
