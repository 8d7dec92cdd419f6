"""Which question about which page has a row: keys by content, and who has them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cropvlm_core.bulk.pages import Asked, AskedPage
from cropvlm_core.errors import DataError, shorten


class Ledger:
    """Keys that are taken, by rows on the disk or by work under way; 200 bytes of memory each.

    A key is a digest of the bytes of the image file, the number of the page and the question, so
    that a page that was changed is done again, and a whole folder can be moved. Of pages that are
    the same byte for byte, the first has that key, each other one a digest of its name behind it.

    ``counts``: rows by status, and as ``zoomed`` those with a crop. ``deaths``: how many of those
    who run workers died at what was claimed last; here they do not.
    """

    deaths = 0

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the keys of the rows that are there.

        Raises:
            DataError: a row is not of a bulk job.
        """
        self.counts: Counter[str] = Counter()
        self._owners: dict[bytes, int] = {}
        for row in rows:
            try:
                self._owners[packed(row["key"])] = who_of(row["image"], row.get("id"))
                self.note(row)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"expected rows of a bulk job, got {shorten(row)}") from error

    def note(self, row: Mapping[str, Any]) -> None:
        """Count a row."""
        self.counts[row["status"]] += 1
        self.counts["zoomed"] += row["zoomed"]

    def claim(
        self, page: AskedPage, digest: str | None, asked: Sequence[Asked]
    ) -> dict[str, Asked]:
        """Take the keys of questions about a page.

        Args:
            page: the page.
            digest: of the bytes of its file; None if they could not be read.
            asked: the questions.

        Returns:
            Those that have no row and are not under way, by their keys.
        """
        taken: dict[str, Asked] = {}
        for each in asked:
            who = who_of(page.name, each.id)
            key = key_of(page, digest, each, who, self._owners)
            if packed(key) not in self._owners:
                self._owners[packed(key)] = who
                taken[key] = each
        return taken

    def release(self, keys: Iterable[str]) -> None:
        """Give keys back that got no row."""
        for key in keys:
            del self._owners[packed(key)]


def key_of(
    page: AskedPage, digest: str | None, asked: Asked, who: int, owners: Mapping[bytes, int]
) -> str:
    """Return the key of a question about a page; ``owners``: who has which key."""
    content = [digest] if digest else ["unread", page.name]
    key = _digest(json.dumps([*content, page.page or 1, asked.question]).encode(), 16).hex()
    return key if owners.get(packed(key), who) == who else f"{key}-{who:016x}"


def packed(key: str) -> bytes:
    """Return a key as the bytes that it spells."""
    return bytes.fromhex(key.replace("-", ""))


def who_of(name: str, id: str | None) -> int:  # noqa: A002 - as question sets call it
    """Return what tells pages apart that are the same byte for byte, 0 .. 2**64 - 1."""
    return int.from_bytes(_digest(json.dumps([name, id]).encode(), 8))


def _digest(data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()
