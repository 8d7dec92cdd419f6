"""What the tools of the MCP server answer, without the protocol: pictures, words, refusals."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core import sources
from cropvlm_core.box import Box
from cropvlm_core.cropper import Cropper, FixedCropper, Proposal
from cropvlm_core.errors import CropVLMError, DeadlineError, ImageError, ModelError, SourceError
from cropvlm_core.fetch import fetcher
from cropvlm_core.images import encode_within, to_data_uri
from cropvlm_core.mcp_server.arguments import read_arguments
from cropvlm_core.mcp_server.tools import LOOK_SIDE, Answer, ImageTools, Picture
from cropvlm_core.sources import Allowed
from cropvlm_core.tool import open_isolated, reference_words
from cropvlm_core.zoom import OUTLINES, ZoomPipeline
from tests.bad_input import huge_png
from tests.hostile_server import HostileServer, LocalFetcher, answers
from tests.model_server import decoded
from tests.pages import MIDDLE, CountingCropper, FailingCropper, middle_of, noise, png_of, same
from tests.programs import require_package

TOTAL = "What is the total?"
URL = "https://user:pass-word@example.com/page.png?key=secret"


class TwoPlaces(Cropper):
    """Two boxes apart, the first one surer."""

    name = "two places"

    def propose_batch(self, questions: Any) -> list[Proposal]:
        boxes = (Box(0.1, 0.1, 0.4, 0.3), Box(0.6, 0.6, 0.9, 0.9))
        return [Proposal(boxes, (0.834, 0.5)) for _ in questions]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "page.png").write_bytes(png_of(noise()))
    (tmp_path / "secret.png").write_bytes(png_of(noise(80, 80)))
    return folder


def tools_of(
    root: Path | None = None, cropper: Cropper | None = None, **options: Any
) -> ImageTools:
    allowed = Allowed.of(None if root is None else [root], options.pop("urls", False))
    made = ZoomPipeline(cropper or FixedCropper(MIDDLE), max_crops=options.pop("max_crops", 1))
    return ImageTools(made, allowed, **options)


def pictures(answer: Answer) -> list[Image.Image]:
    return [
        decoded(base64.b64encode(part.data).decode())
        for part in answer.parts
        if isinstance(part, Picture)
    ]


def texts(answer: Answer) -> list[str]:
    return [part for part in answer.parts if isinstance(part, str)]


def refusal(tools: ImageTools, arguments: dict[str, Any], name: str = "zoom") -> str:
    with pytest.raises(CropVLMError) as caught:
        getattr(tools, name)(arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 200
    return message


def test_zoom_answers_the_crop_pixel_for_pixel_with_its_place(root: Path) -> None:
    answer = tools_of(root, CountingCropper(confidence=0.834)).zoom(
        {"image": "page.png", "question": TOTAL}
    )
    assert answer.parts[0] == (
        "Part of 'page.png' at full resolution, from 25% to 75% of its width and 25% to 75% of its "
        "height. 100 x 150 pixels. Confidence 83%."
    )
    (crop,) = pictures(answer)
    with Image.open(root / "page.png") as page:
        assert same(crop, middle_of(page))
    told = answer.data
    assert (told["image"], told["question"], told["page"], told["pages"]) == (
        "page.png",
        TOTAL,
        1,
        1,
    )
    assert told["size"] == [200, 300]
    assert told["crops"] == [
        {
            "box": MIDDLE.to_dict(),
            "pixels": [50, 75, 150, 225],
            "confidence": 0.834,
            "size": [100, 150],
            "shown": [100, 150],
        }
    ]
    assert told["pixels"] == [50, 75, 150, 225]
    assert "cropper" not in told


def test_max_crops_is_the_servers_unless_the_call_says(root: Path) -> None:
    tools = tools_of(root, TwoPlaces(), max_crops=2)
    both = tools.zoom({"image": "page.png", "question": TOTAL})
    assert [type(part) for part in both.parts] == [str, Picture, str, Picture]
    assert "Confidence 83%" in texts(both)[0]
    assert "Confidence 50%" in texts(both)[1]
    one = tools.zoom({"image": "page.png", "question": TOTAL, "max_crops": 1})
    assert len(one.data["crops"]) == 1
    assert len(tools_of(root, TwoPlaces()).zoom({"image": "page.png", "question": "x"}).parts) == 2


def test_without_a_crop_the_whole_image_goes_along(root: Path) -> None:
    answer = tools_of(root, FixedCropper(None)).zoom({"image": "page.png", "question": TOTAL})
    assert answer.parts[0] == (
        "No crop of 'page.png': it answers this question best as a whole. Look at the whole image."
    )
    assert pictures(answer)[0].size == (200, 300)
    assert (answer.data["zoomed"], answer.data["reason"]) == (False, "no_zoom_needed")


def test_look_outlines_what_zoom_would_cut_out(root: Path) -> None:
    tools = tools_of(root, TwoPlaces(), max_crops=2)
    answer = tools.look({"image": "page.png", "question": TOTAL})
    (text,), (picture,) = texts(answer), pictures(answer)
    assert text.splitlines() == [
        "Whole 'page.png'. 200 x 300 pixels.",
        "Outlined in red: the part of 'page.png' from 10% to 40% of its width and 10% to 30% of "
        "its height. Confidence 83%.",
        "Outlined in blue: the part of 'page.png' from 60% to 90% of its width and 60% to 90% of "
        "its height. Confidence 50%.",
    ]
    for crop, colour in zip(answer.data["crops"], ("red", "blue"), strict=True):
        left, top, *_ = crop["pixels"]
        assert picture.getpixel((left - 1, top + 5)) == OUTLINES[colour]
    zoomed = tools.zoom({"image": "page.png", "question": TOTAL}).data["crops"]
    assert [crop["pixels"] for crop in answer.data["crops"]] == [crop["pixels"] for crop in zoomed]


def test_look_without_a_question_shows_the_page_as_it_is(root: Path) -> None:
    cropper = CountingCropper()
    answer = tools_of(root, cropper).look({"image": "page.png", "question": None})
    with Image.open(root / "page.png") as page:
        assert same(pictures(answer)[0], page)
    assert texts(answer) == ["Whole 'page.png'. 200 x 300 pixels."]
    assert (answer.data["crops"], answer.data["question"]) == ([], None)
    assert cropper.batches == []


def test_a_large_page_is_scaled_down_to_be_looked_at(root: Path) -> None:
    Image.new("RGB", (4000, 2000), "white").save(root / "large.png")
    answer = tools_of(root).look({"image": "large.png"})
    assert pictures(answer)[0].size == (LOOK_SIDE, LOOK_SIDE // 2)
    assert texts(answer) == ["Whole 'large.png'. 4000 x 2000 pixels, shown as 1568 x 784."]


def test_an_answer_is_never_longer_than_clients_take(root: Path) -> None:
    noise(1600, 1600).save(root / "noisy.png")
    whole = tools_of(root, FixedCropper(Box(0, 0, 1, 0.99)), answer_size=200_000)
    answer = whole.zoom({"image": "noisy.png", "question": TOTAL})
    assert sum(len(part.data) for part in answer.parts if isinstance(part, Picture)) <= 150_000
    (picture,) = pictures(answer)
    shown = answer.data["crops"][0]["shown"]
    assert list(picture.size) == shown
    assert answer.data["crops"][0]["size"] == [1600, 1584]
    text = texts(answer)[0]
    assert text.startswith("Part of 'noisy.png' scaled down, from 0% to 100% of its width")
    assert f"1600 x 1584 pixels, shown as {shown[0]} x {shown[1]}." in text
    with pytest.raises(ValueError, match="50000"):
        tools_of(root, answer_size=49_999)


@pytest.mark.parametrize("most", [1_000_000, 60_000, 5_000, 700])
def test_encoded_pictures_fit(most: int) -> None:
    page = noise(500, 300)
    data, mime_type, size = encode_within(page, most)
    assert len(data) <= most
    if most == 1_000_000:
        assert (mime_type, size) == ("image/png", (500, 300))
    elif most == 60_000:
        assert mime_type == "image/jpeg"
    else:
        assert max(size) < 500
        assert size[0] / size[1] == pytest.approx(5 / 3, rel=0.15)


def test_a_picture_wider_than_models_take_is_scaled_down() -> None:
    *_, size = encode_within(Image.new("L", (10_000, 3), "white"), 1_000_000)
    assert size == (8000, 2)


def test_pages_are_counted_and_chosen(root: Path) -> None:
    pages = [Image.new("RGB", (100 + 10 * number, 90), "white") for number in range(3)]
    pages[0].save(root / "pages.tif", save_all=True, append_images=pages[1:])
    answer = tools_of(root).zoom({"image": "pages.tif", "question": TOTAL, "page": 2})
    assert "Part of page 2 of 3 of 'pages.tif' at full resolution" in texts(answer)[0]
    assert (answer.data["page"], answer.data["pages"]) == (2, 3)
    assert answer.data["size"] == [110, 90]
    looked = tools_of(root).look({"image": "pages.tif", "page": 3})
    assert texts(looked) == ["Whole page 3 of 3 of 'pages.tif'. 120 x 90 pixels."]
    assert refusal(tools_of(root), {"image": "pages.tif", "question": "x", "page": 4}) == (
        "expected page 1 to 3, got page 4: 'pages.tif'"
    )


def test_data_uris_are_read_where_nothing_else_is() -> None:
    page = noise()
    answer = tools_of().zoom({"image": to_data_uri(page), "question": TOTAL})
    assert same(pictures(answer)[0], middle_of(page))
    assert "Part of the given image at full resolution" in texts(answer)[0]
    assert answer.data["image"] == "data:..."


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("page.png", "got a path, and this server was started without --roots"),
        ("/etc/passwd", "without --roots"),
        ("https://example.com/a.png", "URLs are off"),
        ("file:///etc/passwd", "URLs are off"),
        ("", "empty text"),
        ("data:text/html;base64,AAAA", "expected data:image"),
        ("data:image/png;base64,!!!!", "expected valid base64, got 4 characters"),
        ("data:image/png;base64,AAAA", "got the given image: text"),
    ],
)
def test_by_default_only_data_is_read(image: str, words: str) -> None:
    for name in ("zoom", "look"):
        assert words in refusal(tools_of(), {"image": image, "question": TOTAL}, name)


@pytest.mark.parametrize(
    "image",
    [
        "../secret.png",
        "{parent}/secret.png",
        "nowhere.png",
        "/etc/passwd",
        ".",
        "link.png",
        "twin.png",
        "pipe.png",
        "folder/secret.png",
        "/dev/zero",
        "page.png\0.jpg",
        "\ud800.png",
        "file:///etc/passwd",
        "~/secret.png",
        "x" * 5000,
        "-",
        " ",
    ],
)
def test_no_other_file_is_read(root: Path, image: str) -> None:
    (root / "link.png").symlink_to(root.parent / "secret.png")
    (root / "folder").symlink_to(root.parent)
    os.link(root.parent / "secret.png", root / "twin.png")
    os.mkfifo(root / "pipe.png")
    image = image.format(parent=root.parent)
    message = refusal(tools_of(root), {"image": image, "question": TOTAL})
    assert message.startswith("expected")
    if not image.startswith("/"):
        assert str(root.parent) not in message


def test_urls_are_fetched_where_that_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    page = noise()
    with HostileServer({"/page.png": answers(png_of(page))}) as server:
        local = LocalFetcher(server)
        monkeypatch.setattr(fetcher, "Fetcher", lambda *_: local)
        answer = tools_of(urls=True).zoom(
            {"image": "http://example.com/page.png?key=secret", "question": TOTAL}
        )
    assert same(pictures(answer)[0], middle_of(page))
    assert "secret" not in texts(answer)[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:10.0.0.1]/a.png",
        "http://2130706433/",
        "http://localhost/a.png",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        URL,
    ],
)
def test_private_and_odd_urls_are_refused_without_a_connection(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalFetcher(None, {"localhost": [["127.0.0.1"]]})
    monkeypatch.setattr(fetcher, "Fetcher", lambda *_: local)
    message = refusal(tools_of(urls=True), {"image": url, "question": TOTAL})
    assert local.dialled == []
    assert "pass-word" not in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "expected image as text, got None"),
        ({"image": 7, "question": TOTAL}, "expected image as text, got 7"),
        ({"image": ["page.png"], "question": TOTAL}, "expected image as text"),
        ({"image": "page.png"}, "expected a question, got blank"),
        ({"image": "page.png", "question": None}, "expected a question, got blank"),
        ({"image": "page.png", "question": " \n"}, "expected a question, got blank"),
        ({"image": "page.png", "question": 5}, "expected a question as text, got 5"),
        ({"image": "page.png", "question": []}, "expected a question as text"),
        ({"image": "page.png", "question": "w" * 10_001}, "at most 10000 characters"),
        ({"image": "page.png", "question": "w" * 10_000_000}, "at most 10000 characters"),
        ({"image": "w" * 10_000_000, "question": TOTAL}, "path of at most 4096 characters"),
        ({"image": "data:" + "w" * 10_000_000, "question": TOTAL}, "expected data:image"),
        ({"image": "page.png", "question": TOTAL, "page": 0}, "number of a page, from 1, got 0"),
        ({"image": "page.png", "question": TOTAL, "page": "2"}, "number of a page"),
        ({"image": "page.png", "question": TOTAL, "page": True}, "number of a page"),
        ({"image": "page.png", "question": TOTAL, "page": 1.5}, "number of a page"),
        ({"image": "page.png", "question": TOTAL, "page": 10**400}, "page 1, the only one"),
        ({"image": "page.png", "question": TOTAL, "max_crops": 11}, "max_crops as 1 to 10, got 11"),
        ({"image": "page.png", "question": TOTAL, "max_crops": "many"}, "max_crops as 1 to 10"),
        ({"image": "page.png", "question": TOTAL, "max_crops": False}, "max_crops as 1 to 10"),
        ({"image": "page.png", "question": TOTAL, "box": [0, 1]}, "got 'box'"),
        ({"image": "page.png", "question": TOTAL, "x" * 10_000_000: 1}, "expected the arguments"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_arguments_that_are_none(arguments: dict[str, Any], words: str, root: Path) -> None:
    assert words in refusal(tools_of(root), arguments)


def test_a_whole_number_may_be_written_as_a_decimal() -> None:
    asked = read_arguments({"image": "a", "page": 2.0, "max_crops": None}, max_crops=3)
    assert (asked.page, asked.max_crops, asked.question) == (2, 3, None)
    assert isinstance(asked.page, int)


@pytest.mark.parametrize("name", ["zoom", "look"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"no picture\n" * 9, "text"),
        (huge_png(20_000, 10_000), "20000 x 10000"),
        (png_of(noise())[:900], "expected a whole PNG image"),
        (b"%PDF-1.7\ngarbage", "expected a PDF that opens"),
    ],
    ids=["empty", "text", "bomb", "cut", "pdf"],
)
def test_damaged_files_are_refused_by_their_name(
    data: bytes, words: str, name: str, root: Path
) -> None:
    if data.startswith(b"%PDF"):
        require_package("pypdfium2")
    (root / "bad.png").write_bytes(data)
    message = refusal(tools_of(root), {"image": "bad.png", "question": TOTAL}, name)
    assert words in message
    assert "'bad.png'" in message
    assert len(message) <= 120
    assert str(root) not in message


def test_images_are_decoded_in_a_process_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from cropvlm_core.decoding import pictures as decoding

    def here(*_: object) -> None:
        raise AssertionError("decoded in this process")

    monkeypatch.setattr(decoding, "decoded", here)
    assert open_isolated(png_of(noise()), "it").image.size == (200, 300)
    with pytest.raises(ImageError, match=r"got it: text$"):
        open_isolated(b"text" * 9, "it")


@pytest.mark.parametrize("error", [ModelError, DeadlineError])
def test_a_cropper_that_fails_is_told_without_its_server(
    error: type[ModelError], root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(FailingCropper):
        def propose_batch(self, questions: Any) -> list[Proposal]:
            raise error("expected boxes, got nothing from http://10.0.0.7:8000/v1")

    with pytest.raises(error, match=r"^the zoom failed; go on without it$"):
        tools_of(root, Failing()).zoom({"image": "page.png", "question": TOTAL})
    assert "10.0.0.7" in caplog.text


def test_what_image_may_be_is_said() -> None:
    def words(roots: list[str], urls: bool) -> str:
        return reference_words(Allowed.of(roots or None, urls))

    assert words([], False) == "Which image: a data: URI (data:image/png;base64,...)."
    assert "the URL of an image or a data: URI" in words([], True)
    assert "the path of an image file or a data: URI" in words(["/srv/pages"], False)
    assert "/srv" not in words(["/srv/pages"], True)


def test_old_decoders_are_refused_for_urls_in_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.__version__", "12.9.1")
    with pytest.raises(SourceError, match=r"expected Pillow 13 or newer .* got 12\.9\.1"):
        sources.check_decoders()
    monkeypatch.setattr("PIL.__version__", "13.0.0")
    sources.check_decoders()
