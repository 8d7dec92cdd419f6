"""OpenAIVLM through the real client against a local server that speaks the protocol."""

import asyncio
import base64
import io
import pickle
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from PIL import Image

from cropvlm_core.errors import DeadlineError, MissingExtraError, ModelError
from cropvlm_core.openai_vlm import OpenAIVLM
from cropvlm_core.prompts import answer_prompt
from cropvlm_core.vlm import VLM, Conversation
from tests.chat_server import ChatServer, completion, cuts, drips, fails, hangs, says, sends

SECRET = "sk-test-0123456789abcdef"


def conversation(question: str = "What is the total?") -> Conversation:
    page = Image.new("RGB", (40, 60), (200, 10, 10))
    crop = Image.new("RGB", (16, 8), (10, 10, 200))
    return Conversation((page, crop, answer_prompt(question)))


def vlm(server: ChatServer, **options: object) -> OpenAIVLM:
    return OpenAIVLM("test-model", server.url, **options)  # type: ignore[arg-type]


def test_sends_both_images_and_the_prompt_in_order() -> None:
    with ChatServer(says("12.90")) as server:
        model = vlm(server)
        assert model.reply([conversation()]) == ["12.90"]
    assert isinstance(model, VLM)
    assert server.paths == ["/v1/chat/completions"]
    (body,) = server.requests
    assert body["model"] == "test-model"
    assert body["max_tokens"] == 512
    assert body["temperature"] == 0
    (message,) = body["messages"]
    assert message["role"] == "user"
    first, second, text = message["content"]
    assert text == {"type": "text", "text": "What is the total?\nGive a very brief answer."}
    colours = []
    for part in (first, second):
        assert part["type"] == "image_url"
        head, data = part["image_url"]["url"].split(",", 1)
        assert head in ("data:image/png;base64", "data:image/jpeg;base64")
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            colours.append((image.size, image.convert("RGB").getpixel((3, 3))))
    assert colours == [((40, 60), (200, 10, 10)), ((16, 8), (10, 10, 200))]


def test_large_pages_go_as_jpeg() -> None:
    with ChatServer(says("x")) as server:
        vlm(server).reply([Conversation((Image.new("RGB", (1001, 1000)), "?"))])
    url = server.requests[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert url.startswith("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) as image:
        assert image.size == (1001, 1000)


def test_temperature_none_is_left_to_the_server() -> None:
    with ChatServer(says("x")) as server:
        vlm(server, temperature=None, max_tokens=7).reply([conversation()])
    assert "temperature" not in server.requests[0]
    assert server.requests[0]["max_tokens"] == 7


def test_no_conversation_sends_nothing() -> None:
    with ChatServer(says("x")) as server:
        assert vlm(server).reply([]) == []
    assert server.requests == []


def test_replies_keep_the_order_and_overlap() -> None:
    def echo(exchange):  # type: ignore[no-untyped-def]
        text = exchange.server.requests[-1]["messages"][0]["content"][-1]["text"]
        number = int(text.split()[0])
        time.sleep(0.02 * (4 - number))
        says(str(number))(exchange)

    with ChatServer(echo) as server:
        asked = [Conversation((f"{number} ?",)) for number in range(4)]
        assert vlm(server, max_parallel=1).reply(asked) == ["0", "1", "2", "3"]


def test_never_more_than_max_parallel_at_once() -> None:
    under_way, most = [0], [0]

    def count(exchange):  # type: ignore[no-untyped-def]
        with exchange.server.lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.05)
        with exchange.server.lock:
            under_way[0] -= 1
        says("x")(exchange)

    with ChatServer(count) as server:
        assert vlm(server, max_parallel=3).reply([conversation()] * 7) == ["x"] * 7
    assert most[0] == 3


def test_works_inside_a_running_loop_and_awaited() -> None:
    with ChatServer(says("x")) as server:
        model = vlm(server)

        async def main() -> list[str]:
            return model.reply([conversation()]) + await model.areply([conversation()])

        assert asyncio.run(main()) == ["x", "x"]


def test_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with ChatServer(says("x")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        OpenAIVLM("test-model").reply([conversation()])
    assert server.keys == [f"Bearer {SECRET}"]


def test_own_server_needs_no_key() -> None:
    with ChatServer(says("x")) as server:
        assert vlm(server).reply([conversation()]) == ["x"]
    assert SECRET not in server.keys[0]


def test_no_server_and_no_key_names_the_variable() -> None:
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        OpenAIVLM("test-model").reply([conversation()])


def test_key_is_in_no_error_log_or_repr(caplog: pytest.LogCaptureFixture) -> None:
    with ChatServer(fails(401, f"bad key {SECRET} given")) as server, caplog.at_level(0):
        model = vlm(server, api_key=SECRET)
        with pytest.raises(ModelError, match=r"HTTP 401.*bad key \[key\] given") as caught:
            model.reply([conversation()])
    assert server.keys == [f"Bearer {SECRET}"]
    assert SECRET not in str(caught.value) + repr(model)
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "Sending HTTP Request" in logged  # so the client does log at this level
    assert SECRET not in logged


def test_pickles_with_its_settings() -> None:
    model = OpenAIVLM("m", "http://127.0.0.1:1/v1", max_tokens=3)
    assert pickle.loads(pickle.dumps(model)) == model


@pytest.mark.parametrize("name", ["max_tokens", "timeout", "max_attempts", "max_parallel"])
def test_limits_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected {name} above 0, got 0"):
        OpenAIVLM("m", **{name: 0})  # type: ignore[arg-type]


def test_retry_after_is_obeyed() -> None:
    with ChatServer(fails(429, "slow down", Retry_After="1"), says("at last")) as server:
        assert vlm(server).reply([conversation()]) == ["at last"]
    assert server.times[1] - server.times[0] >= 1.0


def test_retry_after_may_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    with ChatServer(fails(503, "later", Retry_After=soon), says("at last")) as server:
        assert vlm(server).reply([conversation()]) == ["at last"]
    assert server.times[1] - server.times[0] >= 0.9  # the date has whole seconds


def test_retry_after_that_makes_no_sense_is_ignored() -> None:
    with ChatServer(fails(503, "later", Retry_After="soon"), says("at last")) as server:
        assert vlm(server).reply([conversation()]) == ["at last"]


def test_retry_after_beyond_the_deadline_ends_at_once() -> None:
    with ChatServer(fails(429, "slow down", Retry_After="3600")) as server:
        start = time.monotonic()
        with pytest.raises(DeadlineError, match="come back in 3600 s"):
            vlm(server, timeout=20).reply([conversation()])
    assert time.monotonic() - start < 10
    assert len(server.requests) == 1


@pytest.mark.parametrize("act", [fails(500), fails(503), fails(429), fails(408), cuts()])
def test_passing_faults_are_tried_again(act) -> None:  # type: ignore[no-untyped-def]
    with ChatServer(act, says("at last")) as server:
        assert vlm(server).reply([conversation()]) == ["at last"]
    assert len(server.requests) == 2


def test_server_error_ends_after_three_attempts_and_no_more() -> None:
    with ChatServer(fails(500, "out of memory", Retry_After="0")) as server:
        with pytest.raises(ModelError, match="'test-model', got HTTP 500: 'out of memory'"):
            vlm(server).reply([conversation()])
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_refusals_are_not_repeated(status: int) -> None:
    with ChatServer(fails(status, "no such model")) as server:
        with pytest.raises(ModelError, match=f"HTTP {status}: 'no such model'"):
            vlm(server).reply([conversation()])
    assert len(server.requests) == 1


def test_nobody_listening_is_a_model_error() -> None:
    with ChatServer(says("x")) as server:
        model = vlm(server, max_attempts=2)
    with pytest.raises(ModelError, match=r"broken connection .* at each of 2 attempts"):
        model.reply([conversation()])


@pytest.mark.parametrize("act", [hangs(), drips()], ids=["hangs", "drips"])
def test_one_deadline_over_everything(act) -> None:  # type: ignore[no-untyped-def]
    with ChatServer(act) as server:
        start = time.monotonic()
        with pytest.raises(DeadlineError, match=r"within 0\.6 s"):
            vlm(server, timeout=0.6).reply([conversation()])
        assert time.monotonic() - start < 10  # the server would go on for 30 s


def test_deadline_counts_all_attempts() -> None:
    with ChatServer(fails(500, "no", Retry_After="0.5")) as server:
        with pytest.raises(DeadlineError):
            vlm(server, timeout=1.2, max_attempts=50).reply([conversation()])
    assert len(server.requests) <= 4


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{not json", "expected JSON"),
        (b"", "expected JSON"),
        (b"<html>gateway</html>", "expected JSON"),
        ({}, "expected a chat completion with choices"),
        (completion() | {"choices": []}, "expected a chat completion with choices"),
        (completion() | {"choices": None}, "expected a chat completion with choices"),
        (completion() | {"choices": "x"}, "expected a chat completion with choices"),
        ([1, 2], "expected a chat completion with choices"),
        (completion(content=None), "expected a reply with text, got None"),
        (completion(content="  "), "expected a reply with text, got '  '"),
        (completion(content=["x"]), "expected a reply with text"),
        (completion() | {"choices": [{"index": 0}]}, "expected a reply with text, got None"),
        (completion() | {"choices": [7]}, "expected a reply with text, got None"),
    ],
)
def test_what_is_no_answer_is_a_model_error(body: object, expected: str) -> None:
    with ChatServer(sends(body)) as server:
        with pytest.raises(ModelError, match=expected) as caught:
            vlm(server).reply([conversation()])
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_page_in_place_of_json_is_a_model_error() -> None:
    def page(exchange):  # type: ignore[no-untyped-def]
        exchange.send(b"<html>hello</html>", content_type="text/html")

    with ChatServer(page) as server:
        with pytest.raises(ModelError, match="hello"):
            vlm(server).reply([conversation()])


def test_empty_because_of_the_token_limit_says_so() -> None:
    body = completion(content="")
    body["choices"][0]["finish_reason"] = "length"
    with ChatServer(sends(body)) as server:
        with pytest.raises(ModelError, match="raise max_tokens"):
            vlm(server).reply([conversation()])


def test_reasoning_models_are_asked_in_their_words() -> None:
    def refuses(parameter: str, message: str):  # type: ignore[no-untyped-def]
        return sends(
            {"error": {"message": message, "param": parameter, "code": "unsupported_parameter"}},
            400,
        )

    with ChatServer(
        refuses("max_tokens", "Use 'max_completion_tokens' instead of 'max_tokens'."),
        refuses("temperature", "Only the default (1) value is supported."),
        says("x"),
    ) as server:
        assert vlm(server, max_attempts=1).reply([conversation()]) == ["x"]
    last = server.requests[-1]
    assert last["max_completion_tokens"] == 512
    assert "max_tokens" not in last
    assert "temperature" not in last


def test_one_failure_ends_the_batch() -> None:
    with ChatServer(fails(404, "no such model"), says("x")) as server:
        with pytest.raises(ModelError, match="no such model"):
            vlm(server, max_parallel=1).reply([conversation()] * 20)
    assert len(server.requests) <= 3


def test_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cropvlm\[api\]'"):
        OpenAIVLM("m", "http://127.0.0.1:1/v1")
