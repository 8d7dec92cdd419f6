"""A worker of a job: the stage of a pipeline that writes its rows instead of returning them."""

from __future__ import annotations

import hashlib
import time
import uuid
from typing import Any

import pyarrow as pa
import ray

from cropvlm_core.bulk.ray_engine.shared import Claims, told
from cropvlm_core.bulk.ray_engine.stage import ZoomPages
from cropvlm_core.bulk.ray_engine.store import RowStore
from cropvlm_core.errors import CropVLMError

_NOTHING = pa.table({"done": pa.array([], pa.int64())})


class ZoomIntoStore:
    """A worker: zooms into the pages of a batch, and writes its rows before it says so."""

    def __init__(self, *, shared: Any, store: RowStore, **options: Any) -> None:
        """Load the cropper; ``options`` are those of :class:`ZoomPages`."""
        self._shared, self._store = shared, store
        self._name = uuid.uuid4().hex
        self._fit = False
        try:
            self._zoom = ZoomPages(**options)
            self._fit = ray.get(shared.begin.remote(self._zoom.version))
        except (CropVLMError, OSError) as error:
            ray.get(shared.fail.remote(told(error)))

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Do a batch; what came of it is told to ``shared``, and nothing returned."""
        if not self._fit or ray.get(self._shared.stopping.remote()):
            return _NOTHING
        began, digest = time.time(), _digest(batch)
        claims = Claims(self._shared, self._name, digest)
        try:
            came = self._zoom.bench.zoom(batch, self._zoom.questions, claims, claims.stopped)
            ray.get(self._shared.settle.remote(self._name))
            if came.rows:
                self._store.write(came.rows, began)
        except (CropVLMError, OSError) as error:
            ray.get(self._shared.fail.remote(told(error)))
            return _NOTHING
        counts = dict(claims.counts) | {"done": came.done, "more": came.more}
        ray.get(self._shared.leave.remote(self._name, digest, counts))
        if came.error is not None:
            ray.get(self._shared.fail.remote(told(came.error)))
        return _NOTHING


def _digest(batch: pa.Table) -> bytes:
    """What a batch is known by when it comes again."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_table(batch)
    return hashlib.blake2b(sink.getvalue(), digest_size=8).digest()
