"""zoom_chat_messages: chat messages in, chat messages with crops out; and images of tools moved."""

# ruff: noqa: E402
import io
import logging
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from tests.programs import require_package

require_package("llama_index.core")

from llama_index.core.llms import ChatMessage, ImageBlock, MessageRole, TextBlock

from cropvlm_core import loading
from cropvlm_core.box import Box
from cropvlm_core.cropper import FixedCropper
from cropvlm_core.errors import CropVLMError, ImageError, ModelError, SourceError
from cropvlm_core.images import open_image, to_data_uri
from cropvlm_core.prompts import crop_caption
from cropvlm_core.zoom import ZoomPipeline
from llamaindex_cropvlm import azoom_chat_messages, move_tool_images, zoom_chat_messages
from llamaindex_cropvlm.nodes import image_in_block
from tests.llamaindex_talk import asks
from tests.pages import (
    MIDDLE,
    CountingCropper,
    FailingCropper,
    jpeg_lying_down,
    middle_of,
    noise,
    pipeline,
    png_of,
    same,
)

TOTAL = "What is the total?"


def kinds(message: ChatMessage) -> list[str]:
    return [block.block_type for block in message.blocks]


def picture_in(block: object) -> Image.Image:
    held = image_in_block(block)
    assert isinstance(held, bytes)
    return open_image(held)


@pytest.fixture(params=["sync", "async"])
def zoom(request: pytest.FixtureRequest) -> Any:
    """Call the function, or its twin."""

    async def run(*given: Any, **options: Any) -> list[ChatMessage]:
        if request.param == "sync":
            return zoom_chat_messages(*given, **options)
        return await azoom_chat_messages(*given, **options)

    return run


async def test_the_crop_stands_behind_its_image(zoom: Any) -> None:
    first, second = noise(), noise(300, 200)
    (message,) = await zoom([asks(TOTAL, first, second)], pipeline())
    assert kinds(message) == ["text", "image", "text", "image", "image", "text", "image"]
    shown = [picture_in(message.blocks[index]) for index in (1, 3, 4, 6)]
    for got, wanted in zip(
        shown, (first, middle_of(first), second, middle_of(second)), strict=True
    ):
        assert same(got, wanted)
    captions = [cast(TextBlock, message.blocks[index]).text for index in (2, 5)]
    assert captions == [crop_caption(MIDDLE, "the image above")] * 2
    assert cast(ImageBlock, message.blocks[3]).image_mimetype == "image/png"


async def test_the_given_messages_stay_as_they_are(zoom: Any) -> None:
    given = [
        ChatMessage(role="system", content="Be brief."),
        asks(TOTAL, noise()),
        ChatMessage(role="assistant", content="12.90"),
        ChatMessage(role="user", content="Thanks."),
    ]
    given[1].additional_kwargs["name"] = "me"
    before = [message.model_dump() for message in given]
    blocks = list(given[1].blocks)
    got = await zoom(given, pipeline())
    assert [message.model_dump() for message in given] == before
    assert [one is other for one, other in zip(got, given, strict=True)] == [
        True,
        False,
        True,
        True,
    ]
    assert [one is other for one, other in zip(given[1].blocks, blocks, strict=True)] == [True] * 2
    assert got[1].additional_kwargs == {"name": "me", "zoom": False}
    assert await zoom(got, pipeline()) == got  # no crops of crops
    assert got[1].role == MessageRole.USER


async def test_picture_and_question_may_come_apart(zoom: Any) -> None:
    cropper = CountingCropper()
    shown, words = await zoom([asks("", noise()), asks(TOTAL)], ZoomPipeline(cropper))
    assert kinds(shown).count("image") == 2
    assert kinds(words).count("image") == 0
    assert cropper.batches == [[TOTAL]]


async def test_one_batch_and_each_pair_of_image_and_question_once(zoom: Any) -> None:
    cropper = CountingCropper()
    page = noise()
    given = [asks(TOTAL, page), asks(TOTAL, page), asks("What is the date?", page, noise())]
    got = await zoom(given, ZoomPipeline(cropper))
    assert [kinds(message).count("image") for message in got] == [2, 2, 4]
    assert cropper.batches == [[TOTAL, "What is the date?", "What is the date?"]]


async def test_only_a_users_messages_with_a_text_and_an_image(zoom: Any) -> None:
    cropper = CountingCropper()
    out = asks(TOTAL, noise())
    out.additional_kwargs["zoom"] = False
    given = [
        out,
        ChatMessage(role="assistant", content="Yes?"),
        asks("", noise()),
        asks(" \n", noise()),
        ChatMessage(role="assistant", content="Yes?"),
        asks(TOTAL),
        *(asks(TOTAL, noise(), role=role) for role in MessageRole if role != MessageRole.USER),
    ]
    got = await zoom(given, ZoomPipeline(cropper))
    assert all(one is other for one, other in zip(got, given, strict=True))
    assert cropper.batches == []
    out.additional_kwargs["zoom"] = True
    assert kinds((await zoom([out], pipeline()))[0]).count("image") == 2


async def test_messages_without_a_question_never_load_a_cropper(
    zoom: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise AssertionError

    monkeypatch.setattr(loading, "_default", None)
    monkeypatch.setattr(loading, "load_cropper", refuse)
    given = [
        ChatMessage(role="user", content=TOTAL),
        ChatMessage(role="assistant", content="Yes?"),
        asks("", noise()),
    ]
    assert await zoom(given) == given
    assert await zoom([]) == []


async def test_the_question_is_found_in_the_text(zoom: Any) -> None:
    cropper = CountingCropper()

    def question(text: str) -> str:
        return text.partition("Question:")[2]

    given = [asks("Context: none. Question: the total?", noise()), asks("Context: none.", noise())]
    got = await zoom(given, ZoomPipeline(cropper), question=question)
    assert cropper.batches == [["the total?"]]
    assert kinds(got[0]).count("image") == 2
    assert got[1] is given[1]


async def test_texts_of_a_message_are_its_question_together(zoom: Any) -> None:
    cropper = CountingCropper()
    blocks = [
        TextBlock(text="Look."),
        ImageBlock(image=png_of(noise())),
        TextBlock(text="What is the total?"),
    ]
    (message,) = await zoom([ChatMessage(role="user", blocks=blocks)], ZoomPipeline(cropper))
    assert cropper.batches == [["Look.\nWhat is the total?"]]
    assert kinds(message) == ["text", "image", "text", "image", "text"]


async def test_every_form_of_an_image_block(zoom: Any, tmp_path: Path) -> None:
    page = noise()
    path = tmp_path / "page.png"
    path.write_bytes(png_of(page))
    for image in (
        ImageBlock(path=path),
        ImageBlock(url=to_data_uri(page)),
        ImageBlock(image=io.BytesIO(png_of(page))),
    ):
        given = ChatMessage(role="user", blocks=[TextBlock(text=TOTAL), image])
        (message,) = await zoom([given], pipeline())
        assert message.blocks[1] is given.blocks[1]
        assert same(picture_in(message.blocks[1]), page)
        assert same(picture_in(message.blocks[3]), middle_of(page))


async def test_a_photo_lying_on_its_side_is_turned_first(zoom: Any) -> None:
    data = jpeg_lying_down(noise())
    given = ChatMessage(role="user", blocks=[TextBlock(text=TOTAL), ImageBlock(image=data)])
    left = ZoomPipeline(FixedCropper(Box(0, 0, 0.25, 1)))
    (message,) = await zoom([given], left)
    assert same(picture_in(message.blocks[3]), open_image(data).crop((0, 0, 50, 300)))


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (ImageBlock(url="https://example.com/a.png"), SourceError, "got a URL"),
        (ImageBlock(), SourceError, "image block without one"),
        (ImageBlock(image=b"no picture"), ImageError, "expected a PNG"),
    ],
)
async def test_an_image_that_fails_raises_or_is_passed_over_and_logged(
    zoom: Any,
    image: ImageBlock,
    kind: type[CropVLMError],
    expected: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    blocks = [TextBlock(text=TOTAL), image, ImageBlock(image=png_of(noise()))]
    given = [ChatMessage(role="user", blocks=blocks)]
    with pytest.raises(kind, match=expected):
        await zoom(given, pipeline())
    with caplog.at_level(logging.WARNING, "cropvlm_core"):
        (message,) = await zoom(given, pipeline(), on_error="skip")
    assert kinds(message) == ["text", "image", "image", "text", "image"]
    assert expected in caplog.text


async def test_a_cropper_that_fails(zoom: Any, caplog: pytest.LogCaptureFixture) -> None:
    failing = ZoomPipeline(FailingCropper())
    given = [asks(TOTAL, noise())]
    with pytest.raises(ModelError, match="no connection"):
        await zoom(given, failing)
    assert await zoom(given, failing, on_error="skip") == given
    assert "no connection" in caplog.text
    with pytest.raises(ValueError, match="on_error"):
        await zoom(given, failing, on_error="ignore")


async def test_where_the_whole_image_is_right_nothing_is_added(zoom: Any) -> None:
    given = [asks(TOTAL, noise())]
    (message,) = await zoom(given, ZoomPipeline(FixedCropper(None)))
    assert message is given[0]


async def test_awaited_it_leaves_the_event_loop_alone() -> None:
    threads = []

    class Noting(FixedCropper):
        def propose_batch(self, questions: Any) -> Any:
            threads.append(threading.current_thread())
            return super().propose_batch(questions)

    await azoom_chat_messages([asks(TOTAL, noise())], ZoomPipeline(Noting(MIDDLE)))
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


# Images in tool results, moved for models that take none there.


def answered(call: str, *pages: Image.Image) -> ChatMessage:
    message = asks(f"Part of an image ({call}).", *pages, role=MessageRole.TOOL)
    message.additional_kwargs["tool_call_id"] = call
    return message


def test_images_of_a_tool_move_behind_its_result() -> None:
    page = noise()
    given = [asks(TOTAL, noise()), ChatMessage(role="assistant"), answered("c1", page)]
    before = [message.model_dump() for message in given]
    got = move_tool_images(given)
    assert [message.model_dump() for message in given] == before
    assert got[:2] == given[:2]
    assert [message.role.value for message in got] == ["user", "assistant", "tool", "user"]
    assert got[2].additional_kwargs == {"tool_call_id": "c1"}
    assert kinds(got[2]) == ["text", "text"]
    assert "Part of an image (c1)." in (got[2].content or "")
    assert "next message" in (got[2].content or "")
    assert kinds(got[3]) == ["text", "image"]
    assert "c1" in (got[3].content or "")
    assert same(picture_in(got[3].blocks[1]), page)


def test_results_of_parallel_calls_stay_together() -> None:
    pages = [noise(), noise(30, 30), noise(40, 40)]
    given = [
        ChatMessage(role="assistant"),
        answered("c1", pages[0]),
        answered("c2"),
        answered("c3", *pages[1:]),
        ChatMessage(role="assistant", content="12.90"),
        asks("And the date?"),
        ChatMessage(role="assistant"),
        answered("c4", pages[0]),
    ]
    got = move_tool_images(given)
    roles = "assistant tool tool tool user assistant user assistant tool user"
    assert [message.role.value for message in got] == roles.split()
    assert got[2] is given[2]
    assert kinds(got[4]) == ["text", "image", "text", "image", "image"]
    shown = [picture_in(got[4].blocks[index]) for index in (1, 3, 4)]
    assert all(same(one, other) for one, other in zip(shown, pages, strict=True))
    content = got[4].content or ""
    assert content.index("c1") < content.index("c3")
    assert kinds(got[-1]) == ["text", "image"]


def test_without_images_in_results_nothing_moves() -> None:
    given = [asks(TOTAL, noise()), ChatMessage(role="assistant"), answered("c1")]
    assert all(one is other for one, other in zip(move_tool_images(given), given, strict=True))
    assert move_tool_images([]) == []
    moved = move_tool_images([answered("c1", noise())])
    assert move_tool_images(moved) == moved
