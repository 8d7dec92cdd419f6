"""The recurrence of the policy's network against a plain loop over the places."""

import pytest

from tests.programs import require_package

torch = require_package("torch")

from torch import Tensor  # noqa: E402

from cropvlm_core.training.recurrence import DOUBLINGS, handed_on  # noqa: E402


def by_loop(value: Tensor, gate: Tensor, axis: int) -> Tensor:
    lines, gates = value.movedim(axis, 0), gate.movedim(axis, 0)
    half = value.shape[1] // 2
    ways = []
    for order in (range(len(lines)), range(len(lines) - 1, -1, -1)):
        held, found = torch.zeros_like(lines[0]), {}
        for place in order:
            found[place] = held
            held = gates[place] * held + lines[place]
        ways.append(torch.stack([found[place] for place in range(len(lines))]).movedim(0, axis))
    joined: Tensor = torch.cat([ways[0][:, :half], ways[1][:, half:]], 1)
    return joined


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("length", [2, 5, 33])
def test_it_is_the_loop_and_has_its_gradient(axis: int, length: int) -> None:
    torch.manual_seed(length)
    shape = [2, 4, 3, 3]
    shape[axis] = length
    value = torch.randn(shape, dtype=torch.double, requires_grad=True)
    gate = torch.rand(shape, dtype=torch.double, requires_grad=True)
    right, found = by_loop(value, gate, axis), handed_on(value, gate, axis)
    torch.testing.assert_close(found, right)
    slope = torch.randn_like(right)
    for ours, theirs in zip(
        torch.autograd.grad(found, (value, gate), slope),
        torch.autograd.grad(right, (value, gate), slope, allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():  # as it is exported
        torch.testing.assert_close(handed_on(value, gate, axis), right)


def test_what_is_handed_on_ends_at_its_reach() -> None:
    length = 2**DOUBLINGS + 40
    value = torch.zeros(1, 2, 1, length)
    value[..., 0] = 1
    found = handed_on(value, torch.ones_like(value), 3)[0, 0, 0]
    assert found[1 : 2**DOUBLINGS + 1].eq(1).all()
    assert found[2**DOUBLINGS + 1 :].eq(0).all()
