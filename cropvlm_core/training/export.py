"""The embedded policy as one ONNX file, checked against the network it came from."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from cropvlm_core.embedded.cropper import PolicySettings
from cropvlm_core.embedded.page_input import input_shapes
from cropvlm_core.embedded.question_input import question_input
from cropvlm_core.errors import WeightsError, shorten
from cropvlm_core.training.network import PolicyNetwork, PolicySize

OPSET = 17
_HALF = ".half"
"""What is added to the name of a weight that is stored in half precision."""

_LARGE = 1024
"""Weights of at least so many numbers are stored in half precision."""

TOLERANCE = 2e-3
"""Largest difference of a probability between the network and the exported file."""


def export_policy(
    network: PolicyNetwork, path: Path, settings: PolicySettings, about: dict[str, str]
) -> None:
    """Write the network with its settings as a single ONNX file (dynamic page shapes).

    Weights are stored in half precision, which halves the file, and widened when it is loaded: it
    computes in single precision.

    Args:
        network: in evaluation mode.
        path: the file to write; replaced only when the new one has passed the check.
        settings: stored in the file's metadata.
        about: further metadata, e.g. how it was trained.

    Raises:
        WeightsError: the exported file does not compute what the network computes.
    """
    network = copy.deepcopy(network)
    for parameter in network.parameters():
        parameter.data = parameter.data.half().float()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "policy.onnx"
        torch.onnx.export(
            network,
            example_inputs(settings.budget),
            str(file),
            input_names=["pixels", "grams"],
            output_names=["cells", "peaks", "sides"],
            dynamic_axes={
                "pixels": {0: "pages", 2: "height", 3: "width"},
                "grams": {0: "pages", 1: "questions"},
                "cells": {0: "pages", 1: "questions", 2: "rows", 3: "columns"},
                "peaks": {0: "pages", 1: "questions"},
                "sides": {0: "pages", 1: "questions"},
            },
            opset_version=OPSET,
            do_constant_folding=False,  # ONNX Runtime does; and so weights keep their names
            dynamo=False,
        )
        model = onnx.load(str(file))
    _complete(model.graph, network)
    _halve(model.graph)
    del model.metadata_props[:]
    for key, value in {**settings.to_metadata(), **about}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    weights = model.SerializeToString()
    _compare(network, weights, settings.budget)
    aside = path.with_suffix(".part")
    aside.write_bytes(weights)
    aside.replace(path)


def read_network(path: Path) -> PolicyNetwork:
    """The network of a weight file that ``export_policy`` wrote, to go on training from it.

    Args:
        path: the file.

    Raises:
        WeightsError: the file does not hold a whole network.
    """
    try:
        model = onnx.load(str(path))
        about = {entry.key: entry.value for entry in model.metadata_props}
        network = PolicyNetwork(PolicySize(**json.loads(about["trained"])["plan"]["size"]))
        found = {}
        for weights in model.graph.initializer:
            values = onnx.numpy_helper.to_array(weights)
            found[weights.name.removesuffix(_HALF)] = torch.from_numpy(values.copy())
        network.load_state_dict({name: found[name].float() for name in network.state_dict()})
    except Exception as error:  # what a damaged file raises has no common class
        raise WeightsError(
            f"expected a weight file to start from, got {shorten(path.name)}: {error!r:.120}"
        ) from error
    return network


def _complete(graph: onnx.GraphProto, network: PolicyNetwork) -> None:
    """Let the file hold the whole network, so that it can be trained on.

    Added are the weights that only training uses, and those the exporter copies from equal ones.
    """
    named = dict(network.named_parameters())
    nodes = [node for node in graph.node if not named.keys() & set(node.output)]
    del graph.node[:]
    graph.node.extend(nodes)
    there = {weights.name for weights in graph.initializer}
    for name, parameter in named.items():
        if name not in there:
            values = parameter.detach().numpy()
            graph.initializer.append(onnx.numpy_helper.from_array(values, name))


def _halve(graph: onnx.GraphProto) -> None:
    """Store the large weights in half precision, each with a node that widens it."""
    widening = []
    for weights in graph.initializer:
        values = onnx.numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < _LARGE:
            continue
        name = weights.name
        weights.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), name + _HALF))
        widening.append(
            onnx.helper.make_node("Cast", [name + _HALF], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*widening, *nodes])


def example_inputs(budget: int, *, shape: int = 0, pages: int = 2) -> tuple[Tensor, Tensor]:
    """Noise of one of the input shapes and two questions a page."""
    height, width = input_shapes(budget)[shape]
    noise = np.random.default_rng(height).normal(0, 1, (pages, 1, height, width))
    asked = np.stack([question_input("What is the total?"), question_input("Which date is it?")])
    return (
        torch.from_numpy(noise.astype(np.float32)),
        torch.from_numpy(np.stack([asked] * pages)),
    )


@torch.no_grad()
def _compare(network: PolicyNetwork, weights: bytes, budget: int) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of the weights that only training uses
    session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    for shape, pages in ((0, 1), (-1, 3)):
        pixels, grams = example_inputs(budget, shape=shape, pages=pages)
        right = network(pixels, grams)
        found = session.run(
            ["cells", "peaks", "sides"], {"pixels": pixels.numpy(), "grams": grams.numpy()}
        )
        cells = float(np.abs(np.exp(found[0]) - right[0].exp().numpy()).max())
        # Peaks of equal height may come in another order: compare sides where the peaks agree.
        same = found[1] == right[1].numpy()
        sides = float(np.abs(found[2] - right[2].numpy())[same].max(initial=0))
        if cells > TOLERANCE or sides > TOLERANCE or same.mean() < 0.5:
            raise WeightsError(
                f"expected the exported policy to agree within {TOLERANCE}, got differences of "
                f"{cells:.2g} in cells and {sides:.2g} in sides"
            )
