"""A policy that cheats is noticed within 50 steps, and earns less than an honest one."""

import pytest

from tests.programs import require_package

for _package in ("torch", "transformers", "trl", "datasets", "jinja2"):
    require_package(_package)

from cropvlm_core.box import Box  # noqa: E402
from cropvlm_core.training.health import SamePlace  # noqa: E402
from cropvlm_core.training.rewards import AnswerLikelihood  # noqa: E402
from cropvlm_core.transformers_vlm import TransformersVLM  # noqa: E402
from scripts.reward_cheats import HONEST, POLICIES, READER, Outcome, play  # noqa: E402
from tests.rollouts import asked, rolled  # noqa: E402

STEPS = 50


@pytest.fixture(scope="module")
def judge() -> AnswerLikelihood:
    return AnswerLikelihood(TransformersVLM.from_pretrained(READER, device="cpu"))


@pytest.fixture(scope="module")
def bar(judge: AnswerLikelihood) -> Outcome:
    return play(POLICIES[HONEST], judge, STEPS)


def test_an_honest_policy_is_left_in_peace(bar: Outcome) -> None:
    assert bar.alarms == []
    assert bar.reward > 0


@pytest.mark.parametrize("name", [name for name in POLICIES if name != HONEST])
def test_a_cheat_is_noticed_and_earns_less(
    name: str, bar: Outcome, judge: AnswerLikelihood
) -> None:
    found = play(POLICIES[name], judge, STEPS)
    assert found.alarm is not None
    assert found.alarm <= STEPS
    assert found.reward < bar.reward - 0.5


def test_boxes_that_do_not_depend_on_the_question() -> None:
    box = "[20, 20, 60, 60]."
    fixed = SamePlace(memory=5)
    assert fixed.take(rolled(asked(), box, box)) is None  # one question alone
    assert fixed.take(rolled(asked(), box, box)) == 1.0
    apart = SamePlace(memory=2)
    assert apart.take(rolled(asked(), box, box)) is None
    assert apart.take(rolled(asked(), *["[70, 70, 90, 90]."] * 2)) == 0.0
    assert apart.take(rolled(asked(), "[20, 20, 60, 60].", "[20, 20, 60, 40].")) == 0.0
    half = Box(0.2, 0.2, 0.6, 0.6).iou(Box(0.2, 0.2, 0.6, 0.4))
    last = apart.take(rolled(asked(), box, box))
    assert last == pytest.approx((2 + 2 * half) / 8 / ((half + 1) / 2))
    assert SamePlace(memory=5).take(rolled(asked(), "?", "?")) is None
