"""A gated recurrence along one axis of a grid, for all places at once.

``h[t] = g[t] h[t-1] + v[t]``, as in minGRU (Feng et al. 2024), computed by doubling (Hillis &
Steele 1986): after ``k`` steps a place knows what the ``2 ** k`` places before it handed on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

DOUBLINGS = 6
"""What a place hands on reaches 2 ** 6 places."""


def handed_on(value: Tensor, gate: Tensor, axis: int) -> Tensor:
    """What the places before hand on to each place; what stands in the place itself is left out.

    Args:
        value: (N, C, H, W) what each place adds.
        gate: (N, C, H, W) in 0..1, how much of what arrives it lets pass.
        axis: 2 or 3. The first half of the channels go forward along it, the others backward.
    """
    ahead, back = value.chunk(2, 1)
    gate_ahead, gate_back = gate.chunk(2, 1)
    value = torch.stack([ahead, back.flip(axis)])
    gate = torch.stack([gate_ahead, gate_back.flip(axis)])
    axis += 1
    traced = torch.onnx.is_in_onnx_export()  # the exported graph has no views to write into
    if torch.is_grad_enabled() and value.requires_grad and not traced:
        value = _Recurrence.apply(value, gate, axis)  # type: ignore[no-untyped-call]
    else:
        for doubling in range(DOUBLINGS):
            value = value + gate * _shifted(value, 2**doubling, axis)
            if doubling + 1 < DOUBLINGS:
                gate = gate * _shifted(gate, 2**doubling, axis)
    value = _shifted(value, 1, axis)
    return torch.cat([value[0], value[1].flip(axis - 1)], 1)


def _shifted(x: Tensor, by: int, axis: int) -> Tensor:
    """``x`` moved ``by`` places along one of its last two axes, zeros in front."""
    # Not torch's pad: exported, it would compute its own arguments anew for every page.
    if axis == x.ndim - 1:
        return torch.cat([torch.zeros_like(x[..., :by]), x[..., :-by]], -1)
    return torch.cat([torch.zeros_like(x[..., :by, :]), x[..., :-by, :]], -2)


class _Recurrence(torch.autograd.Function):
    """The same with a gradient that is a recurrence in the other direction: a fifth of the kernels.

    ``dv[t] = dh[t] + g[t+1] dv[t+1]`` and ``dg[t] = dv[t] h[t-1]``.
    """

    @staticmethod
    def forward(context: Any, value: Tensor, gate: Tensor, axis: int) -> Tensor:
        held = _run(value, gate, axis)
        context.save_for_backward(held, gate)
        context.axis = axis
        return held

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor, Tensor, None]:
        held, gate = context.saved_tensors
        axis = context.axis
        later = _shifted(gate.flip(axis), 1, axis)
        slope = _run(slope.flip(axis), later, axis).flip(axis)
        return slope, slope * _shifted(held, 1, axis), None


def _run(value: Tensor, gate: Tensor, axis: int) -> Tensor:
    """All ``h`` at once; places whose reach ends before the edge keep gates that nothing uses."""
    value, gate = value.clone(), gate.clone()
    length = value.shape[axis]
    for doubling in range(DOUBLINGS):
        by = 2**doubling
        if by >= length:
            break
        here = gate.narrow(axis, by, length - by)
        added = here * value.narrow(axis, 0, length - by)
        value.narrow(axis, by, length - by).add_(added)
        here.copy_(here * gate.narrow(axis, 0, length - by))
    return value
