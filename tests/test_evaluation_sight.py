"""What a target is shown, at which size, and what that costs."""

from collections.abc import Sequence

import pytest
from PIL import Image

from cropvlm_core.box import Box
from cropvlm_core.cropper import Proposal, ZoomRules
from cropvlm_core.errors import DataError
from cropvlm_core.evaluation.sight import Request, Sight
from cropvlm_core.evaluation.tokens import RULES
from cropvlm_core.evaluation.views import Proposed, View, show, views_of
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.vlm import ConstantVLM, Conversation
from cropvlm_core.zoom import ZoomPipeline
from tests.pages import CountingCropper, noise, same


class Remembering:
    """Answers with the number of pictures, and remembers them."""

    def __init__(self) -> None:
        self.asked: list[Conversation] = []

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        self.asked += conversations
        return [str(len(each.images)) for each in conversations]


class Resizing(Remembering):
    """Scales pictures by itself, up and down."""

    scales_up = True

    def __init__(self, size: int, others: "dict[int, Resizing] | None" = None) -> None:
        super().__init__()
        self.size = size
        self.others = {} if others is None else others

    def at(self, size: int) -> "Resizing":
        return self.others.setdefault(size, Resizing(size, self.others))


PAGE = noise(200, 300)


def whole(page: Image.Image = PAGE, edge: int | None = None) -> Request:
    return Request((page,), (None,), edge)


def test_pictures_are_scaled_down_and_never_up() -> None:
    target = Remembering()
    sight = Sight(target, 150)
    corner = PAGE.crop((0, 0, 40, 30))
    sight.ask("What?", [Request((PAGE, corner), (None, (0, 0, 40, 30)))])
    [asked] = target.asked
    assert [picture.size for picture in asked.images] == [(100, 150), (40, 30)]
    assert same(asked.images[1], corner)
    assert asked.text == "What?\nGive a very brief answer."


def test_without_a_size_pictures_stay_as_they_are() -> None:
    target = Remembering()
    sight = Sight(target)
    sight.ask("What?", [whole()])
    assert target.asked[0].images[0] is PAGE
    assert sight.edge_of_equal_cost(PAGE, [PAGE]) is None


def test_a_target_that_resizes_gets_the_picture_itself() -> None:
    target = Resizing(64)
    sight = Sight(target)
    assert sight.size == 64
    sight.ask("What?", [whole(), whole(edge=90), whole(edge=64)])
    assert [picture.size for each in target.asked for picture in each.images] == [(200, 300)]
    assert list(target.others) == [90]
    assert sight.seen(PAGE.crop((0, 0, 20, 10))) == (64, 32)
    with pytest.raises(DataError, match="own size, 64"):
        Sight(target, 100)


def test_replies_go_to_those_who_asked() -> None:
    target = Remembering()
    sight = Sight(target)
    twice = Request((PAGE, PAGE), (None, None))
    replies = sight.ask("What?", [whole(), twice, whole()])
    assert [reply.text for reply in replies] == ["1", "2", "1"]
    assert len(target.asked) == 2
    assert len({reply.seconds for reply in replies}) == 1


def test_tokens_are_those_of_the_pictures_as_seen() -> None:
    sight = Sight(ConstantVLM("x"), 1024, RULES["gpt-4o"])
    large = Image.new("RGB", (4096, 4096))
    # 1024 x 1024: shortest side to 768, four tiles: 85 + 4 * 170
    assert sight.seen(large) == (1024, 1024)
    assert sight.tokens(whole(large)) == 765
    assert Sight(ConstantVLM("x")).tokens(whole()) is None


def test_the_page_at_equal_cost() -> None:
    sight = Sight(ConstantVLM("x"), 100)
    # 67 x 100 pixels and a crop of 50 x 50: the page may have 9,200 pixels
    edge = sight.edge_of_equal_cost(PAGE, [PAGE.crop((0, 0, 50, 50))])
    assert edge == 117
    width, height = sight.seen(PAGE, edge)
    assert width * height <= 67 * 100 + 50 * 50 < (width + 1) * (height + 1)
    assert sight.edge_of_equal_cost(PAGE, []) == 100
    small = noise(60, 90)
    assert sight.edge_of_equal_cost(small, [small]) == 90  # there is no more to see


def test_the_views_of_two_croppers_are_in_order() -> None:
    names = [view.name for view in views_of(["a", "b", "a"], random="random:2")]
    assert names == [
        "no crop", "page twice", "centre", "random:2",
        "a", "a, shuffled", "a, crop alone", "a, equal cost",
        "b", "b, shuffled", "b, crop alone", "b, equal cost",
        "true box",
    ]  # fmt: skip


def test_what_each_view_shows() -> None:
    box, other = Box(0.1, 0.1, 0.4, 0.4), Box(0.5, 0.5, 0.9, 0.9)
    truth = Box(0.2, 0.2, 0.3, 0.3)
    asked = AnsweredQuestion(PAGE, "What?", boxes=(truth,)).opened()
    shown = show(
        views_of(["a"], without=["centre", "random"]),
        asked,
        {"a": Proposed(Proposal((box,), (0.7,)), 0.25)},
        {"a": Proposed(Proposal((other,), (0.9,)), 0.5)},
        {"a": ZoomPipeline(CountingCropper())},
        Sight(ConstantVLM("x"), 100),
    )
    seen = {each.view.name: each for each in shown}
    cut = PAGE.crop(box.to_pixels(PAGE.size))
    assert same(seen["a"].request.pictures[1], cut)
    assert seen["a"].request.pictures[0] is PAGE
    assert (seen["a"].confidence, seen["a"].crop_seconds) == (0.7, 0.25)
    assert seen["a"].point == pytest.approx((0.25, 0.25))
    assert same(seen["a, shuffled"].request.pictures[1], PAGE.crop(other.to_pixels(PAGE.size)))
    assert seen["a, shuffled"].crop_seconds is None
    assert [picture.size for picture in seen["a, crop alone"].request.pictures] == [cut.size]
    assert seen["a, equal cost"].request.edge is not None
    assert seen["page twice"].request.pictures == (PAGE, PAGE)
    true_crop = seen["true box"].crops[0]
    assert truth.covered_by(true_crop) == 1
    assert truth.area < true_crop.area < 4 * truth.area


def test_no_crop_shows_the_page_in_every_view() -> None:
    said = {"a": Proposed(Proposal(reason="no_zoom_needed"), 0.1)}
    views = [View("a", "cropper", "a"), View("a, crop alone", "crop_alone", "a")]
    pipelines = {"a": ZoomPipeline(CountingCropper())}
    asked = AnsweredQuestion(PAGE, "What?").opened()
    for each in show(views, asked, said, said, pipelines, Sight(None)):
        assert each.request.pictures == (PAGE,)
        assert (each.crops, each.reason) == ((), "no_zoom_needed")


def test_rules_and_doubt_are_those_of_the_pipeline() -> None:
    cropper = CountingCropper()
    cropper.rules = ZoomRules(grow=(2.0, 2.0))
    said = {"a": Proposed(Proposal((Box(0.4, 0.4, 0.6, 0.6),), (0.3,)), 0.1)}
    asked = AnsweredQuestion(PAGE, "What?").opened()
    view = [View("a", "cropper", "a")]
    [grown] = show(view, asked, said, {}, {"a": ZoomPipeline(cropper)}, Sight(None))
    assert grown.crops[0].area == pytest.approx(0.16)
    unsure = {"a": ZoomPipeline(cropper, min_confidence=0.5)}
    [none] = show(view, asked, said, {}, unsure, Sight(None))
    assert (none.crops, none.reason) == ((), "low_confidence")
