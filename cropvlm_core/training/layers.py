"""What the embedded policy's network is built of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cropvlm_core.training.recurrence import handed_on


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels at each place (RMSNorm, Zhang & Sennrich 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, H, W) in and out."""
        scale = self.gain * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-4)
        return x * scale.to(x.dtype)


class ConvBlock(nn.Module):
    """Two dense 3x3 convolutions around a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, H, W) in and out."""
        return x + self.second(functional.relu(self.first(self.norm(x))))


class SlimBlock(nn.Module):
    """A dense 3x3 convolution to half the channels and a 1x1 back, around a residual connection.

    On CPUs dense convolutions run several times nearer to the machine's peak than depthwise ones.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.second = nn.Conv2d(channels // 2, channels, 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, H, W) in and out."""
        return x + self.second(functional.relu(self.first(self.norm(x))))


class Surroundings(nn.Module):
    """Tells each place what is strongest around it, and what its neighbours hand on to it.

    Strongest in its row, in its column and on the whole page; and what the places to its left,
    right, above and below hand on (``recurrence``): a value knows the label before it, however wide
    the gap between them.
    """

    def __init__(self, channels: int, lanes: int) -> None:
        super().__init__()
        self.row = nn.Conv2d(channels, channels, 1)
        self.column = nn.Conv2d(channels, channels, 1)
        self.page = nn.Conv2d(channels, channels, 1)
        self.hand = nn.Conv2d(channels, 8 * lanes, 1)
        self.take = nn.Conv2d(4 * lanes, channels, 1)
        assert self.hand.bias is not None
        with torch.no_grad():  # from short to long reach
            self.hand.bias[4 * lanes :] = torch.linspace(0.5, 4, lanes).repeat(4)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, H, W) in and out."""
        row, column = x.amax(3, keepdim=True), x.amax(2, keepdim=True)
        value, gate = self.hand(x).chunk(2, 1)
        gate = gate.sigmoid()
        across, down = (value * (1 - gate)).chunk(2, 1)
        gate_across, gate_down = gate.chunk(2, 1)
        handed = torch.cat([handed_on(across, gate_across, 3), handed_on(down, gate_down, 2)], 1)
        wide = self.column(column) + self.page(row.amax(2, keepdim=True))
        return x + self.take(handed) + self.row(row) + wide
