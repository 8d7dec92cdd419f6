"""Where pages and rows lie: on a disk by path, or in an object store by URI, through Apache Arrow.

``s3://``, ``gs://``, ``abfs://`` and ``hdfs://`` are Arrow's own; other schemes are those of
fsspec's packages that are installed. Keys come from the environment, as each store has it.
"""

from __future__ import annotations

import functools
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from cropvlm_core.errors import DataError, MissingExtraError, SourceError, shorten
from cropvlm_core.fetch.url import shown
from cropvlm_core.sources import MAX_BYTES, is_data_uri, is_url, read_reference

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_THE_WEB = ("http", "https", "ftp")  # whoever reads those is not a store, and needs other guards


def is_in_store(place: str) -> bool:
    """Whether a place is the URI of an object store, and no path of this machine."""
    return is_url(place) and not is_data_uri(place) and urlsplit(place).scheme.lower() != "file"


def local_path(place: str) -> str:
    """Return a path as it is, and that of a ``file://`` URI."""
    return unquote(urlsplit(place).path) if place[:7].lower() == "file://" else place


def file_system(place: str) -> tuple[FileSystem, str]:
    """Return the file system that a place lies in, and its path there.

    Args:
        place: a path, or a URI, whose path may be quoted as in URLs.

    Raises:
        DataError: there is no file system for it.
        MissingExtraError: pyarrow is not installed.
    """
    if not is_in_store(place):
        return _local(), os.path.abspath(local_path(place))  # noqa: PTH100
    parts = urlsplit(place)
    system, root = _store(parts.scheme.lower(), parts.netloc, parts.query)
    return system, root.rstrip("/") + unquote(parts.path).rstrip("/")


def _local() -> FileSystem:
    _check()
    from pyarrow import fs

    return fs.LocalFileSystem()


@functools.lru_cache(maxsize=64)
def _store(scheme: str, host: str, query: str) -> tuple[FileSystem, str]:
    """The file system of a bucket or host, which is connected to once, and its root there."""
    _check()
    import pyarrow
    from pyarrow import fs

    if scheme in _THE_WEB:
        raise DataError(f"expected a path or the URI of an object store, got a {scheme} URL")
    root = f"{scheme}://{host}/{'?' * bool(query)}{query}"
    try:
        found: tuple[FileSystem, str] = fs.FileSystem.from_uri(root)
        return found
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        return _of_fsspec(f"{scheme}://{host}/", scheme, error)
    except OSError as error:
        raise DataError(f"expected an object store, got {shown(root)}: {_said(error)}") from error


def _of_fsspec(root: str, scheme: str, error: Exception) -> tuple[FileSystem, str]:
    from pyarrow import fs

    try:
        import fsspec

        found, path = fsspec.core.url_to_fs(root)
    except (ImportError, ValueError, OSError):
        raise DataError(
            f"expected the URI of an object store that pyarrow or fsspec reads, got one of "
            f"{shorten(scheme)}: {_said(error)}"
        ) from error
    return fs.PyFileSystem(fs.FSSpecHandler(found)), path


def _check() -> None:
    if find_spec("pyarrow") is None:
        raise MissingExtraError("an object store", "ray")


def join(place: str, name: str) -> str:
    """Return the place of a file below a place."""
    if not is_in_store(place):
        return f"{place.rstrip('/')}/{name}"
    head, mark, query = place.partition("?")
    return f"{head.rstrip('/')}/{quote(name)}{mark}{query}"


def bare(place: str) -> str:
    """Return a place without what may be a key: a user's name, a query."""
    if not is_in_store(place):
        return place
    parts = urlsplit(place)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def read_source(source: str) -> bytes:
    """Read the bytes of a page: a path, a ``data:`` URI, or the URI of an object store.

    Raises:
        SourceError: missing, not readable, no regular file, or more than 20 MiB.
    """
    if not is_in_store(source):
        return read_reference(local_path(source))
    try:
        system, path = file_system(source)
        with system.open_input_stream(path) as stream:
            data: bytes = stream.read(MAX_BYTES + 1)
    except DataError as error:
        raise SourceError(str(error)) from error
    except OSError as error:
        raise SourceError(
            f"expected a readable image, got {shown(source)}: {_said(error)}"
        ) from None
    if len(data) > MAX_BYTES:
        raise SourceError(f"expected at most {MAX_BYTES} bytes, got more: {shown(source)}")
    return data


def _said(error: Any) -> str:
    return shorten(getattr(error, "strerror", None) or str(error), 120)
