"""Boxes for what they are worth: the chance of a hit, the price, and every odd number."""

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropvlm_core.box import Box
from cropvlm_core.cropper import Proposal, ZoomRules
from cropvlm_core.cutting import cuts
from cropvlm_core.embedded.confidence import ConfidenceMap
from cropvlm_core.embedded.decoding import MOST_BOXES, decode_proposal
from cropvlm_core.embedded.expected import QUANTILES, cost, expected_proposal
from cropvlm_core.embedded.page_input import CELL_HEIGHT, CELL_WIDTH, PageInput
from cropvlm_core.embedded.proposing import propose
from cropvlm_core.embedded.settings import FORMAT, PolicySettings
from cropvlm_core.embedded.side_lengths import LADDER, STEPS
from cropvlm_core.errors import WeightsError
from cropvlm_core.overlap import MOST_SHARED, shared

SIZE = (1000, 800)
SCALE = 0.8
ROWS, COLUMNS = 80, 50


def a_page(**changed: Any) -> PageInput:
    """A page without margins whose grid is 80 x 50 cells."""
    page = PageInput(np.zeros((ROWS * CELL_HEIGHT, COLUMNS * CELL_WIDTH), np.float32), SCALE,
                     0.0, 0.0, (COLUMNS * CELL_WIDTH, ROWS * CELL_HEIGHT))  # fmt: skip
    return replace(page, **changed)


def said(
    chances: dict[tuple[int, int], float], steps: tuple[int, ...] = (5, 2, 5, 2)
) -> tuple[Any, Any, Any]:
    """What a policy says that is sure of the sides: cells, peaks, sides."""
    cells = np.full((ROWS, COLUMNS), -40.0, np.float32)
    for at, chance in chances.items():
        cells[at] = np.log(chance)
    peaks = np.array([row * COLUMNS + column for row, column in chances])
    sides = np.zeros((len(peaks), 4, STEPS), np.float32)
    sides[:, range(4), steps] = 1
    return cells, peaks, sides


def unsure(seed: int, peaks: int = 8) -> tuple[Any, Any, Any]:
    """What a policy says that is not sure of anything."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (ROWS, COLUMNS))
    places = rng.choice(ROWS * COLUMNS, peaks, replace=False)
    logits.flat[places] += rng.uniform(2, 12, peaks)
    cells = (logits - np.log(np.exp(logits).sum())).astype(np.float32)
    sides = rng.dirichlet(np.full(STEPS, 0.2), (peaks, 4)).astype(np.float32)
    return cells, places[np.argsort(-cells.flat[places])], sides


def pixels(box: Box) -> list[float]:
    """The box in input pixels."""
    return [
        side * length * SCALE
        for side, length in zip(
            (box.left, box.top, box.right, box.bottom), (*SIZE, *SIZE), strict=True
        )
    ]


def test_a_sure_policy_gives_its_box_with_little_around_it() -> None:
    proposal = expected_proposal(a_page(), SIZE, *said({(40, 20): 1.0}), price=1.0)
    x, y = 20.5 * CELL_WIDTH, 40.5 * CELL_HEIGHT
    wanted = [x - LADDER[5], y - LADDER[2], x + LADDER[5], y + LADDER[2]]
    left, top, right, bottom = pixels(proposal.boxes[0])
    assert x - 1.21 * LADDER[5] < left < wanted[0]
    assert y - 1.21 * LADDER[2] < top < wanted[1]
    assert wanted[2] < right < x + 1.21 * LADDER[5]
    assert wanted[3] < bottom < y + 1.21 * LADDER[2]
    assert pixels(proposal.places[0]) == pytest.approx(wanted, abs=0.01)
    assert (proposal.confidences[0] or 0) > 0.95
    assert len(proposal.boxes) == 1


def test_near_candidates_share_a_box_and_far_ones_get_their_own() -> None:
    near = {(40, 20): 0.4, (60, 20): 0.35, (5, 45): 0.25}
    proposal = expected_proposal(a_page(), SIZE, *said(near), price=0.5)
    assert len(proposal.boxes) == 2
    for row in (40, 60):
        y = (row + 0.5) * CELL_HEIGHT
        assert pixels(proposal.boxes[0])[1] < y - LADDER[2] < y + LADDER[2]
        assert y + LADDER[2] < pixels(proposal.boxes[0])[3]
    assert proposal.confidences == pytest.approx((0.75, 0.25), abs=0.03)
    dear = expected_proposal(a_page(), SIZE, *said(near), price=30.0)
    assert len(dear.boxes) == 3
    assert dear.confidences[0] == pytest.approx(0.4, abs=0.1)


def test_a_box_that_is_not_worth_its_price_is_given_first_but_not_after() -> None:
    told = said({(40, 20): 0.7, (5, 45): 0.3})
    proposal = expected_proposal(a_page(), SIZE, *told, price=1000.0, least=(200, 80))
    assert len(proposal.boxes) == 1
    assert pixels(proposal.boxes[0]) == pytest.approx(
        [20.5 * 16 - 100, 40.5 * 8 - 40, 20.5 * 16 + 100, 40.5 * 8 + 40], abs=0.01
    )


def test_a_box_is_as_large_as_the_least_and_stays_on_the_page() -> None:
    told = said({(0, 0): 1.0}, (0, 0, 2, 1))
    box = expected_proposal(a_page(), SIZE, *told, price=5.0, least=(160, 40)).boxes[0]
    assert pixels(box) == pytest.approx([0, 0, 160, 40])
    tiny = expected_proposal(a_page(), (9, 7), *told, price=5.0, least=(160, 40)).boxes[0]
    assert tiny == Box(0, 0, 1, 1)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_the_confidence_is_the_share_of_drawn_boxes_that_lie_in_the_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells, peaks, sides = unsure(seed)
    proposal = expected_proposal(a_page(), SIZE, cells, peaks, sides, 0.3, (80, 30))
    left, top, right, bottom = pixels(proposal.boxes[0])
    held, count = 0.0, 4000
    chances = near_shares((cells, peaks, sides))
    for peak, own, chance in zip(peaks, sides, chances, strict=True):
        row, column = divmod(int(peak), COLUMNS)
        x, y = (column + 0.5) * CELL_WIDTH, (row + 0.5) * CELL_HEIGHT
        ratio = LADDER[1] / LADDER[0]
        far = [
            LADDER[rng.choice(STEPS, count, p=side / side.sum(dtype=float))]
            * ratio ** rng.uniform(-0.5, 0.5, count)
            for side in own.astype(float)
        ]
        page = np.array(SIZE) * SCALE
        inside = (
            (np.maximum(x - far[0], 0) >= left - 1e-6)
            & (np.maximum(y - far[1], 0) >= top - 1e-6)
            & (np.minimum(x + far[2], page[0]) <= right + 1e-6)
            & (np.minimum(y + far[3], page[1]) <= bottom + 1e-6)
        )
        held += chance * float(inside.mean())
    assert proposal.confidences[0] == pytest.approx(held, abs=0.04)


def test_the_search_finds_nearly_the_best_of_all_boxes() -> None:
    lost = []
    for seed in range(30):
        told = unsure(seed, 3)
        best = best_of_all(told, price=0.6)
        found = expected_proposal(a_page(), SIZE, *told, price=0.6, most=1)
        left, top, right, bottom = pixels(found.boxes[0])
        worth = (found.confidences[0] or 0) - 0.6 * price_of(right - left, bottom - top)
        lost.append(best - worth)
    assert min(lost) > -0.001  # what is told of a box is what it is worth
    assert np.mean(lost) < 0.005
    assert max(lost) < 0.05


def price_of(width: Any, height: Any) -> Any:
    return cost(np.asarray(width), np.asarray(height), SIZE[0] * SIZE[1] * SCALE**2)


def best_of_all(told: tuple[Any, Any, Any], price: float) -> float:
    """What the best of all windows between quantiles is worth."""
    _, peaks, sides = told
    rows, columns = np.divmod(peaks, COLUMNS)
    middles = [(columns + 0.5) * CELL_WIDTH, (rows + 0.5) * CELL_HEIGHT]
    edges = np.log(LADDER[0]) + np.log(LADDER[1] / LADDER[0]) * (np.arange(STEPS + 1) - 0.5)
    places, chances = [], []
    for side in range(4):
        middle, sign = middles[side % 2], 1 if side > 1 else -1
        sums = [np.concatenate(([0], own[side].cumsum(dtype=float))) for own in sides]
        sums = [one / one[-1] for one in sums]
        far = np.array([np.exp(np.interp(QUANTILES, one, edges)) for one in sums])
        limit = SIZE[side % 2] * SCALE
        place = np.unique(np.clip(middle[:, None] + sign * far, 0, limit))
        reach = np.log(np.maximum(sign * (place - middle[:, None]), 1e-6))
        chance = [np.interp(reach[k], edges, one) for k, one in enumerate(sums)]
        places.append(place)
        chances.append(np.where(place == (limit if side > 1 else 0), 1.0, chance))
    left, top, right, bottom = np.meshgrid(*places, indexing="ij", sparse=True)
    held = np.einsum("k,ka,kb,kc,kd->abcd", near_shares(told), *chances, optimize=True)
    worth = held - price * price_of(np.maximum(right - left, 1), np.maximum(bottom - top, 1))
    return float(worth.max())


def near_shares(told: tuple[Any, Any, Any]) -> Any:
    """The probability of the cells nearest to each peak."""
    cells, peaks, _ = told
    rows, columns = np.divmod(np.arange(cells.size), COLUMNS)
    apart = (rows - peaks[:, None] // COLUMNS) ** 2 + (columns - peaks[:, None] % COLUMNS) ** 2
    return np.bincount(apart.argmin(0), np.exp(cells.ravel().astype(float)), len(peaks))


ODD = [float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e30]


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    price=st.sampled_from([0.001, 0.3, 1.0, 20.0, 1000.0]),
    least=st.tuples(st.integers(0, 4096), st.integers(0, 4096)),
    odd=st.lists(st.sampled_from(ODD), max_size=4),
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    corner=st.tuples(st.floats(0, 3000), st.floats(0, 3000)),
)
def test_whatever_is_said_boxes_are_legal_and_the_same_again(
    seed: int,
    price: float,
    least: tuple[float, float],
    odd: list[float],
    size: tuple[int, int],
    corner: tuple[float, float],
) -> None:
    rng = np.random.default_rng(seed)
    cells, peaks, sides = unsure(seed)
    for number in odd:
        cells.flat[rng.choice([int(peaks[0]), *rng.integers(0, cells.size, 9)])] = number
        sides.flat[rng.integers(0, sides.size, 40)] = number
    page = a_page(left=corner[0], top=corner[1], scale=float(rng.uniform(0.05, 1.6)))
    told = page, size, cells, peaks, sides, price, least
    with np.errstate(all="raise", under="ignore"):
        proposal = expected_proposal(*told)
    assert proposal == expected_proposal(*told)
    assert 1 <= len(proposal.boxes) <= MOST_BOXES
    sure = [share or 0.0 for share in proposal.confidences]
    assert sure == sorted(sure, reverse=True)
    assert all(0 <= share <= 1 for share in sure)
    for box, place in zip(proposal.boxes, proposal.places, strict=True):
        assert 0 <= box.left < box.right <= 1
        assert 0 <= box.top < box.bottom <= 1
        assert place.covered_by(box) > 0.99
    first = expected_proposal(*told, most=1)
    assert (first.boxes, first.places) == (proposal.boxes[:1], proposal.places[:1])


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_further_boxes_show_something_else(seed: int) -> None:
    proposal = expected_proposal(a_page(), SIZE, *unsure(seed), 0.8, (100, 32))
    for index, place in enumerate(proposal.places):
        assert all(place.covered_by(box) < 0.95 for box in proposal.boxes[:index])
    found = [at for at, _ in cuts(proposal, SIZE, ZoomRules(), max_crops=3)]
    for one, other in itertools.combinations(found, 2):
        assert shared(one, other) <= MOST_SHARED


def test_the_higher_the_price_the_smaller_and_less_sure_the_boxes() -> None:
    areas, chances = [], []
    for price in (0.2, 0.8, 3.2):
        found = [expected_proposal(a_page(), SIZE, *unsure(seed), price) for seed in range(40)]
        areas.append(np.mean([one.boxes[0].area for one in found]))
        chances.append(np.mean([one.confidences[0] or 0 for one in found]))
    assert areas[0] > 1.3 * areas[1] > 1.3**2 * areas[2]
    assert chances[0] > chances[1] > chances[2]


def test_without_peaks_there_is_no_box() -> None:
    cells, _, _ = said({(1, 1): 1.0})
    nothing = np.zeros(0, np.int64), np.zeros((0, 4, STEPS), np.float32)
    assert expected_proposal(a_page(), SIZE, cells, *nothing, 1.0).reason == "unreadable"


def test_the_whole_page_costs_more_than_any_hit_is_worth() -> None:
    assert price_of(100, 32) == pytest.approx(0.0065, abs=0.0005)
    assert price_of(100, 32) < price_of(32, 100) + 1e-9 < price_of(400, 320) < 0.5
    assert price_of(799, 639) > 100
    assert np.isfinite(price_of(800, 640))


PLAIN = PolicySettings(262_144, 0.5, ZoomRules(grow=(1.1, 1.3)), least=(320.0, 80.0))
PRICED = replace(PLAIN, price=0.9, price_photograph=2.5, least=(100.0, 32.0))


def test_settings_choose_the_rule_and_the_price_follows_the_kind_of_picture() -> None:
    told = SIZE, *unsure(3)
    fixed = propose(a_page(), *told, PLAIN)
    assert fixed == decode_proposal(a_page(), *told, 0.5, (320.0, 80.0))
    worth = propose(a_page(), *told, PRICED)
    pages = SIZE[0] * SIZE[1] * SCALE**2 / PRICED.budget
    assert worth == expected_proposal(a_page(), *told, 0.9 * pages, (100.0, 32.0))
    scene = a_page(photograph=True)
    dearer = expected_proposal(scene, *told, 2.5 * pages, (100.0, 32.0))
    assert propose(scene, *told, PRICED) == dearer
    assert propose(scene, *told, replace(PRICED, price_photograph=None)) == worth
    sure = ConfidenceMap(2, 0.5, 0)
    calibrated: Proposal = propose(a_page(), *told, replace(PRICED, calibration=sure))
    assert calibrated.boxes == worth.boxes
    assert calibrated.confidences == tuple(sure(one or 0) for one in worth.confidences)


def test_settings_keep_the_price_and_older_files_have_none() -> None:
    assert PolicySettings.from_metadata(PRICED.to_metadata()) == PRICED
    old = json.loads(PLAIN.to_metadata()["settings"])
    del old["price"], old["price_photograph"]
    read = PolicySettings.from_metadata({"format": FORMAT, "settings": json.dumps(old)})
    assert read == PLAIN
    assert read.price_on(a_page()) is None


@pytest.mark.parametrize("name", ["price", "price_photograph"])
@pytest.mark.parametrize("wrong", [0, -1, 1e9, float("nan"), float("inf"), "dear", [1]])
def test_prices_that_cannot_be_are_refused(name: str, wrong: object) -> None:
    values = json.loads(PRICED.to_metadata()["settings"]) | {name: wrong}
    with pytest.raises(WeightsError):
        PolicySettings.from_metadata({"format": FORMAT, "settings": json.dumps(values)})
