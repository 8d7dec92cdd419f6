"""Intervals and tests: by hand where small, by simulation where not, and against SciPy."""

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from cropvlm_core.errors import DataError
from cropvlm_core.evaluation.statistics import (
    Counts,
    Interval,
    bootstrap,
    paired_test,
    quartets,
)

DOCUMENTS, QUESTIONS, TRUTH = 60, 5, 0.6


def scores_of_documents(dice: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Right and wrong answers whose share is TRUTH; some documents are far easier than others."""
    ease = dice.beta(1.2, 0.8, DOCUMENTS)
    scores = dice.random((DOCUMENTS, QUESTIONS)) < ease[:, None]
    return scores.ravel().astype(np.float64), np.repeat(np.arange(DOCUMENTS), QUESTIONS)


def test_95_of_100_intervals_hold_the_truth() -> None:
    dice = np.random.default_rng(5)
    held, naive = 0, 0
    for run in range(600):
        scores, documents = scores_of_documents(dice)
        for each, groups in (("whole", documents), ("naive", np.arange(scores.size))):
            interval = bootstrap(scores, groups, resamples=400, seed=run)
            assert interval.low is not None
            assert interval.high is not None
            holds = interval.low <= TRUTH <= interval.high
            held += holds and each == "whole"
            naive += holds and each == "naive"
    assert 0.925 <= held / 600 <= 0.97
    assert naive / 600 < 0.85  # questions drawn one by one: far too sure


def test_p_is_uniform_where_nothing_differs() -> None:
    dice = np.random.default_rng(6)
    for documents, resamples in ((10, 1024), (30, 400)):  # all patterns, and drawn ones
        p_values, naive = [], []
        for run in range(500):
            effect = dice.normal(0, 1, documents)[:, None]
            differences = (effect + dice.normal(0, 0.5, (documents, 4))).ravel()
            groups = np.repeat(np.arange(documents), 4)
            p_values.append(paired_test(differences, groups, resamples=resamples, seed=run))
            each = np.arange(differences.size)
            naive.append(paired_test(differences, each, resamples=200, seed=run))
        for share in (0.05, 0.25, 0.5, 0.75):
            found = np.mean(np.array(p_values) <= share)
            assert abs(found - share) < 3.5 * np.sqrt(share * (1 - share) / 500), (documents, share)
        assert np.mean(np.array(naive) <= 0.05) > 0.2


def test_p_is_small_where_something_differs() -> None:
    dice = np.random.default_rng(7)
    assert paired_test(dice.normal(0.5, 1, 200), range(200)) < 0.001
    assert paired_test(dice.normal(0.0, 1, 200), range(200)) > 0.05


@pytest.mark.parametrize(
    ("differences", "groups", "p"),
    [
        ([1, 1, 1], "abc", 2 / 8),  # +++ and ---
        ([1, -1], "ab", 1.0),
        ([3, 1], "ab", 2 / 4),
        ([2, 1, -1], "abc", 6 / 8),  # |sum| >= 2: all but +-- with -++
        ([1, 1, 1, 1], "aabb", 2 / 4),  # two documents, not four
        ([1, -1, 1, 1], "aabc", 2 / 4),  # a document whose differences cancel says nothing
        ([0.1, 0.2, -0.3], "abc", 1.0),  # a sum of nil, but for rounding
        ([0, 0, 0], "abc", 1.0),
        ([5], "a", 1.0),
    ],
)
def test_small_p_by_hand(differences: Sequence[float], groups: str, p: float) -> None:
    assert paired_test(differences, list(groups)) == pytest.approx(p)
    assert paired_test([-each for each in differences], list(groups)) == pytest.approx(p)


def test_a_drawn_p_is_never_nil_and_near_the_exact_one() -> None:
    assert paired_test([1.0] * 60, range(60), resamples=999) == 1 / 1000
    dice = np.random.default_rng(8)
    differences = dice.normal(0.3, 1, 13)
    exact = paired_test(differences, range(13), resamples=8192)
    drawn = paired_test(differences, range(13), resamples=8191)
    assert exact != drawn
    assert exact == pytest.approx(drawn, abs=0.02)
    assert round(exact * 8192) == exact * 8192


def test_an_interval_is_that_of_the_central_limit() -> None:
    dice = np.random.default_rng(9)
    values = dice.normal(10, 2, 400)
    interval = bootstrap(values, range(400), resamples=4000)
    assert interval.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_documents_weigh_by_their_questions() -> None:
    # drawn: aa, ab, ba, bb; the means 1, 3/4 (3 of 4 questions), 3/4, 0
    interval = bootstrap([1, 1, 1, 0], list("aaab"), resamples=1000)
    assert interval == Interval(0.75, 0.0, 1.0)
    assert bootstrap([4, 4, 4], list("abc")) == Interval(4, 4, 4)


def test_one_document_has_no_interval() -> None:
    assert bootstrap([0, 1, 1, 1], ["a"] * 4) == Interval(0.75, None, None)


def test_the_seed_decides() -> None:
    values, groups = np.random.default_rng(1).random(50), [("set", n // 3) for n in range(50)]
    assert bootstrap(values, groups) == bootstrap(values, groups)
    assert bootstrap(values, groups) != bootstrap(values, groups, seed=1)
    assert paired_test(values - 0.4, groups) == paired_test(values - 0.4, groups)
    assert paired_test(values - 0.4, groups) != paired_test(values - 0.4, groups, seed=1)
    arrays = bootstrap(values, np.array([n // 3 for n in range(50)]))
    assert arrays == bootstrap(values, groups)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-100, 100), st.integers(0, 5)), min_size=1, max_size=30),
    st.integers(0, 3),
)
def test_an_interval_lies_among_the_documents(rows: list[tuple[float, int]], seed: int) -> None:
    values, groups = zip(*rows, strict=True)
    interval = bootstrap(values, groups, resamples=50, seed=seed)
    assert interval.mean == pytest.approx(np.mean(values))
    means = [np.mean([v for v, g in rows if g == group]) for group in set(groups)]
    assert (interval.low is None) == (interval.high is None) == (len(means) == 1)
    if interval.low is not None and interval.high is not None:
        assert min(means) - 1e-6 <= interval.low <= interval.high <= max(means) + 1e-6
    assert 0 < paired_test(values, groups, resamples=50, seed=seed) <= 1


def test_memory_is_flat_at_ten_thousand_documents() -> None:
    values = np.random.default_rng(2).random(10_000)
    groups = np.arange(10_000)
    tracemalloc.start()
    try:
        bootstrap(values, groups)
        paired_test(values - 0.5, groups)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6  # all draws at once would take 800 MB


def test_rescued_and_harmed_are_counted() -> None:
    before = [0.0, 0.4, 0.5, 1.0, 0.49, 1.0]
    after = [1.0, 0.5, 0.4, 1.0, 0.0, 0.0]
    assert quartets(before, after) == Counts(rescued=2, harmed=2, both_right=1, both_wrong=1)
    assert quartets([], []) == Counts(0, 0, 0, 0)
    with pytest.raises(DataError, match="expected 1 scores after as before, got 2"):
        quartets([1], [1, 1])


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        ([], [], "at least one, got shape"),
        ([[1.0]], ["a"], r"in a row, at least one, got shape \(1, 1\)"),
        ([1.0, 2.0], ["a"], "one group for each of 2 values, got 1"),
        ([1.0, float("nan")], ["a", "b"], "expected numbers, got nan"),
    ],
)
def test_what_is_no_data_is_refused(values: ArrayLike, groups: list[str], message: str) -> None:
    for run in (bootstrap, paired_test):
        with pytest.raises(DataError, match=message):
            run(values, groups)


def test_scipy_agrees() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).normal(0.4, 1, 12)
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert paired_test(values, range(12)) == pytest.approx(theirs.pvalue)
    many = np.random.default_rng(4).exponential(1, 300)
    low, high = stats.bootstrap(
        (many,), np.mean, n_resamples=5000, method="percentile", rng=0
    ).confidence_interval
    ours = bootstrap(many, range(300), resamples=5000)
    assert ours.low == pytest.approx(low, abs=0.01)
    assert ours.high == pytest.approx(high, abs=0.01)
