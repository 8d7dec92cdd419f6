"""What the workers of a job share: who has which key, what is done, and whether to stop.

One process of Ray holds it, wherever the others are. It also sees what they cannot: a page at which
one worker after the other dies, with the machine's process that ran it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import ray

from cropvlm_core.bulk.ledger import key_of, packed, who_of
from cropvlm_core.bulk.pages import Asked, AskedPage
from cropvlm_core.bulk.ray_engine.store import RowStore
from cropvlm_core.bulk.worker import in_words
from cropvlm_core.errors import CropVLMError

_FRESH = 1.0  # seconds for which what was heard of a stop is believed


class Claimed(NamedTuple):
    """An answer to a claim: the keys, None for what has a row; deaths at them; whether to stop."""

    keys: list[str | None]
    deaths: int
    stop: bool


class SharedKeys:
    """The process that all workers of a job ask; an actor of Ray.

    It takes what it was begun with again where it dies and is started anew: rows that were written
    meanwhile then may be claimed once more, and are written to the same file.
    """

    def __init__(
        self,
        store: RowStore,
        settings: Mapping[str, Any],
        owners: Mapping[bytes, int],
        unwanted: Mapping[str, Sequence[str]],
    ) -> None:
        """Know the keys that have rows (``owners``), and the rows to take out, by their files."""
        self._store, self._settings, self._unwanted = store, dict(settings), unwanted
        self._owners = dict(owners)
        self._claimed: dict[bytes, bytes] = {}
        self._at: dict[str, list[bytes]] = {}
        self._deaths: Counter[bytes] = Counter()
        self._batches: dict[bytes, Counter[str]] = {}
        self._counts: Counter[str] = Counter()
        self._begun: str | None = None
        self._failure: dict[str, Any] | None = None
        self._stop = False

    def begin(self, version: str) -> bool:
        """Let a worker begin that has loaded the cropper of this version; False: it may not."""
        try:
            if self._begun != version:
                self._store.begin(self._settings | {"cropper": version})
                for name, keys in self._unwanted.items():
                    self._store.take_out(name, keys)
                self._begun = version
        except (CropVLMError, OSError) as error:
            self.fail(told(error))
            return False
        return self._failure is None

    def claim(
        self,
        worker: str,
        batch: bytes,
        name: str,
        page: int | None,
        digest: str | None,
        asked: Sequence[tuple[str, str | None]],
    ) -> Claimed:
        """Take the keys of questions about a page, for a worker that is at a batch.

        A batch that comes again, as the worker at it died, gets the same keys again.
        """
        keys: list[str | None] = []
        whose = AskedPage(name, "", (), page)
        for question, id_ in asked:
            who = who_of(name, id_)
            key = key_of(whose, digest, Asked(question, id_), who, self._owners)
            if packed(key) not in self._owners:
                self._owners[packed(key)] = who
                self._claimed[packed(key)] = batch
            keys.append(key if self._claimed.get(packed(key)) == batch else None)
        taken = [packed(key) for key in keys if key]
        self._bury(worker, taken)
        self._at[worker] = taken
        deaths = max((self._deaths[key] for key in taken), default=0)
        return Claimed(keys, deaths, self._stop)

    def release(self, keys: Sequence[str]) -> None:
        """Give keys back that got no row."""
        for key in keys:
            self._claimed.pop(packed(key), None)
            self._owners.pop(packed(key), None)

    def settle(self, worker: str) -> bool:
        """Hear that a worker is through with its pages, and will write; return whether to stop."""
        self._at[worker] = []
        return self._stop

    def leave(self, worker: str, batch: bytes, counts: Mapping[str, int]) -> None:
        """Hear that the rows of a batch are written."""
        self._counts.subtract(self._batches.get(batch, {}))
        self._batches[batch] = Counter(counts)
        self._counts.update(counts)
        self._at.pop(worker, None)

    def fail(self, words: Mapping[str, Any]) -> None:
        """Hear what no further page will mend: everybody stops."""
        self._failure = self._failure or dict(words)
        self._stop = True

    def stop(self) -> None:
        """Have everybody stop."""
        self._stop = True

    def stopping(self) -> bool:
        """Return whether to stop."""
        return self._stop

    def state(self) -> dict[str, Any]:
        """Return the counts so far, what failed, and how many workers are at a batch."""
        return {"counts": dict(self._counts), "failure": self._failure, "busy": len(self._at)}

    def _bury(self, worker: str, taken: Iterable[bytes]) -> None:
        """Whoever was at the same questions before died there."""
        again = set(taken)
        for other, keys in list(self._at.items()):
            if other != worker and again.intersection(keys):
                self._deaths.update(keys)
                del self._at[other]


class Claims:
    """The keys that one worker takes for one batch, as the plain engine's run takes them."""

    def __init__(self, shared: Any, worker: str, batch: bytes) -> None:
        """Ask ``shared``, the handle of a :class:`SharedKeys`."""
        self.counts: Counter[str] = Counter()
        self.deaths = 0
        self._shared, self._worker, self._batch = shared, worker, batch
        self._mine: set[str] = set()
        self._stop, self._heard = False, 0.0

    def claim(
        self, page: AskedPage, digest: str | None, asked: Sequence[Asked]
    ) -> dict[str, Asked]:
        """Take the keys of questions about a page; each is given once."""
        told = [(each.question, each.id) for each in asked]
        answer: Claimed = ray.get(
            self._shared.claim.remote(self._worker, self._batch, page.name, page.page, digest, told)
        )
        self.deaths = answer.deaths
        self._hear(answer.stop)
        taken = {}
        for key, each in zip(answer.keys, asked, strict=True):
            if key is not None and key not in self._mine:
                self._mine.add(key)
                taken[key] = each
        return taken

    def release(self, keys: Iterable[str]) -> None:
        """Give keys back that got no row."""
        gone = list(keys)
        self._mine.difference_update(gone)
        ray.get(self._shared.release.remote(gone))

    def note(self, row: Mapping[str, Any]) -> None:
        """Count a row."""
        self.counts[row["status"]] += 1
        self.counts["zoomed"] += row["zoomed"]

    def stopped(self) -> bool:
        """Whether to stop; asked of the others once a second."""
        if time.monotonic() - self._heard > _FRESH:
            self._hear(ray.get(self._shared.stopping.remote()))
        return self._stop

    def _hear(self, stop: bool) -> None:
        self._stop, self._heard = stop, time.monotonic()


def told(error: CropVLMError | OSError) -> dict[str, Any]:
    """What is said of an error to another process."""
    if isinstance(error, CropVLMError):
        return in_words(error)
    return {"errno": error.errno, "error": error.strerror or str(error)}
