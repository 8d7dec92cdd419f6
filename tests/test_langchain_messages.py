"""zoom_messages: messages in, messages with crops out."""

# ruff: noqa: E402
import asyncio
import copy
import logging
import time
from typing import Any, cast

import pytest

from tests.programs import require_package

require_package("langchain_core")

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompts import ChatPromptTemplate

from cropvlm_core import loading
from cropvlm_core.cropper import FixedCropper
from cropvlm_core.errors import CropVLMError, ImageError, ModelError, SourceError
from cropvlm_core.zoom import ZoomPipeline
from langchain_cropvlm import ZoomMessages, move_tool_images, zoom_messages
from langchain_cropvlm.blocks import image_block, image_in
from tests.langchain_talk import asks
from tests.model_server import decoded
from tests.pages import (
    CountingCropper,
    FailingCropper,
    base64_of,
    middle_of,
    noise,
    pipeline,
    png_of,
)

URL = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def kinds(message: BaseMessage) -> list[str]:
    return [block if isinstance(block, str) else block["type"] for block in message.content]


def test_the_crop_stands_behind_its_image() -> None:
    page = noise()
    (shown,) = zoom_messages(pipeline()).invoke([asks("What?", page)])
    assert kinds(shown) == ["text", "image", "text", "image"]
    crop = shown.content[3]
    assert isinstance(crop, dict)
    assert decoded(crop["base64"]).tobytes() == middle_of(page).tobytes()
    assert "the image above" in str(shown.content[2])


def test_each_image_is_followed_by_its_own_crop() -> None:
    pages = [noise(), noise(100, 60)]
    message = asks("Which is older?", *pages)
    (shown,) = zoom_messages(pipeline()).invoke([message])
    assert kinds(shown) == ["text", *["image", "text", "image"] * 2]
    crops = [decoded(shown.content[at]["base64"]) for at in (3, 6)]  # type: ignore[index]
    assert [crop.tobytes() for crop in crops] == [middle_of(page).tobytes() for page in pages]


def test_the_given_messages_stay_as_they_are() -> None:
    given = [SystemMessage("Be brief."), asks("What?", noise(), id="m1", name="Ann")]
    before = copy.deepcopy(given)
    system, shown = zoom_messages(pipeline()).invoke(given)
    assert given == before
    assert system is given[0]
    assert (shown.id, shown.name) == ("m1", "Ann")
    assert zoom_messages(pipeline()).invoke([shown]) == [shown]  # no crops of crops


def test_only_questions_of_the_user_are_zoomed_into() -> None:
    page = image_block(png_of(noise()), "image/png")
    talk = [
        SystemMessage([page, {"type": "text", "text": "Style guide"}]),
        HumanMessage("No image here"),
        AIMessage("Where?"),
        HumanMessage([page]),
        AIMessage([{"type": "text", "text": "I see"}]),
        ToolMessage([page, {"type": "text", "text": "What?"}], tool_call_id="1"),
        asks("Leave it", noise(), additional_kwargs={"zoom": False}),
    ]
    assert all(
        new is old for new, old in zip(zoom_messages(pipeline()).invoke(talk), talk, strict=True)
    )
    user = ChatMessage(role="user", content=[page, {"type": "text", "text": "What?"}])
    assert len(zoom_messages(pipeline()).invoke([user])[0].content) == 4


def test_the_whole_image_stays_alone_where_it_is_right() -> None:
    message = asks("What?", noise())
    assert zoom_messages(ZoomPipeline(FixedCropper(None))).invoke([message])[0] is message


def test_a_chain_takes_what_a_model_takes() -> None:
    zoom = zoom_messages(pipeline())
    assert zoom.invoke("Hello") == [HumanMessage("Hello")]
    assert zoom.invoke([("user", "Hello")]) == [HumanMessage("Hello")]
    prompt = ChatPromptTemplate(
        [
            ("system", "Be brief."),
            (
                "user",
                [
                    {"type": "text", "text": "{question}"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,{image}"}},
                ],
            ),
        ]
    )
    given = {"question": "What?", "image": base64_of(noise())}
    _, shown = (prompt | zoom).invoke(given)
    assert kinds(shown) == ["text", "image_url", "text", "image"]
    chain = prompt | zoom | FakeListChatModel(responses=["42", "43", "44"])
    assert chain.invoke(given).content == "42"
    assert [answer.content for answer in chain.batch([given, given])] == ["43", "44"]
    assert "".join(str(chunk.content) for chunk in chain.stream(given)) == "42"


async def test_async_does_the_same_and_the_loop_goes_on() -> None:
    class Slow(CountingCropper):
        def propose_batch(self, questions: Any) -> Any:
            time.sleep(0.3)
            return super().propose_batch(questions)

    message = asks("What?", noise())
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    shown = await zoom_messages(ZoomPipeline(Slow())).ainvoke([message])
    ticking.cancel()
    assert ticks > 5
    assert shown == zoom_messages(pipeline()).invoke([message])
    assert await zoom_messages(pipeline()).abatch([[message], "Hello"]) == [
        shown,
        [HumanMessage("Hello")],
    ]


def test_a_batch_of_conversations_is_one_batch_of_the_cropper() -> None:
    cropper = CountingCropper()
    zoom = zoom_messages(ZoomPipeline(cropper))
    talks: list[Any] = [[asks("1?", noise())], [asks("2?", noise())], "Hello"]
    shown = zoom.batch(talks)
    assert cropper.batches == [["1?", "2?"]]
    assert [len(talk[0].content) for talk in shown] == [4, 4, 5]


async def test_a_batch_tells_which_conversation_failed() -> None:
    zoom = zoom_messages(pipeline())
    talks: list[Any] = [[asks("1?", noise())], [HumanMessage(["2?", URL])]]
    for outcome in (
        zoom.batch(talks, return_exceptions=True),
        await zoom.abatch(talks, return_exceptions=True),
    ):
        good, bad = cast("list[Any]", outcome)
        assert len(good[0].content) == 4
        assert isinstance(bad, SourceError)
    with pytest.raises(SourceError, match="got a URL"):
        zoom.batch(talks)


def test_images_that_cannot_be_had_are_refused_or_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    for block, error in ((URL, SourceError), (broken, ImageError)):
        message = HumanMessage([{"type": "text", "text": "What?"}, block])
        with pytest.raises(error):
            zoom_messages(pipeline()).invoke([message])
        with caplog.at_level(logging.WARNING):
            assert zoom_messages(pipeline(), on_error="skip").invoke([message])[0] is message
    assert len(caplog.records) == 2
    assert "base64" not in caplog.records[1].getMessage()
    with pytest.raises(ModelError, match="no connection"):
        zoom_messages(ZoomPipeline(FailingCropper())).invoke([asks("What?", noise())])


def test_the_question_can_be_found_in_a_template() -> None:
    cropper = CountingCropper()
    zoom = zoom_messages(ZoomPipeline(cropper), question=lambda text: text.partition("Q: ")[2])
    zoom.invoke([asks("You answer questions about documents. Q: What?", noise())])
    assert cropper.batches == [["What?"]]


def test_the_default_is_built_at_the_first_image(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    monkeypatch.setattr(loading, "_default", None)

    def build(spec: str) -> CountingCropper:
        built.append(spec)
        return CountingCropper()

    monkeypatch.setattr(loading, "load_cropper", build)
    zoom = zoom_messages()
    zoom.invoke("Hello")
    assert built == []
    assert len(zoom.invoke([asks("What?", noise())])[0].content) == 4
    assert built == ["embedded"]


def test_traces_name_it_and_see_failures() -> None:
    seen: list[Any] = []

    class Tracer(BaseCallbackHandler):
        def on_chain_start(self, serialized: Any, inputs: Any, **options: Any) -> None:
            seen.append(options["name"])

        def on_chain_error(self, error: BaseException, **options: Any) -> None:
            seen.append(error)

    zoom = zoom_messages(pipeline())
    assert isinstance(zoom, ZoomMessages)
    with pytest.raises(CropVLMError):
        zoom.invoke([HumanMessage(["What?", URL])], {"callbacks": [Tracer()]})
    assert seen[0] == "zoom_messages"
    assert isinstance(seen[1], SourceError)


def test_images_in_tool_results_move_behind_the_last_result() -> None:
    page = noise()
    block = image_block(png_of(page), "image/png")
    results = [
        ToolMessage([{"type": "text", "text": "Here."}, block], tool_call_id="a", name="zoom"),
        ToolMessage("no image", tool_call_id="b"),
        ToolMessage([block], tool_call_id="c", status="error"),
    ]
    talk = [HumanMessage("Hi"), AIMessage("", tool_calls=[]), *results, AIMessage("Done")]
    before = copy.deepcopy(talk)
    moved = move_tool_images(talk)
    assert talk == before
    assert [type(message).__name__ for message in moved] == [
        "HumanMessage", "AIMessage", "ToolMessage", "ToolMessage", "ToolMessage", "HumanMessage",
        "AIMessage",
    ]  # fmt: skip
    assert moved[2].content == "Here.\n(The image is in the next message.)"
    assert moved[3] is results[1]
    assert moved[4].content == "(The image is in the next message.)"
    assert moved[4].model_dump()["status"] == "error"
    assert kinds(moved[5]) == ["text", "image", "text", "image"]
    assert "zoom returned (a)" in str(moved[5].content[0])
    assert moved[5].content[1] == block


def test_the_last_results_are_followed_by_their_images() -> None:
    block = image_block(png_of(noise()), "image/png")
    other = {"type": "file", "base64": "", "mime_type": "application/pdf"}
    moved = move_tool_images([ToolMessage([other, block], tool_call_id="a")])
    assert kinds(moved[0]) == ["file", "text"]
    assert [image_in(part) is not None for part in moved[1].content] == [False, True]
    talk = [HumanMessage("Hi"), ToolMessage("text", tool_call_id="a")]
    assert all(new is old for new, old in zip(move_tool_images(talk), talk, strict=True))
