"""The policy's ladder of distances from a cell's centre to a side of the box.

Sixteen steps, evenly spaced in the logarithm, in input pixels. Both the loss (which step is right)
and the decoder (which distance does a step mean) read it here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS = 16
SHORTEST = 3.0
LONGEST = 640.0
LADDER: NDArray[np.float64] = np.geomspace(SHORTEST, LONGEST, STEPS)


def nearest_step(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """The ladder step (0..15) nearest in the logarithm; 0 for anything shorter."""
    position = np.log(np.maximum(distances, SHORTEST) / SHORTEST) / np.log(LONGEST / SHORTEST)
    steps: NDArray[np.int64] = np.rint(position * (STEPS - 1)).astype(np.int64)
    return np.clip(steps, 0, STEPS - 1)


def quantile_distance(probabilities: NDArray[np.float32], quantile: float) -> NDArray[np.float64]:
    """The distance below which ``quantile`` of the mass lies, interpolated between steps.

    Args:
        probabilities: (..., STEPS), each row summing to 1.
        quantile: 0..1; above one half leans to the wide side.
    """
    mass = np.cumsum(probabilities.astype(np.float64), axis=-1)
    before = np.concatenate([np.zeros_like(mass[..., :1]), mass[..., :-1]], axis=-1)
    step = np.argmax(mass >= min(quantile, 1 - 1e-9) * mass[..., -1:], axis=-1)
    taken = np.take_along_axis(probabilities.astype(np.float64), step[..., None], -1)[..., 0]
    under = np.take_along_axis(before, step[..., None], -1)[..., 0]
    part = np.clip((quantile * mass[..., -1] - under) / np.maximum(taken, 1e-9), 0, 1)
    position = np.clip(step - 0.5 + part, 0, STEPS - 1)
    return np.asarray(SHORTEST * (LONGEST / SHORTEST) ** (position / (STEPS - 1)))
