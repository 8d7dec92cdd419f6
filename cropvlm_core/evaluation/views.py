"""Views: the ways of showing a page to the target that an evaluation compares.

A gain of "page and crop" over "page" alone proves little: a second picture, a picture of anything
else, or simply more pixels might have done as much. So every evaluation shows the page in all of
these ways, unless told otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cropvlm_core.box import Box, Pixels
from cropvlm_core.cropper import Proposal, Reason, ZoomRules
from cropvlm_core.errors import DataError, shorten
from cropvlm_core.evaluation.sight import Request, Sight
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.zoom import Crop, Zoom, ZoomPipeline

Kind = Literal["baseline", "control", "cropper", "shuffled", "crop_alone", "equal_cost", "ceiling"]

NO_CROP = "no crop"
PAGE_TWICE = "page twice"
CENTRE = "centre"
RANDOM = "random"
TRUE_BOX = "true box"
SHUFFLED = "shuffled"
CROP_ALONE = "crop alone"
EQUAL_COST = "equal cost"

OPTIONAL = (PAGE_TWICE, CENTRE, RANDOM, SHUFFLED, CROP_ALONE, EQUAL_COST, TRUE_BOX)
"""What an evaluation shows beside the croppers and the page alone, unless told otherwise."""

_TRUE_BOX_RULES = ZoomRules(grow=(1.2, 1.6))


@dataclass(frozen=True)
class View:
    """One way of showing a page.

    ``name``: unique in an evaluation. ``cropper``: the name of the cropper whose boxes it shows,
    None where it shows none.
    """

    name: str
    kind: Kind
    cropper: str | None = None


@dataclass(frozen=True)
class Proposed:
    """What a cropper said about one question, and the seconds it took, decoding apart."""

    proposal: Proposal
    seconds: float


@dataclass(frozen=True)
class Shown:
    """One view of one question.

    ``crops``: fractions of the page; none where the whole page is shown, and then ``reason`` says
    why a cropper wanted that. ``point``: centre of the best place proposed. ``request``: what the
    target is shown.
    """

    view: View
    crops: tuple[Box, ...]
    request: Request
    reason: Reason | None = None
    confidence: float | None = None
    point: tuple[float, float] | None = None
    crop_seconds: float | None = None


def views_of(
    croppers: Sequence[str], *, random: str = RANDOM, without: Sequence[str] = ()
) -> tuple[View, ...]:
    """Return the views of an evaluation, in the order in which they are reported.

    Args:
        croppers: names of the croppers to measure.
        random: name of the cropper behind the control ``random``.
        without: views of :data:`OPTIONAL` to leave out.

    Raises:
        DataError: ``without`` names something else.
    """
    if unknown := sorted(set(without) - set(OPTIONAL)):
        raise DataError(f"expected views of {list(OPTIONAL)} to leave out, got {shorten(unknown)}")
    names = dict.fromkeys(croppers)
    views = [View(NO_CROP, "baseline")]
    if PAGE_TWICE not in without:
        views.append(View(PAGE_TWICE, "control"))
    views += [
        View(name, "control", name)
        for key, name in ((CENTRE, CENTRE), (RANDOM, random))
        if key not in without and name not in names
    ]
    for name in names:
        views.append(View(name, "cropper", name))
        if SHUFFLED not in without:
            views.append(View(f"{name}, {SHUFFLED}", "shuffled", name))
        if CROP_ALONE not in without:
            views.append(View(f"{name}, {CROP_ALONE}", "crop_alone", name))
        if EQUAL_COST not in without:
            views.append(View(f"{name}, {EQUAL_COST}", "equal_cost", name))
    if TRUE_BOX not in without:
        views.append(View(TRUE_BOX, "ceiling"))
    return tuple(views)


def show(
    views: Sequence[View],
    asked: AnsweredQuestion,
    own: Mapping[str, Proposed],
    other: Mapping[str, Proposed],
    pipelines: Mapping[str, ZoomPipeline],
    sight: Sight,
) -> list[Shown]:
    """Return what each view shows of one opened question; views that do not apply are left out.

    Args:
        views: as :func:`views_of` gives.
        asked: the question, opened.
        own: by cropper, what it said about this question.
        other: by cropper, what it said about another one; empty where there is no other.
        pipelines: by cropper, how its boxes become crops.
        sight: how the target sees pictures.
    """
    page = asked.open()
    shown: list[Shown] = []
    for view in views:
        proposed = (other if view.kind == "shuffled" else own).get(view.cropper or "")
        if view.kind == "ceiling":
            if not asked.targets:
                continue
            zoom = Zoom.follow(asked, Proposal(asked.targets[:1]), rules=_TRUE_BOX_RULES)
            shown.append(_with_crops(view, zoom, None))
        elif view.cropper is None:
            copies = 2 if view.name == PAGE_TWICE else 1
            shown.append(Shown(view, (), Request((page,) * copies, (None,) * copies)))
        elif proposed is not None:
            pipeline = pipelines[view.cropper]
            zoom = pipeline.follow(asked, proposed.proposal)
            if view.kind == "equal_cost":
                edge = sight.edge_of_equal_cost(page, [crop.image for crop in zoom.crops])
                if edge is not None:
                    shown.append(Shown(view, (), Request((page,), (None,), edge), zoom.reason))
            else:
                shown.append(_with_crops(view, zoom, proposed))
    return shown


def _with_crops(view: View, zoom: Zoom, proposed: Proposed | None) -> Shown:
    pictures = tuple(crop.image for crop in zoom.crops)
    places: tuple[Pixels | None, ...] = tuple(crop.pixels for crop in zoom.crops)
    if view.kind != "crop_alone" or not pictures:
        pictures, places = (zoom.image, *pictures), (None, *places)
    first: Crop | None = zoom.crop
    pointed = zoom.proposal.places
    return Shown(
        view,
        tuple(crop.box for crop in zoom.crops),
        Request(pictures, places),
        zoom.reason,
        None if first is None else first.confidence,
        pointed[0].centre if pointed else None,
        None if proposed is None or view.kind == "shuffled" else proposed.seconds,
    )
