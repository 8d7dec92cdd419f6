"""The weight file: where it is, whether it is whole, and which one it is."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from cropvlm_core.errors import WeightsError, shorten

WEIGHTS = "policy.onnx"
DIGEST = "policy.sha256"
"""The file in the wheel, and the one that holds its SHA-256, as ``sha256sum`` writes it."""

MAX_WEIGHTS = 64 * 1024 * 1024
"""The largest weight file that is read, bytes."""

MAX_SHIPPED = 12_000_000
"""The largest weight file that goes into the wheel, bytes."""

_FOLDER = Path(__file__).parent


def shipped_weights() -> Path:
    """The weight file in the wheel."""
    return _FOLDER / WEIGHTS


def read_weights(path: str | Path | None = None, sha256: str | None = None) -> tuple[bytes, str]:
    """The bytes of a weight file and their SHA-256.

    Args:
        path: None is the file in the wheel, whose SHA-256 is known.
        sha256: what it must be, 64 hexadecimal digits; None: not checked, unless it is known.

    Raises:
        WeightsError: the file is missing or too large, or it is another one.
    """
    file = shipped_weights() if path is None else Path(path)
    if path is None and sha256 is None:
        sha256 = shipped_digest()
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise WeightsError(f"expected a SHA-256 of 64 hexadecimal digits, got {shorten(sha256)}")
    content = _read(file)
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise WeightsError(
            f"expected weights with SHA-256 {sha256.lower()[:16]}..., got {found[:16]}...: "
            f"{shorten(file.name)} is damaged or another file"
            + ("; reinstall cropvlm" if path is None else "")
        )
    return content, found


def shipped_digest() -> str:
    """The SHA-256 of the file in the wheel, as ``scripts/release_weights.py`` wrote it.

    Raises:
        WeightsError: it is not there.
    """
    try:
        return (_FOLDER / DIGEST).read_text(encoding="ascii").split()[0]
    except (OSError, ValueError, IndexError) as error:
        raise WeightsError(
            f"expected the SHA-256 of the shipped weights in {DIGEST}, got {error!r}"
        ) from error


def _read(file: Path) -> bytes:
    try:
        if not file.is_file():
            raise WeightsError(f"expected a weight file, got {shorten(file.name)}: no such file")
        if file.stat().st_size > MAX_WEIGHTS:
            raise WeightsError(
                f"expected a weight file of at most {MAX_WEIGHTS} bytes, got {shorten(file.name)}"
            )
        return file.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"expected a weight file, got {shorten(file.name)}: {error.strerror}"
        ) from error
