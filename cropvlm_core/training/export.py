"""The embedded policy as one ONNX file, checked against the network it came from."""

from __future__ import annotations

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
from cropvlm_core.errors import WeightsError
from cropvlm_core.training.network import PolicyNetwork

OPSET = 17
TOLERANCE = 2e-3
"""Largest difference of a probability between the network and the exported file."""


def export_policy(
    network: PolicyNetwork, path: Path, settings: PolicySettings, about: dict[str, str]
) -> None:
    """Write the network with its settings as a single ONNX file (float32, dynamic page shapes).

    Args:
        network: in evaluation mode.
        path: the file to write; replaced only when the new one has passed the check.
        settings: stored in the file's metadata.
        about: further metadata, e.g. how it was trained.

    Raises:
        WeightsError: the exported file does not compute what the network computes.
    """
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
            dynamo=False,
        )
        model = onnx.load(str(file))
    del model.metadata_props[:]
    for key, value in {**settings.to_metadata(), **about}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    weights = model.SerializeToString()
    _compare(network, weights, settings.budget)
    aside = path.with_suffix(".part")
    aside.write_bytes(weights)
    aside.replace(path)


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
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
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
