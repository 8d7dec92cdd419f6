"""The worker processes: started when needed, watched, replaced, never left behind."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from multiprocessing.spawn import get_executable
from pathlib import Path

from cropvlm_core.decoding.survey import UnreadableError
from cropvlm_core.isolation.wire import Job, Received

if sys.platform == "linux":
    import fcntl

SECONDS = 4.0
"""The longest one job may take on the clock, in seconds."""

PICTURES_A_WORKER = 200
"""A worker is replaced after so many jobs: what leaks in a decoder is given back."""

_MOST_WORKERS = 4
_PIPE = 2**20  # bytes
_START_SECONDS = 60.0  # on a machine that is very busy
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL")
_SETTINGS = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**22),  # glibc: give large pictures' memory back at once,
    "MALLOC_TRIM_THRESHOLD_": str(2**25),  # whatever sizes came before
}
_MAIN = """import json, sys
sys.path[:] = json.loads(sys.argv[1])
from cropvlm_core.isolation.worker import main
main()"""


class _Worker:
    """One process, busy with one job at a time."""

    def __init__(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            UnreadableError: it cannot be started.
        """
        self.jobs_left = PICTURES_A_WORKER
        self._late = False
        child_in, to_child = os.pipe()
        from_child, child_out = os.pipe()
        self.descriptors = (to_child, from_child)
        _widen(to_child, from_child)
        try:
            self.process = subprocess.Popen(
                [get_executable(), "-I", "-c", _MAIN, json.dumps(_import_path())],
                stdin=child_in,
                stdout=child_out,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is ours to handle, not a worker's
            )
        except OSError as error:
            _close(self.descriptors)
            raise UnreadableError(f"no process for it: {error.strerror}") from error
        finally:
            _close((child_in, child_out))
        self._to = FileIO(to_child, "wb", closefd=False)
        self._from = FileIO(from_child, "rb", closefd=False)
        try:
            with self._within(_START_SECONDS):
                ready = self._from.read(1)
        except BaseException:  # Ctrl-C
            self.end()
            raise
        if ready != b"R":
            self.end()
            raise UnreadableError("no process for it: it did not start")

    def run(self, job: Job) -> Received:
        """Do one job; a worker that raised anything but UnreadableError must be ended.

        Raises:
            UnreadableError: see :class:`Received`.
            EOFError, OSError: it died, or was killed at its deadline; :meth:`why` tells.
        """
        self.jobs_left -= 1
        with self._within(SECONDS):
            job.write(self._to)
            return Received(self._from, job)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def why(self) -> str:
        """Why it died, after :meth:`end`."""
        if self._late or self.process.returncode == -getattr(signal, "SIGXCPU", 0):
            return f"it takes more than {SECONDS:.0f} s to decode"
        return "its decoder crashed"

    def end(self) -> None:
        """Kill the process, and wait until it is gone."""
        with suppress(OSError):
            self.process.kill()
        self.process.wait()
        _close(self.descriptors)

    def forget(self) -> None:
        """In a process forked from ours: leave the worker to its owner."""
        self.process.returncode = 0  # it is no child of this process
        _close(self.descriptors)

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        """Kill the process where the body takes longer: reading from it then ends."""
        watch = threading.Timer(seconds, self._kill_late)
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()
            watch.join()

    def _kill_late(self) -> None:
        self._late = True
        with suppress(OSError):
            self.process.kill()


class Pool:
    """Workers for all threads of this process; a thread waits where all are busy."""

    def __init__(self, most: int) -> None:
        """Start nothing yet; ``most``: how many workers there may be."""
        self._slots = threading.Semaphore(most)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()

    def run(self, job: Job) -> Received:
        """Do one job in a worker.

        Raises:
            UnreadableError: the file is not read, took too much time or memory, or crashed the
                decoder.
        """
        with self._slots:
            worker = self._taken()
            answered = False
            try:
                received = worker.run(job)
                answered = True
                return received
            except UnreadableError:
                answered = True
                raise
            except (EOFError, OSError) as error:
                self._end(worker)
                raise UnreadableError(worker.why()) from error
            finally:
                self._put_back(worker, fit=answered and worker.jobs_left > 0 and worker.alive)

    def close(self) -> None:
        """End every worker."""
        with self._lock:
            workers, self._all, self._idle = self._all, set(), []
        for worker in workers:
            worker.end()

    def forget(self) -> None:
        """In a process forked from ours: leave the workers to their owner."""
        for worker in self._all:
            worker.forget()

    def _taken(self) -> _Worker:
        """An idle worker, or a new one; those that died while idle are buried."""
        while True:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                worker = _Worker()
                with self._lock:
                    self._all.add(worker)
                return worker
            if worker.alive:
                return worker
            self._end(worker)

    def _put_back(self, worker: _Worker, *, fit: bool) -> None:
        if fit:
            with self._lock:
                self._idle.append(worker)
        else:
            self._end(worker)

    def _end(self, worker: _Worker) -> None:
        with self._lock:
            known = worker in self._all
            self._all.discard(worker)
        if known:
            worker.end()


_shared: Pool | None = None
_sharing = threading.Lock()


def shared_pool() -> Pool:
    """Return the pool of this process, made when it is first asked for."""
    global _shared
    with _sharing:
        if _shared is None:
            _shared = Pool(min(_MOST_WORKERS, os.cpu_count() or 1))
        return _shared


@atexit.register
def close_shared_pool() -> None:
    """End the workers of this process; the next picture starts new ones."""
    global _shared
    with _sharing:
        pool, _shared = _shared, None
    if pool is not None:
        pool.close()


def _after_fork() -> None:
    global _shared, _sharing
    if _shared is not None:
        _shared.forget()
    _shared, _sharing = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _import_path() -> list[str]:
    """Where this process finds modules: this package first, no path relative to a folder."""
    own = str(Path(__file__).resolve().parents[2])
    return [own, *(entry for entry in sys.path if Path(entry).is_absolute())]


def _environment() -> dict[str, str]:
    """What a worker may know of our environment: no key is in there."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | _SETTINGS


def _widen(*pipes: int) -> None:
    """Let pipes hold more than 64 KiB, where the system can: fewer turns between two processes."""
    if sys.platform == "linux":
        for pipe in pipes:
            with suppress(OSError):  # not for every user
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def _close(descriptors: tuple[int, int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
