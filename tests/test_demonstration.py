"""The learning demonstration: cards, the frozen reader and its lessons."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import ImageChops

from cropvlm_core.prompts import answer_prompt
from cropvlm_core.training.demonstration.cards import (
    CARDS,
    COLOURS,
    HELD_OUT_SEED,
    SIDE,
    draw_cards,
)
from cropvlm_core.vlm import Conversation
from tests.programs import require_package

torch = require_package("torch")
require_package("transformers")
require_package("jinja2")

from cropvlm_core.training.demonstration.reader import (  # noqa: E402
    VIEWS,
    landscape,
    reading_lesson,
    train_reader,
)
from cropvlm_core.training.demonstration.teaching import Course, teach  # noqa: E402
from cropvlm_core.training.small_vlm import build_small_vlm  # noqa: E402
from cropvlm_core.transformers_vlm import TransformersVLM  # noqa: E402


def test_a_seed_is_a_page() -> None:
    one, same, other = draw_cards(7), draw_cards(7), draw_cards(8)
    assert one.cards == same.cards != other.cards
    assert ImageChops.difference(one.image, same.image).getbbox() is None
    assert one.image.size == (SIDE, SIDE)


def test_cards_are_where_they_say() -> None:
    for seed in range(30):
        page = draw_cards(seed)
        assert len({card.colour for card in page.cards}) == CARDS
        for card in page.cards:
            left, top, right, bottom = card.pixels
            corners = ((left, top), (right - 1, bottom - 1))
            assert {page.image.getpixel(xy) for xy in corners} == {COLOURS[card.colour]}
            outside = page.image.getpixel((left - 1, top)), page.image.getpixel((right, top))
            assert COLOURS[card.colour] not in outside
            assert 10 <= int(card.number) <= 99
            assert (255, 255, 255) in {
                colour for _, colour in page.image.crop(card.pixels).getcolors(10_000) or ()
            }
        for one, other in itertools.combinations(page.cards, 2):
            assert one.box.intersection(other.box) is None


def test_fewer_cards_can_be_asked_for() -> None:
    assert len(draw_cards(3, 1).cards) == 1


def test_lessons_are_the_conversations_of_inference() -> None:
    conversation, reply = reading_lesson(4, 0.0)
    card = draw_cards(4).cards[0]
    page, crop, text = conversation.parts
    assert (page, crop) == conversation.images
    assert text == answer_prompt(card.question)
    assert reply == card.number
    assert crop.width < 1.9 * (card.pixels[2] - card.pixels[0])  # type: ignore[union-attr]


def test_lessons_get_harder() -> None:
    def shares(done: float) -> list[float]:
        lessons = [reading_lesson(number, done)[0].images for number in range(60)]
        return [
            max((image.width * image.height / SIDE**2 for image in images[1:]), default=0.0)
            for images in lessons
        ]

    early, late = shares(0.1), shares(0.9)
    assert 0 not in early
    assert 0 in late  # pages without a crop
    assert max(late) > 2 * max(early)


def test_teaching_begins_at_the_likelihood_of_inference_and_lowers_it(tmp_path: Path) -> None:
    vlm = TransformersVLM.from_pretrained(build_small_vlm(tmp_path), device="cpu")
    page = draw_cards(0).image
    lessons = [
        (Conversation((page, page.crop((0, 0, 90, 60)), "What?")), "42"),
        (Conversation((page, "Where is it?")), "far away"),
    ]
    replies = [reply for _, reply in lessons]
    likelihood = sum(vlm.log_likelihood([each for each, _ in lessons], replies))
    losses: list[float] = []
    teach(
        vlm.model,
        vlm.processor,
        lambda number, _: lessons[number % 2],
        Course(steps=120, batch_size=2, warm_up=5),
        lambda _, loss: losses.append(loss),
    )
    assert losses[0] == pytest.approx(-likelihood / sum(vlm.token_counts(replies)), rel=1e-4)
    assert len(losses) == 120
    assert not vlm.model.training
    assert vlm.reply([each for each, _ in lessons]) == replies


def test_a_reader_is_written_whole(tmp_path: Path) -> None:
    course = Course(steps=2, batch_size=4)
    steps: list[int] = []
    folder = train_reader(tmp_path / "one", course, told=lambda step, _: steps.append(step))
    assert steps == [1, 2]
    assert (folder / "model.safetensors").stat().st_size < 2_500_000
    again = train_reader(tmp_path / "two", course)
    for name in ("model.safetensors", "config.json", "tokenizer.json", "processor_config.json"):
        assert (folder / name).read_bytes() == (again / name).read_bytes(), name
    reader = TransformersVLM.from_pretrained(folder, device="cpu", dtype="float32")
    assert all(value < 0 for value in landscape(reader, 2).values())


class CropArea:
    """Finds an answer the likelier, the smaller the crop is; a page without one is least likely."""

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        return [""] * len(conversations)

    def log_likelihood(
        self, conversations: Sequence[Conversation], replies: Sequence[str]
    ) -> list[float]:
        for conversation, reply in zip(conversations, replies, strict=True):
            assert conversation.images[0].size == (SIDE, SIDE)
            assert reply.isdigit()
        last = [conversation.images[-1] for conversation in conversations]
        return [-float(image.width * image.height) for image in last]


def test_the_landscape_looks_at_every_view() -> None:
    found = landscape(CropArea(), 8)
    assert list(found) == list(VIEWS)
    assert found["no crop"] == -(SIDE**2)
    widening = [found[name] for name in found if name.endswith("times the card")]
    assert widening == sorted(widening, reverse=True)
    assert found["the left half of the card"] == pytest.approx(found["the card"] / 2, rel=0.1)
    cards = [draw_cards(HELD_OUT_SEED + index).cards[0].box.area for index in range(8)]
    assert found["the card"] == pytest.approx(-sum(cards) / 8 * SIDE**2)
