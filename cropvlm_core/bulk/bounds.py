"""The bounds that a worker process sets itself: memory, time, noise, and its employer's life."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

_GRACE = 30  # seconds after its deadline at which a worker that nobody ended ends itself
_PR_SET_PDEATHSIG = 1


def prepare(threads: int) -> None:
    """Keep out of the way of the one who started us, and never outlive them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    warnings.simplefilter("ignore")
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    _die_with_the_employer()
    if sys.platform == "linux":
        # Where the machine runs out of memory, a worker goes first.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def limit_memory(more: int) -> None:
    """Let this process take ``more`` bytes than it does now (Linux)."""
    if sys.platform == "linux":
        import resource

        status = Path("/proc/self/status").read_text()
        (now,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmData:"))
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = int(now) * 1024 + more
        if most == resource.RLIM_INFINITY or limit < most:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def silence() -> None:
    """Decoders in C write warnings, dying libraries last words: not into our progress."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def end_yourself_after(seconds: float | None) -> None:
    """Die of an alarm, for which Python need not be running, should nobody be there to end us."""
    if sys.platform != "win32":
        signal.alarm(0 if seconds is None else int(seconds) + _GRACE)


def _die_with_the_employer() -> None:
    """The kernel sees to it on Linux, even where we stand still; elsewhere a thread does."""
    employer = multiprocessing.parent_process()
    if employer is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A thread in any case: they may have died before.
    threading.Thread(target=_follow, args=(employer,), daemon=True).start()


def _follow(employer: "multiprocessing.process.BaseProcess") -> None:
    employer.join()
    os._exit(1)
