"""The proxy over real sockets: what it adds, and that all else goes through byte for byte."""

# ruff: noqa: E402
import gzip
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.programs import require_package

for package in ("starlette", "uvicorn", "httpx", "openai"):
    require_package(package)

import httpx
from openai import APIStatusError, AsyncOpenAI, OpenAI

from cropvlm_core.decoding import pictures as decoding_pictures
from cropvlm_core.images import to_data_uri
from cropvlm_core.zoom import ZoomPipeline
from tests.chat_server import ChatServer, fails
from tests.model_server import Call, answers, calls, decoded, pictures
from tests.openai_talk import chat_message, response_item, showed
from tests.pages import CountingCropper, FailingCropper, middle_of, noise, same
from tests.proxies import RawUpstream, RunningProxy, plain


def client(proxy: RunningProxy, **options: Any) -> OpenAI:
    return OpenAI(api_key="key-1", base_url=proxy.url, max_retries=0, **options)


def chat_body(page: Any, text: str = "Total?", **more: Any) -> bytes:
    """A body as another language's client would write it: spaces, order and all."""
    body = {"stream": False, "messages": [chat_message(text, page)], "model": "m", **more}
    return json.dumps(body, indent=1).encode()


JSON = {"content-type": "application/json"}


def test_an_app_gets_crops_by_its_base_url_alone() -> None:
    page = noise()
    with ChatServer(answers("12.90")) as upstream, RunningProxy(upstream.url) as proxy:
        app = client(proxy)
        asks: Any = {"model": "m", "messages": [chat_message("Total?", page)]}
        raw = app.chat.completions.with_raw_response.create(**asks)
        assert raw.parse().choices[0].message.content == "12.90"
        assert raw.headers["x-cropvlm"] == "crops=1"
        chunks = app.chat.completions.create(stream=True, **asks)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "12.90"
        wants: Any = {"model": "m", "input": [response_item("Total?", page)]}
        assert app.responses.create(**wants).output_text == "12.90"
        with app.responses.stream(**wants) as stream:
            assert stream.get_final_response().output_text == "12.90"
        app.close()
    assert len(upstream.requests) == 4
    assert set(upstream.keys) == {"Bearer key-1"}
    for request in upstream.requests:
        assert showed(pictures(request), page, middle_of(page))


async def test_many_asynchronous_clients_each_get_their_own_crop() -> None:
    import asyncio

    pages = [noise(100 + 8 * number, 120) for number in range(16)]
    with ChatServer(answers("a")) as upstream, RunningProxy(upstream.url) as proxy:
        async with AsyncOpenAI(api_key="x", base_url=proxy.url, max_retries=0) as app:
            messages: list[Any] = [[chat_message("Total?", page)] for page in pages]
            asked = [app.chat.completions.create(model="m", messages=each) for each in messages]
            await asyncio.gather(*asked)
    shown = {len(pictures(request)): pictures(request) for request in upstream.requests}
    assert set(shown) == {2}
    by_width = {pictures(request)[0].picture.width: request for request in upstream.requests}
    for page in pages:
        assert showed(pictures(by_width[page.width]), page, middle_of(page))


def test_tool_calls_go_through() -> None:
    page = noise()
    with ChatServer(calls(Call("f", {"a": 1}, "c1")), answers("12.90")) as upstream:
        with RunningProxy(upstream.url) as proxy, client(proxy) as app:
            talk: Any = [chat_message("Total?", page)]
            made = app.chat.completions.create(model="m", messages=talk).choices[0].message
            assert made.tool_calls is not None
            talk += [made, {"role": "tool", "tool_call_id": "c1", "content": "1"}]
            done = app.chat.completions.create(model="m", messages=talk).choices[0].message
    assert done.content == "12.90"
    assert showed(pictures(upstream.requests[1]), page, middle_of(page))


def test_langchain_points_its_base_url_at_it() -> None:
    require_package("langchain_openai")
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    from tests.langchain_talk import asks

    page = noise()
    with ChatServer(answers("12.90")) as upstream, RunningProxy(upstream.url) as proxy:
        for more in ({}, {"use_responses_api": True}, {"streaming": True}):
            options: Any = {"base_url": proxy.url, "max_retries": 0, **more}
            model = ChatOpenAI(model="m", api_key=SecretStr("x"), **options)
            assert model.invoke([asks("Total?", page)]).text == "12.90"
            assert showed(pictures(upstream.requests[-1]), page, middle_of(page))


def test_a_zooming_app_behind_a_proxy_gets_no_crops_of_crops() -> None:
    from cropvlm_core.openai_client import zoomed
    from tests.pages import pipeline

    page = noise()
    with ChatServer(answers("a")) as upstream, RunningProxy(upstream.url) as proxy:
        app = zoomed(client(proxy), pipeline())
        app.chat.completions.create(model="m", messages=[chat_message("Total?", page)])  # type: ignore[list-item]
        app.close()
    assert showed(pictures(upstream.requests[0]), page, middle_of(page))


def test_a_stream_is_passed_on_byte_for_byte_as_it_comes() -> None:
    events = [
        b'data: {"a": 1}\n\n',
        b": ping\r\n\r\n",
        b"data: \xff\x00 odd\n\n",
        b"data: [DONE]\n\n",
    ]
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    go = [threading.Event() for _ in events]

    def answer(connection: Any) -> None:
        connection.sendall(head)
        for event, let in zip(events, go, strict=True):
            let.wait(5)
            connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        connection.sendall(b"0\r\n\r\n")

    with RawUpstream(answer) as upstream, RunningProxy(upstream.url) as proxy:
        body = chat_body(noise(), stream=True)
        with httpx.stream("POST", f"{proxy.url}/chat/completions", content=body) as response:
            parts = response.iter_raw()
            for event, let in zip(events, go, strict=True):
                let.set()  # the next event is not sent before this one has come through
                assert next(parts) == event
            assert list(parts) == []
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-cropvlm"] == "crops=1"


def test_what_is_not_zoomed_into_is_passed_on_byte_for_byte() -> None:
    said = b'{"b" : 1.00, "a":1e5,"messages":[{"role":"user","content":"caf\\u00e9 \xc3\xa9"}]}'
    image_of_a_tool = json.dumps({"input": [{"output": [response_item("", noise())]}]}).encode()
    broken = b'{"messages": [{"image_url": '
    deep = b'{"image_url": ' + b"[" * 200_000
    headers = ("X-Thing: a", "X-Thing: b", "Set-Cookie: c=1", "Date: now")
    answer = plain(b'{"ok":  1}', "200 Fine", *headers)
    with RawUpstream(answer) as upstream, RunningProxy(upstream.root) as proxy:
        for path, body in (
            ("/v1/chat/completions", said),
            ("/v1/responses", image_of_a_tool),
            ("/v1/chat/completions", broken),
            ("/v1/chat/completions", deep),
            ("/v1/responses", b""),
            ("/v1/embeddings", chat_body(noise())),
        ):
            response = httpx.post(proxy.root + path, content=body, headers={"authorization": "k"})
            assert upstream.received[-1].body == body
            assert upstream.received[-1].values(b"authorization") == [b"k"]
            assert response.content == b'{"ok":  1}'
            assert response.headers.get_list("x-thing") == ["a", "b"]
            assert response.headers.get_list("date") == ["now"]
            assert "server" not in response.headers
            assert "x-cropvlm" not in response.headers
        assert all(each.values(b"cookie") == [] for each in upstream.received)
        assert list(proxy.app._upstream._client.cookies.jar) == []  # no app's cookie is kept


def test_any_method_path_and_header_goes_through() -> None:
    answer = plain(b"", "204 No Content", "Allow: GET")
    with RawUpstream(answer) as upstream, RunningProxy(f"{upstream.root}/llm/v1/") as proxy:
        odd = "/v1/files/a%2Fb;c=%20+~!$&'()*,=:@?x=%2e&y=a+b&&z"
        with _raw(proxy) as connection:
            connection.sendall(
                f"PROPFIND {odd} HTTP/1.1\r\nHost: app\r\nX-One: a\r\nx-one: b\r\n"
                "User-Agent: \r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n"
                "Keep-Alive: 5\r\nProxy-Authorization: secret\r\nUpgrade: h2c\r\n"
                "X-CropVLM: off\r\nCookie: a=1\r\n\r\n".encode()
            )
            reply = _all(connection)
        assert reply.startswith(b"HTTP/1.1 204 No Content\r\nallow: GET\r\n")
        (request,) = upstream.received
        assert request.line == f"PROPFIND /llm{odd} HTTP/1.1".encode()
        assert {name.lower(): value for name, value in request.headers} == {
            b"host": upstream.root.removeprefix("http://").encode(),
            b"x-one": b"b",
            b"user-agent": b"",
            b"cookie": b"a=1",
        }
        assert request.values(b"x-one") == [b"a", b"b"]
        for method in ("GET", "HEAD", "DELETE", "PUT", "OPTIONS", "PATCH"):
            httpx.request(method, f"{proxy.root}/health")
            assert upstream.received[-1].line == f"{method} /llm/health HTTP/1.1".encode()


def test_uploads_are_streamed_whatever_their_size() -> None:
    data = bytes(range(256)) * 20_000
    with RawUpstream(plain(b"ok")) as upstream, RunningProxy(upstream.url, max_body=1000) as proxy:
        httpx.post(f"{proxy.url}/files", content=data)
        httpx.post(f"{proxy.url}/files", content=iter([data[:70_000], data[70_000:]]))
        assert [each.body == data for each in upstream.received] == [True, True]
        assert upstream.received[0].values(b"content-length") == [b"5120000"]
        assert upstream.received[1].values(b"transfer-encoding") == [b"chunked"]


def test_compressed_answers_and_requests_are_left_compressed() -> None:
    packed = gzip.compress(b"hello")
    body = gzip.compress(chat_body(noise()))
    answer = plain(packed, "200 OK", "Content-Encoding: gzip")
    with RawUpstream(answer) as upstream, RunningProxy(upstream.url) as proxy:
        headers = {"content-encoding": "gzip", "accept-encoding": "gzip"}
        with httpx.stream(
            "POST", f"{proxy.url}/chat/completions", content=body, headers=headers
        ) as response:
            assert b"".join(response.iter_raw()) == packed
    assert upstream.received[0].body == body
    assert upstream.received[0].values(b"accept-encoding") == [b"gzip"]


def test_errors_of_the_upstream_are_passed_on() -> None:
    page = noise()
    for status, code in ((429, "rate"), (500, "down"), (400, "bad"), (529, "busy")):
        with ChatServer(fails(status, code, retry_after="7")) as upstream:
            with RunningProxy(upstream.url) as proxy, client(proxy) as app:
                with pytest.raises(APIStatusError) as caught:
                    app.chat.completions.create(
                        model="m",
                        messages=[chat_message("Total?", page)],  # type: ignore[list-item]
                    )
        assert caught.value.status_code == status
        assert caught.value.response.headers["retry-after"] == "7"
        assert caught.value.response.json()["error"]["message"] == code
        assert caught.value.response.headers["x-cropvlm"] == "crops=1"


def test_redirects_are_the_apps_to_follow() -> None:
    answer = plain(b"", "307 Temporary Redirect", "Location: http://example.com/x")
    with RawUpstream(answer) as upstream, RunningProxy(upstream.url) as proxy:
        response = httpx.get(f"{proxy.url}/models")
    assert (response.status_code, response.headers["location"]) == (307, "http://example.com/x")


def test_one_request_without_crops() -> None:
    body = chat_body(noise())
    with RawUpstream(plain(b"{}")) as upstream, RunningProxy(upstream.url) as proxy:
        response = httpx.post(
            f"{proxy.url}/chat/completions", content=body, headers={"X-CropVLM": "Off"}
        )
    assert upstream.received[0].body == body
    assert upstream.received[0].values(b"x-cropvlm") == []
    assert "x-cropvlm" not in response.headers


def _images(*urls: str) -> bytes:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": "Total?"}, *parts]
    return json.dumps({"messages": [{"role": "user", "content": content}]}, indent=2).encode()


@pytest.mark.parametrize("urls", [False, True])
def test_images_that_cannot_be_zoomed_into_go_on_unchanged_and_the_answer_says_so(
    *, urls: bool
) -> None:
    cut = to_data_uri(noise())[:2022]
    with RawUpstream(plain(b"{}")) as upstream, RunningProxy(upstream.url, urls=urls) as proxy:
        inner = f"{upstream.root}/page.png"  # an address that is not public
        for body, why in (
            (_images(cut), "crops=0; passed_over=1; why=image"),
            (_images(inner), "crops=0; passed_over=1; why=source"),
            (_images("file:///etc/passwd", "/etc/passwd"), "crops=0; passed_over=2; why=source"),
            (_images(cut, inner), "crops=0; passed_over=2; why=image,source"),
            (_images("data:text/plain;base64,AAAA"), "crops=0; passed_over=1; why=source"),
        ):
            for _ in range(2):  # the second time it is remembered
                response = httpx.post(f"{proxy.url}/chat/completions", content=body)
                assert response.headers["x-cropvlm"] == why
                assert upstream.received[-1].body == body
        page = noise()
        body = _images(cut, to_data_uri(page))
        response = httpx.post(f"{proxy.url}/chat/completions", content=body)
        assert response.headers["x-cropvlm"] == "crops=1; passed_over=1; why=image"
        assert all(each.line.startswith(b"POST") for each in upstream.received)
        sent = json.loads(upstream.received[-1].body)["messages"][0]["content"]
        assert [part["type"] for part in sent] == ["text", *["image_url"] * 2, "text", "image_url"]
        shown = decoded(sent[-1]["image_url"]["url"].partition(",")[2])
        assert same(shown, middle_of(page))


class SlowCropper(CountingCropper):
    """Takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def propose_batch(self, questions: Any) -> Any:
        time.sleep(self.seconds)
        return super().propose_batch(questions)


class BuggyCropper(CountingCropper):
    """Has a bug."""

    def propose_batch(self, questions: Any) -> Any:
        raise ZeroDivisionError("the secret question")


def test_a_cropper_that_fails_costs_no_app_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    body = chat_body(noise())
    caplog.set_level("INFO", "cropvlm_core.proxy")
    for cropper, why in (
        (FailingCropper(), "model"),
        (SlowCropper(1.0), "timeout"),
        (BuggyCropper(), "internal"),
    ):
        with RawUpstream(plain(b"{}")) as upstream:
            with RunningProxy(upstream.url, ZoomPipeline(cropper), zoom_seconds=0.3) as proxy:
                response = httpx.post(f"{proxy.url}/chat/completions", content=body)
        assert response.headers["x-cropvlm"] == f"crops=0; passed_over=1; why={why}"
        assert upstream.received[0].body == body
    bugs = [record for record in caplog.records if record.getMessage() == "bug"]
    assert [record.told["kind"] for record in bugs] == ["ZeroDivisionError"]  # type: ignore[attr-defined]
    assert "secret" not in caplog.text


def test_images_are_decoded_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    page = noise()

    def here(_: object) -> None:
        raise AssertionError("decoded in the proxy's process")

    monkeypatch.setattr(decoding_pictures, "decoded", here)
    with RawUpstream(plain(b"{}")) as upstream, RunningProxy(upstream.url) as proxy:
        response = httpx.post(f"{proxy.url}/chat/completions", content=chat_body(page))
        assert response.headers["x-cropvlm"] == "crops=1"
        asked = {"image": to_data_uri(page), "question": "Total?"}
        assert httpx.post(f"{proxy.url}/zoom", json=asked).json()["zoomed"]


def test_the_log_has_a_line_for_each_request_and_no_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "cropvlm_core.proxy")
    with RawUpstream(plain(b"{}")) as upstream, RunningProxy(upstream.url) as proxy:
        url = f"{proxy.url}/chat/completions?key=secret"
        headers = {"authorization": "Bearer secret"}
        httpx.post(url, content=chat_body(noise(), "secret?"), headers=headers)
        httpx.get(f"{proxy.root}/%2e%2e/x?secret")
    lines = [record.told for record in caplog.records]  # type: ignore[attr-defined]
    assert {"method", "path", "status", "end", "bytes_in", "bytes_out", "crops", "ms"} <= set(
        lines[0]
    )
    assert (lines[0]["path"], lines[0]["crops"]) == ("/v1/chat/completions", 1)
    assert (lines[1]["status"], lines[1]["end"]) == (400, "bad_path")
    assert "secret" not in json.dumps(lines)


def test_other_requests_go_through_while_every_worker_zooms() -> None:
    go = threading.Event()

    class Held(CountingCropper):
        def propose_batch(self, questions: Any) -> Any:
            assert go.wait(30)
            return super().propose_batch(questions)

    with RawUpstream(plain(b"{}")) as upstream, ThreadPoolExecutor(4) as pool:
        with RunningProxy(upstream.url, ZoomPipeline(Held()), workers=1, zoom_seconds=60) as proxy:
            url = f"{proxy.url}/chat/completions"
            zooming = [
                pool.submit(httpx.post, url, content=chat_body(noise()), timeout=60)
                for _ in range(2)
            ]
            proxy.until(requests=2)
            assert httpx.get(f"{proxy.url}/models").status_code == 200
            assert httpx.post(url, content=b"{}").status_code == 200
            assert not any(each.done() for each in zooming)
            go.set()
            assert {each.result().headers["x-cropvlm"] for each in zooming} == {"crops=1"}


def _raw(proxy: RunningProxy) -> Any:
    import socket

    host, _, port = proxy.root.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def _all(connection: Any) -> bytes:
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


ODD_TARGETS = ["http://example.com/v1/models", "*", "/v1/../a", "/v1/%2e%2E/x", "/a\\..\\b", "/./"]


@pytest.mark.parametrize("target", ODD_TARGETS)
def test_a_target_that_could_lead_elsewhere_is_refused(target: str) -> None:
    with RawUpstream(plain(b"{}")) as upstream, RunningProxy(f"{upstream.root}/llm") as proxy:
        with _raw(proxy) as connection:
            head = f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode())
            reply = _all(connection)
        assert reply.startswith(b"HTTP/1.1 400 ")
        assert b"x-cropvlm: error=bad_path" in reply
    assert upstream.received == []


def test_a_web_page_cannot_reach_the_upstream_by_a_name_of_its_own() -> None:
    hosts = ("127.0.0.1", "localhost", "[::1]", "proxy.example")
    with RawUpstream(plain(b"{}")) as upstream, RunningProxy(upstream.url, hosts=hosts) as proxy:
        for path in ("models", "zoom"):
            for host in ("evil.example", "127.0.0.1.evil.example:80", "", "localhost:80:80"):
                response = httpx.get(f"{proxy.url}/{path}", headers={"host": host})
                assert response.status_code == 403
                assert response.headers["x-cropvlm"] == "error=bad_host"
        assert upstream.received == []
        for host in ("localhost:1", "LOCALHOST", "[::1]:80", "proxy.example"):
            assert httpx.get(f"{proxy.url}/models", headers={"host": host}).status_code == 200
        health = httpx.get(f"{proxy.root}/healthz", headers={"host": "10.0.0.7:8765"})
        assert health.status_code == 200
