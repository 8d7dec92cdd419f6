"""BoxGrammar: the texts that a box notation writes, as an automaton over characters.

A model that decodes under it (see ``transformers_vlm.decoding``) cannot write anything but a box,
so that no reply is unreadable or repaired. Servers are told the same language as a pattern (see
``openai_vlm.constraints``). The paper (CropVLM, arXiv 2511.19820) decodes freely instead.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from cropvlm_core.box import NO_ZOOM_NEEDED, BoxNotation
from cropvlm_core.errors import BoxError, shorten

ALPHABET = "".join(sorted(set("0123456789[], .<loc>" + NO_ZOOM_NEEDED)))
"""Every character that a box text of any of our notations may hold."""

MAX_BOX_TOKENS = 40
"""The most tokens of a box: four numbers of four digits, each digit and mark a token."""

_LAST = 8  # the part that closes the box; even parts are fixed text, odd ones are numbers
_NO_ZOOM = -1  # the part that is the whole sentence NO_ZOOM_NEEDED


class BoxState(NamedTuple):
    """Where a text stands: all that decides what may follow, and nothing else.

    ``part`` counts fixed texts and numbers in turn; ``written`` is what there is of that part;
    ``bounds`` are the written numbers that a later one must exceed, the next one's first.
    """

    part: int
    written: str
    bounds: tuple[int, ...]


@dataclass(frozen=True)
class BoxGrammar:
    """Exactly the texts that ``notation.write`` can produce, one leading space allowed.

    A text is followed character by character: :meth:`advance` gives the next state, or None where
    no legal text goes on like that. From every state that is entered a whole box can be reached:
    the first number is at most one less than the page's side, the third exceeds the first.

    Args:
        notation: how the box is written.
        size: (width, height) of the input, for ``pixels`` without a size of its own.
        no_zoom: whether the text may also be ``NO_ZOOM_NEEDED``.

    Raises:
        BoxError: a notation of pixels was not told the size, or the size is below 1 x 1.
    """

    notation: BoxNotation
    size: tuple[int, int] | None = field(default=None, kw_only=True)
    no_zoom: bool = field(default=False, kw_only=True)
    _sides: tuple[int, int] = field(init=False, repr=False, compare=False)
    _fixed: tuple[str, str, str, str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Lay out the parts of the text."""
        units = self.notation.units or self.size
        if units is None:
            raise BoxError("expected size=(width, height) for a notation of pixels, got None")
        width, height = units
        if width < 1 or height < 1:
            raise BoxError(f"expected a size of at least 1 x 1, got {shorten(units)}")
        between, opening, closing = ", ", "[", "]" + self.notation.ending
        if self.notation.tokens:
            between, opening, closing = "><loc", "<loc", ">"
        fixed = (opening, between, between, between, closing)
        sides = (height, width) if self.notation.y_first else (width, height)
        object.__setattr__(self, "_fixed", fixed)
        object.__setattr__(self, "_sides", sides)

    @property
    def fixed(self) -> tuple[str, str, str, str, str]:
        """What stands before, between and behind the four numbers.

        The last may end after its first character: a notation's ending may be left out.
        """
        return self._fixed

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The least and the greatest of each of the four numbers, as long as none is written."""
        first, second = self._sides
        return (0, first - 1), (0, second - 1), (1, first), (1, second)

    @property
    def start(self) -> BoxState:
        """The state before the first character."""
        return BoxState(0, "", ())

    def advance(self, state: BoxState, text: str) -> BoxState | None:
        """Return the state after ``text``, one or several characters; None: no legal text."""
        for character in text:
            following = self._step(state, character)
            if following is None:
                return None
            state = following
        return state

    def is_complete(self, state: BoxState) -> bool:
        """Whether the box is closed; only the notation's ending may still follow."""
        if state.part == _NO_ZOOM:
            return state.written == NO_ZOOM_NEEDED
        return state.part == _LAST

    def is_final(self, state: BoxState) -> bool:
        """Whether nothing may follow."""
        if state.part == _NO_ZOOM:
            return state.written == NO_ZOOM_NEEDED
        return state.part == _LAST and state.written == self._fixed[-1]

    def next_characters(self, state: BoxState) -> str:
        """Return the characters that may follow, in order of their code."""
        return "".join(
            character
            for character in sorted({*ALPHABET, *self.notation.ending})
            if self._step(state, character) is not None
        )

    def _step(self, state: BoxState, character: str) -> BoxState | None:
        part, written, bounds = state
        if part == _NO_ZOOM:
            longer = written + character
            return BoxState(part, longer, bounds) if NO_ZOOM_NEEDED.startswith(longer) else None
        if part % 2:
            return self._step_number(state, character)
        if part == 0 and not written and character == " ":
            return BoxState(0, " ", ())
        if part == 0 and not written.strip() and self.no_zoom and character == NO_ZOOM_NEEDED[0]:
            return BoxState(_NO_ZOOM, character, ())
        fixed = self._fixed[part // 2]
        longer = written.lstrip() + character if part == 0 else written + character
        if not fixed.startswith(longer):
            return None
        if longer == fixed and part != _LAST:
            return BoxState(part + 1, "", bounds)
        return BoxState(part, longer, bounds)

    def _step_number(self, state: BoxState, character: str) -> BoxState | None:
        part, written, bounds = state
        which = part // 2
        side = self._sides[which % 2]
        low, high = (0, side - 1) if which < 2 else (bounds[0] + 1, side)
        if character in "0123456789":
            longer = written + character
            return BoxState(part, longer, bounds) if self._leads(longer, low, high) else None
        closes = character == self._fixed[which + 1][0]
        if not closes or not self._is_number(written) or not low <= int(written) <= high:
            return None
        still = (*bounds, int(written)) if which < 2 else bounds[1:]
        return self._step(BoxState(part + 1, "", still), character)

    def _is_number(self, digits: str) -> bool:
        return len(digits) == 4 if self.notation.tokens else digits != ""

    def _leads(self, digits: str, low: int, high: int) -> bool:
        """Whether ``digits`` begin a number of ``low..high`` as the notation writes it."""
        number = int(digits)
        if self.notation.tokens:
            missing = 4 - len(digits)
            return missing >= 0 and _meets(number, 10**missing, low, high)
        if digits[0] == "0":
            return digits == "0" and low == 0
        power = 1
        while number * power <= high:
            if _meets(number, power, low, high):
                return True
            power *= 10
        return False


def _meets(number: int, power: int, low: int, high: int) -> bool:
    """Whether ``number`` followed by the digits of 0..``power - 1`` meets ``low..high``."""
    return number * power <= high and (number + 1) * power > low
