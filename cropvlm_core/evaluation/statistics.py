"""How far figures can be trusted: intervals, a paired test, and what one view did to another.

Questions about one document fail together: a blurred receipt spoils all of them. So whole
documents are drawn, and signs flipped, never single questions; with as many documents as questions
it comes to the usual methods.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cropvlm_core.errors import DataError, shorten

RIGHT = 0.5
"""From this score on, an answer counts as right where answers are counted."""

_LEVEL = (0.025, 0.975)
_CHUNK = 1 << 18  # numbers drawn at a time: memory stays flat however many questions there are
_SAME = 1e-9

Groups = NDArray[Any] | Sequence[Hashable]
"""The document of each question: any labels."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, in the unit of the values.

    ``low`` and ``high`` are None where all questions are about one document: how documents differ
    cannot be told from one.
    """

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Counts:
    """Answers under two views; ``rescued`` were wrong before and right after, ``harmed`` not."""

    rescued: int
    harmed: int
    both_right: int
    both_wrong: int


def bootstrap(
    values: ArrayLike, groups: Groups, *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean of ``values`` and its 95 % interval, by resampling whole groups.

    The percentile bootstrap (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter
    13) over clusters (Cameron, Gelbach and Miller 2008, Bootstrap-Based Improvements for Inference
    with Clustered Errors, section III): as many groups as there are, drawn with replacement, each
    with all its values. With fewer than some 30 groups it comes out too narrow.

    Args:
        values: one a question.
        groups: the document of each question.
        resamples: how often to draw; time goes with resamples times groups.
        seed: the same seed and groups in the same order give the same interval.

    Raises:
        DataError: there is no value, or not one group for each.
    """
    sums, sizes = _by_group(values, groups)
    mean = float(sums.sum() / sizes.sum())
    if sums.size == 1:
        return Interval(mean, None, None)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for part in _parts(resamples, sums.size):
        shape = (part.stop - part.start, sums.size)
        drawn = rng.integers(0, sums.size, shape, dtype=np.int32)
        means[part] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, _LEVEL)
    return Interval(mean, float(low), float(high))


def paired_test(
    differences: ArrayLike, groups: Groups, *, resamples: int = 10_000, seed: int = 0
) -> float:
    """Return the two-sided p-value of "the differences are as often for as against".

    The sign-flip permutation test (Good 2005, Permutation, Parametric and Bootstrap Tests of
    Hypotheses, chapter 3) over groups: were there no difference, that of a whole document could as
    well have the other sign. All sign patterns are tried where there are at most ``resamples`` of
    them; else as many are drawn and p = (as extreme + 1) / (drawn + 1), which is never 0 (Phipson
    and Smyth 2010, Permutation P-values Should Never Be Zero). With n documents that differ no p
    below 2 / 2**n is possible.

    Args:
        differences: one a question, such as scores of one view minus those of another.
        groups: the document of each question.
        resamples: how many sign patterns to draw.
        seed: the same seed and groups in the same order give the same p.

    Raises:
        DataError: there is no difference, or not one group for each.
    """
    sums, _ = _by_group(differences, groups)
    slack = _SAME * np.abs(sums).sum()
    sums = sums[np.abs(sums) > slack]  # those of nil stay as they are, whatever their sign
    if not sums.size:
        return 1.0
    extreme = abs(sums.sum()) - slack
    if sums.size < 63 and 1 << sums.size <= resamples:
        patterns = np.arange(1 << sums.size)[:, None] >> np.arange(sums.size) & 1
        return float((np.abs(sums.sum() - 2 * (patterns @ sums)) >= extreme).mean())
    rng = np.random.default_rng(seed)
    count = 0
    for part in _parts(resamples, sums.size):
        rows = part.stop - part.start
        bits = np.frombuffer(rng.bytes(-(-rows * sums.size // 8)), np.uint8)
        flipped = np.unpackbits(bits, count=rows * sums.size).reshape(rows, sums.size)
        totals = sums.sum() - 2 * (flipped.astype(np.float64) @ sums)
        count += int((np.abs(totals) >= extreme).sum())
    return (count + 1) / (resamples + 1)


def quartets(before: ArrayLike, after: ArrayLike) -> Counts:
    """Count what became of each question; an answer is right from a score of 0.5 on.

    Raises:
        DataError: there are not as many scores after as before.
    """
    first, second = np.asarray(before) >= RIGHT, np.asarray(after) >= RIGHT
    if first.shape != second.shape:
        raise DataError(f"expected {first.size} scores after as before, got {second.size}")
    return Counts(
        rescued=int((~first & second).sum()),
        harmed=int((first & ~second).sum()),
        both_right=int((first & second).sum()),
        both_wrong=int((~first & ~second).sum()),
    )


def _by_group(values: ArrayLike, groups: Groups) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the values of each group, groups in the order of their first value."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not numbers.size:
        raise DataError(f"expected numbers in a row, at least one, got shape {numbers.shape}")
    if len(groups) != numbers.size:
        raise DataError(f"expected one group for each of {numbers.size} values, got {len(groups)}")
    if not np.isfinite(numbers).all():
        first = numbers[~np.isfinite(numbers)][0]
        raise DataError(f"expected numbers, got {shorten(float(first))}")
    codes: dict[Hashable, int] = {}
    labels = groups.tolist() if isinstance(groups, np.ndarray) else groups
    of_each = np.fromiter(
        (codes.setdefault(label, len(codes)) for label in labels), np.int64, numbers.size
    )
    ones = np.ones_like(numbers)
    return _summed(of_each, numbers), _summed(of_each, ones)


def _summed(codes: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(codes, weights=values).astype(np.float64, copy=False)


def _parts(resamples: int, groups: int) -> Iterator[slice]:
    step = max(1, _CHUNK // groups)
    for start in range(0, resamples, step):
        yield slice(start, min(start + step, resamples))
