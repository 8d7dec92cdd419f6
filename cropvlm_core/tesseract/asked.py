"""What a question asks for, in words that may stand on a page: terms, kind of value, first letters.

General knowledge of how people ask in English, no fields of any kind of document. A label quoted in
another language still counts, word by word.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from cropvlm_core.tesseract.layout import plain_words

EMPTY = frozenset(
    """
    a about all an and any are as at be been being by can could did do does doing done extract find
    for from get give gives given got had has have here how i in indicated into is it its itself
    kindly let's listed locate look many me mentioned much must my named next of on or our out
    please read refer s say says see seen show shown shows stand stands state stated states tell
    tells than that the their them there these they thing this those to under up us value was we
    were what what's when where where's which who who's whom whose why will with within word words
    would write written you your appear appears belong belongs called contain contains displayed
    entry entered field identify provide provided put shall should take taken noted mark marked
    """.split()
)
"""Words that say nothing of what is looked for."""

_VAGUE = frozenset(
    """
    come comes column form go goes happen happened issue issued line made make name number paid
    place print printed record recorded row sell sent sign signed sold table took
    """.split()
)
"""Words that may be part of a label and seldom decide."""

_PAPERS = frozenset(
    """
    bill chart diagram document figure form graph image invoice letter order page paper photo
    photograph picture receipt scan screenshot sheet sign slip statement table ticket till
    """.split()
)
"""What a question is asked about: "the total of this bill" looks for no bill."""

_MOST_TERMS = 40  # of a question that is longer than any question
_LONGEST = 40  # letters of a word whose misreadings are looked for
_MONTH = r"(?:jan|feb|m[aä]r|apr|ma[yi]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-z]*\.?"

_FITS: dict[str, tuple[str, str]] = {  # certain, and possible with a label beside it
    "e-mail": (r"\S@\S", r"[a-z0-9]\.(?:com|org|net|co)\b"),
    "web address": (r"\bwww\b|https?:", r"[a-z0-9]\.[a-z]{2,4}\b"),
    "phone": (r"[+(]?[0-9](?:[\s()./-]{0,3}[0-9]){6,}", r"[0-9]{4}"),
    "date": (
        r"\b[0-9]{1,4}\s?[-/.]\s?(?:[0-9]{1,2}|[a-z]{3,9})\s?[-/.,]\s?[0-9]{2,4}\b"
        rf"|\b[0-9]{{1,2}}(?:st|nd|rd|th|\.)?\s*{_MONTH}\s*,?\s*[0-9]{{2,4}}\b"
        rf"|\b{_MONTH}\s*[0-9]{{1,2}}(?:st|nd|rd|th)?\s*,?\s*[0-9]{{2,4}}\b",
        r"[0-9]",
    ),
    "time": (r"\b[0-9]{1,2}\s?:\s?[0-9]{2}\b|\b[0-9]{1,2}(?:[.:][0-9]{2})?\s?[ap]m\b", r"[0-9]"),
    "percentage": (r"[0-9]\s?%", r"[0-9]"),
    "amount": (r"[0-9][.,][0-9]{2}(?![0-9])|(?:[$€£¥₹]|\b[a-z]{2,3})\s?[0-9]", r"[0-9]"),
    "number": (r"[0-9]{2}", r"[0-9]"),
    "address": (r"[0-9].*[^\W\d_]{3}|[^\W\d_]{3}.*[0-9]", r"[^\W\d_]{3}"),
}
_FITTING = {
    kind: tuple(re.compile(pattern, re.IGNORECASE) for pattern in both)
    for kind, both in _FITS.items()
}

_KINDS: tuple[tuple[str, re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (kind, re.compile(rf"\b(?:{words})\b", re.IGNORECASE), tuple(labels.split()))
    for kind, words, labels in (
        ("name", "who|whom|whose", "name"),
        ("e-mail", "e-?mails?", "email mail"),
        ("web address", "web ?sites?|urls?|home ?page", "web website www"),
        ("address", "address|located|location|street", "address"),
        ("phone", "(?:tele)?phones?|mobile|tel|fax|call", "tel telephone phone fax mobile"),
        ("percentage", "percent|percentage", "rate"),
        ("date", "dates?|dated|when|what day|which day|deadline", "date dated"),
        ("time", "what time|time|o'clock|hour", "time"),
        ("amount", "how much", "total amount"),
        ("number", "numbers?|no|nr|id|codes?|how many|count|quantity|how old|age", "no number"),
        (
            "amount",
            "amounts?|totals?|prices?|costs?|sums?|balance|fees?|pay|paid|payable|charged|"
            "subtotals?|discount|money",
            "total amount",
        ),
        ("heading", "titles?|headings?|headlines?|headed|(?:document|form|paper) called", "title"),
        (
            "name",
            "names?|called|(?:which|what) (?:business|company|firm|merchant|office|"
            "organi[sz]ation|restaurant|retailer|seller|shop|store|vendor)",
            "name",
        ),
    )
)

_BEGINS = re.compile(r"\b(?:begin|start)(?:s|n?ing)?\s+(?:with|in|by)\b\s*(.*)", re.IGNORECASE)
_ENDS = re.compile(r"\bend(?:s|ing)?\s+(?:with|in|on|by)\b\s*(.*)", re.IGNORECASE)
_QUOTES = "'\"‘’“”`«»"

_SHORT = {
    "number": {"no", "nr", "num", "nos", "#"},
    "quantity": {"qty", "qnty"},
    "amount": {"amt"},
    "account": {"acct", "ac", "acc"},
    "department": {"dept"},
    "telephone": {"tel", "ph", "phone"},
    "phone": {"tel", "ph", "telephone"},
    "reference": {"ref"},
    "percent": {"%"},
    "percentage": {"%"},
    "email": {"mail"},
    "company": {"co"},
}


@dataclass(frozen=True, slots=True)
class Term:
    """A word to look for, in small letters, and how much it counts (1: an ordinary word)."""

    word: str
    weight: float


@dataclass(frozen=True)
class Asked:
    """What a question looks for.

    Attributes:
        terms: its words, without those that every question has.
        kind: of value, such as ``date``; None: not told.
        labels: words that often stand beside such a value.
        letters: whether a word is one that begins, or ends, as asked; None: no such question.
    """

    terms: tuple[Term, ...]
    kind: str | None
    labels: tuple[str, ...]
    letters: Callable[[str], bool] | None

    @classmethod
    def of(cls, question: str) -> "Asked":
        """Take a question apart; any text will do."""
        told = unicodedata.normalize("NFKC", question)
        kind: str | None = None
        labels: tuple[str, ...] = ()
        for name, pattern, beside in _KINDS:
            if pattern.search(told):
                kind, labels = name, beside
                break
        return cls(_terms(told), kind, labels, _letters(told))

    def fits(self, text: str) -> float | None:
        """How well ``text`` holds a value of the kind asked for, 0..1; None: no telling."""
        if self.kind not in _FITTING:
            return None
        certain, possible = _FITTING[self.kind]
        if self.kind == "phone":
            text = _FITTING["date"][0].sub(" ", text)
        return 1.0 if certain.search(text) else 0.6 if possible.search(text) else 0.0


def _terms(question: str) -> tuple[Term, ...]:
    words = plain_words(question)
    told = [word for word in words if word not in EMPTY]
    weights: dict[str, float] = {}
    for at, word in enumerate(words):
        if word in EMPTY and told:
            continue
        before = words[at - 1] if at else ""
        weight = 0.3 if word in _VAGUE else 1.0
        if word in _PAPERS and before in ("this", "the", "that", "a"):
            weight = 0.15 if at == len(words) - 1 and len(told) > 1 else 0.4
        weights[word] = max(weight, weights.get(word, 0.0))
    heaviest = sorted(weights.items(), key=lambda item: -item[1])[:_MOST_TERMS]
    return tuple(Term(word, weight) for word, weight in heaviest)


def _letters(question: str) -> Callable[[str], bool] | None:
    for pattern, rule in ((_BEGINS, str.startswith), (_ENDS, str.endswith)):
        if match := pattern.search(question):
            rest = re.sub(r"^(?:the\s+)?(?:letters?\s+)?", "", match[1], flags=re.IGNORECASE)
            asked = rest.strip(f"{_QUOTES} ").split()
            wanted = "".join(plain_words(asked[0])) if asked else ""
            if wanted:
                return lambda word: (
                    bool(found := "".join(plain_words(word))) and rule(found, wanted)
                )
    return None


def alike(term: str, word: str) -> float:
    """How well a word of the page, in small letters, says ``term``: 0..1."""
    if term == word or word in _SHORT.get(term, ()):
        return 1.0
    short, long = sorted((term, word), key=len)
    more = len(long) - len(short)
    if len(short) < 3:
        return 0.0
    if long.startswith(short):  # "dates", "addr"; "tel", but not "the" of "then"
        if len(short) >= 4:
            return 0.9 if more <= 2 else 0.7 if short == word else 0.6
        return 0.7 if short == word and word not in EMPTY else 0.0
    if len(short) < 4 or more > 2 or len(long) > _LONGEST:
        return 0.0
    if short[:4] == long[:4] and len(short) >= 5:  # "issuing", "issued"
        return 0.75
    if short[0] != long[0] and short[-1] != long[-1]:
        return 0.0
    edits = _edits(short, long, 1 if len(long) < 8 else 2)
    return 0.0 if edits is None else 1 - edits / len(long)


def _edits(one: str, other: str, most: int) -> int | None:
    """The Levenshtein distance of two words, or None where it is above ``most``."""
    row = list(range(len(other) + 1))
    for count, letter in enumerate(one, 1):
        last, row[0] = row[0], count
        for at, against in enumerate(other, 1):
            last, row[at] = row[at], min(last + (letter != against), row[at] + 1, row[at - 1] + 1)
        if min(row) > most:
            return None
    return row[-1] if row[-1] <= most else None
