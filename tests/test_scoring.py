"""Scores against worked examples."""

import difflib
import random
import time

import pytest

from cropvlm_core.scoring import (
    METRICS,
    anls,
    contains,
    contains_exactly,
    exact_match,
    fuzzy_contains,
    mixed_accuracy,
    multiple_choice,
    relaxed_accuracy,
    vqa_accuracy,
)


@pytest.mark.parametrize("metric", [exact_match, anls, vqa_accuracy, relaxed_accuracy])
def test_the_same_is_right_in_every_metric(metric: object) -> None:
    assert callable(metric)
    for text in ("NASA", "nasa", "12/05/2019", "a 3.50 $ coffee", "東京", "no"):
        assert metric(text, [text]) == 1
        assert metric(text, ["something else", text]) == 1
    assert metric("NASA", ["nasa"]) == 1
    assert metric("x", []) == 0


@pytest.mark.parametrize(
    ("reply", "answers", "score"),
    [
        ("  9.00\n", ["9.00"], 1),
        ("Paris.", ["paris"], 1),
        ("two  words", ["Two words"], 1),
        ("\uff46\uff55\uff4c\uff4c", ["full"], 1),
        ("9.0", ["9.00"], 0),
        ("Paris, France", ["Paris"], 0),
    ],
)
def test_exact_match(reply: str, answers: list[str], score: float) -> None:
    assert exact_match(reply, answers) == score


@pytest.mark.parametrize(
    ("reply", "answers", "score"),
    [
        ("hello world", ["hello world"], 1),
        ("helo world", ["hello world"], 1 - 1 / 11),
        ("kitten", ["sitting"], 1 - 3 / 7),
        ("abcd", ["abxy"], 0),  # half of it wrong: the threshold itself gives 0
        ("abcde", ["abcxy"], 1 - 2 / 5),
        ("abc", ["xyz", "abd", "ab"], 1 - 1 / 3),
        ("", ["abc"], 0),
        ("", [""], 1),
        ("A  B", ["a b"], 1),
    ],
)
def test_anls(reply: str, answers: list[str], score: float) -> None:
    assert anls(reply, answers) == pytest.approx(score)


def test_edit_distance_against_a_plain_one() -> None:
    def plain(a: str, b: str) -> int:
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, 1):
            before, row[0] = row[0], i
            for j, y in enumerate(b, 1):
                before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
        return row[-1]

    dice = random.Random(5)
    for _ in range(200):
        first = "".join(dice.choices("abc", k=dice.randint(1, 9)))
        second = "".join(dice.choices("abc", k=dice.randint(1, 9)))
        share = plain(first, second) / max(len(first), len(second))
        assert anls(first, [second], threshold=1.01) == pytest.approx(1 - share)


@pytest.mark.parametrize(
    ("agreeing", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_vqa_accuracy_leaves_one_of_ten_out(agreeing: int, score: float) -> None:
    answers = ["yes"] * agreeing + [f"other {n}" for n in range(10 - agreeing)]
    assert vqa_accuracy("yes", answers) == pytest.approx(score)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("two", "2"),
        ("The dog", "dog"),
        ("a dog.", "dog"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("yes!", "yes"),
        ("red, white", "red white"),
        ("1,000", "1000"),
        ("none", "0"),
        ("half-full", "half full"),
        ("  New\nYork ", "new york"),
        ("3.", "3"),
    ],
)
def test_vqa_normalisation(reply: str, answer: str) -> None:
    assert vqa_accuracy(reply, [answer] * 10) == 1
    assert vqa_accuracy(answer, [reply] * 10) == 1


def test_vqa_normalisation_keeps_what_matters() -> None:
    assert vqa_accuracy("3.5", ["35"] * 10) == 0
    assert vqa_accuracy("cat", ["dog"] * 10) == 0


def test_vqa_accuracy_with_few_answers() -> None:
    assert vqa_accuracy("yes", ["yes"]) == 1
    assert vqa_accuracy("yes", ["no", "yes", "no"]) == 1


@pytest.mark.parametrize(
    ("reply", "answer", "score"),
    [
        ("95", "100", 1),
        ("105", "100", 1),
        ("94.9", "100", 0),
        ("105.1", "100", 0),
        ("1.05", "1.0", 1),
        ("-95", "-100", 1),
        ("-100", "100", 0),
        ("5%", "0.05", 1),
        ("5%", "5", 0),
        ("1,234", "1234", 1),
        ("$3.50", "3.5", 1),
        ("3,5", "35", 0),
        ("0", "0", 1),
        ("0.01", "0", 0),
        ("Spain", "spain", 1),
        ("Spain", "Portugal", 0),
        ("about 100", "100", 0),
        ("nan", "nan", 1),
        ("1e2", "100", 1),
        ("e", "100", 0),
    ],
)
def test_relaxed_accuracy(reply: str, answer: str, score: float) -> None:
    assert relaxed_accuracy(reply, [answer]) == score


PAGE = "INVOICE 1998\nTotal due: RM 12.90 on 25/12/2018, paid to BOOK TA .K (TAMAN DAYA) SDN BHD"


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("25/12/2018", 1),
        ("book ta .k (taman daya) sdn bhd", 1),
        ("BOOK TA.K (TAMAN DAYA) SDN BHD", 1 - 1 / 30),
        ("25/12/2019", 0.9),
        ("9", 0),  # neither in 1998 nor in 12.90
        ("RM", 1),
        ("12", 1),  # of 25/12/2018
        ("TA", 1),
        ("T", 0),
        ("", 0),
        ("zzzzzzzz", 0),
    ],
)
def test_fuzzy_contains(answer: str, score: float) -> None:
    assert fuzzy_contains(answer, PAGE) == pytest.approx(score)


def test_fuzzy_contains_finds_the_best_place() -> None:
    dice = random.Random(2)
    for _ in range(50):
        answer = "".join(dice.choices("abcdefgh", k=12))
        cut = dice.randrange(3, 9)
        page = "x" * 20 + answer[:cut] + answer[cut + 1 :] + "x" * 20
        assert fuzzy_contains(answer, page) >= 1 - 1 / 12 - 1e-9
        blocks = difflib.SequenceMatcher(None, answer, page, autojunk=False).get_matching_blocks()
        assert fuzzy_contains(answer, page) * 12 <= sum(block.size for block in blocks) + 1e-9


def test_no_text_contains_nothing() -> None:
    assert fuzzy_contains("total", "") == 0
    assert fuzzy_contains("total", "t") == pytest.approx(0.2)


def test_a_long_page_is_quick() -> None:
    page = "lorem ipsum dolor sit amet " * 4000
    start = time.perf_counter()
    assert fuzzy_contains("the total amount is 12.90 in words", page) < 0.6
    assert time.perf_counter() - start < 10


def test_mixed_accuracy_is_that_of_vqa_for_ten_annotators_and_anls_else() -> None:
    ten = ["nasa"] * 2 + ["esa"] * 8
    assert mixed_accuracy("NASA", ten) == vqa_accuracy("NASA", ten) == pytest.approx(0.6)
    assert mixed_accuracy("NASA.", ["NASA"]) == anls("NASA.", ["NASA"]) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("answers", "read", "exactly"),
    [
        (["25/12/2018"], 1, 1),
        (["12.90"], 1, 1),
        (["25/12/2019"], 1, 0),  # one of ten letters is another
        (["BOOK TA.K (TAMAN DAYA) SDN BHD"], 1, 0),
        (["book  ta .k\n(taman daya) sdn bhd"], 1, 1),
        (["25/11/2017, paid"], 1, 0),  # 14 of 16
        (["25/11/2017"], 1, 0),  # the last share that counts: 8 of 10
        (["25/11/2007"], 0, 0),
        (["9"], 0, 0),  # neither in 1998 nor in 12.90
        (["nothing like it", "RM"], 1, 1),
        ([""], 0, 0),
        ([], 0, 0),
    ],
)
def test_contains(answers: list[str], read: float, exactly: float) -> None:
    assert contains(PAGE, answers) == read
    assert contains_exactly(PAGE, answers) == exactly


@pytest.mark.parametrize(
    "reply",
    [
        *("B", "b", "B.", "(B)", "(b)", "B)", "b)", "'B'", "“B”", "`B`", "[B]", "Ｂ", "B!", "B;"),
        *("**B**", "**B. red**", "**B** red", "\\boxed{B}", "$\\boxed{\\text{B}}$"),
        *("(B) red", "B. red", "b. a red car", "B: red", "B red", "B - red", "B\nred"),
        *("B, because it is red", "B is correct", "B because A is blue"),
        *("B, because A and C are blue",),
        *("Answer: B", "ANSWER: B", "answer: b", "Answer: **B**", "The answer is B."),
        *("The answer is (B).", "The answer is: B", "The best answer is: **B. red**"),
        *("The correct answer is B because A is blue.", "The answer should be B"),
        *("The correct option is B", "Option B is correct.", "The answer is option B."),
        *("I think option B is right.", "I'd go with B", "Based on the picture, it's B."),
        *("The car is red, so (B).", "Option A is wrong, so I choose (B)."),
        *("Not A. The answer is B", "Option A says blue. It is red. Answer: B"),
        *("The answer is A... wait, no. The answer is B.",),
        *("red car", "Red car."),
    ],
)
def test_multiple_choice_reads_the_letter(reply: str) -> None:
    assert multiple_choice(reply, ["B", "red car"]) == 1
    assert multiple_choice(reply, ["A", "blue car"]) == 0


@pytest.mark.parametrize(
    "reply",
    [
        *("A red car", "a red car", "An apple", "The answer is a red car", "Answer: A red car"),
        *("I cannot answer. A red car stands there", "Because it is red", "A-frame", "Apple"),
        *("A or B", "A, B", "A and B", "(A) or (B)", "The answer is A or B", "A/B"),
        *("Option A or option B", "(A) red (B) blue", "The options are (A) and (B)."),
        *("", "?", "B", "a blue car", "I see A's and B's", "red"),
    ],
)
def test_multiple_choice_guesses_nothing(reply: str) -> None:
    assert multiple_choice(reply, ["A", "red"]) == float(reply == "red")


def test_multiple_choice_tells_the_option_a_from_the_article() -> None:
    for reply in ("A", "a", "A.", "a) red", "A, since it is red", "A is correct", "Answer: A"):
        assert multiple_choice(reply, ["A"]) == 1
    assert multiple_choice("The answer is A because it is red.", ["A"]) == 1
    assert multiple_choice("I think it is red", ["I"]) == 0


def test_an_endless_reply_is_scored_quickly() -> None:
    start = time.perf_counter()
    for part in ("(", "answer ", "A, ", "**A", "option is ", "it's ("):
        assert multiple_choice(part * 20_000, ["B"]) == 0
    assert time.perf_counter() - start < 10


def test_metrics_have_the_names_of_their_functions() -> None:
    assert list(METRICS) == [
        "exact_match",
        "anls",
        "vqa_accuracy",
        "mixed_accuracy",
        "relaxed_accuracy",
        "contains",
        "contains_exactly",
        "multiple_choice",
    ]
    for name, metric in METRICS.items():
        assert metric.__name__ == name
        assert metric("12.90", ["12.90"]) == 1
        assert metric("7", ["12.90"]) == metric("12.90", []) == 0
