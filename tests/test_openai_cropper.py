"""OpenAICropper through the real client: what a served model is asked, and what becomes of it."""

import json
import re
from pathlib import Path

import pytest

from cropvlm_core.box import NO_ZOOM_NEEDED, Box, BoxNotation
from cropvlm_core.cropper import ZoomRules, size_within
from cropvlm_core.cropper_settings import CropperSettings
from cropvlm_core.errors import ModelError, SpecError, WeightsError
from cropvlm_core.grammar import MAX_BOX_TOKENS, BoxGrammar
from cropvlm_core.loading import load_cropper
from cropvlm_core.openai_vlm import OpenAICropper
from cropvlm_core.openai_vlm.constraints import FIELDS
from cropvlm_core.prompts import cropper_prompt
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.zoom import ZoomPipeline
from tests.chat_server import ChatServer, fails, says, sends
from tests.cli_calls import one_line_error, run
from tests.model_server import pictures
from tests.pages import noise

ASKED = VisualQuestion(noise(200, 301), "What is the total?")
RULES = ZoomRules(grow=(2.0, 2.0))
SERVERS = sorted(FIELDS)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """All that a client needs of a trained checkpoint: a folder with its settings."""
    folder = tmp_path / "served"
    folder.mkdir()
    CropperSettings(BoxNotation.per_mille, 128, RULES, no_zoom=True).save(folder)
    return folder


def test_a_checkpoint_is_asked_as_it_was_trained(checkpoint: Path) -> None:
    with ChatServer(says(" [100, 200, 300, 400]")) as server:
        cropper = load_cropper(f"openai:{checkpoint}@{server.url}")
        (proposal,) = cropper.propose_batch([ASKED])
    (body,) = server.requests
    assert body.keys() == {"model", "max_tokens", "temperature", "messages"}
    assert (body["model"], body["max_tokens"]) == (str(checkpoint), MAX_BOX_TOKENS)
    assert body["temperature"] == 0
    assert body["messages"][0]["content"][-1]["text"] == cropper_prompt(ASKED.question)
    assert [shown.picture.size for shown in pictures(body)] == [(86, 128)]
    assert proposal.boxes == (Box(0.1, 0.2, 0.3, 0.4),)
    assert cropper.rules == RULES


def test_a_checkpoint_under_another_name(checkpoint: Path) -> None:
    with ChatServer(says("[1, 2, 3, 4]")) as server:
        spec = f"openai:mine@{server.url}"
        other, stranger = load_cropper(spec, checkpoint=checkpoint), load_cropper(spec)
        for cropper in (other, stranger):
            assert cropper.name == spec
            cropper.propose_batch([ASKED])
    as_trained, explained = (body["messages"][0]["content"][-1]["text"] for body in server.requests)
    assert as_trained == cropper_prompt(ASKED.question)
    assert explained == f"{as_trained}\n{BoxNotation.percent.instruction}"
    assert [body["model"] for body in server.requests] == ["mine", "mine"]
    assert [body["max_tokens"] for body in server.requests] == [MAX_BOX_TOKENS, 512]
    assert [pictures(body)[0].picture.size for body in server.requests] == [(86, 128), (200, 301)]
    assert other.version != stranger.version


def test_what_the_caller_says_goes_before_the_checkpoint(checkpoint: Path) -> None:
    with ChatServer(says("[10, 20, 30, 40].")) as server:
        spec = f"openai:{checkpoint}@{server.url}"
        cropper = load_cropper(spec, notation="percent", input_size=64)
        (proposal,) = cropper.propose_batch([ASKED])
    assert proposal.boxes == (Box(0.1, 0.2, 0.3, 0.4),)
    assert pictures(server.requests[0])[0].picture.size == (42, 64)
    assert cropper.rules == RULES


@pytest.mark.parametrize("name", ["gpt-5", "org/model", "x" * 5000])
def test_a_model_that_is_no_folder_is_a_stranger(name: str) -> None:
    cropper = load_cropper(f"openai:{name}@http://127.0.0.1:1/v1")
    assert isinstance(cropper, OpenAICropper)
    assert cropper.settings == CropperSettings(explain=True)


@pytest.mark.parametrize("constrain", SERVERS)
def test_the_request_holds_the_pattern(constrain: str, checkpoint: Path) -> None:
    pixels = {"notation": "pixels", "input_size": 140}
    for options, no_zoom, size in (
        ({"checkpoint": checkpoint}, True, (86, 128)),
        (pixels, True, (84, 140)),  # the prompt that explains allows it
    ):
        with ChatServer(says("[7, 8, 29, 30]")) as server:
            cropper = load_cropper(f"openai:m@{server.url}", constrain=constrain, **options)
            assert isinstance(cropper, OpenAICropper)
            (proposal,) = cropper.propose_batch([ASKED])
        (body,) = server.requests
        expected = FIELDS[constrain](BoxGrammar(cropper.notation, size=size, no_zoom=no_zoom))
        assert {name: body[name] for name in expected} == expected
        assert body.keys() - expected.keys() == {"model", "max_tokens", "temperature", "messages"}
        assert body["max_tokens"] == MAX_BOX_TOKENS
        assert proposal.boxes
        assert f"constrain={constrain}" in cropper.version


def test_each_page_has_the_pattern_of_its_own_size() -> None:
    questions = [VisualQuestion(noise(*size), "Where?") for size in ((140, 84), (56, 112))]
    with ChatServer(says("[1, 2, 30, 40]")) as server:
        cropper = load_cropper(
            f"openai:m@{server.url}", notation="pixels", input_size=140, constrain="sglang"
        )
        cropper.propose_batch(questions)
    for body in server.requests:
        width, height = pictures(body)[0].picture.size
        assert re.fullmatch(body["regex"], f"[0, 0, {width}, {height}]")
        assert not re.fullmatch(body["regex"], f"[0, 0, {width + 1}, {height}]")
    assert server.requests[0]["regex"] != server.requests[1]["regex"]


def test_the_pattern_leaves_out_no_zoom_where_it_was_not_trained(tmp_path: Path) -> None:
    CropperSettings().save(tmp_path)
    with ChatServer(says("[7, 8, 29, 30].")) as server:
        cropper = load_cropper(f"openai:{tmp_path}@{server.url}", constrain="vllm")
        cropper.propose_batch([ASKED])
    assert "zoom" not in server.requests[0]["structured_outputs"]["regex"]


@pytest.mark.parametrize(
    "text", [" [1, 2, 3, 4].", "[1, 2, 3, 4]", NO_ZOOM_NEEDED, "[5, 2, 3, 4]\n"]
)
def test_what_the_pattern_allows_is_taken(text: str) -> None:
    with ChatServer(says(text)) as server:
        cropper = load_cropper(f"openai:m@{server.url}", constrain="vllm")
        (proposal,) = cropper.propose_batch([ASKED])
    assert proposal.text == text
    assert proposal.reason in (None, "no_zoom_needed")


@pytest.mark.parametrize("constrain", SERVERS)
@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_the_option(constrain: str, status: int) -> None:
    with ChatServer(fails(status, "Unexpected fields in the request")) as server:
        cropper = load_cropper(f"openai:m@{server.url}", constrain=constrain)
        with pytest.raises(ModelError) as caught:
            cropper.propose_batch([ASKED])
    told = str(caught.value)
    assert f"HTTP {status}: 'Unexpected fields in the request'" in told
    assert f"constrain='{constrain}'" in told
    assert len(server.requests) == 1


def test_another_refusal_is_not_laid_on_the_option() -> None:
    with ChatServer(fails(404, "no such model")) as server:
        cropper = load_cropper(f"openai:m@{server.url}", constrain="vllm")
        with pytest.raises(ModelError, match="no such model") as caught:
            cropper.propose_batch([ASKED])
    assert "constrain" not in str(caught.value)


@pytest.mark.parametrize("text", ["The total is at [1, 2, 3, 4].", "[1, 2, 3]", "[0, 0, 0, 400]."])
def test_a_server_that_passes_over_the_option(text: str) -> None:
    with ChatServer(says(text)) as server:
        cropper = load_cropper(f"openai:m@{server.url}", constrain="llamacpp")
        with pytest.raises(ModelError, match=r"constrain='llamacpp' asks, got .* leave it out"):
            cropper.propose_batch([ASKED])


def test_without_the_option_the_parser_decides() -> None:
    with ChatServer(says("The total is at [10, 20, 30, 40]."), says("I do not know.")) as server:
        cropper = load_cropper(f"openai:m@{server.url}")
        zooms = ZoomPipeline(cropper).zoom_batch([ASKED]), ZoomPipeline(cropper).zoom_batch([ASKED])
    assert zooms[0][0].proposal.boxes == (Box(0.1, 0.2, 0.3, 0.4),)
    assert zooms[1][0].reason == "unreadable"


def test_the_options_are_for_servers(checkpoint: Path, tmp_path: Path) -> None:
    for spec in ("whole", "embedded", "random:3", "hf:org/model", "ocr"):
        for options in ({"checkpoint": checkpoint}, {"constrain": "vllm"}):
            with pytest.raises(SpecError, match="expected openai:"):
                load_cropper(spec, **options)
    spec = "openai:m@http://127.0.0.1:1/v1"
    with pytest.raises(SpecError, match="expected constrain of vllm"):
        load_cropper(spec, constrain="tgi")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(WeightsError, match=r"expected a folder with cropvlm\.json"):
            load_cropper(spec, checkpoint=folder)
    (checkpoint / "cropvlm.json").write_text("{")
    for damaged in (f"openai:{checkpoint}@http://127.0.0.1:1/v1", spec):
        with pytest.raises(WeightsError, match=r"expected JSON in cropvlm\.json"):
            load_cropper(damaged, checkpoint=None if damaged != spec else checkpoint)


def test_the_command_line(checkpoint: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(says("[100, 200, 300, 400]")) as server:
        spec = f"openai:mine@{server.url}"
        words = ["--cropper", spec, "--checkpoint", checkpoint, "--constrain", "vllm"]
        assert run("zoom", page, "What?", *words, "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["zoomed"]
        assert "regex" in server.requests[0]["structured_outputs"]
        assert server.requests[0]["messages"][0]["content"][-1]["text"] == cropper_prompt("What?")
    with ChatServer(sends({"detail": "Unexpected fields"}, 422)) as server:
        spec = f"openai:mine@{server.url}"
        assert run("zoom", page, "What?", "--cropper", spec, "--constrain", "sglang") == 1
        assert "constrain='sglang'" in one_line_error(capsys)
    assert run("zoom", page, "What?", "--checkpoint", checkpoint) == 2
    assert "expected openai:" in one_line_error(capsys)


def test_a_picture_that_was_scaled_is_left_alone_by_smolvlm() -> None:
    for width, height in ((1700, 2201), (2201, 1700), (999, 333), (513, 512), (3000, 7)):
        small = size_within((width, height), 512)
        assert max(small) == 512
        assert size_within(small, 512) == small
        assert min(small) == 1 or min(small) % 2 == 0
        assert abs(small[0] / small[1] - width / height) <= 2 * width / height / min(small)
    assert size_within((511, 77), 512) == (511, 77)
