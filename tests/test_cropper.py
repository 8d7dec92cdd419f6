"""Proposals, zoom rules and the croppers that need no weights."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.box import Box, BoxNotation
from cropvlm_core.cropper import (
    Cropper,
    FixedCropper,
    Proposal,
    RandomCropper,
    VLMCropper,
    ZoomRules,
)
from cropvlm_core.errors import ModelError, ProposalError
from cropvlm_core.prompts import answer_prompt, cropper_prompt
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.vlm import VLM, ConstantVLM, Conversation, ScoringVLM

PAGE = Image.new("RGB", (200, 100), "white")
BOX = Box(0.12, 0.3, 0.45, 0.6)


class Scripted:
    """A VLM that says what it is told and remembers what it was asked."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.asked: list[Conversation] = []

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        self.asked += conversations
        return self.replies


def _questions(*texts: str) -> list[VisualQuestion]:
    return [VisualQuestion(PAGE, text) for text in texts]


def test_places_stand_beside_boxes() -> None:
    whole, half = Box(0, 0, 1, 1), Box(0, 0, 0.5, 0.5)
    assert Proposal((whole, half)).places == (whole, half)
    assert Proposal((whole,), places=(half,)).places == (half,)
    with pytest.raises(ProposalError, match="expected 2 places, one a box, got 1"):
        Proposal((whole, half), places=(half,))


def test_prompts_are_the_papers() -> None:
    question = "What is the name of the NASA ship: A or B?"
    assert cropper_prompt(question) == (
        "What is the name of the NASA ship: A or B?\n"
        "Outline the region in the image that would help answer this question."
    )
    assert answer_prompt(question) == (
        "What is the name of the NASA ship: A or B?\nGive a very brief answer."
    )


def test_a_proposal_has_boxes_or_a_reason() -> None:
    assert Proposal((BOX,)).confidences == (None,)
    assert Proposal((BOX, BOX), (0.9, None)).reason is None
    assert Proposal(reason="unreadable", text="hm").boxes == ()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"boxes": (BOX,), "reason": "unreadable"},
        {"reason": "tired"},
        {"boxes": (BOX,), "confidences": (0.5, 0.4)},
        {"boxes": (BOX, BOX), "confidences": (0.4, 0.5)},
        {"boxes": (BOX,), "confidences": (1.2,)},
        {"boxes": (BOX,), "confidences": (float("nan"),)},
    ],
)
def test_a_proposal_does_not_contradict_itself(arguments: dict[str, Any]) -> None:
    with pytest.raises(ProposalError, match="expected"):
        Proposal(**arguments)


def test_rules_are_saved_and_come_back() -> None:
    rules = ZoomRules((2, 3.5), 0.1, 0.05, 64, 4.0)
    assert ZoomRules.from_dict(json.loads(json.dumps(rules.to_dict()))) == rules
    assert ZoomRules.from_dict({}) == ZoomRules()
    with pytest.raises(ProposalError, match="shrink"):
        ZoomRules.from_dict({"shrink": 1})


@pytest.mark.parametrize(
    "arguments",
    [
        {"grow": (0.5, 1)},
        {"grow": (1, float("inf"))},
        {"grow": (2, 2, 2)},
        {"min_width": 1.5},
        {"min_height": -0.1},
        {"min_pixels": 0},
        {"max_aspect": 0.5},
    ],
)
def test_rules_out_of_range(arguments: dict[str, Any]) -> None:
    with pytest.raises(ProposalError, match="expected"):
        ZoomRules(**arguments)


def test_a_cropper_has_one_abstract_method() -> None:
    assert Cropper.__abstractmethods__ == frozenset({"propose_batch"})


def test_fixed_cropper() -> None:
    cropper = FixedCropper(BOX)
    assert cropper.propose_batch(_questions("a", "b")) == [Proposal((BOX,))] * 2
    assert (cropper.name, FixedCropper(None).name) == ("fixed", "whole")
    (whole,) = FixedCropper(None).propose_batch(_questions("a"))
    assert (whole.boxes, whole.reason) == ((), "no_zoom_needed")
    assert cropper.propose_batch([]) == []


def test_random_cropper_does_not_depend_on_the_order() -> None:
    questions = [*_questions("a", "b", "c"), VisualQuestion(PAGE, "a", id="other")]
    proposals = RandomCropper(7, area=0.1).propose_batch(questions)
    again = RandomCropper(7, area=0.1).propose_batch(questions[::-1])[::-1]
    assert proposals == again
    assert len({proposal.boxes for proposal in proposals}) == 4
    assert RandomCropper(8, area=0.1).propose_batch(questions) != proposals
    for proposal in proposals:
        assert proposal.boxes[0].area == pytest.approx(0.1)


def test_random_cropper_depends_on_the_size_and_reaches_everywhere() -> None:
    wide = VisualQuestion(Image.new("RGB", (201, 100)), "a")
    first, second = RandomCropper().propose_batch([*_questions("a"), wide])
    assert first != second
    many = RandomCropper().propose_batch(_questions(*map(str, range(300))))
    lefts = [proposal.boxes[0].left for proposal in many]
    assert min(lefts) < 0.05
    assert max(lefts) > 0.45
    with pytest.raises(ProposalError, match="area"):
        RandomCropper(area=0)


def test_random_cropper_is_the_same_everywhere() -> None:
    """A control that changes between machines or versions cannot be compared."""
    (proposal,) = RandomCropper(0).propose_batch(_questions("What is the total?"))
    box = proposal.boxes[0]
    assert (round(box.left, 4), round(box.top, 4)) == (0.4161, 0.3088)


def test_vlm_cropper_asks_the_papers_prompt_and_reads_the_box() -> None:
    vlm = Scripted("[12, 30, 45, 60].", "I see nothing", "No zoom needed.")
    first, second, third = VLMCropper(vlm).propose_batch(_questions("A?", "B?", "C?"))
    assert first == Proposal((BOX,), text="[12, 30, 45, 60].")
    assert second == Proposal(text="I see nothing", reason="unreadable")
    assert third == Proposal(text="No zoom needed.", reason="no_zoom_needed")
    assert [c.text for c in vlm.asked] == [cropper_prompt(q) for q in ("A?", "B?", "C?")]
    assert vlm.asked[0].images[0].tobytes() == PAGE.tobytes()
    assert isinstance(vlm.asked[0].parts[0], Image.Image)


def test_vlm_cropper_in_pixels_of_the_image() -> None:
    vlm = Scripted("[20, 10, 100, 50]")
    (proposal,) = VLMCropper(vlm, BoxNotation.pixels()).propose_batch(_questions("A?"))
    assert proposal.boxes == (Box(0.1, 0.1, 0.5, 0.5),)


def test_vlm_cropper_explains_on_demand() -> None:
    vlm = Scripted("[1, 2, 3, 4]")
    notation = BoxNotation.per_mille
    VLMCropper(vlm, notation, explain=True).propose_batch(_questions("A?"))
    assert vlm.asked[0].text == f"{cropper_prompt('A?')}\n{notation.instruction}"


@pytest.mark.parametrize("replies", [[], ["a", "b"], [None], [b"[1, 2, 3, 4]"]])
def test_a_vlm_that_breaks_its_word(replies: list[Any]) -> None:
    with pytest.raises(ModelError, match="expected"):
        VLMCropper(Scripted(*replies)).propose_batch(_questions("A?"))


def test_conversation() -> None:
    conversation = Conversation((PAGE, "one", PAGE, "two"))
    assert conversation.images == (PAGE, PAGE)
    assert conversation.text == "one\ntwo"
    with pytest.raises(TypeError, match="PIL image"):
        Conversation((PAGE, b"bytes"))  # type: ignore[arg-type]


def test_constant_vlm_and_the_protocols() -> None:
    assert ConstantVLM("42").reply([Conversation(("a",)), Conversation(("b",))]) == ["42", "42"]
    assert isinstance(ConstantVLM("42"), VLM)
    assert not isinstance(ConstantVLM("42"), ScoringVLM)


def test_the_version_changes_with_what_the_boxes_depend_on() -> None:
    grown = FixedCropper(Box(0, 0, 0.5, 0.5))
    grown.rules = ZoomRules(grow=(2, 2))
    vlm = ConstantVLM("[1, 2, 3, 4]")
    croppers: list[Cropper] = [
        FixedCropper(None),
        FixedCropper(Box(0, 0, 0.5, 0.5)),
        FixedCropper(Box(0, 0, 0.5, 0.6)),
        grown,
        RandomCropper(0),
        RandomCropper(1),
        RandomCropper(0, area=0.1),
        VLMCropper(vlm),
        VLMCropper(vlm, BoxNotation.per_mille),
        VLMCropper(vlm, explain=True),
    ]
    versions = [cropper.version for cropper in croppers]
    assert len(set(versions)) == len(versions)
    assert versions[1] == FixedCropper(Box(0, 0, 0.5, 0.5)).version
