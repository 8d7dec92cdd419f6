"""The page encoder of the policy as an ONNX graph, in the words of ``network.PageEncoder``."""

from __future__ import annotations

import numpy as np

from cropvlm_core.training.network import PolicyNetwork, PolicySize
from cropvlm_core.training.onnx_graph import GraphWriter, Grid
from cropvlm_core.training.recurrence import DOUBLINGS

_TILES: Grid = ("pages", "tile rows", "tile columns")
_HALVED: Grid = ("pages", "rows", "half columns")
_CELLS: Grid = ("pages", "rows", "columns")
_COARSE: Grid = ("pages", "coarse rows", "coarse columns")
_SHARP = 3.0  # what ``locate`` multiplies similarities by


class PageWriter(GraphWriter):
    """The parts of ``PageEncoder`` and what they are made of, under their names."""

    def __init__(self, network: PolicyNetwork) -> None:
        """Start with the network's weights."""
        super().__init__(network)
        self.size: PolicySize = network.size

    def encode(self, pixels: str) -> None:
        """``PageEncoder``, and all of ``locate`` that is about the page alone.

        (P, 1, H, W) to (P, word + head + grid, rows, columns): cells in the space of words, slim
        features, features; the result is ``encoded``.
        """
        size = self.size
        # 3 x 3 over 4 x 4 tiles laid out as channels is 12 x 12 over pixels, in steps of 4.
        tiles = self.reshape("page.stem.weight", size.stem, 4, 4, 3, 3)
        tiles = self.add("Transpose", tiles, perm=[0, 3, 1, 4, 2])
        tiles = self.reshape(tiles, size.stem, 1, 12, 12)
        x = self.convolve(
            pixels, "page.stem", _TILES, weight=tiles, reach=4, stride=(4, 4), relu=True
        )
        x = self.convolve(x, "page.halve", _HALVED, stride=(2, 2), relu=True)
        x = self.add("Relu", self.block(x, "page.read", _HALVED, size.middle, reach=1))
        local = self.convolve(x, "page.narrow", _CELLS, stride=(1, 2))
        for index in range(size.blocks):
            local = self.block(local, f"page.local.{index}", _CELLS, size.grid)
        x = self.convolve(local, "page.coarse", _COARSE, stride=(2, 2))
        for index in range(0, 2 * size.stages, 2):
            x = self.surroundings(x, f"page.context.{index}", _COARSE, size.lanes)
            x = self.block(x, f"page.context.{index + 1}", _COARSE, size.context)
        far = self.convolve(x, "page.back", _COARSE, reach=0)
        far = self.add(
            "Resize", far, "", self.constant([1, 1, 2, 2], np.float32), mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
        self.tell(far, _CELLS)
        x = self.block(self.add("Add", local, far), "page.blend", _CELLS, size.grid)
        features = self.add("Mul", self.evened(x, size.grid), "page.norm.gain")
        words = self.convolve(features, "embed", _CELLS, reach=0)
        length = self.add("ReduceL2", words, axes=[1], keepdims=1)
        length = self.add("Max", length, self.number(1e-4))
        words = self.add("Mul", words, self.add("Div", self.number(_SHARP), length))
        slim = self.convolve(features, "shrink", _CELLS, reach=0)
        self.add("Concat", words, slim, features, axis=1, out="encoded")

    def block(self, x: str, name: str, grid: Grid, channels: int, *, reach: int = 0) -> str:
        """``SlimBlock``, and with ``reach`` 1 ``ConvBlock``."""
        gain = self.reshape(f"{name}.norm.gain", 1, -1, 1, 1)
        weight = self.add("Mul", f"{name}.first.weight", gain)  # when the file is loaded
        inside = self.evened(x, channels)
        inside = self.convolve(inside, f"{name}.first", grid, weight=weight, relu=True)
        return self.add("Add", x, self.convolve(inside, f"{name}.second", grid, reach=reach))

    def evened(self, x: str, channels: int) -> str:
        """``ChannelNorm`` without its gain."""
        square = self.add("ReduceSumSquare", x, axes=[1], keepdims=1)
        mean = self.add("Mul", square, self.number(1 / channels))
        return self.add("Div", x, self.add("Sqrt", self.add("Add", mean, self.number(1e-4))))

    def surroundings(self, x: str, name: str, grid: Grid, lanes: int) -> str:
        """``Surroundings``."""
        row = self.add("ReduceMax", x, axes=[3], keepdims=0)  # (N, channels, rows)
        column = self.add("ReduceMax", x, axes=[2], keepdims=0)
        page = self.add("ReduceMax", row, axes=[2], keepdims=1)
        row, column, page = (
            self.line(line, f"{name}.{part}")
            for line, part in ((row, "row"), (column, "column"), (page, "page"))
        )
        halves = zip(
            self.split(f"{name}.hand.weight", [4 * lanes] * 2, 0),
            self.split(f"{name}.hand.bias", [4 * lanes] * 2, 0),
            strict=True,
        )
        value, gate = (
            self.convolve(x, f"{name}.hand", grid, weight=weight, bias=bias, reach=0)
            for weight, bias in halves
        )
        handed = self.handed_on(value, self.add("Sigmoid", gate), grid, lanes)
        x = self.add("Add", x, self.convolve(handed, f"{name}.take", grid, reach=0))
        wide = self.add("Unsqueeze", self.add("Add", column, page), self.constant([2]))
        tall = self.add("Unsqueeze", row, self.constant([3]))
        return self.add("Add", self.add("Add", x, tall), wide)

    def line(self, x: str, name: str) -> str:
        """A convolution of a line (N, channels, places), each place for itself.

        In one dimension: what is added to a grid in ONNX Runtime's own order in memory, it reshapes
        first, which fails in early versions where there is no new page.
        """
        weight = self.add("Squeeze", f"{name}.weight", self.constant([3]))
        return self.add("Conv", x, weight, f"{name}.bias")

    def handed_on(self, value: str, gate: str, grid: Grid, lanes: int) -> str:
        """``recurrence.handed_on`` in all four directions at once, ``lanes`` channels each."""
        closed = self.add(  # 1 - gate
            "Conv", gate, self.constant(np.full((4 * lanes, 1, 1, 1), -1), np.float32),
            self.constant(np.ones(4 * lanes), np.float32), group=4 * lanes,
        )  # fmt: skip
        self.tell(closed, grid)
        value = self.add("Mul", value, closed)
        for doubling in range(DOUBLINGS):
            by = 2**doubling
            before = self.shifted(value, by, grid, lanes)
            value = self.add("Add", value, self.add("Mul", gate, before))
            if doubling + 1 < DOUBLINGS:
                gate = self.add("Mul", gate, self.shifted(gate, by, grid, lanes))
        return self.shifted(value, 1, grid, lanes)

    def shifted(self, x: str, by: int, grid: Grid, lanes: int) -> str:
        """Channels moved on by ``by`` places, a quarter each to the right, left, down and up."""
        taps = np.zeros((4, lanes, 1, 3, 3))
        for direction, (row, column) in enumerate(((1, 0), (1, 2), (0, 1), (2, 1))):
            taps[direction, ..., row, column] = 1
        x = self.add(
            "Conv", x, self.constant(taps.reshape(-1, 1, 3, 3), np.float32), group=4 * lanes,
            dilations=[by] * 2, pads=[by] * 4,
        )  # fmt: skip
        self.tell(x, grid)
        return x
