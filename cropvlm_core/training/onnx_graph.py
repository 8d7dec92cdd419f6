"""A writer of ONNX graphs, node by node, around the weights of a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET = 17
IR_VERSION = 8
"""What ONNX Runtime 1.20 reads."""

HALF = ".half"
"""What is added to the name of a weight that is stored in half precision."""

LARGE = 1024
"""Weights of at least so many numbers are stored in half precision."""

Length = int | str
"""A length, or the name of one that is known when the graph runs."""

Grid = tuple[Length, Length, Length]
"""How many pictures, rows and columns."""


class GraphWriter:
    """Nodes, weights and small constants; its methods return the name of a node's result.

    All weights of the module are in the graph under their own names, used or not, so that training
    can go on from the file; large ones in half precision, with a node that widens them.

    Args:
        module: whose weights they are.
    """

    def __init__(self, module: nn.Module) -> None:
        """Start with the weights."""
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.known: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}
        for name, parameter in module.named_parameters():
            values = parameter.detach().float().cpu().numpy()
            if values.size < LARGE:
                self.weights.append(numpy_helper.from_array(values, name))
                continue
            self.weights.append(numpy_helper.from_array(values.astype(np.float16), name + HALF))
            self.add("Cast", name + HALF, to=TensorProto.FLOAT, out=name)

    def add(self, kind: str, *inputs: str, out: str | None = None, **settings: Any) -> str:
        """Add a node with one result, called ``out`` if that matters."""
        out = out or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [out], **settings))
        return out

    def constant(self, values: Any, kind: type = np.int64) -> str:
        """A small tensor; equal ones are stored once."""
        array: NDArray[Any] = np.asarray(values, dtype=kind)
        key = (array.dtype.str, array.tobytes(), array.shape)
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self.weights.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def number(self, value: float) -> str:
        """A single-precision scalar."""
        return self.constant(value, np.float32)

    def floats(self, x: str) -> str:
        """Integers or truth values in single precision."""
        return self.add("Cast", x, to=TensorProto.FLOAT)

    def reshape(self, x: str, *shape: int) -> str:
        """0 keeps a length, -1 is what is left."""
        return self.add("Reshape", x, self.constant(shape))

    def length(self, x: str, axis: int) -> str:
        """The length of ``x`` along an axis, shape (1,)."""
        return self.add("Shape", x, start=axis, end=axis + 1)

    def count(self, length: str) -> str:
        """0, 1, ... below a length of shape (1,)."""
        end = self.add("Squeeze", length, self.constant([0]))
        return self.add("Range", self.constant(0), end, self.constant(1))

    def split(self, x: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Parts of ``x`` along an axis."""
        outs = [f"Split_{len(self.nodes)}_{part}" for part in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self.constant(sizes)], outs, axis=axis))
        return outs

    def linear(self, x: str, name: str, *, relu: bool = False) -> str:
        """The linear layer ``name`` on (N, in)."""
        x = self.add("Gemm", x, f"{name}.weight", f"{name}.bias", transB=1)
        return self.add("Relu", x) if relu else x

    def convolve(
        self, x: str, name: str, grid: Grid, *, weight: str = "", bias: str = "",
        relu: bool = False, reach: int = 1, stride: Sequence[int] = (1, 1),
    ) -> str:  # fmt: skip
        """The convolution ``name`` onto ``grid``, padded with ``reach`` zeros on each side."""
        inputs = (x, weight or f"{name}.weight", bias or f"{name}.bias")
        x = self.add("Conv", *inputs, strides=[*stride], pads=[reach] * 4)
        self.tell(x, grid)
        return self.add("Relu", x) if relu else x

    def tell(self, x: str, grid: Grid) -> None:
        """Say that ``x`` is (N, channels, rows, columns).

        Where ONNX Runtime knows two shapes to be equal, it adds and multiplies in the order in
        memory in which it convolves, and adds within the convolution.
        """
        pictures, rows, columns = grid
        self.known.append(shaped(x, TensorProto.FLOAT, [pictures, None, rows, columns]))


def shaped(name: str, kind: int, shape: Sequence[Length | None]) -> onnx.ValueInfoProto:
    """An input, an output, or a result between of known type and shape."""
    return helper.make_tensor_value_info(name, kind, shape)
