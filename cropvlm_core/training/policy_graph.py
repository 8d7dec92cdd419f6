"""The policy as an ONNX graph, written op by op: what ``PolicyNetwork.forward`` computes, leaner.

A traced graph works out its own shapes anew for every page and reorders memory at every step. This
one says the same in a third of the nodes. Questions come flat, each with the number of its page, so
that any number of them share the encoding of a page; and pages encoded earlier come back as
``features``. ``export_policy`` compares every file with the network it came from.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from cropvlm_core.embedded.side_lengths import STEPS
from cropvlm_core.training.network import HEADS, PEAKS, WEIGHED, PolicyNetwork
from cropvlm_core.training.onnx_graph import Grid, shaped
from cropvlm_core.training.page_graph import PageWriter

_FAR = -1e4
_ASKED: Grid = ("questions", "rows", "columns")


def policy_graph(network: PolicyNetwork) -> onnx.GraphProto:
    """The graph of ``network`` with all its weights inside.

    Inputs: ``pixels`` (P, 1, H, W), pages to encode; ``features`` (F, channels, rows, columns),
    pages encoded earlier; ``grams`` (Q, words, groups), questions, cut to the words and letter
    groups that are in use; ``page`` (Q,), which page a question is about, counted over the new
    pages and then the earlier ones. P or F may be 0, Q may not.

    Outputs: ``encoded`` (P, channels, rows, columns), the ``features`` of the new pages; and for
    each question ``cells`` (Q, rows, columns), ``peaks`` (Q, PEAKS), ``sides`` (Q, PEAKS, 4,
    STEPS) and ``answerable`` (Q,) as ``PolicyNetwork.forward`` has them.
    """
    graph = _PolicyWriter(network)
    graph.encode("pixels")
    graph.add("Concat", "encoded", "features", axis=0, out="all pages")
    condition, probes = graph.ask("grams")
    graph.point("all pages", condition, probes)
    single, whole = TensorProto.FLOAT, TensorProto.INT64
    return helper.make_graph(
        graph.nodes,
        "policy",
        [
            shaped("pixels", single, ["pages", 1, "height", "width"]),
            shaped("features", single, ["earlier", graph.channels, "rows", "columns"]),
            shaped("grams", whole, ["questions", "words", "groups"]),
            shaped("page", whole, ["questions"]),
        ],
        [
            shaped("encoded", single, ["pages", graph.channels, "rows", "columns"]),
            shaped("cells", single, ["questions", "rows", "columns"]),
            shaped("peaks", whole, ["questions", PEAKS]),
            shaped("sides", single, ["questions", PEAKS, 4, STEPS]),
            shaped("answerable", single, ["questions"]),
        ],
        graph.weights,
        value_info=graph.known,
    )


class _PolicyWriter(PageWriter):
    """The parts of ``PolicyNetwork``, in its order and under its names."""

    @property
    def channels(self) -> int:
        """Of an encoded page: words, slim features, features."""
        return self.size.word + self.size.head + self.size.grid

    def ask(self, grams: str) -> tuple[str, str]:
        """``QuestionEncoder``: condition (Q, thought) and unit probes (Q, probes, word)."""
        size = self.size
        words = self.add("Concat", self.add("Shape", grams, end=2), self.constant([-1]), axis=0)
        raw = self.words(grams, words)
        first = self.add("ReduceMax", grams, axes=[2], keepdims=1)
        kept = self.floats(self.add("Greater", first, self.constant(0)))  # (Q, words, 1)
        left_out = self.add("Mul", self.add("Sub", kept, self.number(1)), self.number(-_FAR))
        mask = self.reshape(left_out, 0, 1, 1, -1)
        x = self.linear(self.reshape(raw, -1, size.word), "question.enter")
        places = (self.constant([0]), self.length(grams, 1), self.constant([0]))
        place = self.add("Slice", "question.place", *places)
        x = self.add("Add", self.add("Reshape", x, words), place)
        x = self.reshape(x, -1, size.thought)
        for index in range(size.layers):
            x = self.layer(x, words, mask, f"question.think.layers.{index}")
        asked = self.add("Reshape", self.linear(x, "question.ask"), words)
        asked = self.add("Add", self.add("Mul", asked, kept), left_out)
        share = self.add("Softmax", self.add("Transpose", asked, perm=[0, 2, 1]), axis=-1)
        typed = self.add("Reshape", self.linear(x, "question.probe"), words)
        probes = self.add("MatMul", share, self.add("Add", raw, typed))
        length = self.add("ReduceL2", probes, axes=[-1], keepdims=1)
        probes = self.add("Div", probes, self.add("Max", length, self.number(1e-4)))
        seen = self.mean(self.add("Reshape", x, words), kept, 1)
        return self.linear(seen, "question.summary"), probes

    def words(self, grams: str, words: str) -> str:
        """``QuestionEncoder.words``: (Q, words, groups) to (Q, words, word)."""
        here = self.floats(self.add("Greater", grams, self.constant(0)))
        here = self.add("Unsqueeze", here, self.constant([3]))
        mean = self.mean(self.add("Gather", "question.grams.weight", grams), here, 2)
        inside = self.linear(self.reshape(mean, -1, self.size.word), "question.spell.0", relu=True)
        spelt = self.add("Reshape", self.linear(inside, "question.spell.2"), words)
        return self.add("Add", mean, spelt)

    def mean(self, x: str, kept: str, axis: int) -> str:
        """Mean along an axis of what is kept (1, not 0); 0 where nothing is."""
        total = self.add("ReduceSum", self.add("Mul", x, kept), self.constant([axis]), keepdims=0)
        count = self.add("ReduceSum", kept, self.constant([axis]), keepdims=0)
        return self.add("Div", total, self.add("Max", count, self.number(1)))

    def layer(self, x: str, words: str, mask: str, name: str) -> str:
        """A layer of ``torch.nn.TransformerEncoder``, norms first, on (Q * words, thought)."""
        width = self.size.thought
        told = (f"{name}.self_attn.in_proj_weight", f"{name}.self_attn.in_proj_bias")
        parts = self.add("Gemm", self.normed(x, f"{name}.norm1"), *told, transB=1)
        parts = self.add("Reshape", parts, words)  # (Q, words, 3 * thought)
        query, key, value = (
            self.add(
                "Transpose", self.reshape(part, 0, 0, HEADS, width // HEADS),
                perm=[0, 2, 3, 1] if index == 1 else [0, 2, 1, 3],
            )
            for index, part in enumerate(self.split(parts, [width] * 3, 2))
        )  # fmt: skip
        scale = self.number((width // HEADS) ** -0.5)
        alike = self.add("Mul", self.add("MatMul", query, key), scale)
        share = self.add("Softmax", self.add("Add", alike, mask), axis=-1)
        heads = self.add("Transpose", self.add("MatMul", share, value), perm=[0, 2, 1, 3])
        heads = self.linear(self.reshape(heads, -1, width), f"{name}.self_attn.out_proj")
        x = self.add("Add", x, heads)
        inside = self.linear(self.normed(x, f"{name}.norm2"), f"{name}.linear1", relu=True)
        return self.add("Add", x, self.linear(inside, f"{name}.linear2"))

    def normed(self, x: str, name: str) -> str:
        """Layer normalisation over the last axis."""
        told = (f"{name}.weight", f"{name}.bias")
        return self.add("LayerNormalization", x, *told, axis=-1, epsilon=1e-5)

    def point(self, pages: str, condition: str, probes: str) -> None:
        """``locate`` and what follows in ``forward``, to the outputs."""
        slim, similar = self.compare(pages, condition, probes)
        x = self.reason(slim, similar, pages)
        logits = self.convolve(self.add("Relu", x), "point", _ASKED)
        flat = self.reshape(logits, 0, -1)
        shares = self.add("LogSoftmax", flat, axis=-1)
        shape = self.add("Concat", self.length(logits, 0), self.grid(logits), axis=0)
        self.add("Reshape", shares, shape, out="cells")
        summits = self.add("MaxPool", logits, kernel_shape=[5, 5], pads=[2] * 4)
        beaten = self.floats(self.add("Less", flat, self.reshape(summits, 0, -1)))
        shares = self.add("Add", shares, self.add("Mul", beaten, self.number(_FAR)))
        told = [shares, self.constant([PEAKS])]
        self.nodes.append(helper.make_node("TopK", told, ["heights", "peaks"], axis=-1))
        self.candidates(slim, x, pages, condition)

    def grid(self, x: str) -> str:
        """Rows and columns of (N, channels, rows, columns)."""
        return self.add("Shape", x, start=2)

    def compare(self, pages: str, condition: str, probes: str) -> tuple[str, str]:
        """Slim features (Q, head, ...) and similarities (Q, probes, ...) of ``locate``."""
        size = self.size
        shape = self.add("Concat", self.constant([-1]), self.cells(pages), axis=0)
        planes = self.add("Reshape", pages, shape)  # (pages * channels, cells)
        first = self.add("Mul", self.reshape("page", -1, 1), self.constant(self.channels))
        words = self.add("Add", first, self.constant(np.arange(size.word)))
        slim = self.add("Add", first, self.constant(np.arange(size.word, size.word + size.head)))
        similar = self.add("MatMul", probes, self.add("Gather", planes, words, axis=0))
        shape = self.add("Concat", self.constant([0, 0]), self.grid(pages), axis=0)
        similar = self.add("Reshape", similar, shape)
        slim = self.add("Reshape", self.add("Gather", planes, slim, axis=0), shape)
        film = self.reshape(self.linear(condition, "condition"), 0, -1, 1, 1)
        grow, shift = self.split(film, [size.head] * 2, 1)
        slim = self.add("Mul", slim, self.add("Add", grow, self.number(1)))
        return self.add("Add", slim, shift), similar

    def cells(self, x: str) -> str:
        """Rows times columns of (N, channels, rows, columns), shape (1,)."""
        return self.add("ReduceProd", self.grid(x), axes=[0], keepdims=1)

    def reason(self, slim: str, similar: str, pages: str) -> str:
        """The last state of ``locate`` (Q, head, rows, columns)."""
        size = self.size
        # Where a cell is says the same for all questions: that part of the sum is made once.
        weights = self.split("join.weight", [size.head + size.probes, 2], 1)
        places = self.places(pages)
        places = self.convolve(places, "join", (1, "rows", "columns"), weight=weights[1])
        x = self.add("Concat", slim, similar, axis=1)
        x = self.add("Conv", x, weights[0], pads=[1] * 4)
        self.tell(x, _ASKED)
        x = self.add("Relu", self.add("Add", x, places))
        x = self.surroundings(x, "around", _ASKED, size.head_lanes)
        x = self.block(x, "reason", _ASKED, size.head, reach=1)
        return self.surroundings(x, "around_again", _ASKED, size.head_lanes)

    def places(self, pages: str) -> str:
        """Where each cell is, down and across, from -1 to 1: (1, 2, rows, columns)."""
        shape = self.add("Concat", self.constant([1, 1]), self.grid(pages), axis=0)
        planes = []
        for axis, line in ((2, (1, 1, -1, 1)), (3, (1, 1, 1, -1))):
            length = self.length(pages, axis)
            last = self.floats(self.add("Sub", length, self.constant([1])))
            steps = self.add("Mul", self.floats(self.count(length)), self.number(2))
            place = self.add("Sub", self.add("Div", steps, last), self.number(1))
            planes.append(self.add("Expand", self.reshape(place, *line), shape))
        return self.add("Concat", *planes, axis=1)

    def candidates(self, slim: str, x: str, pages: str, condition: str) -> None:
        """From what stands at the peaks to the distances to the box's sides, and ``Answerable``."""
        size = self.size
        count = self.length(slim, 0)
        own, features = self.count(count), size.word + size.head
        seen = [
            self.picked(slim, own, size.head),
            self.picked(x, own, size.head),
            self.picked(pages, "page", self.channels, after=features),
        ]
        shape = self.add("Concat", count, self.constant([PEAKS, size.thought]), axis=0)
        told = self.add("Expand", self.add("Unsqueeze", condition, self.constant([1])), shape)
        joined = self.add("Concat", *seen, told, axis=2)
        joined = self.reshape(joined, -1, 2 * size.head + size.grid + size.thought)
        found = self.linear(self.linear(joined, "sides.0", relu=True), "sides.2")
        self.add("Softmax", self.reshape(found, -1, PEAKS, 4, STEPS), axis=-1, out="sides")
        weighed = self.linear(joined, "answerable.weigh", relu=True)
        weighed = self.reshape(weighed, -1, PEAKS, WEIGHED)
        best = self.add("ReduceMax", weighed, axes=[1], keepdims=0)
        odds = self.linear(best, "answerable.sum")
        self.add("Reshape", odds, self.constant([-1]), out="answerable")

    def picked(self, planes: str, which: str, channels: int, *, after: int = 0) -> str:
        """What stands at the peaks of picture ``which`` (Q,), without the first channels."""
        first = self.add("Mul", self.reshape(which, -1, 1, 1), self.constant(channels))
        plane = self.add("Add", first, self.constant(np.arange(after, channels)))
        peaks = self.add("Unsqueeze", "peaks", self.constant([2]))
        place = self.add("Add", self.add("Mul", plane, self.cells(planes)), peaks)
        return self.add("Gather", self.reshape(planes, -1), place)
