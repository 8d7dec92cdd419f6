"""A long answer shortened around the place that fits a right answer best."""

import difflib
from collections.abc import Sequence

WHOLE = 2000
"""The most characters of an answer that the page holds."""

_SHORT = 240  # characters shown without opening anything
_SEARCHED = 20_000  # characters of an answer in which the place is looked for
_ANSWER = 200  # characters of a right answer that are looked for


def excerpt(reply: str, answers: Sequence[str]) -> dict[str, object]:
    """Return what the page keeps of ``reply``.

    ``before``, ``match`` and ``after``: one line of at most 240 characters (plus dots where
    something is left out); ``match`` is where a right answer seems to stand, empty where fewer
    than half of its letters, or of a short one not all, stand together. ``whole``: the first 2,000
    characters as they came, None where the line shows everything. ``more``: how many characters
    are left out there.
    """
    line = " ".join(reply[:_SEARCHED].split())
    start, end = _place(line, answers)
    begin = max(0, min(start - (_SHORT - (end - start)) // 2, len(line) - _SHORT))
    stop = min(len(line), max(begin + _SHORT, end))
    if begin:
        begin = max(begin, line.find(" ", begin, start) + 1)  # at a word, if there is one
    if stop < len(line):
        space = line.rfind(" ", end, stop)
        stop = space if space > 0 else stop
    cut = len(line) > stop or begin > 0 or len(reply) > _SEARCHED
    return {
        "before": ("… " if begin else "") + line[begin:start],
        "match": line[start:end],
        "after": line[end:stop] + (" …" if stop < len(line) or len(reply) > _SEARCHED else ""),
        "whole": reply[:WHOLE] if cut or "\n" in reply.strip() else None,
        "more": max(0, len(reply) - WHOLE),
    }


def _place(line: str, answers: Sequence[str]) -> tuple[int, int]:
    """Start and end of the best match, equal where there is none."""
    folded = line.lower()
    if len(folded) != len(line):  # a letter that lower case writes as two: keep positions true
        folded = line
    matcher = difflib.SequenceMatcher(None, "", "", autojunk=False)
    matcher.set_seq2(folded)
    best, place = 0.0, (0, 0)
    for answer in answers:
        wanted = " ".join(answer[:_ANSWER].lower().split())
        if not wanted:
            continue
        matcher.set_seq1(wanted)
        found = matcher.find_longest_match()
        enough = found.size == len(wanted) or (found.size >= 4 and 2 * found.size >= len(wanted))
        if enough and found.size / len(wanted) > best:
            best = found.size / len(wanted)
            start = max(0, found.b - found.a)
            place = start, min(len(line), found.b - found.a + len(wanted))
    return place
