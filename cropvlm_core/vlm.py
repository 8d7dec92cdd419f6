"""VLM, the one seam for every model we ask; Conversation, what we ask it."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from PIL import Image

from cropvlm_core.errors import ModelError, shorten

_T = TypeVar("_T")


@dataclass(frozen=True)
class Conversation:
    """One user turn: texts and images in the order in which the model shall see them.

    Images are upright RGB. Any backend can render ``parts``; it resizes as its model needs.

    Raises:
        TypeError: a part is neither text nor a PIL image.
    """

    parts: tuple[str | Image.Image, ...]

    def __post_init__(self) -> None:
        """Store the parts as a tuple and check their types."""
        object.__setattr__(self, "parts", tuple(self.parts))
        for part in self.parts:
            if not isinstance(part, str | Image.Image):
                raise TypeError(f"expected text or a PIL image, got {shorten(part)}")

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """The images, in order."""
        return tuple(part for part in self.parts if isinstance(part, Image.Image))

    @property
    def text(self) -> str:
        """The texts, joined by newlines."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


@runtime_checkable
class VLM(Protocol):
    """A vision-language model. A backend may also have ``async areply`` of the same shape."""

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        """Answer each conversation; one text each, in order.

        Raises:
            ModelError: the model or server failed.
        """
        ...


@runtime_checkable
class ScoringVLM(VLM, Protocol):
    """A VLM that can also tell how likely a given reply is."""

    def log_likelihood(
        self, conversations: Sequence[Conversation], replies: Sequence[str]
    ) -> list[float]:
        """Log-probability (natural logarithm, summed over tokens) of each reply."""
        ...


@dataclass(frozen=True)
class ConstantVLM:
    """A VLM that always says the same: the control of an evaluation, and a test double."""

    text: str

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        """Answer ``text`` to each conversation."""
        return [self.text] * len(conversations)


def checked_replies(replies: Sequence[str], asked: int) -> Sequence[str]:
    """Return ``replies`` if there is one text for each of ``asked`` conversations.

    Raises:
        ModelError: there are more or fewer, or one is no text.
    """
    if len(replies) != asked:
        raise ModelError(f"expected {asked} replies, got {len(replies)}")
    for reply in replies:
        if not isinstance(reply, str):
            raise ModelError(f"expected a text as reply, got {shorten(reply)}")
    return replies


def in_thread(work: Coroutine[Any, Any, _T]) -> _T:
    """Run ``work`` in an event loop of its own, in a thread: this works inside a running loop too.

    The outcome is handed over before the loop is taken down, so that a look-up of a name that
    nobody answers, which no loop can break off, does not hold the caller.
    """
    outcome: Future[_T] = Future()

    async def tell() -> None:
        try:
            outcome.set_result(await work)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            outcome.set_exception(error)

    threading.Thread(target=lambda: asyncio.run(tell()), name="cropvlm-vlm", daemon=True).start()
    return outcome.result()
