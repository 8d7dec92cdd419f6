"""Further crops show new print: moved off the earlier ones, cut, or left out."""

import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.cropper import Proposal, ZoomRules
from cropvlm_core.overlap import LEAST_LEFT, MOST_SHARED, beside, shared
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.zoom import Zoom

SIZE = (400, 300)
FIRST = (100, 100, 200, 150)
PAGE = Image.new("RGB", SIZE)


def _boxes(most: float) -> st.SearchStrategy[Box]:
    sides = st.tuples(*[st.floats(0, 0.95)] * 2, *[st.floats(0.01, most)] * 2)
    return sides.map(lambda s: Box(s[0], s[1], min(s[0] + s[2], 1.0), min(s[1] + s[3], 1.0)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    boxes=st.lists(_boxes(0.7), min_size=2, max_size=6),
    narrow=st.floats(0.05, 1),
    grow=st.floats(1, 4),
    aspect=st.none() | st.floats(1, 5),
)
def test_no_two_crops_of_a_question_share_more_than_a_quarter(
    boxes: list[Box], narrow: float, grow: float, aspect: float | None
) -> None:
    places = tuple(
        Box(box.left, box.top, box.left + narrow * box.width, box.top + narrow * box.height)
        for box in boxes
    )
    rules = ZoomRules(grow=(grow, grow), max_aspect=aspect)
    asked = VisualQuestion(PAGE, "?").opened(PAGE)
    zoom = Zoom.follow(asked, Proposal(tuple(boxes), places=places), rules=rules, max_crops=3)
    alone = Zoom.follow(asked, Proposal(tuple(boxes), places=places), rules=rules)
    assert [crop.pixels for crop in zoom.crops[:1]] == [crop.pixels for crop in alone.crops]
    for one, other in itertools.combinations(zoom.crops, 2):
        assert shared(one.pixels, other.pixels) <= MOST_SHARED
    for crop in zoom.crops:
        left, top, right, bottom = crop.pixels
        assert 0 <= left < right <= SIZE[0]
        assert 0 <= top < bottom <= SIZE[1]
        assert crop.image.size == (right - left, bottom - top)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    crop=_boxes(0.9).map(lambda box: box.to_pixels(SIZE)),
    earlier=st.lists(_boxes(0.6).map(lambda box: box.to_pixels(SIZE)), max_size=3),
)
def test_a_crop_that_stays_keeps_at_least_half_of_itself(
    crop: tuple[int, int, int, int], earlier: list[tuple[int, int, int, int]]
) -> None:
    found = beside(crop, crop, earlier, SIZE)
    if found is None:
        return
    assert all(shared(found, other) <= MOST_SHARED for other in earlier)
    kept = (found[2] - found[0]) * (found[3] - found[1])
    assert kept >= LEAST_LEFT * (crop[2] - crop[0]) * (crop[3] - crop[1])


def test_a_crop_far_away_or_barely_touching_stays_as_it_is() -> None:
    for crop in ((250, 100, 350, 150), (200, 100, 300, 150), (100, 138, 200, 188)):
        assert beside(crop, crop, [FIRST], SIZE) == crop


def test_a_crop_moves_the_shortest_way_that_keeps_its_place_in_view() -> None:
    crop, place = (100, 130, 200, 180), (140, 155, 160, 165)  # two fifths of it are shown
    assert beside(crop, place, [FIRST], SIZE) == (100, 150, 200, 200)  # down by 20
    right = (140, 105, 240, 145)
    assert beside(right, (210, 120, 230, 130), [FIRST], SIZE) == (200, 105, 300, 145)


def test_a_place_that_must_stay_in_view_stops_the_move_and_the_rest_is_cut() -> None:
    crop, place = (100, 125, 200, 175), (100, 135, 200, 175)
    found = beside(crop, place, [FIRST], SIZE)
    assert found == (100, 150, 200, 185)  # moved by 10 of 25, 15 of 50 rows cut
    assert beside(crop, place, [FIRST], SIZE, least=36) is None
    assert beside(crop, place, [FIRST], SIZE, max_aspect=2) is None
    assert beside(crop, (100, 140, 200, 175), [FIRST], SIZE) == (
        100,
        140,
        200,
        190,
    )  # a fifth stays


def test_a_crop_moves_inward_from_the_edge_of_the_page() -> None:
    first = (0, 0, 100, 50)
    assert beside((0, 20, 100, 70), (40, 52, 60, 60), [first], SIZE) == (0, 50, 100, 100)
    low = (0, 250, 100, 300)
    found = beside((0, 230, 100, 280), (40, 232, 60, 240), [low], SIZE)
    assert found == (0, 200, 100, 250)


def test_what_repeats_an_earlier_crop_is_left_out() -> None:
    assert beside(FIRST, FIRST, [FIRST], SIZE) is None
    assert beside((110, 90, 190, 160), (110, 90, 190, 160), [FIRST], SIZE) is None


def test_a_candidate_whose_place_is_shown_makes_no_crop() -> None:
    box = Box.from_pixels(FIRST, SIZE)
    wide = Box.from_pixels((100, 120, 200, 170), SIZE)
    asked = VisualQuestion(PAGE, "?").opened(PAGE)
    for place, count in (((110, 125, 150, 145), 1), ((110, 145, 150, 165), 2)):
        proposal = Proposal((box, wide), places=(box, Box.from_pixels(place, SIZE)))
        assert len(Zoom.follow(asked, proposal, max_crops=3).crops) == count
