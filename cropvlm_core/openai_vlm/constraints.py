"""How servers are told to write nothing but a box: the box grammar as their requests hold it.

vLLM and SGLang take a regular expression, llama.cpp a grammar in its GBNF; both are made of the
parts of ``BoxGrammar``. They hold each number to its range, and leave open whether the third
exceeds the first and the fourth the second, which no pattern of bearable size can say: the parser
puts reversed corners in order, and calls a box without area unreadable. All else is the same: what
a pattern matches and the grammar refuses has corners that are not in order (tested).
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from cropvlm_core.box import NO_ZOOM_NEEDED
from cropvlm_core.errors import SpecError, shorten
from cropvlm_core.grammar import BoxGrammar

_Digits = list[tuple[int, int]]  # of each place, the least and the greatest digit


def regex(grammar: BoxGrammar) -> str:
    """The regular expression of a box text, by what every engine knows: classes, groups, ``?``."""
    numbers = [
        "(" + "|".join("".join(map(_class, way)) for way in ways) + ")"
        for ways in _numbers(grammar)
    ]
    opening, *between, closing = map(_escaped, _fixed(grammar))
    box = opening + "".join(map("".join, zip(numbers, [*between, closing], strict=True)))
    box += f"({_escaped(grammar.notation.ending)})?" if grammar.notation.ending else ""
    return f" ?({box}|{_escaped(NO_ZOOM_NEEDED)})" if grammar.no_zoom else f" ?{box}"


def gbnf(grammar: BoxGrammar) -> str:
    """The same in llama.cpp's GBNF."""
    names = ("first", "second", "third", "fourth")
    opening, *behind = (f'"{text}"' for text in _fixed(grammar))
    box = " ".join([opening, *map(" ".join, zip(names, behind, strict=True))])
    box += f' "{grammar.notation.ending}"?' if grammar.notation.ending else ""
    root = f'({box} | "{NO_ZOOM_NEEDED}")' if grammar.no_zoom else box
    rules = [f'root ::= " "? {root}']
    for name, ways in zip(names, _numbers(grammar), strict=True):
        written = (" ".join(f"[{low}-{high}]" for low, high in way) for way in ways)
        rules.append(f"{name} ::= {' | '.join(written)}")
    return "\n".join(rules) + "\n"


FIELDS: dict[str, Callable[[BoxGrammar], dict[str, Any]]] = {
    "vllm": lambda grammar: {"structured_outputs": {"regex": regex(grammar)}},
    "sglang": lambda grammar: {"regex": regex(grammar)},
    "llamacpp": lambda grammar: {"grammar": gbnf(grammar)},
}
"""By the server's name, the fields that a request holds besides."""


def check_constrain(constrain: str | None) -> None:
    """Check the name of a server.

    Raises:
        SpecError: no server of that name is known.
    """
    if constrain is not None and constrain not in FIELDS:
        raise SpecError(f"expected constrain of {', '.join(FIELDS)}; got {shorten(constrain)}")


def _fixed(grammar: BoxGrammar) -> tuple[str, ...]:
    """What stands around the numbers, without the ending, which may be left out."""
    *others, closing = grammar.fixed
    return *others, closing.removesuffix(grammar.notation.ending)


def _escaped(text: str) -> str:
    return re.sub(r"([\[\].])", r"\\\1", text)


def _class(digit: tuple[int, int]) -> str:
    low, high = digit
    return str(low) if low == high else f"[{low}-{high}]"


def _numbers(grammar: BoxGrammar) -> list[list[_Digits]]:
    """Of each number of a box, the ways to write it: places of digits, one way exactly a number."""
    length = 4 if grammar.notation.tokens else None
    return [list(_ways(low, high, length)) for low, high in grammar.ranges]


def _ways(low: int, high: int, length: int | None) -> Iterator[_Digits]:
    """Write the numbers ``low..high``, with leading zeros to ``length`` digits or with none."""
    if length is not None:
        yield from _same_length(str(low).zfill(length), str(high).zfill(length))
        return
    for places in range(len(str(low)), len(str(high)) + 1):
        least = max(low, 10 ** (places - 1) if places > 1 else 0)
        yield from _same_length(str(least), str(min(high, 10**places - 1)))


def _same_length(low: str, high: str) -> Iterator[_Digits]:
    """Split ``low..high``, of equally many digits, into blocks that are a range in each place."""
    first, last, rest = int(low[:1] or 0), int(high[:1] or 0), len(low) - 1
    nines, zeros = "9" * rest, "0" * rest
    if rest <= 0:
        yield [(first, last)]
        return
    if first == last:
        yield from ([(first, first), *way] for way in _same_length(low[1:], high[1:]))
        return
    if low[1:] != zeros:
        yield from ([(first, first), *way] for way in _same_length(low[1:], nines))
        first += 1
    whole = last if high[1:] == nines else last - 1
    if first <= whole:
        yield [(first, whole), *[(0, 9)] * rest]
    if high[1:] != nines:
        yield from ([(last, last), *way] for way in _same_length(zeros, high[1:]))
