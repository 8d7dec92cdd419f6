"""Show that a policy that cheats is noticed, and earns less than an honest one.

    PYTHONPATH=. python scripts/reward_cheats.py [--steps 50] [--seed 0]

Scripted policies write boxes about the pages of the learning demonstration (four coloured cards, of
which one is asked for), as GRPO would draw them: four rollouts a question, one question a step. The
rewards are those of `cropvlm train grpo` with its defaults, the likelihood of the right answer
under a frozen reader (scripts/demonstration_reader) and 1 for a well-formed box, and what watches
the run is what watches a real one. Prints what each policy earns and when its first alarm went off;
the exit code is 1 where a cheat earned as much as the honest policy, or went unnoticed.
"""

import argparse
import dataclasses
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import TrainerControl, TrainerState

from cropvlm_core.box import Box, BoxNotation
from cropvlm_core.cropper import ZoomRules
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.demonstration.cards import HELD_OUT_SEED, draw_cards
from cropvlm_core.training.rewards import AnswerLikelihood, valid_box
from cropvlm_core.training.rollouts import Rollout, roll_out
from cropvlm_core.training.watch import HealthAlarms
from cropvlm_core.transformers_vlm import TransformersVLM

READER = Path(__file__).with_name("demonstration_reader")
GROUP = 4
HONEST = "honest"

Policy = Callable[[Box, random.Random], str]


def honest(card: Box, dice: random.Random) -> str:
    """The card, one to two times as large, and not quite in the middle."""
    width, height = card.width * dice.uniform(1.0, 2.0), card.height * dice.uniform(1.0, 2.0)
    x = card.centre[0] + dice.uniform(-0.3, 0.3) * (width - card.width)
    y = card.centre[1] + dice.uniform(-0.3, 0.3) * (height - card.height)
    sides = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return BoxNotation.percent.write(Box(*(min(max(side, 0.0), 1.0) for side in sides)))


def one_pixel(card: Box, _: random.Random) -> str:
    """The smallest box there is, in the middle of the card."""
    x, y = (min(99, int(100 * side)) for side in card.centre)
    return f"[{x}, {y}, {x + 1}, {y + 1}]."


def anywhere(_: Box, dice: random.Random) -> str:
    """A random box."""
    left, right = sorted(dice.sample(range(101), 2))
    top, bottom = sorted(dice.sample(range(101), 2))
    return f"[{left}, {top}, {right}, {bottom}]."


POLICIES: dict[str, Policy] = {
    HONEST: honest,
    "the whole image": lambda *_: "[0, 0, 100, 100].",
    "nearly the whole image": lambda *_: "[0, 0, 99, 100].",
    "a fixed centre": lambda *_: "[25, 25, 75, 75].",
    "a fixed pixel": lambda *_: "[50, 50, 51, 51].",
    "one pixel of the answer": one_pixel,
    "random boxes": anywhere,
    "no box": lambda *_: "The card is on the left.",
}


@dataclasses.dataclass
class Outcome:
    """What a policy came to.

    ``reward``: mean of the sum. ``likelihood``: mean of the answer's, in nats. ``alarm``: the step
    of the first one, None without. ``alarms``: what they said, in the order in which they came.
    """

    reward: float
    likelihood: float
    alarm: int | None
    alarms: list[str]


@dataclasses.dataclass
class Scripted:
    """What the alarms see of a trainer."""

    rollouts: Sequence[Rollout] = ()
    advantages: Sequence[float] = ()
    reward_values: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """Log nothing."""


def play(policy: Policy, judge: AnswerLikelihood, steps: int, seed: int = 0) -> Outcome:
    """Have a policy write, reward it, and look at it step by step."""
    dice = random.Random(seed)
    pages = [draw_cards(HELD_OUT_SEED + number) for number in range(steps)]
    cards = [page.cards[0] for page in pages]
    asked = [
        AnsweredQuestion(page.image, card.question, answers=(card.number,))
        for page, card in zip(pages, cards, strict=True)
    ]
    rollouts = roll_out(
        [question for question in asked for _ in range(GROUP)],
        [policy(card.box, dice) for card in cards for _ in range(GROUP)],
        notation=BoxNotation.percent,
        rules=ZoomRules(),
    )
    values = {judge.__name__: judge(rollouts), valid_box.__name__: valid_box(rollouts)}
    totals = [sum(value or 0.0 for value in of) for of in zip(*values.values(), strict=True)]
    said = watched(rollouts, totals, values, steps)
    likelihoods = [value for value in values[judge.__name__] if value is not None]
    return Outcome(
        reward=sum(totals) / len(totals),
        likelihood=sum(likelihoods) / len(likelihoods),
        alarm=said[0][0] if said else None,
        alarms=[text for _, text in said],
    )


def watched(
    rollouts: Sequence[Rollout],
    totals: Sequence[float],
    values: dict[str, list[float | None]],
    steps: int,
) -> list[tuple[int, str]]:
    """What the alarms say, and at which step."""
    run, state, said = Scripted(), TrainerState(), list[tuple[int, str]]()
    state.is_world_process_zero = True
    alarms = HealthAlarms(run)
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append((state.global_step, record.getMessage()))  # type: ignore[method-assign]
    log = logging.getLogger("cropvlm_core.training.watch")
    log.addHandler(handler)
    try:
        for step in range(1, steps + 1):
            batch = range((step - 1) * GROUP, step * GROUP)
            mean = sum(totals[index] for index in batch) / GROUP
            run.rollouts = [rollouts[index] for index in batch]
            run.advantages = [totals[index] - mean for index in batch]
            run.reward_values = {
                name: [of[index] for index in batch] for name, of in values.items()
            }
            state.global_step = step
            alarms.on_step_end(None, state, TrainerControl())
    finally:
        log.removeHandler(handler)
    return said


def main(argv: Sequence[str] | None = None) -> int:
    """Play every policy, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    judge = AnswerLikelihood(TransformersVLM.from_pretrained(READER, device="cpu"))
    print("| policy | reward | log-likelihood | first alarm | alarms |\n|---|---|---|---|---|")
    outcomes = {}
    for name, policy in POLICIES.items():
        outcomes[name] = found = play(policy, judge, given.steps, given.seed)
        step = "none" if found.alarm is None else f"step {found.alarm}"
        figures = f"{found.reward:.2f} | {found.likelihood:.2f} | {step} | {len(found.alarms)}"
        print(f"| {name} | {figures} |", flush=True)
    bar = outcomes.pop(HONEST)
    caught = all(found.alarm is not None for found in outcomes.values())
    less = all(found.reward < bar.reward for found in outcomes.values())
    return 0 if caught and less and bar.alarm is None else 1


if __name__ == "__main__":
    raise SystemExit(main())
