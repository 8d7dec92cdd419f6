"""The network behind the embedded cropper: one ONNX Runtime session, bounded threads and memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropvlm_core.embedded.page_input import CELL_HEIGHT, CELL_WIDTH
from cropvlm_core.embedded.settings import PolicySettings
from cropvlm_core.errors import WeightsError, shorten

if TYPE_CHECKING:
    import onnxruntime

MOST_THREADS = 4
"""The most threads of one run unless told otherwise; more gain little at this size."""

_Shapes = dict[str, tuple[str, int]]

_OUTPUTS: _Shapes = {
    "encoded": ("tensor(float)", 4),
    "cells": ("tensor(float)", 3),
    "peaks": ("tensor(int64)", 2),
    "sides": ("tensor(float)", 4),
}
_ANSWERABLE: _Shapes = {"answerable": ("tensor(float)", 1)}
"""A further output of newer files."""
_INPUTS: _Shapes = {
    "pixels": ("tensor(float)", 4),
    "features": ("tensor(float)", 4),
    "grams": ("tensor(int64)", 3),
    "page": ("tensor(int64)", 1),
}
_INPUTS_1: _Shapes = {"pixels": ("tensor(float)", 4), "grams": ("tensor(int64)", 4)}
_OUTPUTS_1: _Shapes = {
    "cells": ("tensor(float)", 4),
    "peaks": ("tensor(int64)", 3),
    "sides": ("tensor(float)", 5),
}


@dataclass(frozen=True)
class Looked:
    """What the network made of Q questions about P new and F earlier pages of one input shape.

    Attributes:
        encoded: (P, channels, rows, columns) features of the new pages, to be handed in again;
            None from a file that cannot take them.
        cells, peaks, sides: of each question; see ``decode_proposal``.
        answerable: (Q,) the log-odds that its page answers it; 0 from a file that does not tell.
    """

    encoded: NDArray[np.float32] | None
    cells: NDArray[np.float32]
    peaks: NDArray[np.int64]
    sides: NDArray[np.float32]
    answerable: NDArray[np.float32]


class PolicySession:
    """A weight file's network, safe to share between threads.

    Attributes:
        about: the file's metadata.
        settings: those in it.
        shares: whether pages encoded earlier can be handed in again; files of the format
            cropvlm-embedded-1 cannot take them.

    Args:
        weights: the file's bytes.
        threads: of one run; None: as many as there are cores, at most ``MOST_THREADS``.

    Raises:
        WeightsError: the bytes are no ONNX model in one piece, of another format, or another graph.
    """

    def __init__(self, weights: bytes, threads: int | None = None) -> None:
        """Load the network."""
        self._session = _open(weights, threads)
        self.about: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.settings = PolicySettings.from_metadata(self.about)
        found = _shapes(self._session.get_inputs()), _shapes(self._session.get_outputs())
        self._tells = found[1].keys() >= _ANSWERABLE.keys()
        known = (
            (_INPUTS, _OUTPUTS | _ANSWERABLE), (_INPUTS, _OUTPUTS), (_INPUTS_1, _OUTPUTS_1)
        )  # fmt: skip
        if found not in known:
            raise WeightsError(
                f"expected a graph with {_INPUTS} and {_OUTPUTS}, got {shorten(found)}"
            )
        self.shares = found[0] == _INPUTS
        self._channels = int(self._session.get_inputs()[1].shape[1]) if self.shares else 0

    def look(
        self,
        shape: tuple[int, int],
        pixels: list[NDArray[np.float32]],
        features: list[NDArray[np.float32]],
        grams: NDArray[np.int64],
        page: list[int],
    ) -> Looked:
        """Run the network once.

        Args:
            shape: (height, width) of the prepared pages.
            pixels: new pages, each (height, width).
            features: earlier pages, each one of ``Looked.encoded``.
            grams: (Q, WORDS, GRAMS), Q > 0.
            page: which page each question is about, the new pages counted first.
        """
        new = _stacked(pixels, shape)[:, None]
        if not self.shares:
            return self._look_1(new, grams, page)
        grid = (self._channels, shape[0] // CELL_HEIGHT, shape[1] // CELL_WIDTH)
        feeds = {
            "pixels": new,
            "features": _stacked(features, grid),
            "grams": _in_use(grams),
            "page": np.array(page, dtype=np.int64),
        }
        wanted = [*([] if not pixels else ["encoded"]), "cells", "peaks", "sides"]
        found = self._session.run([*wanted, *(_ANSWERABLE if self._tells else ())], feeds)
        encoded = found.pop(0) if pixels else _stacked([], grid)
        cells, peaks, sides = found[:3]
        return Looked(encoded, cells, peaks, sides, found[3] if self._tells else _unknown(grams))

    def _look_1(
        self, new: NDArray[np.float32], grams: NDArray[np.int64], page: list[int]
    ) -> Looked:
        """The first format has a table of questions, as many for each page."""
        asked = [[index for index, one in enumerate(page) if one == own] for own in range(len(new))]
        most = max(map(len, asked))
        table = np.array([indexes + indexes[:1] * (most - len(indexes)) for indexes in asked])
        outputs = self._session.run(
            ["cells", "peaks", "sides"], {"pixels": new, "grams": grams[table]}
        )
        place = [(own, asked[own].index(index)) for index, own in enumerate(page)]
        cells, peaks, sides = (output[tuple(np.transpose(place))] for output in outputs)
        return Looked(None, cells, peaks, sides, _unknown(grams))


def _unknown(grams: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.zeros(len(grams), dtype=np.float32)


def _stacked(arrays: list[NDArray[np.float32]], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """One array of all, each of ``shape``; a view where there is but one."""
    if not arrays:
        return np.empty((0, *shape), dtype=np.float32)
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _in_use(grams: NDArray[np.int64]) -> NDArray[np.int64]:
    """Without the words and letter groups that no question has: they come last, and cost time."""
    words = int((grams[:, :, 0] > 0).sum(1).max())
    groups = int((grams > 0).sum(2).max())
    return np.ascontiguousarray(grams[:, :words, :groups])


def _shapes(values: Any) -> _Shapes:
    return {value.name: (value.type, len(value.shape)) for value in values}


def usual_threads() -> int:
    """As many threads as this process has cores, at most ``MOST_THREADS``."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    return min(MOST_THREADS, cores)


def _open(weights: bytes, threads: int | None) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = usual_threads() if threads is None else threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # a plan for every page size, 50 MB that save no time
    if b"location" in weights:  # the key by which a tensor names another file to be read
        raise WeightsError("expected weights in one file, got a file that reads from others")
    try:
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        raise WeightsError(f"expected an ONNX model, got {shorten(str(error))}") from error
