"""Pages laid out from HTML and CSS: printed by WeasyPrint, drawn and read back by pdfium."""

from cropvlm_core.training.pages.html.boxed import boxed_form
from cropvlm_core.training.pages.html.ledgers import ledger
from cropvlm_core.training.pages.html.orders import booking
from cropvlm_core.training.pages.html.papers import paper
from cropvlm_core.training.pages.html.prices import price_list
from cropvlm_core.training.pages.html.slides import slide
from cropvlm_core.training.pages.html.specs import spec_sheet
from cropvlm_core.training.pages.html.timetables import timetable
from cropvlm_core.training.pages.html.web import web_page

__all__ = [
    "booking",
    "boxed_form",
    "ledger",
    "paper",
    "price_list",
    "slide",
    "spec_sheet",
    "timetable",
    "web_page",
]
