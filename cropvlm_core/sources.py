"""Which reference may be read, and by whom: the only place that turns a path or URL into bytes.

Two callers (see ARCHITECTURE.md): a *user* typed the reference (``roots=None``): any regular file.
A *model* wrote it (``roots=`` given): only a file below one of the roots, through no symbolic
link, with no second hard link. URLs are read for neither, unless ``urls=True`` switches them on.
"""

import base64
import binascii
import io
import os
import re
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cropvlm_core.errors import SourceError, shorten
from cropvlm_core.fetch.url import NAME_LENGTH, shown

MAX_BYTES = 20 * 2**20
"""The most bytes one reference may hold (20 MiB)."""

MAX_PATH = 4096
"""The most characters of a path."""

Roots = Sequence[str | os.PathLike[str]]
"""Folders below which files may be read."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_DATA_HEAD = re.compile(r"data:([^,]{0,200}),", re.IGNORECASE)
_FILE_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_CHUNK = 2**20
_DIGITS = 2**20  # of base64, decoded at once; four of them are three bytes


@dataclass(frozen=True)
class Allowed:
    """What the references of one caller may lead to, besides ``data:`` URIs.

    ``roots``: folders below which files may be read; None where a person typed the path, or the
    program put it there: any file. ``urls``: whether images are fetched from the internet.
    """

    roots: tuple[str, ...] | None = ()
    urls: bool = False

    @classmethod
    def of(cls, roots: Roots | None, urls: bool, *, typed: bool = False) -> "Allowed":
        """Check what a caller was set up with; relative roots are meant from here and now.

        Without ``roots`` no file may be read, unless the references are ``typed``: then any.

        Raises:
            TypeError: ``roots`` is no list, or ``urls`` neither True nor False.
            ValueError: a root is the empty text, as of a setting that is missing.
        """
        if not isinstance(urls, bool):
            raise TypeError(f"expected urls as True or False, got {shorten(urls)}")
        if urls:
            _warn_of_old_decoders()
        if roots is None:
            return cls(None if typed else (), urls)
        return cls(tuple(str(root.absolute()) for root in _checked_roots(roots)), urls)

    @property
    def references(self) -> bool:
        """Whether anything may be read but ``data:`` URIs."""
        return self.urls or self.roots is None or bool(self.roots)

    def read(self, reference: str | os.PathLike[str]) -> bytes:
        """Read a reference; see :func:`read_reference`."""
        return read_reference(reference, roots=self.roots, urls=self.urls)


NO_REFERENCE = Allowed()
"""For what a model wrote, as long as nothing else was said."""

ANY_PATH = Allowed(roots=None)
"""For what the program itself wrote, as long as nothing else was said."""


def read_reference(
    reference: str | os.PathLike[str], *, roots: Roots | None = None, urls: bool = False
) -> bytes:
    """Read the bytes behind a path, a ``data:`` URI or a URL.

    Args:
        reference: a path, ``data:image/...;base64,...``, or an http or https URL.
        roots: folders a path must lie under; None where a person typed the path. Relative paths
            are then meant from the roots, in their order.
        urls: fetch URLs, from public addresses only; see :func:`cropvlm_core.fetch.fetcher.fetch`.

    Raises:
        SourceError: refused, missing, no regular file, or more than 20 MiB.
        DeadlineError: a URL that was not read within 10 seconds.
        TypeError, ValueError: ``roots`` is no list of folders; see :meth:`Allowed.of`.
    """
    text = reference if isinstance(reference, str) else _path_text(reference)
    if isinstance(reference, str):
        if is_data_uri(text):
            return read_data_uri(text)
        if scheme := _SCHEME.match(text):
            return _read_url(text, scheme[1], urls=urls)
    if not text:
        raise SourceError("expected a path or a data: URI, got an empty text")
    folders = None if roots is None else _checked_roots(roots)
    if len(text) > MAX_PATH:
        raise SourceError(f"expected a path of at most {MAX_PATH} characters, got {_named(text)}")
    try:
        descriptor = os.open(text, _FILE_FLAGS) if folders is None else _open_under(text, folders)
    except (OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        cause = error.strerror if isinstance(error, OSError) and error.strerror else "no valid path"
        raise SourceError(f"expected a readable image file, got {_named(text)}: {cause}") from None
    try:
        return _read_regular(descriptor, text, one_link=roots is not None)
    finally:
        os.close(descriptor)


def is_url(text: str) -> bool:
    """Whether ``text`` is meant as a URL of any kind and not as a path."""
    return _SCHEME.match(text) is not None


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
            data = _decoded(text)
        except (binascii.Error, ValueError):
            raise SourceError(
                f"expected valid base64, got {len(text)} characters that are not"
            ) from None
        if len(data) <= MAX_BYTES:
            return data
    raise SourceError(f"expected at most {MAX_BYTES} bytes, got more in {len(text)} base64 digits")


def check_decoders() -> None:
    """Refuse to fetch strangers' files in a server whose decoders have known critical holes.

    Raises:
        SourceError: Pillow is older than 13.0.
    """
    if old := _old_decoders():
        raise SourceError(f"expected Pillow 13 or newer for URLs in a server, got {old}")


def _old_decoders() -> str | None:
    """The version of Pillow, where a newer one closes critical holes in its decoders."""
    import PIL

    return PIL.__version__ if int(PIL.__version__.partition(".")[0]) < 13 else None


def _decoded(text: str | bytes) -> bytes:
    """Decode in slices, so that other threads run in between: 20 MiB take 80 ms."""
    data = io.BytesIO()  # what was written is handed out without a second copy
    padding = "=" if isinstance(text, str) else b"="
    for start in range(0, len(text), _DIGITS):
        part = text[start : start + _DIGITS]
        if start + _DIGITS < len(text) and padding in part:  # type: ignore[operator]
            raise ValueError
        data.write(base64.b64decode(part, validate=True))
    return data.getvalue()


def _warn_of_old_decoders() -> None:
    if old := _old_decoders():
        warnings.warn(
            f"urls=True hands strangers' files to Pillow {old}; 13.0 closes critical "
            "holes in its decoders: pip install --upgrade pillow",
            UserWarning,
            stacklevel=3,
        )


def _named(text: str) -> str:
    return shorten(text, NAME_LENGTH)


def _path_text(reference: object) -> str:
    text = os.fspath(reference) if isinstance(reference, os.PathLike) else None
    if not isinstance(text, str):
        kind = type(reference).__name__
        raise SourceError(f"expected a path, a data: URI or a URL as text, got {kind}")
    return text


def _read_url(text: str, scheme: str, *, urls: bool) -> bytes:
    if urls:
        from cropvlm_core.fetch.fetcher import fetch

        return fetch(text, MAX_BYTES)
    raise SourceError(
        f"expected a path or a data: URI, got a {scheme[:10]} URL, and URLs are off: {shown(text)}"
    )


def _read_regular(descriptor: int, text: str, *, one_link: bool) -> bytes:
    facts = os.fstat(descriptor)
    _check_kind(facts.st_mode, text)
    if facts.st_size > MAX_BYTES:
        raise SourceError(f"expected at most {MAX_BYTES} bytes, got more: {_named(text)}")
    if one_link and facts.st_nlink != 1:
        raise SourceError(f"expected a file with a single name, got a hard link: {_named(text)}")
    data = io.BytesIO()
    while True:
        try:
            chunk = os.read(descriptor, min(_CHUNK, MAX_BYTES + 1 - data.tell()))
        except OSError as error:
            raise SourceError(
                f"expected a readable image file, got {_named(text)}: {error.strerror}"
            ) from None
        if not chunk:
            return data.getvalue()
        data.write(chunk)
        if data.tell() > MAX_BYTES:
            raise SourceError(f"expected at most {MAX_BYTES} bytes, got more: {_named(text)}")


def _check_kind(mode: int, text: str) -> None:
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "something that is no regular file"
        raise SourceError(f"expected an image file, got {kind}: {_named(text)}")


def _checked_roots(roots: object) -> list[Path]:
    """A text among the sequences would be its letters, and the empty text the current folder."""
    if not isinstance(roots, list | tuple) or not all(
        isinstance(root, str | os.PathLike) for root in roots
    ):
        raise TypeError(f"expected roots as a list of folders, got {shorten(roots)}")
    if "" in roots:
        raise ValueError("expected folders as roots, got an empty text among them")
    return [Path(root) for root in roots]


def _open_under(text: str, roots: Sequence[Path]) -> int:
    """Open ``text`` below the first root that has it, following no link below the root."""
    wanted = Path(text)
    if ".." in wanted.parts:
        raise SourceError(f"expected a path without '..', got {_named(text)}")
    missing: OSError | None = None
    for root in roots:
        for base in dict.fromkeys((root.absolute(), root.resolve())):
            if wanted.is_absolute():
                if not wanted.is_relative_to(base):
                    continue
                parts = wanted.relative_to(base).parts
            else:
                parts = wanted.parts
            try:
                return _open_parts(base, parts, text)
            except OSError as error:
                missing = error
                break  # the second spelling of the same root has nothing else
    if isinstance(missing, FileNotFoundError):
        raise missing
    raise SourceError(
        f"expected a file under the allowed folders, reached without links, got {_named(text)}"
    )


def _open_parts(base: Path, parts: Sequence[str], text: str) -> int:
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
        last = parts[-1] if parts else "."
        mode = os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISLNK(mode):  # which opening refuses
            _check_kind(mode, text)  # as opening a device may set it going
        return os.open(last, _FILE_FLAGS | _NO_LINK, dir_fd=folder)
    finally:
        os.close(folder)
