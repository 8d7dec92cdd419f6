"""The embedded policy as one ONNX file, checked against the network it came from."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from cropvlm_core import __version__
from cropvlm_core.embedded.page_input import input_shapes
from cropvlm_core.embedded.question_input import question_input
from cropvlm_core.embedded.session import Looked, PolicySession
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.embedded.weights import read_weights
from cropvlm_core.errors import WeightsError, shorten
from cropvlm_core.training.network import PolicyNetwork, PolicySize
from cropvlm_core.training.onnx_graph import HALF, IR_VERSION, LARGE, OPSET
from cropvlm_core.training.policy_graph import policy_graph

TOLERANCE = 1e-4
"""Largest difference of a probability between the network and the exported file."""


def export_policy(
    network: PolicyNetwork, path: Path, settings: PolicySettings, about: dict[str, str]
) -> None:
    """Write the network with its settings as a single ONNX file; see ``policy_graph``.

    Large weights are stored in half precision, which halves the file, and widened when it is
    loaded: it computes in single precision.

    Args:
        network: what was trained.
        path: the file to write; replaced only when the new one has passed the check.
        settings: stored in the file's metadata.
        about: further metadata, e.g. how it was trained.

    Raises:
        WeightsError: the exported file does not compute what the network computes.
    """
    model = onnx.helper.make_model(
        policy_graph(network),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="cropvlm",
        producer_version=__version__,
    )
    onnx.helper.set_model_props(model, {**settings.to_metadata(), **about})
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
        model = onnx.load_model_from_string(read_weights(path)[0])  # reads no second file
        about = {entry.key: entry.value for entry in model.metadata_props}
        network = PolicyNetwork(PolicySize(**json.loads(about["trained"])["plan"]["size"]))
        found = {}
        for weights in model.graph.initializer:
            values = onnx.numpy_helper.to_array(weights)
            found[weights.name.removesuffix(HALF)] = torch.from_numpy(values.copy())
        network.load(found)
    except WeightsError:
        raise
    except Exception as error:  # what a damaged file raises has no common class
        raise WeightsError(
            f"expected a weight file to start from, got {shorten(path.name)}: {error!r:.120}"
        ) from error
    return network


@torch.no_grad()
def _compare(network: PolicyNetwork, weights: bytes, budget: int) -> None:
    """Two questions a page, about new pages and about the same encoded earlier."""
    network = copy.deepcopy(network).cpu().eval()
    for parameter in network.parameters():
        if parameter.numel() >= LARGE:
            parameter.data = parameter.data.half().float()
    session = PolicySession(weights)
    texts = ("What is the total?", "Which date is printed to the right of the invoice number?")
    asked = np.stack([question_input(text) for text in texts])
    for shape, pages in ((0, 1), (-1, 3)):
        height, width = input_shapes(budget)[shape]
        noise = np.random.default_rng(height).normal(0, 1, (pages, height, width))
        pixels = noise.astype(np.float32)
        grams = np.concatenate([asked] * pages)
        page = [index // len(asked) for index in range(len(grams))]
        right = network(
            torch.from_numpy(pixels[:, None]), torch.from_numpy(np.stack([asked] * pages))
        )
        new = session.look((height, width), list(pixels), [], grams, page)
        assert new.encoded is not None
        earlier = session.look((height, width), [], list(new.encoded), grams, page)
        for found in (new, earlier):
            _check(found, *(value.flatten(0, 1).numpy() for value in right))


def _check(
    found: Looked,
    cells: NDArray[np.float32],
    peaks: NDArray[np.int64],
    sides: NDArray[np.float32],
    answerable: NDArray[np.float32],
) -> None:
    apart = float(np.abs(np.exp(found.cells) - np.exp(cells)).max())
    # Peaks of equal height may come in another order: compare sides where the peaks agree.
    same = found.peaks == peaks
    wide = float(np.abs(found.sides - sides)[same].max(initial=0))
    # Which of equal peaks are among the candidates has a say in the rest.
    sure = [1 / (1 + np.exp(-odds[same.all(1)])) for odds in (found.answerable, answerable)]
    told = float(np.abs(sure[0] - sure[1]).max(initial=0))
    if not (max(apart, wide, told) <= TOLERANCE and same.mean() >= 0.5):
        raise WeightsError(
            f"expected the exported policy to agree within {TOLERANCE}, got differences of "
            f"{apart:.2g} in cells, {wide:.2g} in sides and {told:.2g} in being answerable"
        )
