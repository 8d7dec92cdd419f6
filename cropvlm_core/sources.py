"""Which reference may be read, and by whom: the only place that turns a path or URI into bytes.

Two callers (see ARCHITECTURE.md): a *user* typed the reference (``roots=None``): any regular file.
A *model* wrote it (``roots=`` given): only a file below one of the roots, through no symbolic
link, with no second hard link. URLs are refused in this version.
"""

import base64
import binascii
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from cropvlm_core.errors import SourceError, shorten

MAX_BYTES = 20 * 2**20
"""The most bytes one reference may hold (20 MiB)."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_DATA_HEAD = re.compile(r"data:([^,]{0,200}),", re.IGNORECASE)
_FILE_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_CHUNK = 2**20


def read_reference(
    reference: str | os.PathLike[str],
    *,
    roots: Sequence[str | os.PathLike[str]] | None = None,
    urls: bool = False,
) -> bytes:
    """Read the bytes behind a path or a ``data:`` URI.

    Args:
        reference: a path, or ``data:image/...;base64,...``.
        roots: folders a path must lie under; None where a person typed the path. Relative paths
            are then meant from the roots, in their order.
        urls: reserved; this version reads no URL in either case.

    Raises:
        SourceError: refused, missing, no regular file, or more than 20 MiB.
    """
    text = os.fspath(reference)
    if isinstance(reference, str):
        if is_data_uri(text):
            return read_data_uri(text)
        if match := _SCHEME.match(text):
            hint = " (this version reads no URLs: download the image first)" if urls else ""
            raise SourceError(
                f"expected a path or a data: URI, got a {match[1][:20]} URL{hint}: {shorten(text)}"
            )
    if not text:
        raise SourceError("expected a path or a data: URI, got an empty text")
    try:
        descriptor = os.open(text, _FILE_FLAGS) if roots is None else _open_under(text, roots)
    except (OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        cause = error.strerror if isinstance(error, OSError) and error.strerror else "no valid path"
        raise SourceError(f"expected a readable image file, got {shorten(text)}: {cause}") from None
    try:
        return _read_regular(descriptor, text, one_link=roots is not None)
    finally:
        os.close(descriptor)


def is_data_uri(text: str) -> bool:
    """Whether ``text`` is meant as a ``data:`` URI and not as a path."""
    return text[:5].lower() == "data:"


def read_data_uri(uri: str) -> bytes:
    """Read the bytes of ``data:image/...;base64,...``.

    No message repeats the data: it may end in a log.

    Raises:
        SourceError: another kind of data: URI, broken base64, or more than 20 MiB.
    """
    match = _DATA_HEAD.match(uri)
    head = match[1].lower().replace(" ", "") if match else ""
    if match is None or not head.startswith("image/") or not head.endswith(";base64"):
        start = uri[: match.end()] if match else uri[:5]
        raise SourceError(f"expected data:image/...;base64,..., got {shorten(f'{start}...')}")
    return read_base64(uri[match.end() :])


def read_base64(text: str | bytes) -> bytes:
    """Read bytes written in base64, without line breaks.

    Raises:
        SourceError: broken base64, or more than 20 MiB.
    """
    if len(text) <= (MAX_BYTES + 2) // 3 * 4:
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise SourceError(
                f"expected valid base64, got {len(text)} characters that are not"
            ) from None
        if len(data) <= MAX_BYTES:
            return data
    raise SourceError(f"expected at most {MAX_BYTES} bytes, got more in {len(text)} base64 digits")


def _read_regular(descriptor: int, text: str, *, one_link: bool) -> bytes:
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        kind = "a folder" if stat.S_ISDIR(facts.st_mode) else "something that is no regular file"
        raise SourceError(f"expected an image file, got {kind}: {shorten(text)}")
    if one_link and facts.st_nlink != 1:
        raise SourceError(f"expected a file with a single name, got a hard link: {shorten(text)}")
    chunks: list[bytes] = []
    length = 0
    while True:
        try:
            chunk = os.read(descriptor, min(_CHUNK, MAX_BYTES + 1 - length))
        except OSError as error:
            raise SourceError(
                f"expected a readable image file, got {shorten(text)}: {error.strerror}"
            ) from None
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        length += len(chunk)
        if length > MAX_BYTES:
            raise SourceError(f"expected at most {MAX_BYTES} bytes, got more: {shorten(text)}")


def _open_under(text: str, roots: Sequence[str | os.PathLike[str]]) -> int:
    """Open ``text`` below the first root that has it, following no link below the root."""
    wanted = Path(text)
    if ".." in wanted.parts:
        raise SourceError(f"expected a path without '..', got {shorten(text)}")
    missing: OSError | None = None
    for root in roots:
        for base in dict.fromkeys((Path(root).absolute(), Path(root).resolve())):
            if wanted.is_absolute():
                if not wanted.is_relative_to(base):
                    continue
                parts = wanted.relative_to(base).parts
            else:
                parts = wanted.parts
            try:
                return _open_parts(base, parts)
            except OSError as error:
                missing = error
                break  # the second spelling of the same root has nothing else
    if isinstance(missing, FileNotFoundError):
        raise missing
    raise SourceError(
        f"expected a file under the allowed folders, reached without links, got {shorten(text)}"
    )


def _open_parts(base: Path, parts: Sequence[str]) -> int:
    if os.open not in os.supports_dir_fd:  # pragma: no cover - Windows has no openat
        target = base.joinpath(*parts).resolve()
        if not target.is_relative_to(base.resolve()):
            raise PermissionError
        return os.open(target, _FILE_FLAGS)
    folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1] if parts else ".", _FILE_FLAGS | _NO_LINK, dir_fd=folder)
    finally:
        os.close(folder)
