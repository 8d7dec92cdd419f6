"""Rollouts and rewards: what a policy wrote, what follows, and what it is worth."""

import logging
import math
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from cropvlm_core.box import BoxNotation
from cropvlm_core.cropper import VLMCropper, ZoomRules
from cropvlm_core.errors import DataError, ModelError
from cropvlm_core.prompts import answer_prompt
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.rewards import (
    AnswerLikelihood,
    AnswerScore,
    CropArea,
    Reward,
    gold_answer,
    reward_names,
    valid_box,
)
from cropvlm_core.training.rollouts import Rollout, roll_out
from cropvlm_core.vlm import ConstantVLM, Conversation
from cropvlm_core.zoom import ZoomPipeline
from tests.pages import noise

RULES = ZoomRules(grow=(1.2, 1.2), min_pixels=28)
QUARTER, OTHER = "[0, 0, 50, 50].", "[50, 50, 100, 100]."
WHOLE, NO_ZOOM, BROKEN = "[0, 0, 100, 100].", "No zoom needed.", "the lower left"
ANSWER = "NASA: 10:45 AM"


def asked(page: Image.Image | None = None, *answers: str) -> AnsweredQuestion:
    return AnsweredQuestion(page or noise(), "Who: when?", answers=answers or (ANSWER,))


def rolled(
    *texts: str,
    question: AnsweredQuestion | None = None,
    no_zoom: bool = False,
    rules: ZoomRules | None = None,
) -> list[Rollout]:
    return roll_out(
        [question or asked()] * len(texts),
        texts,
        notation=BoxNotation.percent,
        rules=rules or ZoomRules(),
        no_zoom=no_zoom,
    )


class Reader:
    """Finds an answer the likelier, the less is shown beside the page; a token is two letters."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[Conversation], list[str]]] = []

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        return ["NASA" for _ in conversations]

    def log_likelihood(
        self, conversations: Sequence[Conversation], replies: Sequence[str]
    ) -> list[float]:
        self.calls.append((list(conversations), list(replies)))
        return [
            -self.share(conversation) * len(reply)
            for conversation, reply in zip(conversations, replies, strict=True)
        ]

    @staticmethod
    def share(conversation: Conversation) -> float:
        page, seen = conversation.images[0], conversation.images[-1]
        return seen.width * seen.height / (page.width * page.height)


class CountingReader(Reader):
    def token_counts(self, replies: Sequence[str]) -> list[int]:
        return [math.ceil(len(reply) / 2) for reply in replies]


# ---- rollouts


@pytest.mark.parametrize(
    "text",
    [
        "[12, 30, 45, 60].",
        "[12, 30, 45, 60]",
        "Look here: [12.5,30,45,60]. Or [1, 1, 2, 2].",
        "[45, 60, 12, 30].",
        "[-5, 30, 45, 160].",
        "[99, 99, 100, 100].",
        "[40, 40, 40, 40].",
        WHOLE,
        NO_ZOOM,
        BROKEN,
        "",
    ],
)
def test_a_rollout_is_what_inference_makes_of_the_same_text(text: str) -> None:
    question = asked()
    cropper = VLMCropper(ConstantVLM(text), rules=RULES)
    zoom = ZoomPipeline(cropper).zoom_batch([question])[0]
    (rollout,) = rolled(text, question=question, rules=RULES)
    assert rollout.proposal == zoom.proposal
    assert [crop.pixels for crop in rollout.zoom.crops] == [crop.pixels for crop in zoom.crops]
    assert rollout.zoom.reason == zoom.reason
    assert rollout.text == text


def test_boxes_in_pixels_are_read_in_the_size_that_the_policy_saw() -> None:
    question = asked(noise(200, 300))
    notation = BoxNotation.pixels()
    texts = ["[10, 15, 50, 75]"] * 2
    own, scaled = (
        roll_out([question] * 2, texts, notation=notation, rules=ZoomRules(), sizes=sizes)
        for sizes in (None, [(100, 150), (50, 75)])
    )
    assert [each.zoom.pixels for each in own] == [(10, 15, 50, 75)] * 2
    assert [each.zoom.pixels for each in scaled] == [(20, 30, 100, 150), (40, 60, 200, 300)]


def test_each_image_is_opened_once(page: Path) -> None:
    first = AnsweredQuestion(page, "What is the total?", answers=("1",))
    second = AnsweredQuestion(page, "Who paid?", answers=("x",))
    rollouts = roll_out(
        [first, first, second],
        [QUARTER, BROKEN, QUARTER],
        notation=BoxNotation.percent,
        rules=ZoomRules(),
    )
    assert len({id(rollout.zoom.image) for rollout in rollouts}) == 1
    assert rollouts[0].question is rollouts[1].question is rollouts[0].zoom.asked
    assert [rollout.question.question for rollout in rollouts] == [
        "What is the total?",
        "What is the total?",
        "Who paid?",
    ]


def test_texts_and_sizes_must_be_one_a_question() -> None:
    with pytest.raises(DataError, match="expected 1 texts, one a question, got 2"):
        roll_out([asked()], ["", ""], notation=BoxNotation.percent, rules=RULES)
    with pytest.raises(DataError, match="expected 1 sizes, one a question, got 0"):
        roll_out([asked()], [""], notation=BoxNotation.percent, rules=RULES, sizes=[])


@pytest.mark.parametrize("no_zoom", [False, True])
def test_what_is_legal(no_zoom: bool) -> None:
    rollouts = rolled(QUARTER, WHOLE, NO_ZOOM, BROKEN, no_zoom=no_zoom)
    assert [rollout.legal for rollout in rollouts] == [True, True, no_zoom, False]
    assert [rollout.declined for rollout in rollouts] == [False, False, no_zoom, False]
    assert rollouts[2].proposal.reason == "no_zoom_needed"


# ---- the likelihood of the answer


def test_a_group_is_asked_about_in_one_call_each_view_once() -> None:
    reader = Reader()
    first, second = asked(), AnsweredQuestion(noise(), "Total?", answers=("7",))
    rollouts = roll_out(
        [first] * 4 + [second] * 2,
        [QUARTER, "[0,0,50,50]", OTHER, QUARTER, QUARTER, QUARTER],
        notation=BoxNotation.percent,
        rules=ZoomRules(),
    )
    assert AnswerLikelihood(reader)(rollouts) == [-0.25 * len(ANSWER)] * 4 + [-0.25] * 2
    ((conversations, answers),) = reader.calls
    assert answers == [ANSWER, ANSWER, "7"]
    assert conversations[0].images[0] is conversations[1].images[0] is rollouts[0].zoom.image
    assert conversations[2].images[0] is rollouts[4].zoom.image
    assert conversations[0].images[1].size == (100, 150)
    assert conversations[0].parts[2:] == (answer_prompt("Who: when?"),)


def test_one_page_with_several_questions_is_one_image_object(page: Path) -> None:
    reader = Reader()
    questions = [
        AnsweredQuestion(page, text, answers=(answer,))
        for text, answer in (("Total?", "1"), ("Total?", "2"), ("Date?", "1"))
    ]
    rollouts = roll_out(questions, [QUARTER] * 3, notation=BoxNotation.percent, rules=ZoomRules())
    AnswerLikelihood(reader)(rollouts)
    ((conversations, answers),) = reader.calls
    assert answers == ["1", "2", "1"]
    assert len({id(each.images[0]) for each in conversations}) == 1


@pytest.mark.parametrize("no_zoom", [False, True])
def test_without_a_legal_box_the_page_counts_less_a_named_penalty(no_zoom: bool) -> None:
    reader = Reader()
    reward = AnswerLikelihood(reader, unreadable=1.5)
    whole = -float(len(ANSWER))
    rollouts = rolled(QUARTER, BROKEN, NO_ZOOM, WHOLE, "", no_zoom=no_zoom)
    refused = whole if no_zoom else whole - 1.5
    assert reward(rollouts) == [whole / 4, whole - 1.5, refused, whole, whole - 1.5]
    ((conversations, _),) = reader.calls
    assert [len(each.images) for each in conversations] == [2, 1]  # the page alone: asked once


def test_the_answer_reaches_the_model_verbatim() -> None:
    answers = ("Ratio: 3:2 NASA", " iPhone SE ", "ΑΒΓ: été\n")
    for answer in answers:
        reader = Reader()
        AnswerLikelihood(reader)(rolled(QUARTER, question=asked(None, answer)))
        assert reader.calls[0][1] == [answer]


def test_per_token_divides_by_the_answers_tokens() -> None:
    long, short = asked(None, "x" * 40), asked(None, "xx")
    rollouts = rolled(QUARTER, BROKEN, question=long) + rolled(QUARTER, question=short)
    assert AnswerLikelihood(CountingReader())(rollouts) == [-10, -41, -0.5]
    assert AnswerLikelihood(CountingReader(), per_token=True)(rollouts) == [-0.5, -3, -0.5]


def test_the_model_must_be_able_to_do_it() -> None:
    with pytest.raises(TypeError, match="log_likelihood, got ConstantVLM: use AnswerScore"):
        AnswerLikelihood(ConstantVLM("x"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="token_counts for per_token=True, got Reader"):
        AnswerLikelihood(Reader(), per_token=True)
    with pytest.raises(ValueError, match="expected unreadable >= 0 and finite, got -1"):
        AnswerLikelihood(Reader(), unreadable=-1)


def test_what_is_not_finite_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    class Overflowing(Reader):
        def log_likelihood(
            self, conversations: Sequence[Conversation], replies: Sequence[str]
        ) -> list[float]:
            return [math.nan, -math.inf, -1.0]

    with caplog.at_level(logging.WARNING):
        assert AnswerLikelihood(Overflowing())(rolled(QUARTER, OTHER, BROKEN)) == [None, None, -2]
    assert "2 of 3 log-likelihoods are not finite" in caplog.text


def test_a_scoring_model_that_fails_ends_the_call() -> None:
    class Short(CountingReader):
        def token_counts(self, replies: Sequence[str]) -> list[int]:
            return [0 for _ in replies]

    class Forgetful(Reader):
        def log_likelihood(
            self, conversations: Sequence[Conversation], replies: Sequence[str]
        ) -> list[float]:
            return []

    with pytest.raises(ModelError, match="expected the tokens of 1 answers, got"):
        AnswerLikelihood(Short(), per_token=True)(rolled(QUARTER))
    with pytest.raises(ModelError, match="expected 1 log-likelihoods, got 0"):
        AnswerLikelihood(Forgetful())(rolled(QUARTER))


@pytest.mark.parametrize(
    ("answers", "gold"),
    [
        (("12.50", "$12.50"), "12.50"),
        (("coke", "Coca Cola", "coca cola", "Coca Cola"), "Coca Cola"),
        ((" ", "", "x"), "x"),
    ],
)
def test_one_answer_of_several_counts(answers: tuple[str, ...], gold: str) -> None:
    assert gold_answer(asked(None, *answers)) == gold


@pytest.mark.parametrize("answers", [(), (" ",)])
def test_a_question_without_an_answer_has_no_reward(answers: tuple[str, ...]) -> None:
    question = AnsweredQuestion(noise(), "Total?", id="q7", answers=answers)
    for reward in (AnswerLikelihood(Reader()), AnswerScore(ConstantVLM("x"))):
        with pytest.raises(DataError, match="expected a question with an answer, got none for 'q7"):
            reward(rolled(QUARTER, question=question))


# ---- format and price


@pytest.mark.parametrize(
    ("text", "valid", "cost"),
    [
        (QUARTER, 1.0, -0.5),
        ("[0, 0, 50, 50]", 1.0, -0.5),
        ("[50, 50, 0, 0].", 0.0, -0.5),  # repaired
        ("[50, 50, 100, 101].", 0.0, -0.5),  # repaired
        (WHOLE, 0.0, -2.0),
        (BROKEN, 0.0, -2.0),
    ],
)
def test_format_and_price_of_a_box(text: str, valid: float, cost: float) -> None:
    assert valid_box(rolled(text)) == [valid]
    assert CropArea(2.0)(rolled(text)) == [cost]


def test_format_and_price_of_a_refusal() -> None:
    assert valid_box(rolled(NO_ZOOM)) == [0.0]
    assert valid_box(rolled(NO_ZOOM, no_zoom=True)) == [1.0]
    assert CropArea(2.0)(rolled(NO_ZOOM)) == [-2.0]
    assert CropArea(2.0)(rolled(NO_ZOOM, no_zoom=True)) == [0.0]


def test_a_box_that_grows_to_the_whole_page_is_no_crop() -> None:
    rollouts = rolled("[10, 10, 90, 90].", rules=ZoomRules(grow=(2, 2)))
    assert valid_box(rollouts) == [0.0]
    assert CropArea(1.0)(rollouts) == [-1.0]


@pytest.mark.parametrize("price", [-0.1, math.inf, math.nan])
def test_a_price_is_a_price(price: float) -> None:
    with pytest.raises(ValueError, match="expected price >= 0 and finite, got"):
        CropArea(price)


# ---- all of them


def test_every_reward_has_a_name_and_can_be_pickled(tmp_path: Path) -> None:
    rewards: list[Reward] = [
        AnswerLikelihood(CountingReader()),
        AnswerLikelihood(CountingReader(), per_token=True),
        AnswerScore(ConstantVLM("NASA"), cache=tmp_path / "replies.jsonl"),
        AnswerScore(ConstantVLM("NASA"), "vqa_accuracy"),
        valid_box,
        CropArea(0.5),
    ]
    names = [
        "answer_likelihood",
        "answer_likelihood_per_token",
        "answer_score_anls",
        "answer_score_vqa_accuracy",
        "valid_box",
        "crop_area",
    ]
    assert reward_names(rewards) == names
    copies = [pickle.loads(pickle.dumps(reward)) for reward in rewards]
    assert reward_names(copies) == names
    rollouts = rolled(QUARTER, BROKEN, WHOLE, question=asked(None, "NASA"))
    for reward, twin in zip(rewards, copies, strict=True):
        assert twin(rollouts) == reward(rollouts)
        assert reward([]) == []


def test_names_must_differ() -> None:
    with pytest.raises(ValueError, match="each with a __name__ of its own"):
        reward_names([CropArea(1.0), CropArea(2.0)])
    with pytest.raises(ValueError, match="each with a __name__ of its own"):
        reward_names([])


def test_no_heavy_library_is_needed() -> None:
    code = (
        "import sys, cropvlm_core.training.rewards\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'trl', 'openai')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
