"""FiniteSteps: a gradient that is not finite moves no weight."""

from __future__ import annotations

import logging
from typing import Any

import torch
from transformers import TrainerCallback

logger = logging.getLogger(__name__)


class FiniteSteps(TrainerCallback):
    """Leaves out each step whose gradient holds a NaN or an infinity, which AdamW would keep.

    Of several processes all leave it out, as they have exchanged their gradients.

    Attributes:
        skipped: how many steps were left out.
    """

    def __init__(self) -> None:
        """Start to count."""
        self.skipped = 0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Look at the gradient; where it cannot be used, take it away."""
        learned = [weight for weight in kwargs["model"].parameters() if weight.grad is not None]
        if not learned:
            return
        norms = torch._foreach_norm([weight.grad for weight in learned])
        if torch.stack([norm.float().cpu() for norm in norms]).isfinite().all():
            return
        self.skipped += 1
        for weight in learned:
            weight.grad = None
        if state.is_world_process_zero:
            logger.warning(
                "step %d: the gradient is not finite, so that this step is left out; %d so far",
                state.global_step + 1,
                self.skipped,
            )
