"""What cannot be saved is told in one line, whichever library met the full disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cropvlm_core.errors import SourceError, shorten


@contextmanager
def saving(name: str) -> Iterator[None]:
    """Save ``name`` inside.

    Raises:
        SourceError: the disk is full, or does not take it.
    """
    try:
        yield
    except Exception as error:
        if not _of_the_disk(error):
            raise
        said = getattr(error, "strerror", None) or "a write that failed; is it full?"
        raise SourceError(f"expected a disk that takes {name}, got {shorten(said)}") from error


def _of_the_disk(error: Exception) -> bool:
    """Whether a file could not be written: torch has no class of error for it, but two texts."""
    return (
        isinstance(error, OSError)
        or type(error).__name__ == "SafetensorError"
        or (
            isinstance(error, RuntimeError)
            and any(writer in str(error) for writer in ("inline_container", "iostream"))
        )
    )
