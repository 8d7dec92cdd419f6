"""What a weight file says about itself, as ONNX metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from typing import Any

from cropvlm_core.cropper import ZoomRules
from cropvlm_core.embedded.confidence import AnswerableMap, ConfidenceMap
from cropvlm_core.embedded.page_input import PageInput
from cropvlm_core.errors import WeightsError, shorten

FORMAT = "cropvlm-embedded-2"
"""What the metadata key ``format`` of a weight file says."""

FORMATS = ("cropvlm-embedded-1", FORMAT)
"""The formats that can be read. In the first, questions come in a table for each page."""

_LATER: dict[str, Any] = {
    "least": (0, 0),
    "least_photograph": None,
    "calibration": None,
    "answerable": None,
    "threshold": None,
    "price": None,
    "price_photograph": None,
}
"""What was added to the format since: older files do without."""


@dataclass(frozen=True)
class PolicySettings:
    """What a weight file says about itself.

    Attributes:
        budget: input pixels of a prepared page with ordinary print.
        line, most: how large print should come out, and how many times the budget a page may
            take for it; see ``prepare_readable``.
        quantile: quantile of the side distances that is taken.
        least: smallest width and height of a box in input pixels.
        least_photograph: the same for pages that look like photographs; None: as all others.
        rules: how its boxes become crops.
        calibration: turns the probability that a box shows into a confidence; None: it is the
            confidence, where the page answers the question.
        answerable: turns the network's log-odds that it does into a chance, by which that is
            multiplied; None: it is taken to answer.
        threshold: the confidence below which the whole page is recommended; None: no such.
        price: the chance of a hit that a crop must bring for showing ``budget`` input pixels, a
            page of ordinary print; see ``propose``; None: boxes follow ``quantile`` and ``least``.
        price_photograph: the same for pages that look like photographs; None: as all others.
    """

    budget: int
    quantile: float
    rules: ZoomRules
    line: float = 0.0
    most: float = 1.0
    least: tuple[float, float] = (0.0, 0.0)
    least_photograph: tuple[float, float] | None = None
    calibration: ConfidenceMap | None = None
    answerable: AnswerableMap | None = None
    threshold: float | None = None
    price: float | None = None
    price_photograph: float | None = None

    def least_on(self, page: PageInput) -> tuple[float, float]:
        """Smallest width and height of a box on this page, in input pixels."""
        return (self.least_photograph if page.photograph else None) or self.least

    def price_on(self, page: PageInput) -> float | None:
        """What a crop of this page costs; None where boxes have no price."""
        return (self.price_photograph if page.photograph else None) or self.price

    def confidence(self, answerable: float) -> Callable[[float], float]:
        """From the probability that a box shows to its confidence.

        Args:
            answerable: the network's log-odds that the page answers the question.
        """
        page = 1.0 if self.answerable is None else self.answerable(answerable)
        if self.calibration is None:
            return lambda mass: page * mass
        calibration = self.calibration
        return lambda mass: page * calibration(mass)

    def to_metadata(self) -> dict[str, str]:
        """The ONNX metadata that :meth:`from_metadata` reads."""
        values = asdict(self) | {"rules": self.rules.to_dict()}
        for name in ("calibration", "answerable"):
            values[name] = None if getattr(self, name) is None else astuple(getattr(self, name))
        return {"format": FORMAT, "settings": json.dumps(values)}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> PolicySettings:
        """Read ONNX metadata.

        Raises:
            WeightsError: the file is of another format, or its settings cannot be.
        """
        if metadata.get("format") not in FORMATS:
            raise WeightsError(
                f"expected weights of format {' or '.join(FORMATS)}, "
                f"got {shorten(metadata.get('format'))}"
            )
        try:
            values: dict[str, Any] = _LATER | json.loads(metadata["settings"])
            map_, page, threshold = (
                values[name] for name in ("calibration", "answerable", "threshold")
            )
            photograph = values["least_photograph"]
            read = cls(
                budget=int(values["budget"]),
                quantile=float(values["quantile"]),
                rules=ZoomRules.from_dict(values["rules"]),
                line=float(values["line"]),
                most=float(values["most"]),
                least=(float(values["least"][0]), float(values["least"][1])),
                least_photograph=None
                if photograph is None
                else (float(photograph[0]), float(photograph[1])),
                calibration=None if map_ is None else ConfidenceMap(*map(float, map_)),
                answerable=None if page is None else AnswerableMap(*map(float, page)),
                threshold=None if threshold is None else float(threshold),
                price=None if values["price"] is None else float(values["price"]),
                price_photograph=None
                if values["price_photograph"] is None
                else float(values["price_photograph"]),
            )
        except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise WeightsError(f"expected settings in the weight file, got {error!r}") from error
        possible = (
            16_384 <= read.budget <= 1_048_576
            and 0 < read.quantile < 1
            and 0 <= read.line <= 64
            and 1 <= read.most <= 4
            and all(0 <= side <= 4096 for side in (*read.least, *(read.least_photograph or ())))
            and 0 <= (read.threshold or 0) <= 1
            and all(
                0.001 <= one <= 1000
                for one in (read.price, read.price_photograph)
                if one is not None
            )
        )
        if not possible:
            raise WeightsError(f"expected settings in their ranges, got {shorten(values)}")
        return read
