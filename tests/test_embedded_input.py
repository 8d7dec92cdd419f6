"""What the embedded policy sees, and how its numbers become boxes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cropvlm_core.embedded.confidence import ConfidenceMap
from cropvlm_core.embedded.decoding import MOST_BOXES, decode_proposal
from cropvlm_core.embedded.evening import even_out
from cropvlm_core.embedded.page_input import (
    CELL_HEIGHT,
    CELL_WIDTH,
    PageInput,
    ink_extent,
    input_shapes,
    line_height,
    photographic,
    prepare_page,
    prepare_readable,
)
from cropvlm_core.embedded.question_input import (
    BUCKETS,
    GRAMS,
    WORDS,
    fold,
    question_input,
    question_words,
    word_grams,
)
from cropvlm_core.embedded.side_lengths import (
    LADDER,
    LONGEST,
    SHORTEST,
    STEPS,
    nearest_step,
    quantile_distance,
)

BUDGET = 262_144


def page_with_marks(size: tuple[int, int] = (800, 1100)) -> Image.Image:
    """A white page with rows of marks between x 200..600 and y 300..700."""
    page = Image.new("L", size, 255)
    pen = ImageDraw.Draw(page)
    for top in range(300, 700, 20):
        for left in range(200, 600, 12):
            pen.rectangle((left, top, left + 7, top + 9), fill=0)
    return page


def test_shapes_suit_the_grid_and_the_budget() -> None:
    for height, width in input_shapes(BUDGET):
        assert height % (2 * CELL_HEIGHT) == 0
        assert width % (2 * CELL_WIDTH) == 0
        assert 0.85 * BUDGET <= height * width <= 1.15 * BUDGET


def test_ink_extent_surrounds_the_print_closely() -> None:
    left, top, right, bottom = ink_extent(page_with_marks())
    assert 145 <= left <= 200
    assert 250 <= top <= 300
    assert 600 <= right <= 655
    assert 700 <= bottom <= 750


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (40, 40), (600, 800)])
def test_a_blank_page_of_any_size_is_prepared_whole(size: tuple[int, int]) -> None:
    prepared = prepare_page(Image.new("RGB", size, "white"), BUDGET)
    assert (prepared.left, prepared.top) == (0, 0)
    assert prepared.shape in input_shapes(BUDGET)
    assert not prepared.pixels.any()


def test_a_mark_is_where_the_scale_and_offset_say() -> None:
    page = page_with_marks()
    prepared = prepare_page(page, BUDGET)
    x, y = (200 + 4 - prepared.left) * prepared.scale, (300 + 5 - prepared.top) * prepared.scale
    assert prepared.pixels[int(y), int(x)] < -0.5
    between = (300 + 15 - prepared.top) * prepared.scale
    assert prepared.pixels[int(between), int(x)] > prepared.pixels[int(y), int(x)] + 0.5


def test_paper_colour_and_light_are_taken_away() -> None:
    page = np.asarray(page_with_marks(), dtype=np.float32)
    shade = np.linspace(0.6, 0.9, page.shape[1], dtype=np.float32)
    plain, dim = even_out(page), even_out(page * shade)
    assert np.corrcoef(plain.ravel(), dim.ravel())[0, 1] > 0.98
    assert np.abs(plain - dim).max() < 0.7


@pytest.mark.parametrize(
    ("letter", "factor"), [(14, 0.5), (11, 0.75), (9, 1), (8, 1.5), (7, 2), (6, 2.5), (3, 4)]
)
def test_print_of_every_size_comes_out_readable(letter: int, factor: float) -> None:
    page = Image.new("L", (1400, 1800), 255)
    pen = ImageDraw.Draw(page)
    for top in range(40, 1760, 6 * letter):
        for left in range(40, 1360, 2 * letter):
            pen.rectangle((left, top, left + letter, top + 2 * letter - 1), fill=0)
    plain = prepare_page(page, BUDGET)
    height = line_height(plain)
    assert height == pytest.approx(2 * letter * plain.scale, abs=1.5)
    prepared = prepare_readable(page, BUDGET, line=6.0, most=4)
    assert prepared.shape in input_shapes(round(BUDGET * factor))
    assert prepare_readable(page, BUDGET, line=0.0, most=1).shape == plain.shape


def test_photographs_get_the_largest_budget() -> None:
    noise = np.random.default_rng(0).normal(128, 40, (600, 900)).clip(0, 255).astype(np.uint8)
    photograph = Image.fromarray(noise)
    assert photographic(prepare_page(photograph, BUDGET))
    assert prepare_readable(photograph, BUDGET, 6.0, 3).shape in input_shapes(3 * BUDGET)
    assert not photographic(prepare_page(page_with_marks(), BUDGET))


def test_a_small_picture_is_not_blown_up_for_its_small_print() -> None:
    page = page_with_marks().crop((200, 300, 400, 500))
    prepared = prepare_readable(page, BUDGET, line=60.0, most=4)
    assert prepared.shape in input_shapes(BUDGET)


def test_words_are_folded_and_freed_of_punctuation() -> None:
    assert question_words("What's the «TOTÁL», (incl. G.S.T.)?") == [
        "what",
        "s",
        "the",
        "total",
        "incl",
        "g.s.t",
    ]
    assert fold("Straße:") == "strasse"
    assert fold("***") == "*"


def test_alike_words_share_letter_groups_and_unlike_words_do_not() -> None:
    invoice, invoices, paid = (set(word_grams(word)) for word in ("invoice", "invoices", "paid"))
    assert len(invoice & invoices) > 0.6 * len(invoice)
    assert len(invoice & paid) < 0.2 * len(invoice)


@given(st.text(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_any_question_fits_the_table(text: str) -> None:
    table = question_input(text)
    assert table.shape == (WORDS, GRAMS)
    assert table.min() >= 0
    assert table.max() < BUCKETS
    assert table[0].any()


def test_a_distance_survives_the_ladder() -> None:
    distances = np.geomspace(SHORTEST, LONGEST, 200)
    steps = nearest_step(distances)
    assert np.all(
        np.abs(np.log(LADDER[steps] / distances)) < np.log(LADDER[1] / LADDER[0]) / 2 + 1e-9
    )
    assert nearest_step(np.array([-5.0, 0.0, 1e9])).tolist() == [0, 0, STEPS - 1]


def test_quantiles_of_side_distances() -> None:
    sure = np.eye(STEPS, dtype=np.float32)
    np.testing.assert_allclose(quantile_distance(sure, 0.5), LADDER, rtol=1e-6)
    spread = np.full(STEPS, 1 / STEPS, dtype=np.float32)
    wide = [float(quantile_distance(spread, q)) for q in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99)]
    assert wide == sorted(wide)
    assert wide[2] == pytest.approx(np.sqrt(SHORTEST * LONGEST), rel=0.05)


def flat_page(rows: int, columns: int) -> PageInput:
    shape = (rows * CELL_HEIGHT, columns * CELL_WIDTH)
    return PageInput(np.zeros(shape, np.float32), 0.5, 30.0, 10.0, (shape[1], shape[0]))


def one_sided(*steps: int) -> np.ndarray:
    return np.eye(STEPS, dtype=np.float32)[list(steps)]


def test_a_sure_policy_gives_the_box_it_means() -> None:
    cells = np.full((20, 10), -30.0, dtype=np.float32)
    cells[4, 3] = 0.0
    page = flat_page(20, 10)
    proposal = decode_proposal(
        page, (1000, 1000), cells, np.array([43]), one_sided(3, 1, 5, 2)[None], 0.5
    )
    x, y = 3.5 * CELL_WIDTH, 4.5 * CELL_HEIGHT
    expected = (
        ((x - LADDER[3]) / 0.5 + 30) / 1000,
        ((y - LADDER[1]) / 0.5 + 10) / 1000,
        ((x + LADDER[5]) / 0.5 + 30) / 1000,
        ((y + LADDER[2]) / 0.5 + 10) / 1000,
    )
    box = proposal.boxes[0]
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx(expected, rel=1e-5)
    assert proposal.confidences[0] == pytest.approx(1.0)


def test_candidates_inside_a_better_box_are_dropped_and_the_rest_ordered() -> None:
    cells = np.full((20, 10), -30.0, dtype=np.float32)
    cells[4, 3], cells[4, 4], cells[15, 8] = np.log([0.3, 0.25, 0.45])
    sides = np.stack([one_sided(5, 5, 5, 5)] * 3)
    proposal = decode_proposal(
        flat_page(20, 10), (1000, 1000), cells, np.array([158, 43, 44]), sides, 0.5
    )
    assert proposal.confidences == pytest.approx((0.55, 0.45))
    assert proposal.boxes[0].top < proposal.boxes[1].top


def test_the_box_that_shows_the_most_comes_first_and_the_next_shows_something_else() -> None:
    cells = np.full((20, 40), -30.0, dtype=np.float32)
    near, beside, far = 4 * 40 + 3, 4 * 40 + 6, 15 * 40 + 30
    cells.flat[[near, beside, far]] = np.log([0.35, 0.25, 0.4])
    sides = np.stack([one_sided(2, 2, 2, 2)] * 3)
    told = flat_page(20, 40), (1400, 400), cells, np.array([far, near, beside]), sides, 0.5
    tight = decode_proposal(*told)
    assert tight.confidences == pytest.approx((0.4, 0.35, 0.25))
    assert tight.places == tight.boxes
    wide = decode_proposal(*told, (160, 48))
    assert wide.confidences == pytest.approx((0.6, 0.4))
    assert wide.places == (tight.boxes[1], tight.boxes[0])
    assert all(tight.boxes[index].covered_by(wide.boxes[0]) == 1 for index in (1, 2))
    sure = decode_proposal(*told, (160, 48), calibration=ConfidenceMap(2, 0.5, 0))
    assert sure.boxes == wide.boxes
    assert sure.confidences == tuple(ConfidenceMap(2, 0.5, 0)(one or 0) for one in wide.confidences)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), wide=st.integers(0, 400), tall=st.integers(0, 90))
def test_boxes_show_their_places_and_share_out_the_probability(
    seed: int, wide: int, tall: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (30, 25))
    cells = (logits - np.log(np.exp(logits).sum())).astype(np.float32)
    peaks = rng.choice(750, 8, replace=False)
    sides = rng.dirichlet(np.full(STEPS, 0.3), (8, 4)).astype(np.float32)
    page = replace(flat_page(30, 25), left=3000.0, top=3000.0)  # no box reaches its edges
    told = page, (9000, 9000), cells, peaks, sides
    for way in [(0.5, (float(wide), float(tall))), (0.8, (float(tall), 0.0))]:
        proposal = decode_proposal(*told, *way)
        assert 1 <= len(proposal.boxes) <= MOST_BOXES
        assert sum(share or 0.0 for share in proposal.confidences) <= 1 + 1e-6
        for box, place in zip(proposal.boxes, proposal.places, strict=True):
            assert place.covered_by(box) > 0.89
        for index, place in enumerate(proposal.places):
            assert all(place.covered_by(box) < 0.95 for box in proposal.boxes[:index])
        first = decode_proposal(*told, *way, most=1)
        assert (first.boxes, first.places) == (proposal.boxes[:1], proposal.places[:1])


def test_a_box_outside_the_page_is_unreadable() -> None:
    cells = np.full((20, 10), -5.0, dtype=np.float32)
    proposal = decode_proposal(
        flat_page(20, 10), (40, 40), cells, np.array([199]), one_sided(0, 0, 0, 0)[None], 0.5
    )
    assert proposal.boxes == ()
    assert proposal.reason == "unreadable"
