"""The picture of a group: any page and text is readable, and colours say who was better."""

import itertools
from collections.abc import Sequence

import pytest
from PIL import Image, ImageChops

from cropvlm_core.box import Box, BoxNotation
from cropvlm_core.errors import DataError
from cropvlm_core.training.group_picture import draw_group
from cropvlm_core.training.health import Health
from tests.rollouts import ANSWER, asked, rolled

BEST, WORST = (0, 84, 200), (214, 84, 0)
MARGIN = 26
HOSTILE = "ما هو المجموع؟ 😀 合计 \ud800\x00\n\t\u202e " + "W" * 9_000
PER_MILLE = BoxNotation.per_mille


def page_of(picture: Image.Image, rows: int, height: int = 600) -> Image.Image:
    """The page with its margin, of a picture whose ``rows`` rollouts take one line each."""
    bottom = picture.height - 8 - 27 * rows
    return picture.crop((0, bottom - height - 2 * MARGIN, picture.width, bottom))


def differ(one: Image.Image, other: Image.Image) -> bool:
    return one.size != other.size or ImageChops.difference(one, other).getbbox() is not None


def test_the_best_is_blue_on_top_and_thickest_the_worst_orange() -> None:
    rollouts = rolled(asked(), "[50, 20, 90, 60].", "[20, 40, 70, 80].")
    page = page_of(draw_group(rollouts, [-1.0, 1.0]), 2)
    left, right, y = MARGIN + 100, MARGIN + 349, MARGIN + 240  # the second box on the page
    assert page.getpixel((left + 20, y - 1)) == page.getpixel((right - 50, y - 5)) == BEST
    worst_top = MARGIN + 120 - 1
    assert page.getpixel((MARGIN + 400, worst_top)) == WORST
    assert page.getpixel((MARGIN + 400, worst_top - 3)) == (255, 255, 255)
    crossing = (MARGIN + 250 - 1, y - 3)  # the left line of the first through the top of the second
    assert page.getpixel(crossing) == BEST
    swapped = page_of(draw_group(rollouts, [1.0, -1.0]), 2)
    assert swapped.getpixel(crossing) == BEST  # now it is the first that lies on top
    assert swapped.getpixel((left + 20, y - 1)) == WORST


def test_equal_advantages_are_grey_and_said_to_teach_nothing() -> None:
    rollouts = rolled(asked(), "[50, 20, 90, 60].", "[20, 40, 70, 80].")
    picture = draw_group(rollouts, [0.0, 0.0])
    colours = {colour for _, colour in picture.getcolors(1 << 20) or ()}
    assert colours.isdisjoint({BEST, WORST})
    assert not differ(picture, draw_group(rollouts, [1e-7, -1e-7]))  # rounding


def test_where_the_answer_stands_is_dashed_in_black_if_known() -> None:
    def black(boxes: Sequence[Box]) -> list[bool]:
        page = page_of(draw_group(rolled(asked(boxes=boxes), "[50, 50, 90, 90]."), [0.5]), 1)
        y = MARGIN + 60 - 2
        return [page.getpixel((MARGIN + 60 + x, y)) == (0, 0, 0) for x in range(80)]

    drawn = black([ANSWER])
    assert any(drawn)
    assert not all(drawn)
    assert not any(black([]))


def test_boxes_that_coincide_are_counted() -> None:
    question = asked()
    same = [rolled(question, *["[20, 20, 60, 60]."] * count) for count in (1, 2, 3)]
    pictures = [draw_group(each, [0.5] * len(each)) for each in same]
    assert len({picture.size for picture in pictures}) == 1  # one line of the list
    assert differ(pictures[0], pictures[1])
    assert differ(pictures[1], pictures[2])
    # The same crop by two texts: two lines, and one outline around the other.
    other = rolled(question, "[20, 20, 60, 60].", "[60, 60, 20, 20]")
    page = page_of(draw_group(other, [1.0, -1.0]), 2)
    x, y = MARGIN + 200, MARGIN + 120
    assert page.getpixel((x, y - 1)) == BEST
    assert page.getpixel((x, y - 8)) == WORST


def test_what_cannot_be_read_is_listed_with_its_text() -> None:
    question = asked()
    pictures = [
        draw_group(rolled(question, "[20, 20, 60, 60].", text), [0.5, -0.5])
        for text in ("I do not know", "I do know", "No zoom needed.", "[0, 0, 100, 100].")
    ]
    pages = [page_of(picture, 2) for picture in pictures]
    assert not any(differ(pages[0], page) for page in pages)
    assert all(differ(one, other) for one, other in itertools.pairwise(pictures))


def test_rewards_answers_and_hits_are_listed() -> None:
    rollouts = rolled(asked(), "[20, 20, 60, 60].")
    known = asked(boxes=[ANSWER])
    seen = [
        draw_group(rollouts, [0.5]),
        draw_group(rollouts, [0.5], {"likelihood": [-1.5]}),
        draw_group(rollouts, [0.5], {"likelihood": [None]}),
        draw_group(rolled(asked(answers=["13"]), "[20, 20, 60, 60]."), [0.5]),
        draw_group(rolled(known, "[20, 20, 60, 60]."), [0.5]),
        draw_group(rolled(known, "[10, 10, 60, 60]."), [0.5]),
    ]
    assert all(differ(one, other) for one, other in itertools.combinations(seen, 2))


@pytest.mark.parametrize(
    "size", [(1, 1), (20_000, 3), (3, 20_000), (3000, 2000), (200, 300), (899, 901)]
)
def test_any_page_becomes_a_picture_of_readable_size(size: tuple[int, int]) -> None:
    texts = ["[1, 1, 2, 2]", "[998, 998, 1000, 1000]", "[500, 500, 501, 501]", "?"]
    rollouts = rolled(asked(Image.new("RGB", size), boxes=[ANSWER]), *texts, notation=PER_MILLE)
    picture = draw_group(rollouts, [0.3, -0.3, 0.1, -0.1])
    assert 640 <= picture.width <= 900 + 2 * MARGIN
    assert picture.height <= 900 + 2 * MARGIN + 300


def test_one_pixel_boxes_can_be_seen() -> None:
    page = Image.new("RGB", (900, 900), "white")
    picture = draw_group(
        rolled(asked(page), "[500, 500, 501, 501]", "[1, 1, 2, 2]", notation=PER_MILLE), [1.0, -1.0]
    )
    drawn, middle = page_of(picture, 2, 900), MARGIN + 450
    assert drawn.getpixel((middle, middle + 3)) == drawn.getpixel((middle - 4, middle)) == BEST
    assert drawn.getpixel((MARGIN - 2, MARGIN)) == WORST


@pytest.mark.parametrize("question", [HOSTILE, "word " * 2000, "x", "\u200f\u202e\x07"])
def test_any_question_and_text_is_wrapped_into_the_picture(question: str) -> None:
    hostile = asked(question=question, answers=[HOSTILE, "المجموع"])
    rollouts = rolled(hostile, "[20, 20, 60, 60].", HOSTILE, "مرحبا" * 400, "\x00", "😀")
    picture = draw_group(rollouts, [0.4, float("nan"), float("inf"), -0.2, 0.0], {HOSTILE: [1] * 5})
    assert picture.height < 600 + 2 * MARGIN + 600
    edge = picture.crop((picture.width - 3, 0, picture.width, picture.height))
    assert edge.getcolors() == [(3 * picture.height, (255, 255, 255))]


def test_a_group_must_be_complete() -> None:
    rollouts = rolled(asked(), "[20, 20, 60, 60].", "?")
    with pytest.raises(DataError, match="at least one rollout"):
        draw_group([], [])
    with pytest.raises(DataError, match="expected 2 advantages, one a rollout, got 1"):
        draw_group(rollouts, [0.5])
    with pytest.raises(DataError, match="expected 2 likelihood"):
        Health.of(rollouts, [0.5, 0.5], {"likelihood": [0.5]})
