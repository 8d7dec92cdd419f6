"""How sure the embedded cropper says it is: the map, its fit, and what a weight file keeps."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from cropvlm_core.cropper import ZoomRules
from cropvlm_core.embedded.confidence import AnswerableMap, ConfidenceMap
from cropvlm_core.embedded.settings import FORMAT, PolicySettings
from cropvlm_core.errors import WeightsError
from cropvlm_core.scoring import calibration_error, equal_parts
from cropvlm_core.training.confidence import (
    BREAK_EVEN,
    Outcomes,
    fit_confidence,
    fit_map,
    recommended_threshold,
)

OLD = {
    "budget": 262144, "quantile": 0.5, "line": 13.0, "most": 2.5, "least": [320, 80],
    "rules": {"grow": [1.1, 1.3]},
}  # fmt: skip


def outcomes(
    masses: ArrayLike, hits: ArrayLike, halves: ArrayLike, ranks: ArrayLike = 0,
    odds: ArrayLike = 0, vain: ArrayLike = False,
) -> Outcomes:  # fmt: skip
    given = np.broadcast_arrays(masses, hits, halves, ranks, odds, vain)
    return Outcomes.of(list(zip(*given, strict=True)))


@settings(deadline=None)
@given(
    slopes=st.tuples(st.floats(0, 20), st.floats(0, 20)),
    offset=st.floats(-20, 20),
    masses=st.lists(st.floats(0, 1), min_size=2, max_size=20),
)
def test_a_map_never_falls_and_stays_a_chance(
    slopes: tuple[float, float], offset: float, masses: list[float]
) -> None:
    sure = [ConfidenceMap(*slopes, offset)(mass) for mass in sorted(masses)]
    assert all(0 <= one <= 1 for one in sure)
    assert sure == sorted(sure)


def test_the_map_of_nothing_and_a_map_by_hand() -> None:
    same = ConfidenceMap(1, 1, 0)
    assert [same(mass) for mass in (0.0, 0.2, 0.7, 1.0)] == pytest.approx(
        [0, 0.2, 0.7, 1], abs=1e-5
    )
    odds = 2 * np.log(0.3) - 0.5 * np.log(0.7) + 0.25
    assert ConfidenceMap(2, 0.5, 0.25)(0.3) == pytest.approx(1 / (1 + np.exp(-odds)))


@pytest.mark.parametrize("parameters", [(-0.1, 1, 0), (1, -0.1, 0), (float("nan"), 1, 0)])
def test_a_map_that_falls_is_refused(parameters: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected finite parameters"):
        ConfidenceMap(*parameters)


def test_settings_keep_the_map_and_the_threshold() -> None:
    rules = ZoomRules(grow=(1.1, 1.3))
    kept = PolicySettings(
        262144,
        0.5,
        rules,
        calibration=ConfidenceMap(1.5, 0.5, 0.25),
        answerable=AnswerableMap(0.8, -1.5),
        threshold=0.1,
    )
    assert PolicySettings.from_metadata(kept.to_metadata()) == kept
    plain = PolicySettings(262144, 0.5, rules)
    assert PolicySettings.from_metadata(plain.to_metadata()) == plain


def test_older_files_keep_the_probability_as_confidence() -> None:
    read = PolicySettings.from_metadata({"format": FORMAT, "settings": json.dumps(OLD)})
    assert (read.calibration, read.threshold) == (None, None)
    assert read.least == (320, 80)


@pytest.mark.parametrize(
    "wrong",
    [
        {"calibration": [1, 2]},
        {"calibration": [1, 2, 3, 4]},
        {"calibration": [-1, 1, 0]},
        {"answerable": [-1, 0]},
        {"answerable": [1, float("nan")]},
        {"answerable": 3},
        {"calibration": ["a", 1, 0]},
        {"threshold": 1.5},
        {"threshold": float("nan")},
        {"threshold": "high"},
    ],
)
def test_maps_and_thresholds_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(WeightsError):
        PolicySettings.from_metadata({"format": FORMAT, "settings": json.dumps(OLD | wrong)})


def test_a_fit_finds_the_map_that_made_the_outcomes() -> None:
    true = ConfidenceMap(1.7, 0.4, 0.6)
    rng = np.random.default_rng(0)
    masses = rng.uniform(0.02, 0.999, 20_000)
    hits = rng.uniform(size=masses.size) < [true(mass) for mass in masses]
    half = np.arange(masses.size) % 2
    found = fit_confidence(outcomes(masses, hits, half))
    assert found.questions == 10_000
    assert found.error_before > 0.05
    assert found.error_after < 0.02
    for mass in (0.05, 0.3, 0.7, 0.95):
        assert found.calibration(mass) == pytest.approx(true(mass), abs=0.03)


def test_a_fit_on_outcomes_the_wrong_way_round_is_flat_but_never_falls() -> None:
    rng = np.random.default_rng(0)
    masses = rng.uniform(0.02, 0.98, 2000)
    found = fit_map(masses, (rng.uniform(size=masses.size) > masses).astype(float))
    assert found(0.1) == pytest.approx(0.5, abs=0.05)
    assert found(0.1) <= found(0.9) <= found(0.1) + 0.02


@pytest.mark.parametrize("hits", [[1.0] * 30, [0.0] * 30, []])
def test_a_fit_on_one_outcome_or_nothing_stays_finite(hits: list[float]) -> None:
    masses = np.linspace(0.0, 1.0, len(hits))
    found = fit_map(masses, np.array(hits))
    assert found(0.2) <= found(0.9)
    if not hits:
        assert found == ConfidenceMap(1, 1, 0)


def test_the_threshold_costs_next_to_no_hits() -> None:
    sure = np.linspace(0, 1, 1001)
    assert recommended_threshold(sure, np.ones(1001)) == 0.0  # 0.5 % of the hits lie below 0.005
    assert recommended_threshold(sure, (sure > 0.5).astype(float)) == BREAK_EVEN
    assert recommended_threshold(sure, (sure > 0.06).astype(float)) == 0.06
    assert recommended_threshold(sure, np.zeros(1001)) == 0.0


def test_what_is_told_of_a_fit_is_of_the_pages_it_was_not_fitted_on() -> None:
    masses, hits = [0.9] * 40 + [0.9] * 40, [True] * 40 + [False] * 40
    found = fit_confidence(outcomes(masses, hits, [0] * 40 + [1] * 40))
    assert found.calibration(0.9) > 0.9
    assert found.error_after == pytest.approx(found.calibration(0.9))
    assert (found.questions, found.lost) == (40, 0.0)
    assert "on 40 questions about other pages; below 0.10 the whole page" in found.to_text()


def test_a_page_that_does_not_answer_makes_less_sure() -> None:
    rng = np.random.default_rng(0)
    vain = np.arange(8000) % 2 == 1
    masses = rng.uniform(0.3, 0.999, vain.size)
    odds = rng.normal(np.where(vain, -2, 2), 1)
    hits = ~vain & (rng.uniform(size=vain.size) < masses)
    found = fit_confidence(outcomes(masses, hits, np.arange(vain.size) // 2 % 2, 0, odds, vain))
    assert found.answerable is not None
    for told in (-2.0, 0.0, 2.0):  # by Bayes: log-odds of 4 x and of nine in ten
        assert found.answerable(told) == pytest.approx(1 / (1 + np.exp(-4 * told) / 9), abs=0.03)
    assert (
        found.calibration
        == fit_confidence(outcomes(masses[~vain], hits[~vain], np.arange(4000) % 2)).calibration
    )
    assert found.unanswerable_left_out is not None
    assert found.told_apart is not None
    assert found.unanswerable_left_out > 0.8
    assert found.told_apart > 0.96
    assert found.lost <= 0.01
    said = f"{found.unanswerable_left_out:.1%} where the page holds no answer"
    assert said in found.to_text()


def test_questions_asked_in_vain_count_as_one_in_ten() -> None:
    vain = [False] * 30 + [True] * 60
    crops = outcomes([0.5] * 90, [False] * 90, 0, 0, 0, vain)
    assert crops.weights[crops.vain].sum() == pytest.approx(0.1 / 0.9 * 30)
    assert set(crops.weights[~crops.vain]) == {1.0}


def test_where_the_network_does_not_tell_no_page_is_doubted() -> None:
    vain = [False, True] * 40
    found = fit_confidence(outcomes([0.5] * 80, ~np.array(vain), [0] * 40 + [1] * 40, 0, 0, vain))
    assert found.answerable is None
    assert found.told_apart == 0.5


@given(odds=st.floats(allow_nan=True, allow_infinity=True), mass=st.floats(0, 1))
def test_a_doubted_page_lowers_every_confidence(odds: float, mass: float) -> None:
    rules, map_ = ZoomRules(), ConfidenceMap(1.5, 0.5, 0.25)
    sure = PolicySettings(262144, 0.5, rules, calibration=map_)
    told = dataclasses.replace(sure, answerable=AnswerableMap(0.8, 1.0))
    assert sure.confidence(odds)(mass) == map_(mass)
    assert 0 <= told.confidence(odds)(mass) <= map_(mass)
    assert told.confidence(1.0)(mass) >= told.confidence(-1.0)(mass)


def test_second_crops_are_fitted_but_not_measured() -> None:
    masses, hits = [0.9, 0.1] * 80, [True, False, True, True] * 40
    halves, ranks = [0] * 80 + [1] * 80, [0, 1] * 80
    found = fit_confidence(outcomes(masses, hits, halves, ranks))
    assert found.calibration(0.1) == pytest.approx(0.5, abs=0.05)
    assert found.questions == 40
    assert found.error_after == pytest.approx(1 - found.calibration(0.9))


def test_the_calibration_error_by_hand() -> None:
    assert calibration_error([0.2, 0.2, 0.8, 0.8], [0, 1, 1, 1], 2) == pytest.approx(0.25)
    assert calibration_error([0.8, 0.2, 0.8, 0.2], [1, 0, 1, 1], 2) == pytest.approx(0.25)
    assert calibration_error([0.25] * 4, [0, 0, 1, 0], 1) == 0
    assert calibration_error([0.9], [1], 10) == pytest.approx(0.1)
    assert [part.stop - part.start for part in equal_parts(7, 3)] == [2, 2, 3]
    assert len(equal_parts(3, 10)) == 3
