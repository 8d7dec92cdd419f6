"""What a run on a user's own documents is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class OwnPlan:
    """How a run goes.

    Attributes:
        reader: what the frozen reader is called, a target of ``load_target``.
        metric: a name of ``scoring.METRICS``, of its replies.
        minutes: length of the schedule: training alone, wall clock.
        seed: source of all chance, the split included.
        held_out: share of the questions that is kept back, whole documents.
        locate: find the answers on the pages with Tesseract, and learn from these places first.
        warm: share of the schedule that learns from places; the rest learns from rewards.
        rehearsal: share of the pages of a step that are rendered ones with known boxes.
        shuffle_rewards: the control: rewards and places are dealt out at random.
        area_price: what a crop of the whole page takes off its reward; smaller ones in proportion.
        group: sampled actions a question.
        questions: the most questions of a page in one step.
        pages: the user's pages in one step.
        rate: peak learning rate (AdamW), reached after 2 % of the schedule, cosine to 2 %.
    """

    reader: str
    metric: str
    minutes: float = 15.0
    seed: int = 1
    held_out: float = 0.25
    locate: bool = True
    warm: float = 0.6
    rehearsal: float = 0.3
    shuffle_rewards: bool = False
    area_price: float = 0.3
    group: int = 8
    questions: int = 8
    pages: int = 2
    rate: float = 3e-4

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)
