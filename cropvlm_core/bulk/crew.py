"""The worker processes of a bulk job: hired as there is work, replaced as they wear out or die."""

from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

from cropvlm_core.bulk.process import WorkerProcess
from cropvlm_core.bulk.worker import Work
from cropvlm_core.errors import CropVLMError, MissingExtraError, ModelError, shorten

_STARTS = 3  # a worker that ends while it starts, so many times in a row, will never start
_DYING = 5.0  # seconds for a worker whose connection is gone to be gone too

Said = dict[str, Any]
"""What a worker says, with its ``kind``, or ``lost`` or ``timed_out`` where it cannot any more."""


class Crew:
    """At most ``size`` worker processes, each for at most ``pages_a_worker`` pages."""

    def __init__(self, work: Work, size: int, pages_a_worker: int) -> None:
        """Hire nobody yet."""
        self.work, self.size, self.pages_a_worker = work, size, pages_a_worker
        self.workers: list[WorkerProcess] = []
        self._bad_starts = 0

    @property
    def busy(self) -> bool:
        """Whether a worker is at a page."""
        return any(each.stage in ("reading", "zooming") for each in self.workers)

    def first(self, stop: Callable[[], bool]) -> Said:
        """Hire one, and return what it says when it has loaded the cropper.

        Raises:
            CropVLMError: the cropper cannot be loaded.
            KeyboardInterrupt: ``stop`` says so before.
        """
        while not stop():
            if not self.workers:
                self.free()
            for _, said in self.listen(0.2):
                if said["kind"] == "ready":
                    return said
        raise KeyboardInterrupt

    def free(self) -> WorkerProcess | None:
        """Return an idle worker; where there is none, hire one if there is a place, for later."""
        for worker in list(self.workers):
            if worker.stage == "idle" and worker.pages >= self.pages_a_worker:
                self.workers.remove(worker)
                worker.end(_DYING)
        for worker in self.workers:
            if worker.stage == "idle":
                return worker
        if len(self.workers) < self.size:
            self.workers.append(WorkerProcess(self.work))
        return None

    def listen(self, seconds: float) -> list[tuple[WorkerProcess, Said]]:
        """Return what the workers say within so many seconds; who is lost is of the crew no more.

        Raises:
            CropVLMError: no worker can start.
        """
        by_connection = {each.connection: each for each in self.workers}
        heard: list[tuple[WorkerProcess, Said]] = []
        for connection in wait(list(by_connection), seconds):
            worker = by_connection[connection]  # type: ignore[index]  # it is one of these
            heard.append((worker, self._said(worker)))
        for worker in [each for each in self.workers if each.seconds_left <= 0]:
            if all(worker is not each for each, _ in heard):
                self.workers.remove(worker)
                worker.end()
                heard.append((worker, {"kind": "timed_out"}))
        for worker, said in heard:
            if said["kind"] == "ready":
                worker.stage, self._bad_starts = "idle", 0
            elif worker.stage == "starting":
                self._fail_to_start(said)
        return heard

    def dismiss(self) -> None:
        """End them all, whatever they are at."""
        for worker in self.workers:
            worker.leave()
        while self.workers:
            worker = self.workers.pop()
            worker.end(_DYING if worker.stage == "idle" else 0.0)

    def _said(self, worker: WorkerProcess) -> Said:
        said = worker.hear()
        if said is None or not isinstance(said.get("kind"), str) or said["kind"] == "broke":
            self.workers.remove(worker)
            how = worker.end(_DYING)
            return {"kind": "lost", "how": how} | (said or {}) | {"kind": "lost"}
        return said

    def _fail_to_start(self, said: Said) -> None:
        if said["kind"] == "unfit":
            raise unfit(said)
        self._bad_starts += 1
        if self._bad_starts >= _STARTS:
            what = said.get("error") or said.get("how") or "one that did not start in time"
            raise ModelError(
                f"expected workers that can load and run the cropper, got {shorten(what, 200)}, "
                f"{_STARTS} times in a row"
            )


def unfit(said: Said) -> CropVLMError:
    """Return the error that another process told of: a worker, of the cropper that it loaded."""
    if "extra" in said:
        return MissingExtraError(said["feature"], said["extra"])
    kinds = [CropVLMError]
    for kind in kinds:
        if kind.code == said["code"]:
            return kind(said["error"])
        kinds += kind.__subclasses__()
    return ModelError(said["error"])
