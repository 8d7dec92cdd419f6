"""FrozenVLM: what a model that does not learn says about zooms, each asked once, and kept."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from PIL import Image

from cropvlm_core.errors import ModelError
from cropvlm_core.training.reply_cache import ReplyCache
from cropvlm_core.vlm import VLM, Conversation, checked_replies, in_thread
from cropvlm_core.zoom import Zoom

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_Outcomes = dict[str, str | ModelError]  # of each key


class FrozenVLM:
    """A frozen VLM that is asked about zooms again and again.

    What shows the same (page, crops, prompt) is asked once, and its reply is kept in memory and,
    where a file is named, on disk. A conversation that fails costs no other one its reply.

    Attributes:
        failures: conversations that got no reply, so far.
    """

    def __init__(
        self,
        vlm: VLM,
        *,
        cache: str | os.PathLike[str] | None = None,
        identity: str | None = None,
        remembered: int = 100_000,
        max_parallel: int = 8,
    ) -> None:
        """Ask ``vlm``.

        Args:
            vlm: with ``areply``, conversations are under way side by side; else in one batch.
            cache: a file, see :class:`ReplyCache`.
            identity: a text that changes when the replies may: model, server, decoding, input
                size. None: what a VLM that is a dataclass says of itself, else its ``name``. That
                does not hold what the environment says, such as ``OPENAI_BASE_URL``.
            remembered: the most replies held in memory.
            max_parallel: conversations under way at once.

        Raises:
            ValueError: a number below 1, or a ``cache`` for a VLM whose identity nobody tells.
            SourceError: the file cannot be made or read.
        """
        if max_parallel < 1:
            raise ValueError(f"expected max_parallel >= 1, got {max_parallel}")
        self.vlm = vlm
        self.identity = identity or _identity(vlm)
        if cache is not None and not self.identity:
            kind = type(vlm).__name__
            raise ValueError(f"expected identity=... to tell replies of this {kind}, got none")
        self.max_parallel = max_parallel
        self.failures = 0
        self._kept = ReplyCache(cache, remembered)

    def replies(self, zooms: Sequence[Zoom]) -> list[str | None]:
        """Return the reply to each zoom, in order; None where the model failed, which is logged.

        Raises:
            SourceError: the file of replies cannot be read or written any more.
        """
        pages = {id(zoom.image): zoom.image for zoom in zooms}
        digests = {page: _digest(image) for page, image in pages.items()}
        keys = [self._key(zoom, digests[id(zoom.image)]) for zoom in zooms]
        self._kept.refresh()
        said = {key: self._kept.get(key) for key in keys}
        shown = dict(zip(keys, zooms, strict=True))
        asked = {key: shown[key].conversation() for key, reply in said.items() if reply is None}
        for key, outcome in self._ask(asked).items():
            said[key] = outcome if isinstance(outcome, str) else None
        return [said[key] for key in keys]

    def _key(self, zoom: Zoom, page: str) -> str:
        crops = [crop.pixels for crop in zoom.crops]
        parts = [self.identity, page, zoom.image.size, crops, zoom.conversation().text]
        return hashlib.blake2b(json.dumps(parts).encode("ascii"), digest_size=16).hexdigest()

    def _ask(self, asked: Mapping[str, Conversation]) -> _Outcomes:
        if not asked:
            return {}
        if hasattr(self.vlm, "areply"):
            outcomes = in_thread(self._side_by_side(asked))
        else:
            outcomes = self._in_a_batch(asked)
        errors = [each for each in outcomes.values() if isinstance(each, ModelError)]
        if errors:
            self.failures += len(errors)
            logger.warning(
                "%d of %d conversations got no reply: %s", len(errors), len(asked), errors[0]
            )
        return outcomes

    async def _side_by_side(self, asked: Mapping[str, Conversation]) -> _Outcomes:
        gate = asyncio.Semaphore(self.max_parallel)
        areply: Any = self.vlm.areply  # type: ignore[attr-defined]

        async def one(key: str) -> str | ModelError:
            async with gate:
                try:
                    # Alone, as a backend may let one failure end the whole call.
                    reply = checked_replies(await areply([asked[key]]), 1)[0]
                except ModelError as error:
                    return error
                self._kept.add(key, reply)
                return reply

        return dict(zip(asked, await asyncio.gather(*map(one, asked)), strict=True))

    def _in_a_batch(self, asked: Mapping[str, Conversation]) -> _Outcomes:
        """One batch; after a failure one by one, so that what can be answered is."""
        try:
            replies = checked_replies(self.vlm.reply(list(asked.values())), len(asked))
        except ModelError as error:
            if len(asked) == 1:
                return dict.fromkeys(asked, error)
            outcomes: _Outcomes = {}
            for key, conversation in asked.items():
                outcomes |= self._in_a_batch({key: conversation})
            return outcomes
        for key, reply in zip(asked, replies, strict=True):
            self._kept.add(key, reply)
        return dict(zip(asked, replies, strict=True))


def _digest(image: Image.Image) -> str:
    return hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()


def _identity(vlm: object) -> str | None:
    if dataclasses.is_dataclass(vlm):
        return repr(vlm)
    name = getattr(vlm, "name", None)
    return name if isinstance(name, str) else None
