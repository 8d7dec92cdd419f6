"""Tables for a terminal: aligned columns, and how figures and names are written in them."""

from collections.abc import Sequence

from cropvlm_core.errors import shorten
from cropvlm_core.evaluation.statistics import Interval

_LONGEST_NAME = 40


def aligned(lines: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Columns as wide as their widest cell, the first ``left`` of them flush left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def share(value: Interval | None) -> str:
    """A share without its interval, such as ``81.3%``."""
    return "-" if value is None else f"{value.mean:.1%}"


def share_between(value: Interval | None) -> str:
    """A share with its interval in percent, where it has one."""
    if value is None or value.low is None or value.high is None or value.low == value.high:
        return share(value)
    return f"{value.mean:.1%} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def difference(value: Interval) -> str:
    """A difference of shares in points, with its interval where it has one."""
    points = f"{100 * value.mean:+.1f}"
    if value.low is None or value.high is None:
        return points
    return f"{points} [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"


def chance(p: float) -> str:
    """A p-value."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def name(text: str) -> str:
    """A name out of the data: as it is, where it cannot disturb a terminal or a table."""
    plain = text.isprintable() and len(text) <= _LONGEST_NAME
    return (text or "-") if plain else shorten(text, _LONGEST_NAME)
