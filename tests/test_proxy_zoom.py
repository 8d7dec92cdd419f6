"""``POST /v1/zoom``: the cropper over HTTP."""

# ruff: noqa: E402
import json
from typing import Any

import pytest

from tests.programs import require_package

for package in ("starlette", "uvicorn", "httpx"):
    require_package(package)

import httpx

from cropvlm_core.cropper import FixedCropper
from cropvlm_core.images import to_data_uri
from cropvlm_core.proxy.settings import MIB
from cropvlm_core.zoom import ZoomPipeline
from tests.cli_calls import KEYS
from tests.model_server import decoded
from tests.pages import MIDDLE, CountingCropper, FailingCropper, middle_of, noise, same
from tests.proxies import RawUpstream, RunningProxy, plain

NOWHERE = "http://127.0.0.1:9/v1"


def test_it_answers_what_the_command_prints_and_the_crops() -> None:
    page = noise()
    with RunningProxy(NOWHERE) as proxy:
        asked = {"image": to_data_uri(page), "question": "Total?"}
        response = httpx.post(f"{proxy.url}/zoom", json=asked)
    assert response.status_code == 200
    told = response.json()
    assert set(told) == KEYS
    assert (told["image"], told["question"], told["cropper"]) == (None, "Total?", "embedded")
    assert told["zoomed"] is True
    (crop,) = told["crops"]
    assert set(crop) == {"box", "pixels", "confidence", "size", "file", "data"}
    assert (crop["pixels"], crop["size"], crop["file"]) == (told["pixels"], [100, 150], None)
    head, _, digits = crop["data"].partition(",")
    assert head == "data:image/png;base64"
    assert same(decoded(digits), middle_of(page))


def test_the_cropper_of_the_wheel_reads_a_receipt() -> None:
    from pathlib import Path

    from cropvlm_core import default_pipeline

    receipt = (Path(__file__).parents[1] / "examples" / "receipt.png").read_bytes()
    import base64

    image = f"data:image/png;base64,{base64.b64encode(receipt).decode()}"
    question = "What is the total?"
    with RunningProxy(NOWHERE, default_pipeline()) as proxy:
        one = httpx.post(f"{proxy.url}/zoom", json={"image": image, "question": question}).json()
        two = httpx.post(
            f"{proxy.url}/zoom", json={"image": image, "question": question, "max_crops": 2}
        ).json()
    expected = default_pipeline().zoom(receipt, question).to_dict()
    assert (one["pixels"], one["confidence"]) == (expected["pixels"], expected["confidence"])
    assert len(one["crops"]) == 1 <= len(two["crops"]) <= 2


def test_croppers_that_a_request_may_name() -> None:
    page = to_data_uri(noise())
    own = ZoomPipeline(FixedCropper(MIDDLE))
    with RunningProxy(NOWHERE, own, name="openai:m@http://inner:1/v1") as proxy:

        def ask(**more: Any) -> httpx.Response:
            return httpx.post(f"{proxy.url}/zoom", json={"image": page, "question": "?!"} | more)

        assert ask().json()["cropper"] == "openai"
        assert ask(cropper="openai").json()["zoomed"] is True
        whole = ask(cropper="whole").json()
        assert (whole["zoomed"], whole["reason"]) == (False, "no_zoom_needed")
        assert ask(cropper="centre").json()["zoomed"] is True
        for name in (
            "openai:m@http://inner:1/v1",
            "openai:m@http://127.0.0.1:9",
            "hf:some/model",
            "embedded:/etc/passwd",
            "ocr",
            "",
            7,
            None,
            ["whole"],
        ):
            refused = ask(cropper=name)
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "spec")
            assert "inner" not in refused.text.replace(str(name), "")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"question": "Total?"}, "source"),
        ({"image": None, "question": "Total?"}, "source"),
        ({"image": "/etc/passwd", "question": "Total?"}, "source"),
        ({"image": "file:///etc/passwd", "question": "Total?"}, "source"),
        ({"image": "https://example.com/a.png", "question": "Total?"}, "source"),
        ({"image": "data:image/png;base64,AAAA", "question": "Total?"}, "image"),
        ({"image": "data:image/png;base64,####", "question": "Total?"}, "source"),
        ({"image": "PAGE"}, "question"),
        ({"image": "PAGE", "question": " "}, "question"),
        ({"image": "PAGE", "question": 7}, "question"),
        ({"image": "PAGE", "question": "a" * 20_000}, "question"),
        ({"image": "PAGE", "question": "?!", "max_crops": 0}, "spec"),
        ({"image": "PAGE", "question": "?!", "max_crops": 101}, "spec"),
        ({"image": "PAGE", "question": "?!", "max_crops": True}, "spec"),
        ({"image": "PAGE", "question": "?!", "max_crops": "2"}, "spec"),
        ([], "bad_json"),
        ("text", "bad_json"),
    ],
)
def test_what_is_asked_wrongly_gets_400_and_a_code(asked: Any, code: str) -> None:
    if isinstance(asked, dict) and asked.get("image") == "PAGE":
        asked = asked | {"image": to_data_uri(noise())}
    with RunningProxy(NOWHERE) as proxy:
        response = httpx.post(f"{proxy.url}/zoom", json=asked)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == code
    assert len(error["message"]) < 250
    assert response.headers["x-cropvlm"] == f"error={code}"


def test_urls_are_fetched_only_where_switched_on_and_never_from_inside() -> None:
    with RawUpstream(plain(b"")) as inner, RunningProxy(NOWHERE, urls=True) as proxy:
        for image in (f"{inner.root}/page.png", "file:///etc/passwd", "/etc/passwd"):
            asked = {"image": image, "question": "Total?"}
            response = httpx.post(f"{proxy.url}/zoom", json=asked)
            assert (response.status_code, response.json()["error"]["code"]) == (400, "source")
    assert inner.received == []


def test_what_fails_says_so() -> None:
    asked = {"image": to_data_uri(noise()), "question": "Total?"}
    with RunningProxy(NOWHERE, ZoomPipeline(FailingCropper())) as proxy:
        response = httpx.post(f"{proxy.url}/zoom", json=asked)
        assert (response.status_code, response.json()["error"]["code"]) == (502, "model")
        assert "connection" not in response.text
        assert httpx.post(f"{proxy.url}/zoom", content=b"{").status_code == 400
        assert httpx.get(f"{proxy.url}/zoom").status_code == 405
    with RunningProxy(NOWHERE, max_body=1000) as proxy:
        assert httpx.post(f"{proxy.url}/zoom", json=asked).status_code == 413

    class Slow(CountingCropper):
        def propose_batch(self, questions: Any) -> Any:
            import time

            time.sleep(0.6)
            return super().propose_batch(questions)

    with RunningProxy(NOWHERE, ZoomPipeline(Slow()), zoom_seconds=0.2) as proxy:
        response = httpx.post(f"{proxy.url}/zoom", json=asked)
        assert (response.status_code, response.headers["retry-after"]) == (504, "1")

    class Buggy(CountingCropper):
        def propose_batch(self, questions: Any) -> Any:
            raise ZeroDivisionError("secret")

    with RunningProxy(NOWHERE, ZoomPipeline(Buggy())) as proxy:
        response = httpx.post(f"{proxy.url}/zoom", json=asked)
        assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
        assert "secret" not in response.text


def test_its_health_is_told_without_asking_the_upstream() -> None:
    with RunningProxy(NOWHERE) as proxy:
        response = httpx.get(f"{proxy.root}/healthz")
    assert response.status_code == 200
    told = response.json()
    assert told.pop("version")
    assert told == {"status": "ok", "requests": 0, "waiting": 0}


def test_a_large_answer_is_whole() -> None:
    page = noise(1600, 1200)
    with RunningProxy(NOWHERE, ZoomPipeline(CountingCropper())) as proxy:
        body = json.dumps({"image": to_data_uri(page), "question": "Total?"}).encode()
        assert len(body) > MIB
        told = httpx.post(f"{proxy.url}/zoom", content=body, timeout=30).json()
    crop = told["crops"][0]
    assert decoded(crop["data"].partition(",")[2]).size == tuple(crop["size"])
