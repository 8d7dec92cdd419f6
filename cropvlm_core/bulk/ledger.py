"""Which question about which page has a row: keys by content, and who has them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from cropvlm_core.bulk.pages import Asked, AskedPage
from cropvlm_core.errors import DataError, shorten


class Ledger:
    """Keys that are taken, by rows on the disk or by work under way; 200 bytes of memory each.

    A key is a digest of the bytes of the image file, the number of the page and the question, so
    that a page that was changed is done again, and a whole folder can be moved. Of pages that are
    the same byte for byte, the first has that key, each other one a digest of its name behind it.

    ``counts``: rows by status, and as ``zoomed`` those with a crop.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the keys of the rows that are there.

        Raises:
            DataError: a row is not of a bulk job.
        """
        self.counts: Counter[str] = Counter()
        self._owners: dict[bytes, int] = {}
        for row in rows:
            try:
                self._owners[_packed(row["key"])] = _who(row["image"], row.get("id"))
                self.note(row)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"expected rows of a bulk job, got {shorten(row)}") from error

    def note(self, row: Mapping[str, Any]) -> None:
        """Count a row."""
        self.counts[row["status"]] += 1
        self.counts["zoomed"] += row["zoomed"]

    def claim(self, page: AskedPage, digest: str | None, asked: Asked) -> str | None:
        """Take the key of a question about a page.

        Args:
            page: the page.
            digest: of the bytes of its file; None if they could not be read.
            asked: the question.

        Returns:
            The key, or None: this question about this page has a row, or is under way.
        """
        content = [digest] if digest else ["unread", page.name]
        key = _digest(json.dumps([*content, page.page or 1, asked.question]).encode(), 16).hex()
        who = _who(page.name, asked.id)
        if self._owners.get(_packed(key), who) != who:
            key = f"{key}-{who:016x}"
        packed = _packed(key)
        if packed in self._owners:
            return None
        self._owners[packed] = who
        return key

    def release(self, key: str) -> None:
        """Give a key back that got no row."""
        del self._owners[_packed(key)]


def _packed(key: str) -> bytes:
    return bytes.fromhex(key.replace("-", ""))


def _who(name: str, id: str | None) -> int:  # noqa: A002 - as question sets call it
    return int.from_bytes(_digest(json.dumps([name, id]).encode(), 8))


def _digest(data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()
