"""Figures and names as the page says them; everything that comes out here is safe HTML."""

import html
import math
from collections.abc import Mapping

Interval = Mapping[str, float]
"""``{"mean", "low", "high"}``: an estimate and its 95 % interval, shares or differences of them."""

BASELINE = "no crop"
"""The view that every gain is counted from."""

NOTHING = '<span class="none" title="not known or not applicable">–</span>'

REASONS = {
    "no_zoom_needed": "the cropper said that no zoom is needed",
    "low_confidence": "the cropper was not sure enough",
    "unreadable": "the cropper's reply was unreadable",
    "timed_out": "the cropper took too long",
}
"""Why the whole page was used, by ``reason`` of a row."""

_METRICS = {
    "exact_match": "right when it is a right answer letter by letter, case and spaces apart",
    "anls": "the similarity of its letters to a right answer, 0 below one half",
    "vqa_accuracy": "the share of agreement with ten people's answers",
    "mixed_accuracy": "agreement with ten people where ten answered, else similarity of letters",
    "relaxed_accuracy": "right when it is a right answer, numbers within 5 %",
    "contains": "right when at least 80 % of a right answer's letters stand in it",
    "contains_exactly": "right when a right answer stands in it letter by letter",
    "multiple_choice": "right when it names the right option",
}


def text(value: object) -> str:
    """Return any value as HTML text, also good inside a quoted attribute."""
    return html.escape(str(value)).replace("\0", "\N{REPLACEMENT CHARACTER}")


def name(value: object, limit: int = 120) -> str:
    """Return a name of the data (a view, set, field) as HTML that cannot mix with its surroundings.

    ``<bdi>`` keeps letters that run from right to left, and marks that turn the reading order,
    inside the name.
    """
    plain = str(value)
    plain = plain if len(plain) <= limit else plain[: limit - 1] + "…"
    return f"<bdi>{text(plain)}</bdi>"


def metric_words(metric: str) -> str | None:
    """Say in words when an answer counts, or None for a metric that is not ours."""
    return _METRICS.get(metric)


def known(value: object) -> float | None:
    """Return a finite number as a float, everything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def share(value: object, digits: int = 1) -> str:
    """Return a share 0..1 as percent: ``82.1 %``."""
    number = known(value)
    return NOTHING if number is None else f"{_signed(number * 100, digits)}&nbsp;%"


def points(value: object, digits: int = 1) -> str:
    """Return a difference of shares as points with its sign: ``+3.4``."""
    number = known(value)
    return NOTHING if number is None else _signed(number * 100, digits, plus=True)


def interval(value: Interval | None, *, difference: bool = False) -> str:
    """Return an estimate with its 95 % interval, small: ``82.1 % 78.0 – 85.6``."""
    if not value or known(value.get("mean")) is None:
        return NOTHING
    mean = points(value["mean"]) if difference else share(value["mean"])
    low, high = known(value.get("low")), known(value.get("high"))
    if low is None or high is None:
        return mean
    ends = " to ".join(_signed(end * 100, 1, plus=difference) for end in (low, high))
    return f'{mean} <small class="interval">{ends}</small>'


def bounds(value: Interval) -> str:
    """Return the interval of a difference in a sentence: ``95 % interval +1.0 to +5.2``."""
    ends = [points(value.get(end)) for end in ("low", "high")]
    return f"95&nbsp;% interval {ends[0]} to {ends[1]}"


def chance(value: object) -> str:
    """Return a p-value: ``0.012``."""
    number = known(value)
    if number is None:
        return NOTHING
    return "&lt;&nbsp;0.001" if number < 0.001 else f"{number:.3f}"


def times(value: Mapping[str, float] | None) -> str:
    """Return milliseconds, the median and the 95th percentile, in ms or s."""
    median = known((value or {}).get("median"))
    if value is None or median is None:
        return NOTHING
    slow = known(value.get("p95"))
    tail = "" if slow is None else f' <small class="interval">95&nbsp;% in {_span(slow)}</small>'
    return _span(median) + tail


def count(value: object) -> str:
    """Return a whole number with thousands apart."""
    number = known(value)
    return NOTHING if number is None else _signed(number, 0)


def amount(value: object, *, plus: bool = False) -> str:
    """Return a mean of something countable: one decimal while it is small."""
    number = known(value)
    if number is None:
        return NOTHING
    return _signed(number, 1 if abs(number) < 100 else 0, plus=plus)


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return ``1 question``, ``2 questions``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _span(milliseconds: float) -> str:
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.1f}&nbsp;s"
    digits = 1 if milliseconds < 10 else 0
    return f"{milliseconds:.{digits}f}&nbsp;ms"


def _signed(number: float, digits: int, *, plus: bool = False) -> str:
    rounded = round(number, digits) + 0.0  # no minus before zero
    sign = "−" if rounded < 0 else "+" if plus and rounded > 0 else ""
    return f"{sign}{abs(rounded):,.{digits}f}"
