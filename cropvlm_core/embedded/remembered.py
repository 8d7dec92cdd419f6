"""Pages that were encoded lately: a further question about one does not encode it again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cropvlm_core.embedded.page_input import PageInput

_AT_ONCE = 1024 * 1024
"""Bytes of a page that are copied at once."""


@dataclass
class EncodedPage:
    """A prepared page and, once the network has run, its features (channels, rows, columns).

    ``key`` tells pages apart by what they show.
    """

    key: bytes
    prepared: PageInput
    features: NDArray[np.float32] | None = None


class RememberedPages:
    """The pages used last, by what they show, within a number of bytes. Safe between threads.

    Kept are features, not pictures.

    Args:
        most: bytes of features that are kept; 0 keeps none.
    """

    def __init__(self, most: int) -> None:
        """Start with none."""
        self.most = most
        self._bytes = 0
        self._pages: OrderedDict[bytes, EncodedPage] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many pages are kept."""
        return len(self._pages)

    def key(self, grey: Image.Image) -> bytes:
        """A SHA-256 of all that the policy sees of a page: its size and grey pixels.

        A picture that was drawn on since is thus another page. Empty where nothing is kept.
        """
        if not self.most:
            return b""
        width, height = grey.size
        told = hashlib.sha256(f"{width} {height} ".encode())
        rows = max(1, _AT_ONCE // width)
        for top in range(0, height, rows):
            told.update(grey.crop((0, top, width, min(height, top + rows))).tobytes())
        return told.digest()

    def find(self, key: bytes) -> EncodedPage | None:
        """The page, if it is kept."""
        with self._lock:
            page = self._pages.get(key)
            if page is not None:
                self._pages.move_to_end(key)
            return page

    def keep(self, page: EncodedPage) -> None:
        """Keep an encoded page, without its pixels; the ones unused for longest make room."""
        assert page.features is not None
        if page.features.nbytes > self.most:
            return
        with self._lock:
            if page.key in self._pages:
                return
            self._pages[page.key] = page
            self._bytes += page.features.nbytes
            while self._bytes > self.most:
                _, old = self._pages.popitem(last=False)
                assert old.features is not None
                self._bytes -= old.features.nbytes
