"""Two halves of question sets: mixed alike, and no page in both."""

import io
import itertools
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from cropvlm_core.errors import DataError
from cropvlm_core.questions import AnsweredQuestion, read_questions, write_questions
from cropvlm_core.training.split import set_of, stratified_split
from tests.cli_calls import one_line_error, run


def asked(
    number: int, *, set_name: str = "a", field: str | None = None, page: int | None = None
) -> AnsweredQuestion:
    image = f"/pages/{set_name}-{number if page is None else page}.png"
    return AnsweredQuestion(
        image, f"What is {number}?", id=f"{set_name}{number}", set_name=set_name, field=field
    )


def two_sets() -> list[AnsweredQuestion]:
    """As a data set is read: one set after the other, sorted by field within."""
    return [
        *(asked(number, field=("date", "total", "rare")[number // 40]) for number in range(100)),
        *(asked(number, set_name="b", field="name") for number in range(30)),
    ]


def ids(questions: list[AnsweredQuestion]) -> list[str | None]:
    return [question.id for question in questions]


@pytest.mark.parametrize("share", [0.5, 0.2, 0.9])
def test_both_halves_hold_every_set_and_field_in_the_same_share(share: float) -> None:
    everything = two_sets()
    first, second = stratified_split(everything, share, seed=3)
    assert sorted(map(str, ids(first + second))) == sorted(map(str, ids(everything)))
    assert len(first) == pytest.approx(share * 130, abs=1)
    for strata in (
        {(q.set_name, q.field) for q in everything},
        {(q.set_name,) for q in everything},
    ):
        for stratum in strata:
            mine, all_of_it = (
                sum((q.set_name, q.field)[: len(stratum)] == stratum for q in questions)
                for questions in (first, everything)
            )
            assert mine == pytest.approx(share * all_of_it, abs=1.5), stratum


def test_a_half_is_in_random_order_and_the_same_again() -> None:
    first, second = stratified_split(two_sets(), seed=3)
    assert [ids(half) for half in stratified_split(iter(two_sets()), seed=3)] == [
        ids(first),
        ids(second),
    ]
    assert ids(stratified_split(two_sets(), seed=4)[0]) != ids(first)
    changes = sum(one.set_name != two.set_name for one, two in itertools.pairwise(first))
    assert changes > 10


def test_no_page_is_in_both_halves() -> None:
    everything = [asked(number, page=number // 7) for number in range(210)]
    first, second = stratified_split(everything)
    assert {q.image for q in first}.isdisjoint(q.image for q in second)
    assert len(first) == pytest.approx(len(second), abs=7)


def test_what_a_page_is() -> None:
    """Same image however it is given, same document of a set, and both through a third."""
    picture = Image.new("RGB", (4, 4), "red")
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    data = stream.getvalue()
    uri = "data:image/png;base64,aaaa"
    together = [
        [AnsweredQuestion(picture, "1?"), AnsweredQuestion(picture, "2?")],
        [AnsweredQuestion(data, "1?"), AnsweredQuestion(bytes(data), "2?")],
        [AnsweredQuestion(uri, "1?"), AnsweredQuestion(uri, "2?")],
        [AnsweredQuestion("x/../p.png", "1?"), AnsweredQuestion(Path("p.png"), "2?")],
        [
            AnsweredQuestion("1.png", "1?", doc="d", set_name="s"),
            AnsweredQuestion("3.png", "3?", doc="e", set_name="s"),
            AnsweredQuestion("1.png", "2?", doc="e", set_name="s"),
        ],
    ]
    apart = [
        AnsweredQuestion("8.png", "1?", doc="d", set_name="s"),
        AnsweredQuestion("9.png", "1?", doc="d", set_name="another"),
    ]
    seen: Counter[tuple[int, ...]] = Counter()
    for seed in range(40):
        first, second = stratified_split([q for page in together for q in page] + apart, seed=seed)
        for page in together:
            assert len({q in first for q in page}) == 1
            assert len({q in second for q in page}) == 1
        seen[tuple(q in first for q in apart)] += 1
    assert seen[True, False]
    assert seen[False, True]


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(DataError, match="expected a share between 0 and 1, got"):
        stratified_split(two_sets(), share)


def test_one_page_cannot_be_split() -> None:
    with pytest.raises(DataError, match="at least two pages to split, got 1"):
        stratified_split([asked(number, page=0) for number in range(9)])


def test_the_command_writes_two_question_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, colour in (("receipts", "red"), ("forms", "blue")):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        rows = []
        for number in range(20):
            Image.new("RGB", (8, 8), colour).save(folder / f"{number}.png")
            rows.append(AnsweredQuestion(folder / f"{number}.png", f"{number}?", id=f"{number}"))
        write_questions(folder / "questions.jsonl", rows)
    assert run("train", "split", tmp_path / "data", "--out", tmp_path / "halves", "--seed", 5) == 0
    told = capsys.readouterr().out
    assert [line.split() for line in told.splitlines()[1:3]] == [
        ["forms", "10", "10"],
        ["receipts", "10", "10"],
    ]
    first, second = (
        list(read_questions(tmp_path / "halves" / f"{name}.jsonl")) for name in ("sft", "grpo")
    )
    assert (
        Counter(map(set_of, first)) == Counter(map(set_of, second)) == {"forms": 10, "receipts": 10}
    )
    assert {question.open().size for question in first} == {(8, 8)}
    again = stratified_split(first, 0.5)
    assert Counter(map(set_of, again[0])) == {"forms": 5, "receipts": 5}


def test_the_command_refuses_a_bad_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_questions(tmp_path / "questions.jsonl", two_sets())
    assert run("train", "split", tmp_path, "--out", tmp_path / "x", "--share", "2") == 2
    assert "expected a share between 0 and 1, got 2.0" in one_line_error(capsys)
    assert not (tmp_path / "x").exists()
