"""The embedded policy's actions: exact probabilities, the crops of inference, a useful gradient.

A reader that knows the answer by where the crop is stands in for a model: what is tested is what
GRPO makes of rewards.
"""

import dataclasses
import itertools
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.programs import require_package

torch = require_package("torch")
require_package("onnx")

from cropvlm_core.box import Box  # noqa: E402
from cropvlm_core.cropper import ZoomRules  # noqa: E402
from cropvlm_core.embedded.decoding import decode_proposal  # noqa: E402
from cropvlm_core.embedded.page_input import (  # noqa: E402
    CELL_HEIGHT,
    CELL_WIDTH,
    PageInput,
    prepare_page,
)
from cropvlm_core.embedded.question_input import question_input  # noqa: E402
from cropvlm_core.embedded.settings import PolicySettings  # noqa: E402
from cropvlm_core.embedded.side_lengths import LADDER, STEPS  # noqa: E402
from cropvlm_core.questions import AnsweredQuestion  # noqa: E402
from cropvlm_core.training.embedded_grpo import advantages, group_loss, summed  # noqa: E402
from cropvlm_core.training.embedded_policy import (  # noqa: E402
    Actions,
    Look,
    draw,
    log_probability,
    look_at,
    proposal_of,
)
from cropvlm_core.training.network import PolicyNetwork, PolicySize  # noqa: E402
from cropvlm_core.training.rewards import CropArea  # noqa: E402
from cropvlm_core.training.rollouts import Rollout  # noqa: E402
from cropvlm_core.zoom import Zoom  # noqa: E402

TINY = PolicySize(
    stem=8, middle=8, grid=16, context=16, blocks=1, stages=1, lanes=4, word=16, thought=32,
    layers=1, probes=3, head=8, head_lanes=2,
)  # fmt: skip
SETTINGS = PolicySettings(32_768, 0.5, ZoomRules(grow=(1.1, 1.3)), least=(60.0, 30.0))
ASKED = ("What is the total?", "Which date is it?")


@pytest.fixture
def network() -> PolicyNetwork:
    torch.manual_seed(0)
    found = PolicyNetwork(TINY)
    with torch.no_grad():  # not the same everywhere
        found.point.weight.mul_(20)
        for layer in (found.sides[0], found.sides[2]):
            layer.weight.mul_(3)  # type: ignore[operator]
    return found


def looks(network: PolicyNetwork, rows: int = 4, columns: int = 6) -> Look:
    torch.manual_seed(1)
    features = torch.randn(1, TINY.grid, rows, columns)
    grams = torch.from_numpy(np.stack([question_input(text) for text in ASKED]))[None]
    return look_at(network, features, grams)


def test_the_probabilities_of_all_actions_sum_to_one(network: PolicyNetwork) -> None:
    seen = looks(network, 2, 3)
    cells = torch.arange(6).expand(1, 2, 6)

    def chance(side: int, step: int) -> Any:
        """Of each cell with that side at ``step`` and the others at 0."""
        steps = torch.zeros(1, 2, 6, 4, dtype=torch.int64)
        steps[..., side] = step
        return log_probability(network, seen, Actions(cells, steps)).double().exp()

    with torch.no_grad():
        place = seen.cells.flatten(2).double().exp()
        first = chance(0, 0)
        sums = [sum(chance(side, step) for step in range(STEPS)) for side in range(4)]
        # Given the cell the sides are independent: were all 16^4 added up, this would come out.
        every = sums[0] * sums[1] * sums[2] * sums[3] / first**3
    assert place.sum(-1).flatten().tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    torch.testing.assert_close(every, place, rtol=1e-4, atol=0)


def test_actions_are_drawn_as_often_as_their_probabilities_say(network: PolicyNetwork) -> None:
    seen = looks(network, 2, 2)
    torch.manual_seed(2)
    count = 3000
    slack = 4.5 * math.sqrt(0.25 / count)
    with torch.no_grad():
        actions = draw(network, seen, count)
        sides = torch.stack(  # of each cell: (1, 2, cell, 4, STEPS)
            [
                network.side_logits(seen.state, torch.full((1, 2), cell)).softmax(-1)
                for cell in range(4)
            ],
            2,
        )
    for question in range(2):
        right = seen.cells[0, question].detach().flatten().exp()
        often = torch.bincount(actions.cells[0, question], minlength=4) / count
        assert (often - right).abs().max() < slack
        for side in range(4):
            steps = torch.bincount(actions.steps[0, question, :, side], minlength=STEPS) / count
            expected = (right[:, None] * sides[0, question, :, side]).sum(0)
            assert (steps - expected).abs().max() < slack
            assert expected.max() - expected.min() > 2 * slack  # it could have failed


def test_the_probability_is_of_what_was_drawn_and_has_a_gradient(network: PolicyNetwork) -> None:
    seen = looks(network)
    torch.manual_seed(3)
    actions = draw(network, seen, 8)
    chances = log_probability(network, seen, actions)
    cell, steps = int(actions.cells[0, 1, 5]), actions.steps[0, 1, 5].tolist()
    sides = network.side_logits(seen.state, actions.cells[..., 5])[0, 1].log_softmax(-1)
    by_hand = seen.cells[0, 1].flatten()[cell] + sum(sides[k, step] for k, step in enumerate(steps))
    assert chances[0, 1, 5].item() == pytest.approx(by_hand.item(), abs=1e-5)
    chances.sum().backward()  # type: ignore[no-untyped-call]
    for weights in (network.point.weight, next(network.sides.parameters())):
        assert weights.grad is not None
        assert weights.grad.abs().sum() > 0


def page_input(rows: int = 20, columns: int = 12) -> PageInput:
    size = (columns * CELL_WIDTH, rows * CELL_HEIGHT)
    return PageInput(np.zeros(size[::-1], np.float32), 0.5, 10.0, 20.0, size)


def test_an_action_is_cropped_as_inference_would_be_certain_of_it() -> None:
    page, size = page_input(), (400, 360)
    flat = np.full((20, 12), -math.log(240), np.float32)
    steps = np.array([6, 3, 7, 4])
    bare = dataclasses.replace(SETTINGS, least=(0.0, 0.0))
    box = proposal_of(page, size, flat, 10 * 12 + 6, steps, bare).boxes[0]
    x, y = 6.5 * CELL_WIDTH, 10.5 * CELL_HEIGHT
    left, top, right, bottom = LADDER[steps]
    sides = (x - left, y - top, x + right, y + bottom)
    right_box = [
        (value / page.scale + offset) / length
        for value, offset, length in zip(sides, (10, 20) * 2, size * 2, strict=True)
    ]
    assert [box.left, box.top, box.right, box.bottom] == pytest.approx(right_box)
    # A policy that puts nearly all on one action proposes what the action shows, widening and all.
    certain = np.full((20, 12), -30.0, np.float32)
    certain[10, 6] = 0.0
    sure = np.full((1, 4, STEPS), 1e-6, np.float32)
    sure[0, np.arange(4), steps] = 1.0
    inferred = decode_proposal(
        page, size, certain, np.array([126]), sure, SETTINGS.quantile, SETTINGS.least
    ).boxes[0]
    sampled = proposal_of(page, size, certain, 126, steps, SETTINGS).boxes[0]
    assert sampled.iou(inferred) > 0.99
    assert sampled.width * size[0] >= 60 / page.scale * 0.99


def test_an_action_is_cropped_by_the_price_where_there_is_one() -> None:
    page, size = page_input(), (400, 360)
    flat = np.full((20, 12), -math.log(240), np.float32)
    steps = np.array([6, 3, 7, 4])
    priced = dataclasses.replace(SETTINGS, price=0.9, least=(10.0, 10.0), rules=ZoomRules())
    bare = dataclasses.replace(SETTINGS, least=(0.0, 0.0))
    fixed = proposal_of(page, size, flat, 10 * 12 + 6, steps, bare).boxes[0]
    found = proposal_of(page, size, flat, 10 * 12 + 6, steps, priced)
    assert len(found.boxes) == 1
    assert fixed.covered_by(found.boxes[0]) > 0.999
    assert found.boxes[0].area < 1.5 * fixed.area
    assert found.confidences[0] == pytest.approx(1.0, abs=0.05)


def test_advantages_are_rewards_less_their_groups_mean_and_nothing_where_none_is() -> None:
    nan = float("nan")
    found = advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, nan, 0.0, nan], [nan] * 4]))
    assert found.tolist() == [[0.5, -0.5, -0.5, 0.5], [0.5, 0.0, -0.5, 0.0], [0.0] * 4]


class Wants:
    """A reward: 1 where the middle of a place lies in the crop; None for a question it dislikes."""

    __name__ = "wants"

    def __init__(self, places: dict[str, Box], refuses: str = "") -> None:
        self.places, self.refuses = places, refuses

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        return [
            None
            if rollout.question.question == self.refuses
            else float(
                rollout.zoom.box is not None
                and self.places[rollout.question.question].covered_by(rollout.zoom.box) > 0.9
            )
            for rollout in rollouts
        ]


def test_rewards_are_added_up_and_one_that_is_missing_takes_the_others_along() -> None:
    page = Image.new("RGB", (400, 360), "white")
    asked = [AnsweredQuestion(page, text, answers=("1",)).opened() for text in ASKED]
    whole = Box(0.0, 0.0, 1.0, 1.0)
    flat = np.zeros((20, 12), np.float32)
    proposal = proposal_of(page_input(), page.size, flat, 126, np.array([6, 3, 7, 4]), SETTINGS)
    rollouts = [
        Rollout(each, "", proposal, False, Zoom.follow(each, proposal, rules=SETTINGS.rules))
        for each in asked
    ]
    values = summed([Wants(dict.fromkeys(ASKED, whole), refuses=ASKED[1]), CropArea(1.0)], rollouts)
    assert rollouts[0].zoom.box is not None
    assert float(values[0]) == pytest.approx(-rollouts[0].zoom.box.area)
    assert values[1].isnan()


def learned(network: PolicyNetwork, *, shuffle: bool) -> tuple[float, float]:
    """Mean reward of the first and the last five of 40 steps towards a place on a page."""
    page = Image.new("L", (256, 256), 255)
    pen = ImageDraw.Draw(page)
    for row, column in itertools.product(range(4), range(2)):
        pen.text((column * 128 + 8, row * 64 + 20), f"word {row}{column}", 0)
    places = dict.fromkeys(ASKED, Box(0.75, 0.75, 0.85, 0.8))
    asked = [AnsweredQuestion(page, text, answers=("1",)).opened() for text in ASKED]
    prepared = prepare_page(page, SETTINGS.budget)
    pixels = torch.from_numpy(prepared.pixels)[None, None]
    grams = torch.from_numpy(np.stack([question_input(text) for text in ASKED]))[None]
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    chance = random.Random(0) if shuffle else None
    rewards = []
    for step in range(40):
        torch.manual_seed(step)
        _, features = network.page(pixels)
        loss, figures = group_loss(
            network, look_at(network, features, grams), prepared, asked, SETTINGS,
            [Wants(places)], group=8, shuffle=chance,
        )  # fmt: skip
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        rewards.append(figures.reward)
        assert 0 <= figures.signal <= 1
        assert 0 < figures.area <= 1
    return sum(rewards[:5]) / 5, sum(rewards[-5:]) / 5


def test_rewards_teach_where_to_look_and_shuffled_ones_do_not() -> None:
    torch.manual_seed(0)
    network = PolicyNetwork(TINY)
    control = PolicyNetwork(TINY)
    control.load_state_dict(network.state_dict())
    before, after = learned(network, shuffle=False)
    _, not_after = learned(control, shuffle=True)
    assert after > before + 0.3
    assert not_after < before + 0.2 < after
