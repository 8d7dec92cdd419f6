"""Questions and what a policy wrote about them, for the tests of what watches a run."""

from collections.abc import Sequence

from PIL import Image

from cropvlm_core.box import Box, BoxNotation
from cropvlm_core.cropper import ZoomRules
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.rollouts import Rollout, roll_out

ANSWER = Box(0.1, 0.1, 0.3, 0.2)


def asked(
    page: Image.Image | None = None,
    question: str = "What is the total?",
    boxes: Sequence[Box] = (),
    answers: Sequence[str] = ("12.50",),
) -> AnsweredQuestion:
    return AnsweredQuestion(
        page or Image.new("RGB", (500, 600), "white"),
        question,
        answers=tuple(answers),
        boxes=tuple(boxes),
    ).opened()


def rolled(
    question: AnsweredQuestion, *texts: str, notation: BoxNotation = BoxNotation.percent
) -> list[Rollout]:
    return roll_out(
        [question] * len(texts),
        list(texts),
        notation=notation,
        rules=ZoomRules(min_pixels=1),
        no_zoom=True,
    )
