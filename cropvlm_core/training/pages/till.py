"""What till receipts say, and the till that prints them line by line."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import ImageFont

from cropvlm_core.training.pages.fonts import Face
from cropvlm_core.training.pages.sheet import Sheet, Span, line_height

TITLES = (
    "TAX INVOICE|Tax Invoice|INVOICE|RECEIPT|Receipt|CASH RECEIPT|Simplified Tax Invoice|CASH BILL|"
    "BILL|OFFICIAL RECEIPT|SALES RECEIPT|Rechnung|Quittung|FACTURE|Ticket|FACTURA SIMPLIFICADA|"
    "Scontrino|Cash Sales|Duplicate|Guest Check|ORDER|SALES SLIP|Kassenbon|Resit"
).split("|")
TOTALS = (
    "TOTAL|Total|TOTAL|Total|Grand Total|GRAND TOTAL|Total Amount|Amount Due|TOTAL DUE|Net Total|"
    "NET TOTAL|Total Payable|Total Sales|Total (RM)|Total RM|Total Inclusive of GST|"
    "Total Sales (Inclusive of GST)|Total Amt Incl. GST @ 6%|Total Incl. Tax|Total incl. VAT|"
    "Rounded Total|Total Rounded|Total After Rounding|Nett Total|BALANCE DUE|Bill Total|Amount|"
    "Total Amount (RM)|Summe|SUMME EUR|Gesamtbetrag|Total TTC|TOTAL A PAGAR|Totale|TOTALE EURO|"
    "Jumlah|JUMLAH|Total to pay|Payable|Total Sale|Invoice Total|Totaal|Total Amount Payable|"
    "Total Inc GST|TOTAL INCL GST|Net Amount|Nett Amount|Total Due|AMOUNT DUE|Total :"
).split("|")
SUBTOTALS = (
    "Subtotal|SUBTOTAL|Sub Total|Sub-Total|SUB TOTAL|Total Excl. GST|Total (Excluding GST)|"
    "Total Excluding Tax|Net|Zwischensumme|Sous-total|Subtotale|Gross Amount|Total Sales (Excluding GST)|"
    "Taxable Amount|Total before tax|Item Total|Total HT"
).split("|")
TAXES = (
    "GST 6%|GST @6%|Tax|TAX|VAT 20%|VAT|Service Tax 6%|Sales Tax|GST|MwSt 19%|TVA 20%|IVA 21%|"
    "Total GST|Total Tax|SST 6%|Tax 8.25%|Incl. VAT|GST Amount|BTW"
).split("|")
SERVICES = "Service Charge 10%|Svc Chg 10%|S/C 10%|Service|Tip|Delivery|Bag fee".split("|")
DISCOUNTS = "Discount|DISCOUNT|Total Discount|Member Disc|Rabatt|Savings|You saved|Voucher".split(
    "|"
)
ROUNDINGS = "Rounding|Rounding Adj|Rounding Adjustment|ROUNDING ADJ.|Rounding Adj :|Rnd".split("|")
CASH = (
    "CASH|Cash|Cash Received|CASH TENDERED|Tendered|Amount Tendered|VISA|MASTERCARD|Credit Card|"
    "Payment|Paid|Bar|Espèces|Efectivo|Contanti|Tunai|Debit|AMEX|Card|Received|E-Wallet|BAR EUR"
).split("|")
CHANGES = "CHANGE|Change|Change Due|Balance|Rückgeld|Rendu|Cambio|Baki|Resto|Wisselgeld".split("|")
DATES = "Date|DATE|Date :|Date:|Inv Date|Bill Date|Datum|Fecha|Data|Tarikh|Invoice Date|Dt".split(
    "|"
)
TIMES = "Time|TIME|Time :|Uhrzeit|Heure|Hora|Masa".split("|")
NUMBERS = (
    "Invoice No|Inv No.|Receipt No|Receipt #|Bill No|Doc No.|Trx No|Check No|Invoice#|Ref No|"
    "Slip No.|Order No|Bon-Nr.|Document No|Trans#|INV|Tax Inv No"
).split("|")
CASHIERS = (
    "Cashier|CASHIER|Served by|Staff|Operator|User|Sales Person|Bediener|Server|Kassier".split("|")
)
TAX_IDS = (
    "GST Reg No|GST ID|GST No.|VAT No|VAT Reg No|Tax ID|USt-IdNr.|Co. Reg. No|ROC No|TIN|ABN".split(
        "|"
    )
)
EXTRAS = (
    "Table|Pax|Terminal|Till|POS|Counter|Member|Order|Queue No|Salesperson|Station|Store|Session|Pump"
).split("|")
PHONES = "Tel|TEL|Phone|Tel No.|Tel :|Contact|Hotline|T|Telefon|Fax".split("|")
FOOTERS = (
    "Thank you, please come again|THANK YOU|Goods sold are not refundable|Exchange within 7 days with "
    "receipt|Have a nice day|No refund. Keep this receipt|Vielen Dank für Ihren Einkauf|Merci de votre "
    "visite|Please keep this total for your records|This is a computer generated receipt|Follow us|"
    "Customer copy|*** DUPLICATE ***|Prices are inclusive of tax|Total satisfaction guaranteed|"
    "Date of exchange: 3 days|Barang yang dijual tidak boleh dikembalikan|www.{w}.com|Wifi: {w}{n}|"
    "E&OE|Powered by {w} POS|Closed on Sunday|Signature|Join our member club and save"
).split("|")


@dataclass
class Till:
    """State of one receipt while it is printed from top to bottom."""

    sheet: Sheet
    rng: random.Random
    face: Face
    size: int
    margin: int
    y: float
    money: Callable[[int], str]
    leading: float
    ink: int
    shown: dict[str, list[tuple[str, Span]]] = field(default_factory=dict)
    day: str | None = None

    @property
    def right(self) -> float:
        """The x where the right margin begins."""
        return self.sheet.width - self.margin

    def font(self, scale: float = 1.0) -> ImageFont.FreeTypeFont:
        """The receipt's type, larger by ``scale``."""
        return self.face.at(max(7, round(self.size * scale)))

    def step(self, scale: float = 1.0) -> None:
        """Go down by a line."""
        self.y += line_height(self.font(scale)) * self.leading

    def gap(self, low: float = 0.2, high: float = 1.2) -> None:
        """Leave a random gap, in multiples of the type size."""
        self.y += self.size * self.rng.uniform(low, high)

    def note(self, what: str, text: str, span: Span) -> None:
        """Remember what was printed where, to ask for it later."""
        self.shown.setdefault(what, []).append((text, span))

    def put(self, x: float, text: str, *, align: str = "left", scale: float = 1.0) -> Span:
        """Print at the current height; ``align`` says what ``x`` is."""
        return self.sheet.text(x, self.y, text, self.font(scale), ink=self.ink, align=align)

    def separator(self) -> None:
        """A line of signs, a rule, or a gap."""
        draw = self.rng.random()
        if draw < 0.45:
            mark = self.rng.choice("-=*_.~")
            count = int((self.right - self.margin) / max(1.0, self.font().getlength(mark)))
            self.sheet.draw.text(
                (self.margin, self.y), mark * count, fill=self.ink, font=self.font()
            )
            self.step(0.9)
        elif draw < 0.7:
            self.y += self.size * 0.4
            self.sheet.rule(self.y, self.margin, self.right, ink=self.ink)
            self.y += self.size * 0.4
        else:
            self.gap()
