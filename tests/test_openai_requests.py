"""Bodies of Chat Completions and Responses: what is read of them, and where crops go."""

import copy
from typing import Any, Literal

import pytest

from cropvlm_core.cropper import FixedCropper
from cropvlm_core.errors import SourceError
from cropvlm_core.images import to_data_uri
from cropvlm_core.openai_requests import RequestZoom, conversation_in, shows_images
from cropvlm_core.sources import Allowed
from cropvlm_core.zoom import ZoomPipeline
from tests.model_server import decoded, pictures
from tests.openai_talk import chat_message, response_item, showed
from tests.pages import CountingCropper, FailingCropper, middle_of, noise, pipeline, same

MAKERS: list[tuple[Literal["messages", "input"], Any]] = [
    ("messages", chat_message),
    ("input", response_item),
]
both = pytest.mark.parametrize(("key", "says"), MAKERS)
CAPTION = (
    "Part of the image above at full resolution, "
    "from 25% to 75% of its width and 25% to 75% of its height."
)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/chat/completions", "messages"),
        ("/v1/chat/completions/", "messages"),
        ("/openai/deployments/gpt/chat/completions?api-version=1", "messages"),
        ("/v1/responses", "input"),
        ("/responses?beta=true", "input"),
        ("/v1/completions", None),
        ("/v1/chat/completions/id", None),
        ("/v1/responses/resp_1/cancel", None),
        ("/v1/responses/input_tokens", None),
        ("", None),
    ],
)
def test_which_paths_hold_a_conversation(path: str, key: str | None) -> None:
    assert conversation_in(path) == key


@both
def test_caption_and_crop_stand_behind_each_image(
    key: Literal["messages", "input"], says: Any
) -> None:
    pages = [noise(), noise(120, 80)]
    body = {"model": "m", key: [says("Total?", *pages)], "temperature": 0.5}
    given = copy.deepcopy(body)
    done = RequestZoom(pipeline()).zoom(body, key)
    assert body == given
    assert (done.crops, done.passed_over) == (2, ())
    expected = [picture for page in pages for picture in (page, middle_of(page))]
    assert showed(pictures(dict(done.body)), *expected)
    content = done.body[key][0]["content"]
    texts = [part.get("text") for part in content]
    assert texts == ["Total?", None, CAPTION, None, None, CAPTION, None]
    assert list(done.body) == ["model", key, "temperature"]


def test_a_crop_is_shown_in_the_detail_of_its_page() -> None:
    page = noise()
    for detail in ("low", "high"):
        done = RequestZoom(pipeline()).zoom(
            {"messages": [chat_message("?!", page, detail=detail)]}, "messages"
        )
        assert done.body["messages"][0]["content"][3]["image_url"]["detail"] == detail
        done = RequestZoom(pipeline()).zoom(
            {"input": [response_item("?!", page, detail=detail)]}, "input"
        )
        assert done.body["input"][0]["content"][3]["detail"] == detail
    plain = RequestZoom(pipeline()).zoom({"messages": [chat_message("?!", page)]}, "messages")
    assert set(plain.body["messages"][0]["content"][3]["image_url"]) == {"url"}


def test_other_spellings_of_an_image_are_read() -> None:
    page = noise()
    bare = [{"type": "image_url", "image_url": to_data_uri(page)}, {"type": "text", "text": "?!"}]
    done = RequestZoom(pipeline()).zoom(
        {"messages": ({"role": "user", "content": tuple(bare)},)}, "messages"
    )
    assert done.crops == 1
    assert same(decoded(_crop_url(done.body)), middle_of(page))
    no_detail = {"type": "input_image", "image_url": to_data_uri(page)}
    item = {"type": "message", "role": "user", "content": [no_detail]}
    said = {"role": "user", "content": "What is the total?"}
    assert RequestZoom(pipeline()).zoom({"input": [said, item]}, "input").crops == 1


def _crop_url(body: Any) -> str:
    return str(body["messages"][0]["content"][2]["image_url"]["url"]).partition(",")[2]


@both
def test_what_holds_no_image_of_the_user_comes_back_as_the_same_object(
    key: Literal["messages", "input"], says: Any
) -> None:
    page = noise()
    zoom = RequestZoom(pipeline())
    others = [says("Look", page) | {"role": role} for role in ("system", "assistant", "tool")]
    output = {"type": "function_call_output", "call_id": "1", "output": says("", page)["content"]}
    for said in (
        None,
        "What is the total?",
        [],
        [{"role": "user", "content": "Hello"}],
        [{"role": "user", "content": None}],
        [{"role": "user"}],
        ["text", 1, None, {}],
        [output],
        others,
        {"role": "user"},
    ):
        body: dict[str, Any] = {key: said}
        assert zoom.zoom(body, key).body is body
        assert not shows_images(body, key)
    assert not shows_images([1], key)
    assert zoom.zoom({}, key).crops == 0


@both
def test_an_image_without_a_question_stays_alone(
    key: Literal["messages", "input"], says: Any
) -> None:
    body: dict[str, Any] = {key: [says("  ", noise())]}
    assert RequestZoom(pipeline()).zoom(body, key).body is body


@both
def test_where_the_whole_page_is_right_nothing_is_added(
    key: Literal["messages", "input"], says: Any
) -> None:
    body: dict[str, Any] = {key: [says("Total?", noise())]}
    done = RequestZoom(ZoomPipeline(FixedCropper(None))).zoom(body, key)
    assert done.body is body
    assert (done.crops, done.passed_over) == (0, ())


@both
def test_crops_are_not_zoomed_into_again(key: Literal["messages", "input"], says: Any) -> None:
    cropper = CountingCropper(confidence=0.5)
    zoom = RequestZoom(ZoomPipeline(cropper))
    once = zoom.zoom({key: [says("Total?", noise(), noise())]}, key).body
    again = zoom.zoom(once, key)
    assert again.body is once
    fresh = noise()
    talk = [*once[key], says("And the date?", fresh)]
    more = zoom.zoom({key: talk}, key)
    assert more.crops == 1
    assert showed(pictures(dict(more.body))[-2:], fresh, middle_of(fresh))
    assert [len(batch) for batch in cropper.batches] == [2, 1]
    assert cropper.batches[1] == ["And the date?"]


@both
def test_what_may_not_be_read_is_passed_over_with_the_reason(
    key: Literal["messages", "input"], says: Any
) -> None:
    page = noise()
    zoom = RequestZoom(pipeline(), on_error="skip")
    message = says("Total?", page, page, page)
    urls = ["https://example.com/x.png", "file:///etc/passwd"]
    for part, url in zip(message["content"][1:], urls, strict=False):
        if key == "messages":
            part["image_url"]["url"] = url
        else:
            part["image_url"] = url
    done = zoom.zoom({key: [message]}, key)
    assert done.crops == 1
    assert [type(error) for error in done.passed_over] == [SourceError, SourceError]
    assert all("got a URL" in str(error) for error in done.passed_over)
    again = zoom.zoom({key: [message]}, key)  # what failed lately is not tried again, yet told
    assert len(again.passed_over) == 2
    with pytest.raises(SourceError, match="got a URL"):
        RequestZoom(pipeline()).zoom({key: [message]}, key)


@pytest.mark.parametrize(
    ("part", "word"),
    [
        ({"type": "input_image", "file_id": "file-1"}, "the id of an uploaded file"),
        ({"type": "input_image", "image_url": None}, "a part without any"),
        ({"type": "input_image", "image_url": "receipt.png"}, "neither"),
        ({"type": "image_url", "image_url": {"url": 7}}, "a part without any"),
        ({"type": "image_url"}, "a part without any"),
    ],
)
def test_odd_images_are_named_by_kind(part: dict[str, Any], word: str) -> None:
    body = {"input": [{"role": "user", "content": [{"type": "input_text", "text": "?!"}, part]}]}
    done = RequestZoom(pipeline(), on_error="skip").zoom(body, "input")
    assert done.body is body
    assert [word in str(error) for error in done.passed_over] == [True]


def test_a_path_is_read_where_a_root_was_given_and_a_file_url_never(tmp_path: Any) -> None:
    page = noise()
    file = tmp_path / "page.png"
    page.save(file)
    allowed = Allowed.of([tmp_path], urls=True)
    zoom = RequestZoom(pipeline(), allowed=allowed, on_error="skip")
    for url, crops in ((str(file), 1), (file.as_uri(), 0), ("/etc/passwd", 0)):
        part = {"type": "image_url", "image_url": {"url": url}}
        said = {"role": "user", "content": [{"type": "text", "text": "?!"}, part]}
        assert zoom.zoom({"messages": [said]}, "messages").crops == crops


def test_images_decoded_apart_give_the_same_crops() -> None:
    page = noise()
    body = {"messages": [chat_message("Total?", page)]}
    apart = RequestZoom(pipeline(), isolate=True).zoom(body, "messages")
    assert apart.body == RequestZoom(pipeline()).zoom(body, "messages").body
    broken = {"messages": [chat_message("Total?", page)]}
    url = broken["messages"][0]["content"][1]["image_url"]
    url["url"] = url["url"][: len(url["url"]) // 8 * 4 + len("data:image/png;base64,")]
    done = RequestZoom(pipeline(), isolate=True, on_error="skip").zoom(broken, "messages")
    assert [error.code for error in done.passed_over] == ["image"]


def test_a_cropper_that_fails_passes_every_image_over() -> None:
    body = {"messages": [chat_message("Total?", noise(), noise())]}
    done = RequestZoom(ZoomPipeline(FailingCropper()), on_error="skip").zoom(body, "messages")
    assert done.body is body
    assert [error.code for error in done.passed_over] == ["model", "model"]
