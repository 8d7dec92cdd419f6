"""Where a page is cut: every rule about the size and the place of crops, for ``Zoom.follow``."""

from cropvlm_core.box import Box, Pixels
from cropvlm_core.cropper import Proposal, ZoomRules
from cropvlm_core.overlap import beside
from cropvlm_core.questions import HIT_SHARE


def cuts(
    proposal: Proposal,
    size: tuple[int, int],
    rules: ZoomRules,
    *,
    max_crops: int = 1,
    min_confidence: float = 0.0,
) -> list[tuple[Pixels, float | None]]:
    """Where :meth:`Zoom.follow` cuts a page of ``size``: pixels and confidence of each crop."""
    found: list[tuple[Pixels, float | None]] = []
    for box, place, confidence in zip(
        proposal.boxes, proposal.places, proposal.confidences, strict=True
    ):
        if len(found) == max_crops:
            break
        if confidence is not None and confidence < min_confidence:
            continue
        earlier = [pixels for pixels, _ in found]
        pixels = grown(box, size, rules).to_pixels(size)
        if pixels == (0, 0, *size) or any(
            place.covered_by(Box.from_pixels(one, size)) >= HIT_SHARE for one in earlier
        ):
            continue
        at = beside(
            pixels,
            place.to_pixels(size),
            earlier,
            size,
            least=rules.min_pixels,
            max_aspect=rules.max_aspect,
        )
        if at is not None:
            found.append((at, confidence))
    return found


def grown(box: Box, size: tuple[int, int], rules: ZoomRules) -> Box:
    """Grow ``box`` about its centre by the rules, then shift it inside the page."""
    page_width, page_height = size
    width = max(box.width * rules.grow[0], rules.min_width, rules.min_pixels / page_width)
    height = max(box.height * rules.grow[1], rules.min_height, rules.min_pixels / page_height)
    width, height = min(width, 1.0), min(height, 1.0)
    if rules.max_aspect is not None:
        pixel_width, pixel_height = width * page_width, height * page_height
        width = max(width, pixel_height / rules.max_aspect / page_width)
        height = max(height, pixel_width / rules.max_aspect / page_height)
        width, height = min(width, 1.0), min(height, 1.0)
    x, y = box.centre
    left = min(max(x - width / 2, 0.0), 1 - width)
    top = min(max(y - height / 2, 0.0), 1 - height)
    return Box(left, top, left + width, top + height)
