"""Ray, started on this machine for a job, or the cluster of ``RAY_ADDRESS``."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from cropvlm_core.errors import ModelError, shorten

OBJECT_STORE = 512 * 2**20
"""The most bytes that Ray holds in shared memory on this machine; what is more goes to the disk."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would report the machine to its makers
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # it takes the constructors of actors for a mistake
    "RAY_DATA_LOG_LEVEL": "CRITICAL",  # what it logs below, it raises as well
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_STARTS = 2  # it gives itself half a minute, which is short on a machine that is busy
_LONGEST = 40  # characters of a temporary folder in which Ray's sockets have short enough names


@dataclass(frozen=True)
class Cluster:
    """The Ray that a job runs on.

    ``workers``: how many it is to run. ``folder``: of this job alone, and gone after it; None where
    others started Ray.
    """

    workers: int
    folder: Path | None = None


@contextlib.contextmanager
def cluster(workers: int | None) -> Iterator[Cluster]:
    """Give Ray, and end what was started here.

    One that this process has started already is taken as it is, then the cluster of
    ``RAY_ADDRESS``, and else Ray is started on this machine: without a dashboard, in a temporary
    folder that goes at the end, with :data:`OBJECT_STORE` bytes of shared memory, and without
    reports to its makers.

    Args:
        workers: as told; None: one for each processor.

    Raises:
        ModelError: Ray does not start, or the cluster does not answer.
    """
    if ray.is_initialized():
        yield Cluster(workers or _processors())
        return
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with _signals_kept(), _nothing_printed():
        folder = _started(workers)
    try:
        yield Cluster(workers or _processors(), folder)
    finally:
        _end(folder)


def _started(workers: int | None) -> Path | None:
    """Start Ray, and return its folder; None: it runs elsewhere."""
    for left in reversed(range(_STARTS)):
        folder = None if os.environ.get("RAY_ADDRESS") else _short_folder()
        try:
            if folder is None:
                ray.init(log_to_driver=False, logging_level="ERROR")
            else:
                ray.init(
                    num_cpus=(workers or _cores()) + 1,  # one for who lists and reads
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE,
                    log_to_driver=False,
                    logging_level="ERROR",
                    _temp_dir=str(folder),
                    _node_ip_address="127.0.0.1",  # whoever reaches Ray runs what they like
                )
            return folder
        except Exception as error:  # Ray raises no narrower one where it takes too long
            _end(folder)
            if not left:
                raise ModelError(
                    f"expected Ray to start, got {shorten(str(error), 200)}"
                ) from error
    raise AssertionError


def _end(folder: Path | None) -> None:
    ray.shutdown()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _short_folder() -> Path:
    """Make a folder for Ray, whose sockets' names have at most 107 bytes."""
    usual = tempfile.gettempdir()
    place = usual if len(usual) <= _LONGEST or not Path("/tmp").is_dir() else "/tmp"
    return Path(tempfile.mkdtemp(prefix="cropvlm-ray-", dir=place))


def _processors() -> int:
    """How many workers there may be: one processor is left to who lists and reads."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself as it starts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _nothing_printed() -> Iterator[None]:
    """Ray's libraries tell that they were told to tell nothing; what goes wrong, it raises."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
