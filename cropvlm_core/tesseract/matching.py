"""From a question and a page's text to boxes: the label that the question names, and its value."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cropvlm_core.box import Box
from cropvlm_core.tesseract.asked import EMPTY, Asked, Term, alike
from cropvlm_core.tesseract.engine import Word
from cropvlm_core.tesseract.layout import Cell, PageText

_Found = tuple[Box, float]  # a box and its confidence

_MOST = 8  # boxes of a question
_LABELS, _LABELS_NEAR, _LABELS_CROSSING = 24, 60, 12  # that are looked at, best first
_ALIKE = 0.6  # above this a word of the page says a term
_HINT = 0.5  # what a usual label counts beside the question's own words
_HEAD_LINES = {"name": 4, "heading": 4, "address": 8}  # of a page's head that hold such a value
_HEAD = 0.65  # confidence that they do; measured on rendered pages, as the others below
_LOOSE = 0.4  # what a label counts whose value is not of the kind asked for
_ALONE = 0.45  # confidence in a value without a label
_BY_LETTERS = 0.8  # ... and in a word that begins or ends as asked


@dataclass(frozen=True)
class _Label:
    """The words ``start`` to ``end`` of a cell, which say part of the question.

    Attributes:
        found: of each term of the question said there, its share of the question's weight.
        recall: the sum of them, usual labels such as "date" included.
        purity: share of the label's words that the question names.
        near: what words close by add to the recall.
    """

    cell: Cell
    start: int
    end: int
    found: dict[int, float]
    recall: float
    purity: float
    near: float = 0.0

    @property
    def words(self) -> tuple[Word, ...]:
        return self.cell.words[self.start : self.end]

    @property
    def rest(self) -> tuple[Word, ...]:
        return self.cell.words[self.end :]

    @property
    def place(self) -> Cell:
        return Cell.of(self.words)

    @property
    def worth(self) -> float:
        return (self.recall + self.near) * (0.6 + 0.4 * self.purity)


def find_boxes(page: PageText, asked: Asked) -> list[_Found]:
    """Return boxes that hold what is asked, with confidences 0..1, best first."""
    if asked.letters is not None:
        words = [word for cell in page.cells for word in cell.words if asked.letters(word.text)]
        words.sort(key=lambda word: (len(word.text) < 2, word.top - word.bottom))  # large print
        boxes = [page.box([word]) for word in words[:_MOST]]
        return _ranked((box, _BY_LETTERS / (1 + 0.2 * at)) for at, box in enumerate(boxes))
    labels = _labels(page, asked)
    return _ranked(
        [
            *(_with_value(page, asked, label) for label in labels),
            *_crossings(page, labels[:_LABELS_CROSSING]),
            *_without_label(page, asked),
        ]
    )


def _ranked(found: Iterable[_Found]) -> list[_Found]:
    kept: list[_Found] = []
    for box, confidence in sorted(found, key=lambda each: -each[1]):
        if len(kept) == _MOST:
            break
        if all(box.covered_by(other) < 0.8 for other, _ in kept):
            kept.append((box, min(1.0, confidence)))
    return kept


def _labels(page: PageText, asked: Asked) -> list[_Label]:
    """The places that say most of the question, best first."""
    own = len(asked.terms)
    known = {term.word for term in asked.terms}
    hints = () if known & set(asked.labels) else asked.labels
    terms = [*asked.terms, *(Term(word, _HINT) for word in hints)]
    vocabulary = {word for cell in page.cells for said in cell.said for word in said}
    alikes = {
        word: {
            at: likeness
            for at, term in enumerate(terms)
            if (likeness := alike(term.word, word)) > _ALIKE
        }
        for word in vocabulary
    }
    weights = _weights(page, terms, alikes)
    whole = sum(weights[:own]) + _HINT * max(weights[own:], default=0.0)
    if not whole:
        return []
    shares = [weight / whole for weight in weights]
    found = [label for cell in page.cells for label in _in_cell(cell, alikes, shares, own)]
    found.sort(key=lambda label: -label.worth)
    best = found[:_LABELS_NEAR]
    best = [replace(label, near=_near(page, label, best)) for label in best]
    return sorted(best, key=lambda label: -label.worth)[:_LABELS]


def _weights(
    page: PageText, terms: Sequence[Term], alikes: dict[str, dict[int, float]]
) -> list[float]:
    """What each term counts: a word that stands in few cells counts more."""
    counts = [0] * len(terms)
    for cell in page.cells:
        for at in {at for said in cell.said for word in said for at in alikes[word]}:
            counts[at] += 1
    return [
        term.weight * ((1 + math.log((len(page.cells) + 1) / (count + 0.5))) if count else 1.0)
        for term, count in zip(terms, counts, strict=True)
    ]


def _in_cell(
    cell: Cell, alikes: dict[str, dict[int, float]], shares: Sequence[float], own: int
) -> list[_Label]:
    """The runs of words of a cell that say something of the question."""
    hits: list[dict[int, float]] = []
    for said in cell.said:
        best: dict[int, float] = {}
        for word in said:
            for at, likeness in alikes[word].items():
                best[at] = max(likeness, best.get(at, 0.0))
        hits.append(best)
    empty = [all(word in EMPTY for word in said) for said in cell.said]
    found: list[_Label] = []
    start = 0
    while start < len(hits):
        if not hits[start]:
            start += 1
            continue
        end, terms = _run(hits, empty, start)
        colon = next((i for i in range(end - 1, min(end + 3, len(hits))) if _ends(cell, i)), None)
        stop = end if colon is None else colon + 1
        hints = [shares[at] * likeness for at, likeness in terms.items() if at >= own]
        parts = {at: shares[at] * likeness for at, likeness in terms.items() if at < own}
        recall = min(1.0, sum(parts.values()) + _HINT * max(hints, default=0.0))
        named = sum(bool(hit) for hit in hits[start:end])
        before = sum(not each for each in empty[:start])
        foreign = sum(not hits[at] and not empty[at] for at in range(start, stop))
        purity = named / (named + 0.5 * before + foreign)
        found.append(_Label(cell, start, stop, parts, recall, purity))
        start = end
    return found


def _run(
    hits: Sequence[dict[int, float]], empty: Sequence[bool], start: int
) -> tuple[int, dict[int, float]]:
    """Where the run of words from ``start`` on ends, and which terms it says how well.

    One foreign word may stand between two of the question; words such as "of the" always may.
    """
    end, terms, foreign = start, dict[int, float](), 0
    for at in range(start, len(hits)):
        new = {term: said for term, said in hits[at].items() if said > terms.get(term, 0.0)}
        if new:
            terms |= new
            end, foreign = at + 1, 0
        elif hits[at]:
            break  # the same words again: another label
        elif not empty[at]:
            foreign += 1
            if foreign > 1:
                break
    return end, terms


def _ends(cell: Cell, at: int) -> bool:
    return cell.words[at].text.endswith(":")


def _near(page: PageText, label: _Label, others: Sequence[_Label]) -> float:
    """Recall of terms that the label lacks and that stand near it, less with the distance.

    What stands above (a heading of the section) is looked for further away than what stands below.
    """
    best: dict[int, float] = {}
    here = label.cell
    for other in others:
        missing = [at for at in other.found if at not in label.found]
        if not missing:
            continue
        there = other.cell
        down = max(here.top - there.bottom, 0) + 2 * max(there.top - here.bottom, 0)
        across = max(here.left - there.right, there.left - here.right, 0)
        closeness = 1 - down / (12 * page.line) - across / (40 * page.line)
        for at in missing:
            best[at] = max(best.get(at, 0.0), 0.5 * closeness * other.found[at])
    return sum(best.values())


def _with_value(page: PageText, asked: Asked, label: _Label) -> _Found:
    """The box of a label with its value: right of it, below it, or both where one cannot tell."""
    right, below = page.right_of(label.cell), page.below(label.place)
    if asked.kind == "address":
        under = page.below(label.cell, 4)
        if right and not label.rest and not under:
            under = [right[0], *page.below(right[0], 3)]
        return page.box([*label.words, *label.rest, *under]), label.worth
    own: list[Word | Cell] = [*label.words, *label.rest]
    rest = " ".join(word.text for word in label.rest)
    rows: list[tuple[float, list[Word | Cell]]] = [(asked.fits(rest) or 0.0, own)]
    rows += [
        (asked.fits(cell.text) or 0.0, [*own, *right[: at + 1]]) for at, cell in enumerate(right)
    ]
    best = max(fit for fit, _ in rows)
    same = [row for row in rows if row[0] == best]
    rows = [same[-1] if asked.kind == "amount" else same[0]]  # the last column is the sum
    for next_line in below:
        beside = page.right_of(next_line)
        fit = max(asked.fits(cell.text) or 0.0 for cell in (next_line, *beside))
        alone = asked.fits(next_line.text) == fit and asked.kind != "amount"
        rows.append((0.9 * fit, [*own, next_line, *([] if alone else beside)]))
    fit, places = max(rows, key=lambda row: row[0])
    if fit:
        return page.box(places), label.worth * (_LOOSE + (1 - _LOOSE) * fit)
    told = bool(rest) and _ends(label.cell, label.end - 1)
    places = [*own, *([] if rest else right[:1]), *([] if told else below)]
    return page.box(places), label.worth * (1.0 if asked.fits("") is None else _LOOSE)


def _crossings(page: PageText, labels: Sequence[_Label]) -> list[_Found]:
    """Cells of a table that stand in the row of one label and under another."""
    found: list[_Found] = []
    for row in labels:
        for head in labels:
            shares = sum(row.found.values()), sum(head.found.values())
            if head.cell.bottom > row.cell.top or set(row.found) & set(head.found):
                continue
            if min(shares) >= 0.15 and (words := page.crossing(row.place, head.place)):
                purity = (row.purity + head.purity) / 2
                confidence = min(1.0, sum(shares)) * (0.7 + 0.3 * purity)
                found.append((page.box([*row.words, *words]), confidence))
    return found


def _without_label(page: PageText, asked: Asked) -> list[_Found]:
    """Values of the kind asked for, wherever they stand; for who and where the head of the page."""
    kind = asked.kind or ""
    if kind in _HEAD_LINES:
        head = page.head(_HEAD_LINES[kind])
        return [(page.box(head), _HEAD)] if head else []
    if kind in ("", "number", "amount"):  # every other word is one
        return []
    cells = [cell for cell in page.cells if asked.fits(cell.text) == 1.0]
    sure = _ALONE / math.sqrt(max(1, len(cells)))
    return [(page.box([cell]), sure / (1 + 0.1 * at)) for at, cell in enumerate(cells[:_MOST])]
