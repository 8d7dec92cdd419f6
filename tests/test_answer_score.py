"""AnswerScore: a target behind a real server or in this process, its failures, and what is kept."""

import dataclasses
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cropvlm_core.errors import ModelError, SourceError
from cropvlm_core.openai_vlm import OpenAIVLM
from cropvlm_core.questions import AnsweredQuestion
from cropvlm_core.training.reply_cache import ReplyCache
from cropvlm_core.training.rewards import AnswerScore
from cropvlm_core.vlm import ConstantVLM, Conversation
from tests.chat_server import Act, ChatServer, Exchange, fails, hangs, says
from tests.pages import noise
from tests.programs import require_package
from tests.test_rewards import BROKEN, NO_ZOOM, OTHER, QUARTER, WHOLE, asked, rolled

require_package("openai")

NASA = asked(None, "NASA")


def target(server: ChatServer, **options: object) -> OpenAIVLM:
    return OpenAIVLM("test-model", server.url, **options)  # type: ignore[arg-type]


def text_of(exchange: Exchange) -> str:
    return str(exchange.body["messages"][0]["content"][-1]["text"])


def refuses(word: str) -> Act:
    """Refuse questions that hold ``word``, answer the others."""

    def act(exchange: Exchange) -> None:
        (fails(400, "too hard") if word in text_of(exchange) else says("nasa."))(exchange)

    return act


def test_each_view_is_asked_once_and_scored() -> None:
    with ChatServer(says("NASA")) as server:
        reward = AnswerScore(target(server), "exact_match")
        rollouts = rolled(QUARTER, OTHER, QUARTER, WHOLE, BROKEN, NO_ZOOM, question=NASA)
        assert reward(rollouts) == [1, 1, 1, 1, -1, -1]
        assert len(server.requests) == 3  # two crops, and the whole page
        assert sorted(len(each["messages"][0]["content"]) for each in server.requests) == [2, 3, 3]
        assert reward(rollouts) == [1, 1, 1, 1, -1, -1]
        assert len(server.requests) == 3


def test_letters_and_colons_survive() -> None:
    question = asked(None, "NASA: 10:45")
    with ChatServer(says("nasa: 10:45")) as server:
        assert AnswerScore(target(server))(rolled(QUARTER, question=question)) == [1.0]
        sent = server.requests[0]["messages"][0]["content"][-1]["text"]
    assert sent == "Who: when?\nGive a very brief answer."


def test_a_legal_refusal_is_asked_about_with_the_page_alone() -> None:
    with ChatServer(says("NASA")) as server:
        assert AnswerScore(target(server))(rolled(NO_ZOOM, question=NASA, no_zoom=True)) == [1.0]
        (body,) = server.requests
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "text"]


def test_nothing_is_asked_about_what_cannot_be_read() -> None:
    with ChatServer(says("NASA")) as server:
        reward = AnswerScore(target(server), unreadable=-0.25)
        assert reward(rolled(BROKEN, NO_ZOOM)) == [-0.25, -0.25]
        assert server.requests == []


def test_a_failure_is_missing_and_costs_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    hard = AnsweredQuestion(noise(), "hard?", answers=("NASA",))
    rollouts = rolled(QUARTER, question=NASA) + rolled(QUARTER, OTHER, BROKEN, question=hard)
    with ChatServer(refuses("hard")) as server, caplog.at_level(logging.WARNING):
        reward = AnswerScore(target(server), "exact_match")
        assert reward(rollouts) == [1.0, None, None, -1.0]
        assert reward.failures == 2
        assert "2 of 3 conversations got no reply" in caplog.text
        assert "too hard" in caplog.text
        assert reward(rollouts) == [1.0, None, None, -1.0]
        assert len(server.requests) == 3 + 2  # what failed is asked again, what is known is not
        server.script[0] = says("NASA")
        assert reward(rollouts) == [1.0, 1.0, 1.0, -1.0]


def test_the_backend_retries_before_a_reward_is_missing() -> None:
    busy = fails(429, "slow down", Retry_After="0")
    with ChatServer(busy, busy, says("NASA")) as server:
        assert AnswerScore(target(server))(rolled(QUARTER, question=NASA)) == [1.0]
        assert len(server.requests) == 3
    with ChatServer(busy) as server:
        assert AnswerScore(target(server))(rolled(QUARTER, question=NASA)) == [None]
        assert len(server.requests) == 3


def test_a_reply_that_is_late_is_missing() -> None:
    with ChatServer(hangs()) as server:
        reward = AnswerScore(target(server, timeout=0.3))
        start = time.monotonic()
        assert reward(rolled(QUARTER, question=NASA)) == [None]
        assert time.monotonic() - start < 5


def test_conversations_are_under_way_side_by_side_up_to_a_bound() -> None:
    lock = threading.Lock()
    now = most = 0

    def act(exchange: Exchange) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.2)
        with lock:
            now -= 1
        says("NASA")(exchange)

    boxes = [f"[{left}, 0, {left + 40}, 50]." for left in range(0, 60, 10)]
    with ChatServer(act) as server:
        reward = AnswerScore(target(server), max_parallel=3)
        assert reward(rolled(*boxes, question=NASA)) == [1.0] * 6
    assert most == 3


async def test_works_inside_a_running_event_loop() -> None:
    with ChatServer(says("NASA")) as server:
        assert AnswerScore(target(server))(rolled(QUARTER, question=NASA)) == [1.0]


class Local:
    """A VLM without ``areply``, which fails a whole call for the sake of one conversation."""

    def __init__(self, bad: str = "hard", error: Exception | None = None) -> None:
        self.bad = bad
        self.error = error or ModelError("expected memory, got none")
        self.sizes: list[int] = []

    def reply(self, conversations: Sequence[Conversation]) -> list[str]:
        self.sizes.append(len(conversations))
        if any(self.bad in conversation.text for conversation in conversations):
            raise self.error
        return ["NASA"] * len(conversations)


def test_a_local_model_gets_one_batch() -> None:
    vlm = Local()
    assert AnswerScore(vlm)(rolled(QUARTER, OTHER, WHOLE, question=NASA)) == [1.0] * 3
    assert vlm.sizes == [3]


def test_after_a_failed_batch_each_conversation_is_asked_alone() -> None:
    vlm = Local()
    hard = AnsweredQuestion(noise(), "hard?", answers=("NASA",))
    reward = AnswerScore(vlm)
    rollouts = rolled(QUARTER, OTHER, question=NASA) + rolled(QUARTER, question=hard)
    assert reward(rollouts) == [1.0, 1.0, None]
    assert vlm.sizes == [3, 1, 1, 1]
    assert reward.failures == 1


def test_a_bug_is_not_a_missing_reward() -> None:
    hard = AnsweredQuestion(noise(), "hard?", answers=("x",))
    with pytest.raises(KeyError):
        AnswerScore(Local(error=KeyError("x")))(rolled(QUARTER, question=hard))

    class Broken(Local):
        async def areply(self, conversations: Sequence[Conversation]) -> list[str]:
            raise KeyError("x")

    with pytest.raises(KeyError):
        AnswerScore(Broken())(rolled(QUARTER, question=NASA))


def test_too_few_replies_are_a_failure() -> None:
    class Silent(Local):
        def reply(self, conversations: Sequence[Conversation]) -> list[str]:
            return []

    assert AnswerScore(Silent())(rolled(QUARTER, OTHER, question=NASA)) == [None, None]


def letters(reply: str, answers: Sequence[str]) -> float:
    return len(reply) / len(answers[0])


def test_a_metric_of_ones_own() -> None:
    reward = AnswerScore(ConstantVLM("NA"), letters)
    assert reward.__name__ == "answer_score_letters"
    assert reward(rolled(QUARTER, question=NASA)) == [0.5]


def test_ten_annotators_are_all_heard() -> None:
    question = asked(None, *["coke"] * 2, *["pepsi"] * 8)
    reward = AnswerScore(ConstantVLM("coke"), "vqa_accuracy")
    (value,) = reward(rolled(QUARTER, question=question))
    assert value == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a metric of .*'anls'.*, got 'f1'"):
        AnswerScore(ConstantVLM("x"), "f1")
    with pytest.raises(ValueError, match="expected unreadable to be finite, got nan"):
        AnswerScore(ConstantVLM("x"), unreadable=float("nan"))
    with pytest.raises(ValueError, match="expected max_parallel >= 1, got 0"):
        AnswerScore(ConstantVLM("x"), max_parallel=0)
    with pytest.raises(ValueError, match=r"expected identity=\.\.\. .* Local, got none"):
        AnswerScore(Local(), cache=tmp_path / "replies.jsonl")
    with pytest.raises(SourceError, match="expected a file to keep replies in, got"):
        AnswerScore(ConstantVLM("x"), cache=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="expected a file to keep replies in, got"):
        AnswerScore(ConstantVLM("x"), cache=tmp_path / "file" / "replies.jsonl")


# ---- what is kept


def test_a_run_that_goes_on_pays_nothing_twice(tmp_path: Path) -> None:
    file = tmp_path / "run" / "replies.jsonl"
    question = asked(noise(), "NASA")
    page = question.open()
    with ChatServer(says("NASA")) as server:
        vlm = target(server)
        assert AnswerScore(vlm, cache=file)(rolled(QUARTER, OTHER, question=question)) == [1, 1]
        again = AnsweredQuestion(page.copy(), question.question, answers=("ESA",))
        resumed = AnswerScore(vlm, "exact_match", cache=file)
        assert resumed(rolled(QUARTER, OTHER, question=again)) == [0, 0]
        assert len(server.requests) == 2
        # Another model, another question, another page: all of them are new.
        AnswerScore(dataclasses.replace(vlm, model="new"), cache=file)(
            rolled(QUARTER, question=again)
        )
        resumed(rolled(QUARTER, question=dataclasses.replace(again, question="Where?")))
        resumed(rolled(QUARTER, question=dataclasses.replace(again, image=noise())))
        assert len(server.requests) == 5


def test_runs_at_the_same_time_share_their_replies(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    with ChatServer(says("NASA")) as server:
        one, other = (AnswerScore(target(server), cache=file) for _ in range(2))
        for reward in (one, other):
            assert reward(rolled(QUARTER, question=NASA)) == [1.0]
        assert len(server.requests) == 1


def test_an_identity_of_ones_own_holds_across_settings(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    with ChatServer(says("NASA")) as server:
        for timeout in (30, 60):
            reward = AnswerScore(target(server, timeout=timeout), cache=file, identity="test-model")
            assert reward(rolled(QUARTER, question=NASA)) == [1.0]
        assert len(server.requests) == 1


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    with ChatServer(fails(400), says("NASA")) as server:
        for expected in (None, 1.0):
            reward = AnswerScore(target(server), cache=file)
            assert reward(rolled(QUARTER, question=NASA)) == [expected]


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    cache = ReplyCache(file)
    cache.add("a", "1")
    with file.open("ab") as stream:
        stream.write(b'\n{"key": "b", "rep')
    resumed = ReplyCache(file)
    assert (resumed.get("a"), resumed.get("b")) == ("1", None)
    resumed.add("c", "3\n\ud800\u2028")
    last = ReplyCache(file)
    assert (last.get("a"), last.get("b"), last.get("c")) == ("1", None, "3\n\ud800\u2028")


def test_a_line_may_arrive_in_two_parts(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    cache = ReplyCache(file)
    for part, found in ((b'{"key": "k", "rep', None), (b'ly": "x"}\n', "x")):
        with file.open("ab") as stream:
            stream.write(part)
        cache.refresh()
        assert cache.get("k") == found


@pytest.mark.parametrize(
    "line", [b"[]", b'"x"', b'{"key": 1, "reply": "x"}', b'{"key": "k"}', b"\xff\xfe", b"[" * 10**5]
)
def test_foreign_lines_are_passed_over(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "replies.jsonl"
    file.write_bytes(line + b'\n{"key": "k", "reply": "good"}\n')
    assert ReplyCache(file).get("k") == "good"


def test_one_process_sees_what_another_one_was_told(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    one, other = ReplyCache(file), ReplyCache(file)
    one.add("k", "x")
    assert other.get("k") is None
    other.refresh()
    assert other.get("k") == "x"
    file.write_bytes(b'{"key": "n", "reply": "y"}\n')  # cut and begun anew
    other.refresh()
    assert other.get("n") == "y"


def test_memory_is_bounded_and_the_latest_stay() -> None:
    cache = ReplyCache(most=2)
    cache.add("a", "1")
    cache.add("b", "2")
    assert cache.get("a") == "1"
    cache.add("c", "3")
    assert [cache.get(key) for key in "abc"] == ["1", None, "3"]
    with pytest.raises(ValueError, match="expected most >= 1, got 0"):
        ReplyCache(most=0)


def test_a_file_that_went_away_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "run" / "replies.jsonl"
    cache = ReplyCache(file)
    file.unlink()
    file.parent.rmdir()
    with pytest.raises(SourceError, match="expected a file to keep replies in"):
        cache.add("k", "x")
    with pytest.raises(SourceError, match="expected a file to keep replies in"):
        cache.refresh()


def test_two_processes_may_write_at_once(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    code = (
        "import sys; from cropvlm_core.training.reply_cache import ReplyCache\n"
        "cache = ReplyCache(sys.argv[1])\n"
        "for i in range(500): cache.add(f'{sys.argv[2]}{i}', 'x' * (i % 200))\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(file), name]) for name in ("a", "b")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    cache = ReplyCache(file)
    keys = {f"{name}{i}": "x" * (i % 200) for name in "ab" for i in range(500)}
    assert {key: cache.get(key) for key in keys} == keys
    assert all(json.loads(line) for line in file.read_text().split("\n") if line)
