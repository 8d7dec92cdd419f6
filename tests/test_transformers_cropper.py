"""TransformersCropper: always a readable box, how sure it is, and how it is kept and shared."""

import base64
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cropvlm_core.box import NO_ZOOM_NEEDED, Box, BoxNotation
from cropvlm_core.cropper import Proposal, VLMCropper, ZoomRules
from cropvlm_core.errors import ModelError
from cropvlm_core.grammar import BoxGrammar
from cropvlm_core.loading import load_cropper, load_target
from cropvlm_core.prompts import cropper_prompt
from cropvlm_core.questions import VisualQuestion
from cropvlm_core.zoom import ZoomPipeline
from tests import small_models
from tests.chat_server import ChatServer, says
from tests.cli_calls import KEYS, one_line_error, run
from tests.hub_server import HubServer
from tests.small_models import page, torch

from cropvlm_core.transformers_vlm import (  # isort: skip
    CropperSettings,
    TransformersCropper,
    TransformersVLM,
)

QUESTIONS = [
    VisualQuestion(page(230, 90, 1), "What is the total?"),
    VisualQuestion(page(100, 310, 2), "Who signed it? <image> [1, 2, 3, 4]"),
    VisualQuestion(page(500, 500, 3), "Wo steht das? €"),
    VisualQuestion(page(9, 700, 4), "?"),
]


def loaded(name: str = "whole_vlm") -> TransformersCropper:
    return TransformersCropper.from_pretrained(getattr(small_models, name)(), device="cpu")


@pytest.fixture(scope="module")
def vlm() -> TransformersVLM:
    return loaded().vlm


# ---- always a box


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("no_zoom", [False, True])
@pytest.mark.parametrize("notation", ["percent", "per_mille", "per_mille_yx", "loc_tokens"])
def test_every_proposal_can_be_read(
    vlm: TransformersVLM, notation: str, no_zoom: bool, temperature: float
) -> None:
    settings = CropperSettings(BoxNotation.from_name(notation), no_zoom=no_zoom)
    cropper = TransformersCropper(vlm, settings, temperature=temperature)
    torch.manual_seed(0)
    for proposal in cropper.propose_batch(QUESTIONS * 4):
        if proposal.reason is not None:
            assert no_zoom
            assert (proposal.reason, proposal.text) == ("no_zoom_needed", NO_ZOOM_NEEDED)
            continue
        assert proposal.text is not None
        reading = settings.notation.read(proposal.text)
        assert not reading.repaired
        assert proposal.boxes == (reading.box,)
        assert re.fullmatch(r"\[.*\]\.?|(<loc\d{4}>){4}", proposal.text)
        (confidence,) = proposal.confidences
        assert confidence is not None
        assert 0 < confidence <= 1


def test_no_zoom_can_be_said(vlm: TransformersVLM) -> None:
    cropper = TransformersCropper(vlm, CropperSettings(no_zoom=True), temperature=1.0)
    torch.manual_seed(0)
    drawn = cropper.propose_batch(QUESTIONS[:1] * 16)
    assert {proposal.reason for proposal in drawn} == {None, "no_zoom_needed"}
    assert len({proposal.text for proposal in drawn}) > 2  # one question, many boxes


def test_one_by_one_is_the_same(vlm: TransformersVLM) -> None:
    cropper = TransformersCropper(vlm)
    together = cropper.propose_batch(QUESTIONS)
    assert len({proposal.text for proposal in together}) > 1
    for question, proposal in zip(QUESTIONS, together, strict=True):
        (alone,) = cropper.propose_batch([question])
        assert alone.boxes == proposal.boxes
        assert alone.confidences == pytest.approx(proposal.confidences, rel=1e-3)
    assert cropper.propose_batch([]) == []


@pytest.mark.parametrize("no_zoom", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_confidence_is_the_probability_of_the_text(
    vlm: TransformersVLM, temperature: float, no_zoom: bool
) -> None:
    """By hand: of the tokens that go on with a box, found by trying every one of them."""
    cropper = TransformersCropper(vlm, CropperSettings(no_zoom=no_zoom), temperature=temperature)
    question = QUESTIONS[0]
    grammar = BoxGrammar(BoxNotation.percent, no_zoom=no_zoom)
    tokenizer = vlm.processor.tokenizer
    texts = {
        token: tokenizer.decode([token])
        for token in range(len(tokenizer))
        if token not in tokenizer.all_special_ids
    }
    torch.manual_seed(2)
    (samples,) = vlm.sample(
        [cropper.conversation(question)], temperature=temperature, grammars=[grammar]
    )
    torch.manual_seed(2)
    (proposal,) = cropper.propose_batch([question])
    assert proposal.text == samples[0].text
    whole = vlm.whole_inputs.batch([cropper.conversation(question)])
    ids, state, total = whole.pop("input_ids"), grammar.start, 0.0
    whole.pop("attention_mask")
    for token in samples[0].ids:
        allowed = [each for each, text in texts.items() if grammar.advance(state, text)]
        with torch.no_grad():
            logits = vlm.model(input_ids=ids, **whole).logits[0, -1].double()
        chances = torch.log_softmax(logits[allowed] / (temperature or 1), dim=-1)
        total += float(chances[allowed.index(token)])
        following = grammar.advance(state, texts[token])
        assert following is not None
        state = following
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    assert grammar.is_complete(state)
    assert samples[0].log_probability == pytest.approx(total, abs=1e-3)
    assert no_zoom or proposal.boxes
    if proposal.boxes:
        assert proposal.confidences[0] == pytest.approx(math.exp(total), rel=1e-3)


def test_the_input_size_is_one_for_model_and_settings() -> None:
    folder = small_models.splitting_vlm()
    large = TransformersVLM.from_pretrained(folder, input_size=128)
    assert TransformersCropper(large).settings.input_size == 128  # else it would not be saved
    with pytest.raises(ValueError, match="loaded with input_size=64, as the settings say, got one"):
        TransformersCropper(large, CropperSettings(input_size=64))
    with pytest.raises(ValueError, match="got one with None"):
        TransformersCropper(loaded().vlm, CropperSettings(input_size=64))
    with pytest.raises(ValueError, match="got one with 128"):
        TransformersCropper(large, CropperSettings(BoxNotation.pixels(), input_size=64))
    pixels = TransformersCropper(loaded("qwen").vlm, CropperSettings(BoxNotation.pixels()))
    assert pixels.settings.input_size == pixels.input_size == 1036


def test_what_is_asked(vlm: TransformersVLM) -> None:
    paper = TransformersCropper(vlm).conversation(QUESTIONS[0])
    assert paper.parts[1] == cropper_prompt("What is the total?")
    explained = TransformersCropper(vlm, CropperSettings(explain=True)).conversation(QUESTIONS[0])
    assert explained.text == f"{paper.text}\n{BoxNotation.percent.instruction}"
    assert loaded().settings.explain  # never trained as a cropper


# ---- other families


def test_qwen_s_pixels_are_those_of_the_picture_it_was_shown() -> None:
    cropper = loaded("qwen")
    assert cropper.notation.name == "pixels"
    assert cropper.input_size == 1036
    shown: list[tuple[int, int]] = []
    scaled = VLMCropper(cropper.vlm, cropper.notation, input_size=140)
    small = TransformersCropper(
        cropper.vlm, CropperSettings(BoxNotation.pixels(), input_size=140, explain=True)
    )
    for question, proposal in zip(QUESTIONS, small.propose_batch(QUESTIONS), strict=True):
        picture = scaled.conversation(question).images[0]
        shown.append(picture.size)
        read = cropper.vlm.processor.image_processor(picture, return_tensors="pt")
        _, rows, columns = read["image_grid_thw"][0].tolist()
        assert (columns * 14, rows * 14) == picture.size  # the processor left it alone
        assert proposal.text is not None
        numbers = [int(number) for number in re.findall(r"\d+", proposal.text)]
        assert max(numbers[2], 1) <= picture.size[0]
        assert numbers[3] <= picture.size[1]
        left, top, right, bottom = numbers
        width, height = picture.size
        expected = Box(left / width, top / height, right / width, bottom / height)
        assert proposal.boxes == (expected,)
        full = question.open().size
        assert all(
            0 <= low < high <= side
            for low, high, side in zip(
                expected.to_pixels(full)[:2], expected.to_pixels(full)[2:], full, strict=True
            )
        )
    assert shown == [(140, 56), (56, 140), (140, 140), (56, 140)]


def test_a_family_s_checkpoint_is_kept_as_any(tmp_path: Path) -> None:
    cropper = loaded("qwen")
    cropper.save_pretrained(tmp_path)
    again = TransformersCropper.from_pretrained(tmp_path)
    assert again.settings == cropper.settings
    assert again.propose_batch(QUESTIONS) == cropper.propose_batch(QUESTIONS)
    percent = load_cropper(f"hf:{tmp_path}", notation="per_mille", input_size=112)
    assert isinstance(percent, TransformersCropper)
    assert percent.notation is BoxNotation.per_mille
    assert percent.vlm.input_size == 112
    assert all(proposal.boxes for proposal in percent.propose_batch(QUESTIONS))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_paligemma_writes_location_tokens() -> None:
    cropper = loaded("paligemma")
    tokenizer = cropper.vlm.processor.tokenizer
    assert len(tokenizer("<loc0123>", add_special_tokens=False)["input_ids"]) == 1
    for proposal in cropper.propose_batch(QUESTIONS):
        assert proposal.text is not None
        top, left, bottom, right = map(int, re.findall(r"<loc(\d{4})>", proposal.text))
        assert proposal.boxes == (Box(left / 1023, top / 1023, right / 1023, bottom / 1023),)


def test_a_grounding_model_behind_a_server() -> None:
    with ChatServer(says('```json\n{"bbox_2d": [100, 250, 500, 1000]}\n```')) as server:
        spec = f"openai:grounding@{server.url}"
        cropper = load_cropper(spec, notation="per_mille", input_size=100)
        zoom = ZoomPipeline(cropper).zoom(page(400, 200), "What is the total?")
        assert zoom.proposal.boxes == (Box(0.1, 0.25, 0.5, 1.0),)
        assert zoom.pixels == (40, 50, 200, 200)
        (request,) = server.requests
    picture, text = (request["messages"][0]["content"][number] for number in (0, 1))
    assert "normalised to 0-1000" in text["text"]
    data = base64.b64decode(picture["image_url"]["url"].partition("base64,")[2])
    assert Image.open(io.BytesIO(data)).size == (100, 50)


# ---- through the spine and the command line


def test_a_pipeline_follows_it(vlm: TransformersVLM) -> None:
    settings = CropperSettings(rules=ZoomRules(grow=(1.5, 1.5), min_pixels=40))
    cropper = TransformersCropper(vlm, settings)
    zooms = ZoomPipeline(cropper).zoom_batch(QUESTIONS[:3])
    for zoom in zooms:
        assert zoom.crop is not None
        assert min(zoom.crop.image.size) >= 40
        assert zoom.crop.confidence == zoom.proposal.confidences[0]
    sure = ZoomPipeline(cropper, min_confidence=0.999).zoom_batch(QUESTIONS[:1])
    assert sure[0].reason == "low_confidence"


@pytest.fixture
def spec(vlm: TransformersVLM, tmp_path: Path) -> str:
    TransformersCropper(vlm).save_pretrained(tmp_path / "cropper")
    return f"hf:{tmp_path / 'cropper'}"


def test_the_command_zoom(
    spec: str, vlm: TransformersVLM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "page.png"
    QUESTIONS[0].open().save(file)
    assert run("zoom", file, QUESTIONS[0].question, "--cropper", spec, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == KEYS
    (proposal,) = TransformersCropper(vlm).propose_batch(QUESTIONS[:1])
    assert told["cropper"] == spec
    assert told["confidence"] == pytest.approx(proposal.confidences[0], rel=1e-3)
    zoom = ZoomPipeline(TransformersCropper(vlm)).zoom_batch(QUESTIONS[:1])[0]
    assert zoom.pixels is not None
    assert told["pixels"] == list(zoom.pixels)


def test_the_command_ask(spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.png"
    QUESTIONS[0].open().save(file)
    assert run("ask", file, "What?", "--model", spec, "--cropper", spec, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    (crop,) = told["crops"]
    conversation = ZoomPipeline(load_cropper(spec)).zoom(file, "What?").conversation()
    assert len(conversation.images) == 2
    assert crop["size"] == list(conversation.images[1].size)
    assert told["answer"] == load_target(spec).reply([conversation])[0]


def test_a_folder_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "page.png"
    page(50, 50).save(file)
    assert run("zoom", file, "What?", "--cropper", f"hf:{tmp_path}/none") == 2
    assert "expected a Hugging Face folder or id" in one_line_error(capsys)


# ---- kept and shared


def test_what_is_saved_is_what_is_loaded(vlm: TransformersVLM, tmp_path: Path) -> None:
    settings = CropperSettings(
        BoxNotation.per_mille, rules=ZoomRules(grow=(2.0, 1.0)), no_zoom=True, explain=True
    )
    cropper = TransformersCropper(vlm, settings)
    cropper.save_pretrained(tmp_path / "new" / "folder", trained="By hand.")
    again = load_cropper(f"hf:{tmp_path / 'new' / 'folder'}")
    assert isinstance(again, TransformersCropper)
    assert again.settings == settings
    assert again.rules == settings.rules
    assert again.propose_batch(QUESTIONS) == cropper.propose_batch(QUESTIONS)
    names = {file.name for file in (tmp_path / "new" / "folder").iterdir()}
    assert {"model.safetensors", "config.json", "cropvlm.json", "README.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".py"))]
    card = (tmp_path / "new" / "folder" / "README.md").read_text()
    assert card.endswith("By hand.\n")
    assert "/tmp" not in card


def test_the_version_follows_the_weights(tmp_path: Path) -> None:
    cropper = loaded()
    cropper.save_pretrained(tmp_path)
    first = TransformersCropper.from_pretrained(tmp_path)
    assert TransformersCropper.from_pretrained(tmp_path).version == first.version
    with torch.no_grad():
        cropper.vlm.model.model.connector.modality_projection.proj.weight.mul_(1.01)
    cropper.save_pretrained(tmp_path)
    second = TransformersCropper.from_pretrained(tmp_path)
    assert second.name == first.name
    assert second.version != first.version
    warmer = TransformersCropper(second.vlm, second.settings, temperature=1.0, name=second.name)
    assert warmer.version != second.version


@pytest.mark.parametrize("revision", [None, "v2"])
def test_push_to_hub(
    vlm: TransformersVLM, revision: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    cropper = TransformersCropper(vlm, CropperSettings(no_zoom=True))
    with HubServer() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        address = cropper.push_to_hub(
            "ann/cropper", private=True, commit_message="First", revision=revision
        )
    assert address == f"{hub.url}/ann/cropper/commit/1"
    assert hub.branch == (revision or "main")
    assert hub.branches == [revision] * (revision == "v2")
    (created,) = hub.created
    assert (created["organization"], created["name"]) == ("ann", "cropper")
    assert created.get("private") or created.get("visibility") == "private"
    assert hub.messages == ["First"]
    assert set(hub.keys) == {"Bearer hf_of_a_test"}
    for name, data in hub.files.items():
        (tmp_path / name).write_bytes(data)
    again = TransformersCropper.from_pretrained(tmp_path)
    assert again.settings == cropper.settings
    assert again.propose_batch(QUESTIONS) == cropper.propose_batch(QUESTIONS)
    assert "README.md" in hub.files


def test_memory_that_runs_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cropper = loaded()

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(cropper.vlm.model, "generate", full)
    with pytest.raises(ModelError, match="lower batch_size"):
        cropper.propose_batch(QUESTIONS)


def test_a_proposal_without_box_has_no_confidence() -> None:
    nothing = Proposal(reason="no_zoom_needed", text=NO_ZOOM_NEEDED)
    assert TransformersCropper._sure(nothing, -1.0) is nothing


@pytest.mark.parametrize("input_size", [None, 224, 2048])
def test_pixels_are_those_that_the_model_sees(input_size: int | None) -> None:
    """The processor has a cap of its own, and would shrink the picture again."""
    cropper = TransformersCropper.from_pretrained(
        small_models.qwen(), device="cpu", input_size=input_size
    )
    asked = cropper.conversation(VisualQuestion(small_models.page(3000, 3000), "Where?"))
    read = cropper.vlm.whole_inputs.batch([asked])
    height, width = (int(patches) * 14 for patches in read["image_grid_thw"][0][1:])
    assert (width, height) == asked.images[0].size
