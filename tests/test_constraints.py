"""The patterns that servers are given say what the box grammar says, but for the corners' order."""

import itertools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropvlm_core.box import NO_ZOOM_NEEDED, BoxNotation
from cropvlm_core.errors import SpecError
from cropvlm_core.grammar import BoxGrammar
from cropvlm_core.openai_vlm.constraints import FIELDS, check_constrain, gbnf, regex

NOTATIONS = [
    BoxNotation.percent,
    BoxNotation.per_mille,
    BoxNotation.per_mille_yx,
    BoxNotation.loc_tokens,
    BoxNotation.pixels(640, 480),
    BoxNotation.pixels(1036, 812),
    BoxNotation.pixels(1, 7),
]
grammars = st.builds(BoxGrammar, st.sampled_from(NOTATIONS), no_zoom=st.booleans())


def accepts(grammar: BoxGrammar, text: str) -> bool:
    state = grammar.advance(grammar.start, text)
    return state is not None and grammar.is_complete(state)


def expression(grammar: BoxGrammar) -> str:
    """A GBNF without recursion, as a regular expression: its rules put into each other."""
    rules = dict(line.split(" ::= ") for line in gbnf(grammar).splitlines())

    def written(rule: str) -> str:
        parts = re.findall(r'"[^"]*"|\[[^]]*\]|[a-z]+|[|()?]', rule)
        assert "".join(parts).replace(" ", "") == rule.replace(" ", "")
        return "".join(
            f"(?:{re.escape(part[1:-1])})"
            if part[0] == '"'
            else f"(?:{written(rules[part])})"
            if part.isalpha()
            else part
            for part in parts
        )

    return written(rules["root"])


def in_order(text: str) -> bool:
    first, second, third, fourth = map(int, re.findall("[0-9]+", text))
    return first < third and second < fourth


def check(grammar: BoxGrammar, text: str) -> None:
    matches = re.fullmatch(regex(grammar), text) is not None
    assert (re.fullmatch(expression(grammar), text) is not None) == matches
    if matches and text.strip() != NO_ZOOM_NEEDED:
        assert accepts(grammar, text) == in_order(text)
    else:
        assert accepts(grammar, text) == matches


@settings(max_examples=300)
@given(grammars, st.randoms(use_true_random=False))
def test_whatever_the_grammar_lets_through_matches(
    grammar: BoxGrammar, dice: random.Random
) -> None:
    state, text = grammar.start, ""
    while following := grammar.next_characters(state):
        text += dice.choice(following)
        reached = grammar.advance(grammar.start, text)
        assert reached is not None
        state = reached
        if grammar.is_complete(state):
            assert re.fullmatch(regex(grammar), text)
            assert re.fullmatch(expression(grammar), text)
        else:
            assert not re.fullmatch(regex(grammar), text)


@settings(max_examples=600)
@given(grammars, st.data())
def test_what_matches_and_the_grammar_refuses_has_corners_that_are_not_in_order(
    grammar: BoxGrammar, data: st.DataObject
) -> None:
    numbers = []
    for low, high in grammar.ranges:
        near = st.sampled_from([low - 1, low, high, high + 1])
        number = str(max(0, data.draw(st.integers(low, high) | near)))
        numbers.append(number.zfill(4) if grammar.notation.tokens else number)
    opening, *behind = grammar.fixed
    text = opening + "".join(map("".join, zip(numbers, behind, strict=True)))
    text = data.draw(st.sampled_from([text, text.rstrip("."), NO_ZOOM_NEEDED]))
    place = data.draw(st.integers(0, len(text)))
    for damaged in (text, " " + text, "  " + text, text + ".", text[:place] + text[place + 1 :]):
        check(grammar, damaged)


@pytest.mark.parametrize("y_first", [False, True])
def test_the_numbers_of_a_small_page_are_exactly_those_in_range(y_first: bool) -> None:
    grammar = BoxGrammar(BoxNotation("small", (12, 3), y_first=y_first, ending="."))
    found = []
    for numbers in itertools.product(range(14), range(6), range(14), range(6)):
        ordered = (numbers[1], numbers[0], numbers[3], numbers[2]) if y_first else numbers
        text = f"[{', '.join(map(str, ordered))}]."
        if re.fullmatch(regex(grammar), text):
            found.append(numbers)
            assert accepts(grammar, text) == in_order(text)
        else:
            assert not accepts(grammar, text)
    expected = itertools.product(range(12), range(3), range(1, 13), range(1, 4))
    assert found == list(expected)


@pytest.mark.parametrize("side", [1, 2, 9, 10, 11, 99, 100, 101, 640, 1000, 1036, 3584])
def test_every_number_of_a_side_is_written_in_one_way(side: int) -> None:
    grammar = BoxGrammar(BoxNotation.pixels(side, 1))
    for number in range(side + 2):
        assert bool(re.fullmatch(regex(grammar), f"[{number}, 0, 1, 1]")) == (number < side)
        assert bool(re.fullmatch(regex(grammar), f"[0, 0, {number}, 1]")) == (1 <= number <= side)
    assert not re.fullmatch(regex(grammar), "[00, 0, 1, 1]")


def test_as_they_stand() -> None:
    grammar = BoxGrammar(BoxNotation.percent, no_zoom=True)
    low, high = "([0-9]|[1-9][0-9])", "([1-9]|[1-9][0-9]|100)"
    pattern = rf" ?(\[{low}, {low}, {high}, {high}\](\.)?|No zoom needed\.)"
    assert FIELDS["vllm"](grammar) == {"structured_outputs": {"regex": pattern}}
    assert FIELDS["sglang"](grammar) == {"regex": pattern}
    assert FIELDS["llamacpp"](grammar) == {
        "grammar": 'root ::= " "? ("[" first ", " second ", " third ", " fourth "]" "."? '
        '| "No zoom needed.")\n'
        "first ::= [0-9] | [1-9] [0-9]\n"
        "second ::= [0-9] | [1-9] [0-9]\n"
        "third ::= [1-9] | [1-9] [0-9] | [1-1] [0-0] [0-0]\n"
        "fourth ::= [1-9] | [1-9] [0-9] | [1-1] [0-0] [0-0]\n"
    }


def test_a_server_that_is_not_known() -> None:
    check_constrain(None)
    with pytest.raises(SpecError, match="expected constrain of vllm, sglang, llamacpp; got 'tgi'"):
        check_constrain("tgi")
