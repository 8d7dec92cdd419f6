"""ReplyCache: what a model replied, so that nothing is paid for twice, not even after a restart."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

from cropvlm_core.errors import SourceError, shorten


class ReplyCache:
    """Replies by key: the latest ones in memory, all of them in a file where one is named.

    The file is JSONL, ``{"key": ..., "reply": ...}``, and only ever appended to. Each reply is one
    write that begins and ends with a line break, so several processes may share the file, and a
    line that a crash tore costs no other line.

    Raises:
        SourceError: the file cannot be made or read.
    """

    def __init__(self, file: str | os.PathLike[str] | None = None, most: int = 100_000) -> None:
        """Hold at most ``most`` replies in memory, the latest used; ``file`` is made if missing."""
        if most < 1:
            raise ValueError(f"expected most >= 1, got {most}")
        self.file = None if file is None else Path(file)
        self.most = most
        self._held: OrderedDict[str, str] = OrderedDict()
        self._read = 0  # bytes of the file
        if self.file is not None:
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self.file.touch()
            except OSError as error:
                raise self._refused(error) from error
            self.refresh()

    def get(self, key: str) -> str | None:
        """Return the reply under ``key``, or None."""
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        return self._held[key]

    def add(self, key: str, reply: str) -> None:
        """Keep ``reply`` under ``key``."""
        self._hold(key, reply)
        if self.file is not None:
            # ASCII: neither lone surrogates nor exotic line breaks can spoil the file.
            line = f"\n{json.dumps({'key': key, 'reply': reply})}\n".encode("ascii")
            try:
                with self.file.open("ab", buffering=0) as stream:
                    stream.write(line)
            except OSError as error:
                raise self._refused(error) from error

    def refresh(self) -> None:
        """Read what the file has got since the last time, from whichever process."""
        if self.file is None:
            return
        try:
            with self.file.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size < self._read:
                    self._read = 0  # somebody cut it
                stream.seek(self._read)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break  # still being written, or torn
                    self._read += len(line)
                    self._hold_line(line)
        except OSError as error:
            raise self._refused(error) from error

    def _hold_line(self, line: bytes) -> None:
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError):
            return
        if isinstance(row, dict):
            key, reply = row.get("key"), row.get("reply")
            if isinstance(key, str) and isinstance(reply, str):
                self._hold(key, reply)

    def _hold(self, key: str, reply: str) -> None:
        self._held[key] = reply
        self._held.move_to_end(key)
        if len(self._held) > self.most:
            self._held.popitem(last=False)

    def _refused(self, error: OSError) -> SourceError:
        name = shorten(str(self.file))
        return SourceError(f"expected a file to keep replies in, got {name}: {error.strerror}")
