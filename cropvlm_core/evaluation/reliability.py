"""How far a cropper's confidences can be taken at their word."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cropvlm_core.errors import DataError
from cropvlm_core.evaluation.statistics import Groups, Interval
from cropvlm_core.scoring import calibration_error, equal_parts

BINS = 10
"""Parts of equal size behind the calibration error."""

_LEVEL = (0.025, 0.975)


@dataclass(frozen=True)
class Bin:
    """Questions of like confidence: how many, mean confidence, and share of hits."""

    questions: int
    confidence: float
    hits: float


@dataclass(frozen=True)
class Reliability:
    """What the confidences of first crops are worth, over ``questions`` that have one and a box.

    ``error``: expected calibration error. ``bins`` behind it and ``quarters``: parts of equal size,
    the least sure first.
    """

    questions: int
    error: Interval
    bins: tuple[Bin, ...]
    quarters: tuple[Bin, ...]


def reliability(
    confidences: ArrayLike, hits: ArrayLike, docs: Groups, *, resamples: int = 1000, seed: int = 0
) -> Reliability:
    """Compare confidences with what came of them.

    Chance alone makes a calibration error larger than 0, the more so the fewer questions. Its 95 %
    interval is the basic bootstrap (Davison and Hinkley 1997, Bootstrap Methods and their
    Application, section 5.2) over documents, which takes that excess into account: the estimate
    often lies near its upper end.

    Args:
        confidences: one a question, 0..1.
        hits: whether the crop held the answer.
        docs: the document of each question.
        resamples: how often documents are drawn.
        seed: the same seed and documents in the same order give the same interval.

    Raises:
        DataError: there is no question, or not one of each.
    """
    sure = np.asarray(confidences, dtype=np.float64)
    right = np.asarray(hits, dtype=np.float64)
    if not sure.size or not sure.shape == right.shape == (len(docs),):
        raise DataError(f"expected a hit and a document for each confidence, got {sure.size}")
    codes = np.unique(np.asarray(docs), return_inverse=True)[1]
    order = np.argsort(sure, kind="stable")
    sure, right, codes = sure[order], right[order], codes[order]
    error = calibration_error(sure, right, BINS)
    count = int(codes.max()) + 1
    low = high = None
    if count > 1:
        rng = np.random.default_rng(seed)
        drawn = np.empty(resamples)
        for index in range(resamples):
            times = np.bincount(rng.integers(0, count, count), minlength=count)[codes]
            drawn[index] = calibration_error(np.repeat(sure, times), np.repeat(right, times), BINS)
        near, far = np.quantile(drawn, _LEVEL)
        low, high = max(0.0, float(2 * error - far)), max(0.0, float(2 * error - near))
    return Reliability(
        sure.size, Interval(error, low, high), _bins(sure, right, BINS), _bins(sure, right, 4)
    )


def _bins(sure: NDArray[np.float64], right: NDArray[np.float64], count: int) -> tuple[Bin, ...]:
    return tuple(
        Bin(part.stop - part.start, float(sure[part].mean()), float(right[part].mean()))
        for part in equal_parts(sure.size, count)
    )
