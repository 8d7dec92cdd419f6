"""JSON with very long texts in it, written so that other threads run meanwhile."""

import json
import secrets
from collections.abc import Mapping
from typing import Any

_LONG = 2**18  # characters, written at once: a millisecond in which no other thread runs


def written(value: Any) -> bytes:
    """Return ``value`` as JSON in ASCII; what ``json.dumps`` gives, without spaces."""
    long: dict[str, str] = {}
    mark = f"cropvlm-{secrets.token_hex(16)}-"
    text = json.dumps(_shortened(value, mark, long), separators=(",", ":"))
    if not long:
        return text.encode("ascii")
    pieces: list[bytes] = []
    for piece in text.split(f'"{mark}'):
        if not pieces:
            pieces.append(piece.encode("ascii"))
            continue
        number, _, rest = piece.partition('"')
        pieces += [b'"', *_slices(long[number]), b'"', rest.encode("ascii")]
    return b"".join(pieces)


def _shortened(value: Any, mark: str, long: dict[str, str]) -> Any:
    """A copy in which a mark stands for each long text; the texts go into ``long``."""
    if isinstance(value, Mapping):
        return {key: _shortened(inner, mark, long) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(inner, mark, long) for inner in value]
    if not isinstance(value, str) or len(value) <= _LONG:
        return value
    number = str(len(long))
    long[number] = value
    return mark + number


def _slices(text: str) -> list[bytes]:
    starts = range(0, len(text), _LONG)
    return [json.dumps(text[start : start + _LONG])[1:-1].encode("ascii") for start in starts]
