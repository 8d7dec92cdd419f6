"""Every example runs, and does what it says."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cropvlm_core import default_pipeline
from examples import ask_with_and_without, zoom_overlay
from tests import bad_input
from tests.chat_server import ChatServer, says
from tests.model_server import Shown, answers, calls, pictures, zooms
from tests.programs import require_package

EXAMPLES = {
    "ask_with_and_without",
    "grpo_own_documents",  # in test_examples_local
    "langchain_agent",
    "langchain_chain",
    "llamaindex_agent",
    "llamaindex_pages",
    "local_target",  # in test_examples_local
    "zoom_overlay",
}


def test_every_example_is_run_here() -> None:
    here = Path(__file__).parents[1] / "examples"
    assert {file.stem for file in here.glob("*.py")} == EXAMPLES


def test_zoom_overlay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = bad_input.page(tmp_path)
    folder = tmp_path / "pictures" / "new"
    zoom_overlay.main([str(page), "What?", "--cropper", "centre", "--folder", str(folder)])
    assert "holds 25.0% of the page" in capsys.readouterr().out
    with Image.open(folder / "crop.png") as crop, Image.open(folder / "overlay.png") as overlay:
        assert (crop.size, overlay.size) == ((100, 150), (200, 300))


def test_zoom_overlay_without_a_crop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = bad_input.page(tmp_path)
    zoom_overlay.main([str(page), "What?", "--cropper", "whole", "--folder", str(tmp_path)])
    assert "no_zoom_needed" in capsys.readouterr().out
    assert (tmp_path / "overlay.png").exists()
    assert not (tmp_path / "crop.png").exists()


def test_zoom_overlay_on_the_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zoom_overlay.main(["--folder", str(tmp_path)])
    assert "of the page" in capsys.readouterr().out
    with Image.open(tmp_path / "crop.png") as crop, Image.open(zoom_overlay.RECEIPT) as page:
        assert crop.width * crop.height < 0.6 * page.width * page.height


def test_ask_with_and_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = bad_input.page(tmp_path)
    with ChatServer(says("19.20"), says("12.90")) as server:
        model = f"openai:m@{server.url}"
        ask_with_and_without.main(
            [str(page), "What is it?", "--model", model, "--cropper", "centre"]
        )
    told = capsys.readouterr().out
    assert told == "page alone:    19.20\npage and crop: 12.90  (crop of 25.0%)\n"
    first, second = (body["messages"][0]["content"] for body in server.requests)
    assert [len(first), len(second)] == [2, 3]


def test_ask_with_and_without_on_the_receipt(capsys: pytest.CaptureFixture[str]) -> None:
    ask_with_and_without.main(["--model", "constant:x"])
    assert capsys.readouterr().out.startswith("page alone:    x\npage and crop: x  (crop of ")


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> Callable[[ChatServer], None]:
    """Let the examples' clients reach a server, as a person does: by the environment."""

    def reach(server: ChatServer) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)  # the openai client, LangChain
        monkeypatch.setenv("OPENAI_API_BASE", server.url)  # LlamaIndex

    return reach


def assert_page_and_crop(shown: list[Shown]) -> None:
    """The receipt, and a part of it with the same pixels."""
    whole, crop = shown
    with Image.open(zoom_overlay.RECEIPT) as page:
        assert whole.picture.convert("RGB").tobytes() == page.convert("RGB").tobytes()
        width, height = crop.picture.size
        assert width * height < 0.6 * page.width * page.height
        zoom = default_pipeline().zoom(zoom_overlay.RECEIPT, "What is the total?")
    assert zoom.crop is not None
    assert crop.picture.tobytes() == zoom.crop.image.tobytes()


@pytest.mark.parametrize("name", ["langchain_agent", "llamaindex_agent"])
def test_agents(
    name: str, reached: Callable[[ChatServer], None], capsys: pytest.CaptureFixture[str]
) -> None:
    require_package("langchain_openai" if "langchain" in name else "llama_index.llms.openai")
    example = importlib.import_module(f"examples.{name}")
    with ChatServer(calls(zooms("What is the total?")), answers("12.90")) as server:
        reached(server)
        example.main([])
    looked, answer = capsys.readouterr().out.splitlines()
    assert looked.startswith("looked closer: Part of image 1 at full resolution")
    assert answer == "answer: 12.90"
    assert_page_and_crop(pictures(server.requests[1]))


def test_langchain_chain(
    reached: Callable[[ChatServer], None], capsys: pytest.CaptureFixture[str]
) -> None:
    require_package("langchain_openai")
    example = importlib.import_module("examples.langchain_chain")
    with ChatServer(answers("12.90")) as server:
        reached(server)
        example.main([])
    assert capsys.readouterr().out == "receipt.png: 12.90\n"
    assert_page_and_crop(pictures(server.requests[0]))


def test_llamaindex_pages(
    reached: Callable[[ChatServer], None],
    capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    require_package("llama_index.llms.openai")
    example = importlib.import_module("examples.llamaindex_pages")
    with ChatServer(answers("12.90")) as server:
        reached(server)
        example.main([])
    looked, answer = capsys.readouterr().out.splitlines()
    assert looked.startswith("looked closer: left ")
    assert answer == "answer: 12.90"
    assert_page_and_crop(pictures(server.requests[0]))
    assert not [str(warning.message) for warning in recwarn if "together" in str(warning.message)]
