"""The openai client with crops, over a real socket: what reaches the server, and what does not."""

# ruff: noqa: E402
import asyncio
import copy
import gc
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel

from tests.programs import require_package

require_package("openai")

from openai import (
    APIStatusError,
    AsyncAzureOpenAI,
    AsyncOpenAI,
    AzureOpenAI,
    OpenAI,
)
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import ResponseInputParam

from cropvlm_core import loading
from cropvlm_core.errors import ImageError, SourceError
from cropvlm_core.openai_client import NO_ZOOM, zoomed
from cropvlm_core.zoom import ZoomPipeline
from tests.chat_server import ChatServer, fails
from tests.model_server import Call, answers, calls, pictures
from tests.openai_talk import chat_message, response_item, showed
from tests.pages import CountingCropper, middle_of, noise, pipeline

_opened: list[OpenAI] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the connections of a test's clients, which they share with their copies."""
    yield
    while _opened:
        _opened.pop().close()


def own(server: ChatServer, **options: Any) -> OpenAI:
    _opened.append(OpenAI(api_key="x", base_url=server.url, max_retries=0, **options))
    return _opened[-1]


def own_async(server: ChatServer, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(api_key="x", base_url=server.url, max_retries=0, **options)


def chat(page: Image.Image, text: str = "Total?") -> list[ChatCompletionMessageParam]:
    return [chat_message(text, page)]  # type: ignore[list-item]  # a plain dict, as users write it


def response(page: Image.Image, text: str = "Total?") -> ResponseInputParam:
    return [response_item(text, page)]  # type: ignore[list-item]


class Total(BaseModel):
    total: str


def every_call(client: OpenAI, page: Image.Image, **extra: Any) -> list[str]:
    """Ask by every method there is; return the answers."""
    asks: dict[str, Any] = {"model": "m", "messages": chat(page), **extra}
    wants: dict[str, Any] = {"model": "m", "input": response(page), **extra}
    completions = client.chat.completions
    said = [completions.create(**asks).choices[0].message.content]
    said += [_joined(completions.create(stream=True, **asks))]
    with completions.stream(**asks) as stream:
        said += [stream.get_final_completion().choices[0].message.content]
    parsed = completions.parse(response_format=Total, **asks).choices[0].message.parsed
    said += [parsed.total if parsed else None]
    said += [completions.with_raw_response.create(**asks).parse().choices[0].message.content]
    with completions.with_streaming_response.create(**asks) as streamed:
        said += [streamed.parse().choices[0].message.content]
    said += [
        client.with_raw_response.chat.completions.create(**asks).parse().choices[0].message.content
    ]
    said += [client.beta.chat.completions.parse(**asks).choices[0].message.content]
    said += [client.responses.create(**wants).output_text]
    events = client.responses.create(stream=True, **wants)
    said += ["".join(e.delta for e in events if e.type == "response.output_text.delta")]
    with client.responses.stream(**wants) as stream_of_responses:
        said += [stream_of_responses.get_final_response().output_text]
    answer = client.responses.parse(text_format=Total, **wants).output_parsed
    said += [answer.total if answer else None]
    said += [client.responses.with_raw_response.create(**wants).parse().output_text]
    with client.responses.with_streaming_response.create(**wants) as streamed:
        said += [streamed.parse().output_text]
    return [str(text) for text in said]


async def every_async_call(client: AsyncOpenAI, page: Image.Image, **extra: Any) -> list[str]:
    asks: dict[str, Any] = {"model": "m", "messages": chat(page), **extra}
    wants: dict[str, Any] = {"model": "m", "input": response(page), **extra}
    completions = client.chat.completions
    said = [(await completions.create(**asks)).choices[0].message.content]
    chunks = [chunk async for chunk in await completions.create(stream=True, **asks)]
    said += [_joined(chunks)]
    async with completions.stream(**asks) as stream:
        said += [(await stream.get_final_completion()).choices[0].message.content]
    parsed = (await completions.parse(response_format=Total, **asks)).choices[0].message.parsed
    said += [parsed.total if parsed else None]
    raw = await completions.with_raw_response.create(**asks)
    said += [raw.parse().choices[0].message.content]
    async with completions.with_streaming_response.create(**asks) as streamed:
        said += [(await streamed.parse()).choices[0].message.content]
    said += [(await client.beta.chat.completions.parse(**asks)).choices[0].message.content]
    said += [(await client.responses.create(**wants)).output_text]
    async with client.responses.stream(**wants) as stream_of_responses:
        said += [(await stream_of_responses.get_final_response()).output_text]
    answer = (await client.responses.parse(text_format=Total, **wants)).output_parsed
    said += [answer.total if answer else None]
    said += [(await client.responses.with_raw_response.create(**wants)).parse().output_text]
    return [str(text) for text in said]


def _joined(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


ANSWER = '{"total": "12.90"}'


def test_every_method_shows_page_and_crop() -> None:
    page = noise()
    with ChatServer(answers(ANSWER)) as server:
        client = zoomed(own(server), pipeline())
        said = every_call(client, page)
        assert {text for text in said if text != "12.90"} == {ANSWER}
        assert len(server.requests) == len(said) == 14
        for request in server.requests:
            assert showed(pictures(request), page, middle_of(page))
        plain = zoomed(own(server), pipeline())
        del server.requests[:]
        assert every_call(plain, page, zoom=False) == said
        for request in server.requests:
            assert showed(pictures(request), page)
            assert "zoom" not in request


async def test_every_method_of_the_asynchronous_client() -> None:
    page = noise()
    with ChatServer(answers(ANSWER)) as server:
        client = zoomed(own_async(server), pipeline())
        said = await every_async_call(client, page)
        assert {text for text in said if text != "12.90"} == {ANSWER}
        assert len(server.requests) == len(said) == 11
        for request in server.requests:
            assert showed(pictures(request), page, middle_of(page))
        del server.requests[:]
        assert await every_async_call(client, page, zoom=False) == said
        for request in server.requests:
            assert showed(pictures(request), page)
        await client.close()


def test_nothing_but_the_crops_differs_from_what_the_own_client_sends() -> None:
    page = noise()
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    options: Any = {"model": "m", "tools": tools, "temperature": 0.2, "extra_body": {"seed": 7}}
    with ChatServer(answers("a")) as server:
        client = own(server, default_headers={"x-team": "a"})
        for one in (client, zoomed(client, pipeline())):
            one.chat.completions.create(messages=chat(page), **options)
    first, second = server.requests
    content = second["messages"][0]["content"]
    assert showed(pictures(second), page, middle_of(page))
    del content[2:4]
    assert first == second
    assert server.keys == ["Bearer x"] * 2


def test_what_is_handed_in_stays_as_it_is_and_a_message_may_come_from_anywhere() -> None:
    page, later = noise(), noise()
    with ChatServer(answers("a")) as server:
        client = zoomed(own(server), pipeline())
        talk = chat(page)
        kept = copy.deepcopy(talk)
        reply = client.chat.completions.create(model="m", messages=talk).choices[0].message
        assert talk == kept
        said: Any = [*talk, reply, *chat(later, "Date?")]  # the reply as the object it is
        client.chat.completions.create(model="m", messages=iter(said))
        assert showed(pictures(server.requests[1]), page, middle_of(page), later, middle_of(later))
        client.responses.create(model="m", input="What is the total?")
        assert server.requests[2]["input"] == "What is the total?"


def test_the_given_client_goes_on_as_before() -> None:
    page = noise()
    with ChatServer(answers("a")) as server:
        client = own(server)
        before = client.chat.completions  # a resource made before
        one, other = zoomed(client, pipeline()), zoomed(client, ZoomPipeline(CountingCropper()))
        for completions in (before, client.chat.completions):
            completions.create(model="m", messages=chat(page))
        for request in server.requests:
            assert showed(pictures(request), page)
        assert type(client) is OpenAI
        assert isinstance(one, OpenAI)
        assert (one.base_url, one.api_key, one.max_retries) == (client.base_url, "x", 0)
        assert "_cropvlm" not in vars(client)
        for twin in (one, other, zoomed(one, pipeline())):
            twin.chat.completions.create(model="m", messages=chat(page))
            assert showed(pictures(server.requests[-1]), page, middle_of(page))
        with pytest.raises(TypeError, match="zoom"):
            client.chat.completions.create(model="m", messages=chat(page), zoom=False)  # type: ignore[call-overload]


def test_clients_made_of_a_zooming_one_zoom() -> None:
    page = noise()
    with ChatServer(answers("a")) as server:
        client = zoomed(own(server), pipeline())
        changed = client.with_options(timeout=5)
        again = changed.copy(default_headers={"x-team": "a"}).with_options(max_retries=1)
        for one in (changed, again, copy.copy(again)):
            assert type(one) is type(client)
            one.chat.completions.create(model="m", messages=chat(page))
            assert showed(pictures(server.requests[-1]), page, middle_of(page))
        assert (changed.timeout, again.max_retries) == (5, 1)


async def test_azure_clients_zoom_and_keep_their_addresses() -> None:
    page = noise()
    options: Any = {"api_key": "x", "api_version": "2024-06-01", "max_retries": 0}
    with ChatServer(answers("a")) as server:
        base = server.url.removesuffix("/v1")
        client = zoomed(AzureOpenAI(azure_endpoint=base, **options), pipeline())
        _opened.append(client)
        assert isinstance(client, AzureOpenAI)
        for one in (client, client.with_options(timeout=5)):
            one.chat.completions.create(model="gpt", messages=chat(page))
            one.responses.create(model="gpt", input=response(page))
        slow = zoomed(AsyncAzureOpenAI(azure_endpoint=base, **options), pipeline())
        await slow.chat.completions.create(model="gpt", messages=chat(page))
        await slow.close()
    deployed = "/openai/deployments/gpt/chat/completions?api-version=2024-06-01"
    assert server.paths[0] == server.paths[2] == server.paths[4] == deployed
    for request in server.requests:
        assert showed(pictures(request), page, middle_of(page))


def test_tools_and_their_calls_are_left_alone() -> None:
    page = noise()
    with ChatServer(calls(Call("f", {"a": 1}, "c1")), answers("12.90")) as server:
        client = zoomed(own(server), pipeline())
        talk: Any = chat(page)
        made = client.chat.completions.create(model="m", messages=talk).choices[0].message
        assert made.tool_calls is not None
        talk += [made, {"role": "tool", "tool_call_id": made.tool_calls[0].id, "content": "1"}]
        assert client.chat.completions.create(model="m", messages=talk).choices[0].message.content
    first, second = server.requests
    assert showed(pictures(second), page, middle_of(page))
    assert first["messages"][0] == second["messages"][0]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool"]


def test_what_a_retry_sends_is_zoomed_into_once() -> None:
    page = noise()
    cropper = CountingCropper()
    with ChatServer(fails(500, retry_after_ms="1"), answers("a")) as server:
        client = zoomed(own(server).with_options(max_retries=1), ZoomPipeline(cropper))
        client.chat.completions.create(model="m", messages=chat(page))
    assert server.requests[0] == server.requests[1]
    assert cropper.batches == [["Total?"]]


def test_errors_of_the_server_are_the_clients_own() -> None:
    with ChatServer(fails(429)) as server, pytest.raises(APIStatusError) as caught:
        zoomed(own(server), pipeline()).chat.completions.create(model="m", messages=chat(noise()))
    assert caught.value.status_code == 429


async def test_an_image_that_may_not_be_read_ends_the_call_unsent_or_goes_alone() -> None:
    shown: Any = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    broken: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    for part, error in ((shown, SourceError), (broken, ImageError)):
        talk: Any = [{"role": "user", "content": [{"type": "text", "text": "Total?"}, part]}]
        with ChatServer(answers("a")) as server:
            with pytest.raises(error):
                zoomed(own(server), pipeline()).chat.completions.create(model="m", messages=talk)
            slow = own_async(server)
            with pytest.raises(error):
                await zoomed(slow, pipeline()).chat.completions.create(model="m", messages=talk)
            assert server.requests == []
            lenient = zoomed(own(server), pipeline(), on_error="skip")
            lenient.chat.completions.create(model="m", messages=talk)
            assert server.requests[0]["messages"] == talk
            await slow.close()


def test_the_question_may_be_found_in_a_template() -> None:
    cropper = CountingCropper()
    with ChatServer(answers("a")) as server:
        client = zoomed(
            own(server), ZoomPipeline(cropper), question=lambda text: text.partition("Q:")[2]
        )
        client.chat.completions.create(model="m", messages=chat(noise(), "Be brief. Q: Total?"))
    assert cropper.batches == [["Total?"]]


def test_one_call_without_crops_in_words_that_types_know() -> None:
    page = noise()
    with ChatServer(answers("a")) as server:
        client = zoomed(own(server), pipeline())
        # the lines that a user writes; mypy reads them, and complains where an ignore is not needed
        client.chat.completions.create(model="m", messages=chat(page), extra_headers=NO_ZOOM)
        client.responses.create(model="m", input=response(page), extra_headers=NO_ZOOM)
        client.chat.completions.create(model="m", messages=chat(page), zoom=False)  # type: ignore[call-overload]
        client.responses.create(model="m", input=response(page), zoom=False)  # type: ignore[call-overload]
        for request in server.requests:
            assert showed(pictures(request), page)
        client.chat.completions.create(model="m", messages=chat(page), zoom=True)  # type: ignore[call-overload]
        assert showed(pictures(server.requests[-1]), page, middle_of(page))
        with pytest.raises(TypeError, match="zoom as True or False, got 0"):
            client.responses.create(model="m", input=response(page), zoom=0)  # type: ignore[call-overload]
        answered: str | None = (
            client.chat.completions.create(model="m", messages=chat(page))
            .choices[0]
            .message.content
        )
    assert answered == "a"


def test_the_header_of_no_zoom_is_not_sent() -> None:
    seen: list[Any] = []

    def act(exchange: Any) -> None:
        seen.append({name.lower() for name in exchange.headers})
        answers("a")(exchange)

    with ChatServer(act) as server:
        client = zoomed(own(server), pipeline())
        headers = {"X-CropVLM": "off", "x-team": "a"}
        client.chat.completions.create(model="m", messages=chat(noise()), extra_headers=headers)
    assert "x-team" in seen[0]
    assert "x-cropvlm" not in seen[0]


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(TypeError, match="expected an OpenAI or AsyncOpenAI client, got a str"):
        zoomed("client")  # type: ignore[type-var]
    client = OpenAI(api_key="x")
    with pytest.raises(ValueError, match="on_error"):
        zoomed(client, on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="roots"):
        zoomed(client, roots="folder")
    with pytest.raises(TypeError, match="ZoomPipeline"):
        zoomed(client, CountingCropper())  # type: ignore[arg-type]
    client.chat.completions.create = lambda **_: None  # type: ignore[method-assign,assignment]
    with pytest.raises(TypeError, match="wrap what zoomed"):
        zoomed(client, pipeline())


def test_who_wraps_the_zooming_client_and_who_traces_its_class_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = noise()
    heard: list[str] = []
    with ChatServer(answers("a")) as server:
        client = zoomed(own(server), pipeline())
        inner = client.chat.completions.create
        kind: Any = type(client.chat.completions)
        original = kind.create

        def traced(self: Any, **kwargs: Any) -> Any:
            heard.append("class")
            return original(self, **kwargs)

        monkeypatch.setattr(kind, "create", traced)

        def wrapper(**kwargs: Any) -> Any:
            heard.append("instance")
            return inner(**kwargs)

        client.chat.completions.create = wrapper  # type: ignore[method-assign]
        client.chat.completions.create(model="m", messages=chat(page))
    assert heard == ["instance", "class"]
    assert showed(pictures(server.requests[0]), page, middle_of(page))


def test_without_a_pipeline_the_shared_default_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    page = noise()
    monkeypatch.setattr(loading, "_default", pipeline())
    with ChatServer(answers("a")) as server:
        zoomed(own(server)).chat.completions.create(model="m", messages=chat(page))
    assert showed(pictures(server.requests[0]), page, middle_of(page))


async def test_the_event_loop_goes_on_and_a_cancelled_call_sends_nothing() -> None:
    class Slow(CountingCropper):
        def propose_batch(self, questions: Any) -> Any:
            time.sleep(0.3)
            return super().propose_batch(questions)

    with ChatServer(answers("a")) as server:
        client = zoomed(own_async(server), ZoomPipeline(Slow()))
        call = asyncio.create_task(
            client.chat.completions.create(model="m", messages=chat(noise()))
        )
        began = time.monotonic()
        await asyncio.sleep(0.02)
        assert time.monotonic() - began < 0.2
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0.35)
        assert server.requests == []
        await client.close()


def test_a_client_that_nobody_holds_is_forgotten() -> None:
    def used() -> "weakref.ref[OpenAI]":
        client = zoomed(OpenAI(api_key="x"), pipeline())
        client.chat.completions.with_raw_response  # noqa: B018 - makes what refers to the client
        return weakref.ref(client)

    gone = used()
    gc.collect()
    assert gone() is None


def test_without_openai_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "try:\n    import cropvlm_core.openai_client\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout == (
        "MissingExtraError zooming for an openai client needs an extra package: "
        "pip install 'cropvlm[api]'\n"
    )
